// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a handler may be given.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::delivery::AppendTime;
use crate::envelope::ENVELOPE_TYPE;
use crate::failure::Refusal;
use crate::header::Header;
use crate::keys::Kid;
use crate::reason::Reason;
use crate::screen::Validated;

/// An event that passed every step. Made only by [`order`](crate::order::order()); what it shows
/// is the verified header and values parsed from the verified bytes, nothing else.
#[derive(Clone)]
pub struct Admitted<E = Raw> {
    header: Header<'static>,
    message_id: [u8; 32],
    kid: Kid,
    group: String,
    stream: String,
    position: String,
    appended: AppendTime,
    body: Bytes,
    payload: Range<usize>,
    value: E,
}

/// The payload was not read into a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw;

impl Admitted {
    pub(crate) fn new(message: Validated<'_>) -> Admitted {
        Admitted {
            message_id: message.message_id,
            kid: message.signer.kid,
            group: message.group,
            stream: message.delivery.stream.clone(),
            position: message.delivery.position.clone(),
            appended: message.delivery.appended,
            body: message.delivery.body.clone().unwrap_or_default(),
            payload: message.payload,
            header: message.header.into_owned(),
            value: Raw,
        }
    }

    /// Reads the payload into the handler's type. Opaque content has none: its type is read from
    /// `null` (`()` fits), and its bytes are [`Admitted::body`].
    ///
    /// # Errors
    /// `E406_PAYLOAD_TYPE`: the schema admits what the type does not. The text names the place and
    /// what was expected, never the value.
    pub fn read<E: DeserializeOwned>(self) -> Result<Admitted<E>, Refusal> {
        let enveloped = *self.header.ct == *ENVELOPE_TYPE;
        let payload = if enveloped { self.payload() } else { b"null" };
        let value = serde_json::from_slice(payload).map_err(|error| {
            let at = format!("line {}, column {}", error.line(), error.column());
            let detail = format!("the handler's type does not read the payload at {at}");
            Refusal::new(Reason::PayloadType, detail)
        })?;
        Ok(Admitted {
            header: self.header,
            message_id: self.message_id,
            kid: self.kid,
            group: self.group,
            stream: self.stream,
            position: self.position,
            appended: self.appended,
            body: self.body,
            payload: self.payload,
            value,
        })
    }
}

impl<E> Admitted<E> {
    /// The event id, unique per producer, tenant and stream.
    pub fn id(&self) -> &str {
        &self.header.id
    }

    /// The event type.
    pub fn event_type(&self) -> &str {
        &self.header.typ
    }

    /// The schema version.
    pub fn schema_version(&self) -> u32 {
        self.header.sv
    }

    /// The service whose key signed.
    pub fn producer(&self) -> &str {
        &self.header.src
    }

    /// The tenant.
    pub fn tenant(&self) -> Option<&str> {
        self.header.ten.as_deref()
    }

    /// The stream it was signed for and arrived on.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The ordering key.
    pub fn key(&self) -> Option<&str> {
        self.header.okey.as_deref()
    }

    /// Everything that was signed.
    pub fn header(&self) -> &Header<'static> {
        &self.header
    }

    /// The universal reference of this message.
    pub fn message_id(&self) -> &[u8; 32] {
        &self.message_id
    }

    /// The key that signed.
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// The consuming group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Where the broker keeps this copy.
    pub fn position(&self) -> &str {
        &self.position
    }

    /// When the broker first appended it.
    pub fn appended(&self) -> AppendTime {
        self.appended
    }

    /// The verified body, byte for byte.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The payload's exact bytes within the verified body; of opaque content, the body.
    pub fn payload(&self) -> &[u8] {
        self.body.get(self.payload.clone()).unwrap_or_default()
    }

    /// The payload, read into the handler's type.
    pub fn value(&self) -> &E {
        &self.value
    }
}

/// Names and sizes, no payload: this may end in a log.
impl<E> fmt::Debug for Admitted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("id", &self.header.id)
            .field("type", &self.header.typ)
            .field("producer", &self.header.src)
            .field("stream", &self.stream)
            .field("position", &self.position)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
