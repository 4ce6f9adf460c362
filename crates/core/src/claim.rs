// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a validated message asks the ledger: was this event done, and may it run now?

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::delivery::{AppendTime, Delivery};
use crate::envelope::ENVELOPE_TYPE;
use crate::header::Header;
use crate::screen::{Assessed, Lateness, Validated};
use crate::time::Timestamp;

/// A question, not a query: all that a ledger needs to claim one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The consuming group.
    pub group: String,
    /// The stream.
    pub stream: String,
    /// Verified producer.
    pub producer: String,
    /// Verified tenant.
    pub tenant: Option<String>,
    /// The event id.
    pub event_id: String,
    /// Who the event is: SHA-256 over group, destination, producer, tenant, event id.
    pub identity: [u8; 32],
    /// What it says: SHA-256 over all that two honest signings of one event share.
    pub content: [u8; 32],
    /// Which signed copy this is.
    pub message_id: [u8; 32],
    /// Ordering key, where the stream has one.
    pub key: Option<String>,
    /// Whether the key's versions must be handled in order.
    pub ordered: bool,
    /// Ordering version, on ordered streams.
    pub version: Option<u64>,
    /// The producer's term, where it signed one.
    pub term: Option<u64>,
    /// Where the broker keeps this copy.
    pub position: String,
    /// When the broker first appended it.
    pub appended: AppendTime,
    /// When it was signed; below `enforce`, when it was met if that is later. `None`: it proves
    /// nothing, and nothing depends on its being remembered.
    pub signed: Option<Timestamp>,
    /// Until when the ledger must remember it: that plus the horizon.
    pub remember_until: Timestamp,
    /// Milliseconds too late, if it reached the broker late.
    pub late_ms: Option<i64>,
    /// What is proven of it.
    pub standing: Standing,
}

/// What is proven of a message that asks. Under `enforce` always all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Signed by its producer for this stream, and `enforce` would refuse it for nothing but its
    /// time of arrival and its place in its key's order.
    Sound,
    /// Signed by its producer for this stream, with findings: its key's order refuses it, and is
    /// not changed by it.
    Signed,
    /// It says who it is and proves nothing: its identity is in a name space of its own, and it
    /// has no ordering key.
    Claimed,
}

impl Standing {
    /// Whether its producer's signature for this stream verified.
    pub fn is_signed(self) -> bool {
        self != Standing::Claimed
    }
}

impl Validated<'_> {
    /// The question for the ledger.
    pub fn claim(&self, horizon_ms: i64) -> ClaimRequest {
        let told = Told {
            group: &self.group,
            header: &self.header,
            delivery: self.delivery,
            payload: &self.payload,
            ordered: self.stream.ordered,
        };
        told.request(self.message_id, self.lateness, self.header.iat, horizon_ms)
    }
}

impl Assessed<'_> {
    /// The question for the ledger. What is too old already is remembered from now on.
    pub fn claim(&self, horizon_ms: i64, now: Timestamp) -> ClaimRequest {
        let told = Told {
            group: &self.group,
            header: &self.header,
            delivery: self.delivery,
            payload: &self.payload,
            ordered: self.stream.ordered,
        };
        let Some(proof) = &self.proof else { return told.claimed(now, horizon_ms) };
        let since = self.header.iat.max(now);
        let sound = self.findings.is_empty();
        ClaimRequest {
            standing: if sound { Standing::Sound } else { Standing::Signed },
            ..told.request(proof.message_id, proof.lateness, since, horizon_ms)
        }
    }
}

/// What a message says, proven or not.
struct Told<'m> {
    group: &'m str,
    header: &'m Header<'m>,
    delivery: &'m Delivery,
    payload: &'m Range<usize>,
    ordered: bool,
}

impl Told<'_> {
    fn request(
        &self,
        message_id: [u8; 32],
        lateness: Lateness,
        signed: Timestamp,
        horizon_ms: i64,
    ) -> ClaimRequest {
        let header = self.header;
        ClaimRequest {
            group: self.group.to_owned(),
            stream: self.delivery.stream.clone(),
            producer: header.src.to_string(),
            tenant: header.ten.as_deref().map(str::to_owned),
            event_id: header.id.to_string(),
            identity: identity("chancery/identity/1", self.group, header),
            content: self.content(),
            message_id,
            key: header.okey.as_deref().map(str::to_owned),
            ordered: self.ordered,
            version: header.ov,
            term: header.ep,
            position: self.delivery.position.clone(),
            appended: self.delivery.appended,
            signed: Some(signed),
            remember_until: signed + horizon_ms,
            late_ms: match lateness {
                Lateness::Fresh => None,
                Lateness::LateUnlessOutstanding { late_ms } => Some(late_ms),
            },
            standing: Standing::Sound,
        }
    }

    // Nothing that a signed message may meet in the ledger: other names for event and message, no
    // key. A header that was copied onto it counts for nothing.
    fn claimed(&self, now: Timestamp, horizon_ms: i64) -> ClaimRequest {
        let body = self.delivery.body.as_deref();
        let message_id = Parts::new("chancery/unproven/message/1").option(body).digest();
        ClaimRequest {
            identity: identity("chancery/unproven/identity/1", self.group, self.header),
            key: None,
            ordered: false,
            standing: Standing::Claimed,
            signed: None,
            ..self.request(message_id, Lateness::Fresh, now, horizon_ms)
        }
    }

    // Of an envelope only the payload counts: trace, request and signing time differ between two
    // honest tellings of one event (docs/decisions/0001-content-of-an-event.md).
    fn content(&self) -> [u8; 32] {
        let body = self.delivery.body.as_deref();
        let told = body.and_then(|body| body.get(self.payload.clone()));
        let form = if *self.header.ct == *ENVELOPE_TYPE { "payload" } else { "body" };
        let digest: [u8; 32] = Sha256::digest(told.unwrap_or_default()).into();
        let header = self.header;
        Parts::new("chancery/content/1")
            .part(header.kind.word())
            .part(&*header.typ)
            .part(header.sv.to_be_bytes())
            .option(header.ten.as_deref())
            .option(header.okey.as_deref())
            .option(header.ov.map(u64::to_be_bytes))
            .part(&*header.ct)
            .part(form)
            .option(body.map(|_| digest))
            .digest()
    }
}

fn identity(label: &str, group: &str, header: &Header<'_>) -> [u8; 32] {
    Parts::new(label)
        .part(group)
        .part(&*header.aud)
        .part(&*header.src)
        .option(header.ten.as_deref())
        .part(&*header.id)
        .digest()
}

/// Hashes parts so that no two lists of parts give the same bytes: each has its length in front,
/// an absent one is told from an empty one.
struct Parts(Sha256);

impl Parts {
    fn new(label: &str) -> Parts {
        Parts(Sha256::new()).part(label)
    }

    fn part(mut self, bytes: impl AsRef<[u8]>) -> Parts {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn option(mut self, bytes: Option<impl AsRef<[u8]>>) -> Parts {
        self.0.update([u8::from(bytes.is_some())]);
        match bytes {
            Some(bytes) => self.part(bytes),
            None => self,
        }
    }

    fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
