// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an observer is given on a stream below `enforce`.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::delivery::AppendTime;
use crate::failure::Refusal;
use crate::header::Header;
use crate::policy::Rung;
use crate::screen::Assessed;

/// A message of a stream below `enforce`: also a perfect one. Another type from another entry
/// point, so that it cannot be taken for [`Admitted`](crate::Admitted); what it says of itself is
/// named so.
#[derive(Clone)]
pub struct Unproven {
    claims: Header<'static>,
    verified: Option<[u8; 32]>,
    rung: Rung,
    findings: Vec<Refusal>,
    group: String,
    stream: String,
    position: String,
    appended: AppendTime,
    body: Bytes,
    payload: Range<usize>,
}

impl Unproven {
    /// The message for the observer, and all findings: at `observe` they are counted and not
    /// handed over.
    pub(crate) fn new(message: Assessed<'_>) -> (Unproven, Vec<Refusal>) {
        let findings = message.findings.into_vec();
        let rung = message.stream.rung;
        let unproven = Unproven {
            verified: message.proof.map(|proof| proof.message_id),
            rung,
            findings: if rung == Rung::Observe { Vec::new() } else { findings.clone() },
            group: message.group,
            stream: message.delivery.stream.clone(),
            position: message.delivery.position.clone(),
            appended: message.delivery.appended,
            body: message.delivery.body.clone().unwrap_or_default(),
            payload: message.payload,
            claims: message.header.into_owned(),
        };
        (unproven, findings)
    }

    /// The service whose own key signed this, for this stream. `None`: anyone may have sent it.
    pub fn verified_producer(&self) -> Option<&str> {
        self.verified.map(|_| &*self.claims.src)
    }

    /// The universal reference of the message, if its producer is verified.
    pub fn verified_message_id(&self) -> Option<&[u8; 32]> {
        self.verified.as_ref()
    }

    /// What `enforce` would have refused it for: at `mark`, first things first. At `observe`
    /// empty, whatever was found.
    pub fn findings(&self) -> &[Refusal] {
        &self.findings
    }

    /// The stream's rung.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// The event id that it claims.
    pub fn claimed_id(&self) -> &str {
        &self.claims.id
    }

    /// The event type that it claims.
    pub fn claimed_type(&self) -> &str {
        &self.claims.typ
    }

    /// The schema version that it claims.
    pub fn claimed_schema_version(&self) -> u32 {
        self.claims.sv
    }

    /// The producer that it claims; see [`Unproven::verified_producer`].
    pub fn claimed_producer(&self) -> &str {
        &self.claims.src
    }

    /// The tenant that it claims.
    pub fn claimed_tenant(&self) -> Option<&str> {
        self.claims.ten.as_deref()
    }

    /// The ordering key that it claims.
    pub fn claimed_key(&self) -> Option<&str> {
        self.claims.okey.as_deref()
    }

    /// When it claims to have occurred, RFC 3339.
    pub fn claimed_time(&self) -> &str {
        &self.claims.occ
    }

    /// The stream that it arrived on.
    pub fn stream(&self) -> &str {
        &self.stream
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

    /// The body, byte for byte as it arrived.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The payload's exact bytes within the body. Its schema may not have held.
    pub fn payload(&self) -> &[u8] {
        self.body.get(self.payload.clone()).unwrap_or_default()
    }
}

/// Names that are ours and sizes: this may end in a log.
impl fmt::Debug for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unproven")
            .field("verified_producer", &self.verified_producer())
            .field("stream", &self.stream)
            .field("position", &self.position)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
