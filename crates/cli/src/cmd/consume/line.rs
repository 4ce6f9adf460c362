// SPDX-License-Identifier: MIT OR Apache-2.0
//! A message as one line of JSON.

use chancery::core::text::b64u;
use chancery::{Admitted, Unproven};
use serde::Serialize;
use serde_json::value::RawValue;

/// A message as whoever reads gets it.
pub(crate) struct Line {
    /// The line with its end.
    pub(crate) bytes: Vec<u8>,
    /// The message id, where it is proven.
    pub(crate) message: Option<String>,
    /// The stream.
    pub(crate) stream: String,
}

#[derive(Serialize)]
struct Members<'e> {
    id: &'e str,
    #[serde(rename = "type")]
    event_type: &'e str,
    version: u32,
    producer: &'e str,
    tenant: Option<&'e str>,
    stream: &'e str,
    key: Option<&'e str>,
    time: &'e str,
    payload: &'e RawValue,
    #[serde(flatten)]
    unproven: Option<Unchecked>,
}

/// What stands in the line of a message below `enforce`, and in no other.
#[derive(Serialize)]
struct Unchecked {
    unproven: bool,
    verified: bool,
    findings: Vec<&'static str>,
}

/// An admitted message.
pub(crate) fn admitted<E>(event: &Admitted<E>) -> Result<Line, serde_json::Error> {
    let members = Members {
        id: event.id(),
        event_type: event.event_type(),
        version: event.schema_version(),
        producer: event.producer(),
        tenant: event.tenant(),
        stream: event.stream(),
        key: event.key(),
        time: &event.header().occ,
        payload: serde_json::from_slice(event.payload())?,
        unproven: None,
    };
    Ok(Line {
        bytes: encode(&members)?,
        message: Some(b64u(event.message_id())),
        stream: event.stream().to_owned(),
    })
}

/// A message of a stream below `enforce`: what it claims, and that nobody vouches for it.
pub(crate) fn unproven(event: &Unproven) -> Result<Line, serde_json::Error> {
    let findings = event.findings().iter().map(|finding| finding.reason.code()).collect();
    let members = Members {
        id: event.claimed_id(),
        event_type: event.claimed_type(),
        version: event.claimed_schema_version(),
        producer: event.claimed_producer(),
        tenant: event.claimed_tenant(),
        stream: event.stream(),
        key: event.claimed_key(),
        time: event.claimed_time(),
        payload: serde_json::from_slice(event.payload())?,
        unproven: Some(Unchecked {
            unproven: true,
            verified: event.verified_producer().is_some(),
            findings,
        }),
    };
    Ok(Line {
        bytes: encode(&members)?,
        message: event.verified_message_id().map(|id| b64u(id)),
        stream: event.stream().to_owned(),
    })
}

// The payload's bytes stay as they came, except that line breaks between its members, which mean
// nothing in JSON, become spaces.
fn encode(members: &Members<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(members)?;
    for byte in line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    line.push(b'\n');
    Ok(line)
}
