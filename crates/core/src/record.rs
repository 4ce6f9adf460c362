// SPDX-License-Identifier: MIT OR Apache-2.0
//! One evidence record: what was decided about one message, by whom, on what grounds
//! (spec/evidence.md "Record").

use serde::{Deserialize, Serialize};

use crate::delivery::{AppendTime, Delivery};
use crate::failure::Refusal;
use crate::header::{HEADER, SIGNATURE};
use crate::keys::message_id;
use crate::text::{b64u, hex};
use crate::time::Timestamp;
use crate::unproven::Unproven;

/// Longest record in bytes: tlog-tiles entries have a 16-bit length.
pub const RECORD_BYTES_MAX: usize = 65_535;
/// Longest `effects` in bytes, as a record writes it, that is kept as it is; a longer one becomes a
/// digest.
pub const EFFECTS_BYTES_MAX: usize = 16 << 10;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// The handler ran and its effect is committed.
    Done,
    /// There was nothing to do.
    Skip,
    /// Kept, never to run.
    Quarantine,
    /// Kept, to be judged again.
    Hold,
    /// Kept, to run later.
    Park,
    /// An operator let a kept message run.
    Release,
    /// An operator gave a kept message up.
    Discard,
    /// Keys, policy or schemas changed.
    Snapshot,
    /// Further refusals of one kind in one minute, counted.
    Sum,
}

/// A record before it gets its writer's number. Encoded once; the bytes are final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format: `chancery/ev/1`.
    pub t: String,
    /// What it is about.
    pub kind: RecordKind,
    /// When it was decided, RFC 3339, the store's clock.
    pub at: String,
    /// The consuming group.
    pub group: String,
    /// The consuming service.
    pub service: String,
    /// The process that decided: random per boot.
    pub writer: String,
    /// 1, 2, 3… per writer; a hole shows a record that was taken away.
    pub wseq: u64,
    /// Version of the software that decided.
    pub build: String,
    /// Digest of keys, policy and schemas in force, hex.
    pub snapshot: String,
    /// The message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageRecord>,
    /// Step that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Code of the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was seen and expected; no payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Attempts that came before this outcome.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// What the handler says it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<String>,
    /// Who decided, where a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// How many messages a sum stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Below `enforce`: on which rung it ran, and what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<UnprovenRecord>,
}

/// What is on record of a message that ran below `enforce`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnprovenRecord {
    /// The stream's rung: `observe` or `mark`.
    pub rung: String,
    /// Whether its producer's own key signed it for this stream.
    pub verified: bool,
    /// Codes of what `enforce` would have refused it for, first things first.
    pub findings: Vec<String>,
}

/// The message of a record: its signed header and signature verbatim, its body as a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    /// Universal reference, base64url; absent without a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// H as it arrived, if it is printable; not verified unless the record is `done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h: Option<String>,
    /// The signature block as it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<String>,
    /// The stream it was read from.
    pub stream: String,
    /// Where the broker keeps it.
    pub position: String,
    /// Deliveries as the broker counts them.
    pub deliveries: u32,
    /// The broker's first append time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appended: Option<String>,
    /// How far that time can be believed: `broker`, `bounded` or `none`.
    pub clock: String,
    /// Body size in bytes.
    pub bytes: usize,
}

/// Who decides: the same in every record of one process.
#[derive(Clone, Debug)]
pub struct Decider {
    /// The consuming group.
    pub group: String,
    /// The consuming service.
    pub service: String,
    /// Version of the software.
    pub build: String,
}

impl Record {
    /// A record about nothing yet.
    pub fn new(kind: RecordKind, decider: &Decider, snapshot: &[u8; 32], now: Timestamp) -> Record {
        Record {
            t: "chancery/ev/1".to_owned(),
            kind,
            at: now.to_string(),
            group: decider.group.clone(),
            service: decider.service.clone(),
            writer: String::new(),
            wseq: 0,
            build: decider.build.clone(),
            snapshot: hex(snapshot),
            message: None,
            step: None,
            reason: None,
            detail: None,
            attempts: 0,
            effects: None,
            operator: None,
            count: None,
            unproven: None,
        }
    }

    /// Ran below `enforce`, with these findings.
    pub fn below_enforce(mut self, event: &Unproven, findings: &[Refusal]) -> Record {
        self.unproven = Some(UnprovenRecord {
            rung: event.rung().word().to_owned(),
            verified: event.verified_producer().is_some(),
            findings: findings.iter().map(|finding| finding.reason.code().to_owned()).collect(),
        });
        self
    }

    /// About this message.
    pub fn about(mut self, delivery: &Delivery) -> Record {
        self.message = Some(MessageRecord::of(delivery));
        self
    }

    /// Because of this refusal.
    pub fn because(mut self, refusal: &Refusal) -> Record {
        self.step = Some(refusal.reason.step().to_string());
        self.reason = Some(refusal.reason.code().to_owned());
        self.detail = Some(refusal.detail.chars().take(1024).collect());
        self
    }

    /// The final bytes, with the writer's number in it.
    ///
    /// # Errors
    /// The size in bytes, if it is above [`RECORD_BYTES_MAX`].
    pub fn encode(&self, writer: &str, wseq: u64) -> Result<Vec<u8>, usize> {
        let mut record = self.clone();
        record.writer = writer.to_owned();
        record.wseq = wseq;
        if let Some(effects) = record.effects.take() {
            record.effects = Some(bounded_effects(effects));
        }
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        let size = bytes.len();
        if (1..=RECORD_BYTES_MAX).contains(&size) { Ok(bytes) } else { Err(size) }
    }

    /// Reads a record's bytes.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        serde_json::from_slice(bytes).ok()
    }
}

fn bounded_effects(effects: String) -> String {
    use sha2::{Digest, Sha256};
    // Escapes count: what a handler says must not make a record that nobody can commit.
    let written = serde_json::to_vec(&effects).map_or(usize::MAX, |json| json.len());
    if written <= EFFECTS_BYTES_MAX {
        return effects;
    }
    format!("sha256:{}", hex(&Sha256::digest(effects.as_bytes())))
}

impl MessageRecord {
    /// What is kept of a delivery.
    pub fn of(delivery: &Delivery) -> MessageRecord {
        let text = |name: &str, bytes_max: usize| {
            let field = delivery.fields.iter().find(|field| field.name == name)?;
            let text = std::str::from_utf8(&field.value).ok()?;
            let plain = text.len() <= bytes_max && text.bytes().all(|b| (0x20..=0x7e).contains(&b));
            plain.then(|| text.to_owned())
        };
        let h = text(HEADER, crate::header::HEADER_BYTES_MAX);
        MessageRecord {
            id: h.as_ref().map(|h| b64u(&message_id(h.as_bytes()))),
            h,
            sig: text(SIGNATURE, crate::header::SIGNATURE_BYTES_MAX),
            stream: delivery.stream.clone(),
            position: delivery.position.clone(),
            deliveries: delivery.deliveries,
            appended: delivery.appended.at().map(|at| at.to_string()),
            clock: match delivery.appended {
                AppendTime::Broker(_) => "broker",
                AppendTime::Bounded(_) => "bounded",
                AppendTime::Unknown => "none",
            }
            .to_owned(),
            bytes: delivery.body.as_ref().map_or(0, bytes::Bytes::len),
        }
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat: a handler repeats what a message says, and the record of it cannot be committed.
    #[test]
    fn effects_never_make_a_record_too_large() {
        let decider = Decider { group: "g".into(), service: "svc".into(), build: "test".into() };
        let encoded = |effects: &str| {
            let mut record = Record::new(RecordKind::Done, &decider, &[0; 32], Timestamp(0));
            record.effects = Some(effects.to_owned());
            Record::decode(&record.encode("w", 1).unwrap()).unwrap().effects.unwrap()
        };
        assert_eq!(encoded("one row"), "one row");
        for long in ["x".repeat(EFFECTS_BYTES_MAX), "\u{1}".repeat(EFFECTS_BYTES_MAX)] {
            assert!(encoded(&long).starts_with("sha256:"));
        }
    }
}
