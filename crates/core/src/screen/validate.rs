// SPDX-License-Identifier: MIT OR Apache-2.0
//! Step 5: read the body, for the first time, and hold it against envelope, header and schema.

use std::ops::Range;

use super::authorize::Authorized;
use super::freshness::Lateness;
use crate::attributes;
use crate::bundle::Key;
use crate::delivery::Delivery;
use crate::envelope::{self, ENVELOPE_TYPE, Envelope};
use crate::failure::{Refusal, require};
use crate::header::Header;
use crate::json::{self, Value};
use crate::policy::Stream;
use crate::reason::Reason;
use crate::snapshot::Snapshot;

/// A message about which bytes alone can say nothing more.
#[derive(Debug)]
pub struct Validated<'d> {
    pub(crate) delivery: &'d Delivery,
    pub(crate) header: Header<'d>,
    pub(crate) message_id: [u8; 32],
    pub(crate) lateness: Lateness,
    pub(crate) signer: &'d Key,
    pub(crate) stream: &'d Stream,
    pub(crate) group: String,
    /// The payload's exact bytes in the body.
    pub(crate) payload: Range<usize>,
}

/// Reads the body strictly, compares the envelope with the header, validates the payload.
///
/// # Errors
/// `E109_UNSAFE_FORMAT`, `E104_JSON_AMBIGUOUS`, `E105_JSON_LIMITS`, `E115_ENVELOPE_INVALID`,
/// `E108_ENVELOPE_MISMATCH`, `E405_SCHEMA_UNKNOWN`, `E403_SCHEMA_DIGEST`, `E401_SCHEMA`,
/// `E520_KEY_FIELD`.
pub fn validate<'d>(
    message: Authorized<'d>,
    snapshot: &Snapshot,
) -> Result<Validated<'d>, Refusal> {
    let body = message.delivery.body.as_deref().unwrap_or_default();
    safe_format(body)?;
    attributes::equal(message.delivery, &message.header)?;
    let payload = if *message.header.ct == *ENVELOPE_TYPE {
        enveloped(body, &message.header, message.stream, snapshot)?
    } else {
        0..body.len()
    };
    Ok(Validated {
        delivery: message.delivery,
        header: message.header,
        message_id: message.message_id,
        lateness: message.lateness,
        signer: message.signer,
        stream: message.stream,
        group: message.group,
        payload,
    })
}

pub(super) fn safe_format(body: &[u8]) -> Result<(), Refusal> {
    let found = unsafe_format(body);
    require(found.is_none(), Reason::UnsafeFormat, || {
        format!("the body begins like {}", found.unwrap_or_default())
    })
}

/// Names the format if the body begins like one whose readers run what they read.
pub fn unsafe_format(body: &[u8]) -> Option<&'static str> {
    match body {
        [0xac, 0xed, ..] => Some("Java serialization"),
        [0x80, 0x02..=0x05, ..] => Some("pickle"),
        _ if [&b"%YAML"[..], b"--- ", b"!!"].iter().any(|magic| body.starts_with(magic)) => {
            Some("YAML with tags")
        }
        _ => None,
    }
}

/// The whole judgement on an envelope, the same at publish and at consume. Gives the payload's
/// exact bytes.
pub(crate) fn enveloped(
    body: &[u8],
    header: &Header<'_>,
    stream: &Stream,
    snapshot: &Snapshot,
) -> Result<Range<usize>, Refusal> {
    let document = document(body, stream, snapshot)?;
    let envelope = envelope::read(&document)?;
    envelope.equals(header)?;
    members(stream, &envelope)?;
    schema(header, envelope.payload, snapshot)?;
    key_field(header, stream, envelope.payload)?;
    Ok(envelope.payload_span)
}

pub(super) fn members(stream: &Stream, envelope: &Envelope<'_, '_>) -> Result<(), Refusal> {
    if stream.extra_members { Ok(()) } else { envelope.only_known() }
}

/// The strict reader, within the stream's own limit.
pub(super) fn document<'b>(
    body: &'b [u8],
    stream: &Stream,
    snapshot: &Snapshot,
) -> Result<Value<'b>, Refusal> {
    let limits = json::Limits { bytes_max: stream.bytes_max, ..snapshot.json };
    json::read(body, &limits).map_err(|error| {
        let reason = if error.is_limit() { Reason::JsonLimits } else { Reason::JsonAmbiguous };
        Refusal::new(reason, error.to_string())
    })
}

pub(super) fn schema(
    header: &Header<'_>,
    payload: &Value<'_>,
    snapshot: &Snapshot,
) -> Result<(), Refusal> {
    let schema = snapshot.schema(&header.typ, header.sv).ok_or_else(|| {
        let detail = format!("no schemas/{}/{}.json here", header.typ, header.sv);
        Refusal::new(Reason::SchemaUnknown, detail)
    })?;
    require(header.sd.is_none_or(|sd| sd == schema.digest()), Reason::SchemaDigest, || {
        format!("schemas/{}/{}.json here is not the producer's", header.typ, header.sv)
    })?;
    let judged = schema.validate(payload);
    require(judged.is_ok(), Reason::Schema, || {
        judged.err().map(|violations| violations.to_string()).unwrap_or_default()
    })
}

// A number stands for its exact text, so that 1 and "1" are the same key on every broker.
pub(super) fn key_field(
    header: &Header<'_>,
    stream: &Stream,
    payload: &Value<'_>,
) -> Result<(), Refusal> {
    let Some(member) = &stream.key else { return Ok(()) };
    let found = key_text(payload, member);
    require(found == header.okey.as_deref(), Reason::KeyField, || {
        format!("payload member `{member}` is not the signed ordering key")
    })
}

/// The text of a payload member that is a string or a number.
pub(crate) fn key_text<'v>(payload: &'v Value<'_>, member: &str) -> Option<&'v str> {
    match payload.as_object()?.get(member)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.text()),
        _ => None,
    }
}
