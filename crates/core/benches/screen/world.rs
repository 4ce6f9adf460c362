// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured: signed messages of one size, and the snapshot that they are judged against.

use std::error::Error;

use bytes::Bytes;
use chancery_core::bundle::{Bundle, KeyEntry};
use chancery_core::delivery::{AppendTime, Delivery};
use chancery_core::keys::Secret;
use chancery_core::seal::{Content, Draft, Sealed, Stamp, build, sign_all};
use chancery_core::snapshot::Sources;
use chancery_core::{Reader, Snapshot, Timestamp};

/// Messages of one pass; also the size of a batch.
pub(crate) const MESSAGES: usize = 64;
/// Batches that take turns: more than the core remembers, so that each is met as a new one.
const BATCHES: usize = 40;

pub(crate) const NOW: Timestamp = Timestamp(1_780_000_000_000);
const TYPE: &str = "orders.created";
const SECRET: [u8; 32] = [7; 32];

const POLICY: &str = "
version: 1
domain: example.com
environment: prod
services:
  checkout: { tenants: any }
  billing: { tenants: any }
streams:
  orders.created:
    kind: event
    owner: checkout
    handled_by: { billing: billing }
    types: { orders.created: 1.. }
    key: order_id
    tenants: any
    shared_keys: true
";

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "required": ["order_id", "currency", "total_cents"],
  "additionalProperties": false,
  "properties": {
    "order_id": { "type": "string", "minLength": 1, "maxLength": 64 },
    "currency": { "enum": ["EUR", "USD", "GBP"] },
    "total_cents": { "type": "integer", "minimum": 0 },
    "note": { "type": "string", "maxLength": 200 },
    "lines": {
      "type": "array",
      "maxItems": 500,
      "items": {
        "type": "object",
        "required": ["sku", "name", "quantity", "price_cents"],
        "additionalProperties": false,
        "properties": {
          "sku": { "type": "string", "pattern": "^[A-Z]{2}-[0-9]{6}$" },
          "name": { "type": "string", "maxLength": 100 },
          "quantity": { "type": "integer", "minimum": 1, "maximum": 1000 },
          "price_cents": { "type": "integer", "minimum": 0 }
        }
      }
    }
  }
}"#;

/// How a message is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Ed25519,
    Batch,
    Hmac,
}

impl Signing {
    pub(crate) const ALL: [Signing; 3] = [Signing::Ed25519, Signing::Batch, Signing::Hmac];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Signing::Ed25519 => "Ed25519",
            Signing::Batch => "Ed25519 m1",
            Signing::Hmac => "HMAC-SHA256",
        }
    }
}

/// Payload sizes, bytes.
pub(crate) const SIZES: [(usize, &str); 3] = [(100, "100 B"), (1024, "1 KiB"), (16384, "16 KiB")];

pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    pub(crate) reader: Reader,
    own: Secret,
    shared: Secret,
}

impl World {
    pub(crate) fn new() -> Result<World, Box<dyn Error>> {
        let root = Secret::ed25519(&[1; 32]);
        let (own, shared) = (Secret::ed25519(&[2; 32]), Secret::hmac_sha256(&SECRET)?);
        let year = 365 * 86_400_000;
        let (from, until) = (Timestamp(NOW.0 - year), Timestamp(NOW.0 + year));
        let bundle = Bundle {
            v: 1,
            domain: "example.com".into(),
            environment: "prod".into(),
            version: 1,
            issued: from.0,
            expires: until.0,
            keys: [&own, &shared].map(|key| KeyEntry::new(key, "checkout", from, until)).into(),
        };
        let sources = Sources {
            bundle: bundle.seal(&root)?.into_bytes(),
            root: root.public(),
            policy: POLICY.to_owned(),
            schemas: [((TYPE.to_owned(), 1), SCHEMA.into())].into(),
            secrets: vec![SECRET.to_vec()],
        };
        let reader = Reader { service: "billing".into(), group: "billing".into() };
        Ok(World { snapshot: Snapshot::build(&sources)?, reader, own, shared })
    }

    /// Passes of distinct messages, as a broker would hand them over; a batch is in its order.
    pub(crate) fn passes(
        &self,
        signing: Signing,
        payload_bytes: usize,
    ) -> Result<Vec<Vec<Delivery>>, Box<dyn Error>> {
        let secret = if signing == Signing::Hmac { &self.shared } else { &self.own };
        let mut built = Vec::new();
        for nth in 0..MESSAGES {
            let sequence = nth as u64 + 1;
            let stamp = Stamp { service: "checkout", now: NOW, lane: [9; 16], sequence };
            built.push(build(&draft(nth, payload_bytes), &stamp, &self.snapshot)?);
        }
        let mut passes = Vec::new();
        let many = if signing == Signing::Batch { BATCHES } else { 1 };
        for _ in 0..many {
            let sealed = match signing {
                Signing::Batch => {
                    // Another order is another batch.
                    built.rotate_left(1);
                    sign_all(built.clone(), secret, |_, _| None)
                }
                _ => built.iter().cloned().map(|message| message.sign(secret)).collect(),
            };
            passes.push(sealed.into_iter().map(delivery).collect());
        }
        Ok(passes)
    }
}

fn draft(nth: usize, payload_bytes: usize) -> Draft {
    Draft {
        stream: TYPE.to_owned(),
        id: format!("01J9ZQ4T9KXN{nth:014}"),
        event_type: TYPE.to_owned(),
        schema_version: 1,
        tenant: Some("acme".to_owned()),
        version: None,
        occurred_at: "2026-05-28T20:26:40.000Z".to_owned(),
        request: None,
        actor: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        deadline: None,
        causes: Vec::new(),
        content: Content::Payload(Bytes::from(payload(nth, payload_bytes))),
    }
}

/// An order of about so many bytes: as many lines as fit, then a note.
fn payload(nth: usize, bytes: usize) -> String {
    let head = format!(r#"{{"order_id":"o-{nth:08}","currency":"EUR","total_cents":{}"#, 995 + nth);
    let mut lines = String::new();
    for line in 0.. {
        let next = format!(
            r#"{{"sku":"AB-{:06}","name":"Teapot, blue, large","quantity":{},"price_cents":{}}}"#,
            nth * 300 + line,
            line % 9 + 1,
            line * 37 + 199
        );
        if head.len() + lines.len() + next.len() + 32 > bytes {
            break;
        }
        if line > 0 {
            lines.push(',');
        }
        lines.push_str(&next);
    }
    let note = "x".repeat(bytes.saturating_sub(head.len() + lines.len() + 23).min(200));
    format!(r#"{head},"lines":[{lines}],"note":"{note}"}}"#)
}

fn delivery(sealed: Sealed) -> Delivery {
    Delivery {
        stream: sealed.stream,
        position: "orders.created/1".to_owned(),
        fields: sealed.fields,
        key: sealed.key,
        body: Some(sealed.body),
        appended: AppendTime::Broker(NOW),
        deliveries: 1,
    }
}
