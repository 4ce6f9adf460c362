// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets run: each parser, and what must hold of whatever it accepts.
//!
//! `fuzz/` calls these under libFuzzer, `tests/it/fuzz.rs` on every committed input.

use std::str::from_utf8;
use std::sync::LazyLock;

use chancery::core::bundle::Bundle;
use chancery::core::delivery::Delivery;
use chancery::core::evidence::tile::{self, TILE_WIDTH};
use chancery::core::evidence::{Checkpoint, ProofBundle, Signer, Tile, VerifierKey, note::Note};
use chancery::core::json::{self, Limits, Value};
use chancery::core::policy::Policy;
use chancery::core::record::Record;
use chancery::core::schema::{Schema, lint, starter};
use chancery::core::screen::{decode, screen};
use chancery::core::seal::{Content, build};
use chancery::core::{Reader, Snapshot, header, text, time};
use chancery::{Misuse, Timestamp};

use crate::world::{BEGINNING, World, secret};

pub mod seeds;

use seeds::{SIGNED, STAMP, delivery, draft, root, signed_bundle};

/// Runs one input; panics if something does not hold.
pub type Target = fn(&[u8]);

/// Every target by name; `fuzz/fuzz_targets/NAME.rs` and `fuzz/corpus/NAME/` belong to each.
pub const TARGETS: [(&str, Target); 17] = [
    ("bundle", bundle),
    ("bundle_payload", bundle_payload),
    ("checkpoint", checkpoint),
    ("entries", entries),
    ("envelope", envelope),
    ("frame", frame),
    ("header", header),
    ("json", json),
    ("note_key", note_key),
    ("policy", policy),
    ("proof_bundle", proof_bundle),
    ("record", record),
    ("rfc3339", rfc3339),
    ("schema", schema),
    ("screened", screened),
    ("tile_path", tile_path),
    ("traceparent", traceparent),
];

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| World::shop().snapshot());
static LOG: LazyLock<Option<Signer>> =
    LazyLock::new(|| Signer::from_seed("log.example/fuzz", &[5; 32]).ok());

/// The strict reader accepts no more than others do, and a member's span is its value.
pub fn json(data: &[u8]) {
    let Ok(value) = json::read(data, &Limits::DEFAULT) else { return };
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok(), "only we accept it");
    spans(data, &value);
    if value.as_object().is_some() {
        assert!(Schema::compile(starter(&value).as_bytes()).is_ok(), "its starter is no schema");
    }
}

fn spans(data: &[u8], value: &Value<'_>) {
    match value {
        Value::Object(object) => object.iter().for_each(|member| {
            let again = data.get(member.span.clone());
            let again = again.and_then(|bytes| json::read(bytes, &Limits::DEFAULT).ok());
            assert_eq!(again.as_ref(), Some(&member.value), "a span is not its value");
            assert!(object.get(&member.name) == Some(&member.value), "a member is not found");
            spans(data, &member.value);
        }),
        Value::Array(elements) => elements.iter().for_each(|element| spans(data, element)),
        _ => {}
    }
}

/// The header's reader. What it accepts keeps the bounds that later steps rely on.
pub fn header(data: &[u8]) {
    let Ok(h) = from_utf8(data) else { return };
    let Ok(header) = header::parse(h) else { return };
    assert!(h.len() <= header::HEADER_BYTES_MAX && header.iat.0 >= 1 && header.seq >= 1);
    assert_eq!(header.clone(), header.into_owned());
}

/// The frame alone: field names and signature block.
pub fn frame(data: &[u8]) {
    let _ = decode(&delivery(data));
}

/// Nothing is admitted but what was signed for this snapshot, whatever surrounds it.
pub fn screened(data: &[u8]) {
    let delivery = delivery(data);
    if screened_by_billing(&delivery).is_ok() {
        let h = delivery.fields.iter().find(|field| field.name == header::HEADER);
        let h = h.map(|field| chancery::core::keys::message_id(&field.value));
        assert!(h.is_some_and(|id| SIGNED.contains(&id)), "nobody signed this");
    }
}

fn screened_by_billing(delivery: &Delivery) -> Result<(), chancery::Refusal> {
    let reader = Reader { service: "svc-billing".to_owned(), group: "billing".to_owned() };
    screen(delivery, &SNAPSHOT, &reader, BEGINNING).map(|_| ())
}

/// What is built to be signed, `screen` admits: both judge an envelope alike.
pub fn envelope(data: &[u8]) {
    let draft = draft(Content::Envelope(data.to_vec().into()));
    let secret = secret("svc-orders", 1);
    let Ok(built) = build(&draft, &STAMP, &SNAPSHOT) else { return };
    let admitted = screened_by_billing(&seeds::arrived(built.sign(&secret)));
    assert_eq!(admitted, Ok(()), "sealed and not admitted");
}

/// A trust bundle's file; only the root's own signature opens it.
pub fn bundle(data: &[u8]) {
    if Bundle::open(data, &root().public()).is_ok() {
        let text = String::from_utf8_lossy(data);
        assert!(text.contains("payloadType"), "opened without an envelope");
    }
}

/// What is inside a bundle that the root did sign; a sealed one opens again as the same.
pub fn bundle_payload(data: &[u8]) {
    let Ok(bundle) = Bundle::open(signed_bundle(data).as_bytes(), &root().public()) else { return };
    let _ = bundle.keyring(&[]);
    assert_eq!(reopened(&bundle), Ok(bundle));
}

fn reopened(bundle: &Bundle) -> Result<Bundle, Misuse> {
    Bundle::open(bundle.seal(&root())?.as_bytes(), &root().public())
}

/// policy.yaml.
pub fn policy(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let Ok(policy) = Policy::from_yaml(text) else { return };
    for stream in policy.streams.values() {
        assert!(!policy.may_publish("nobody-at-all", stream), "a stranger may publish");
        assert!(!policy.may_handle("nobody-at-all", "billing", stream), "a stranger may handle");
    }
}

/// A schema document; a compiled one judges without panicking, `lint` reads any.
pub fn schema(data: &[u8]) {
    let _ = lint(data);
    let Ok(schema) = Schema::compile(data) else { return };
    for instance in [r#"{"a":[1,"x",{"b":null}],"c":1e300}"#, r#"["",0,-0.5,[[]]]"#, "7"] {
        if let Ok(value) = json::read(instance.as_bytes(), &Limits::DEFAULT) {
            let _ = schema.validate(&value);
        }
    }
}

/// A signed note and the checkpoint in it.
pub fn checkpoint(data: &[u8]) {
    let Some(log) = &*LOG else { return };
    let _ = Note::parse(data);
    if let Ok(checkpoint) = Checkpoint::open(data, log.verifier()) {
        assert!(checkpoint.sign(log).is_ok(), "opened and cannot be signed");
    }
}

/// A verifier key's text has one spelling.
pub fn note_key(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let Ok(key) = text.parse::<VerifierKey>() else { return };
    assert_eq!(key.to_string(), text);
}

/// A tile's path has one spelling.
pub fn tile_path(data: &[u8]) {
    let Ok(path) = from_utf8(data) else { return };
    let Ok(tile) = Tile::parse(path) else { return };
    assert_eq!(tile.to_string(), path);
}

/// An entry bundle is read back as it was written; the first byte is its width.
pub fn entries(data: &[u8]) {
    let Some((width, bytes)) = data.split_first() else { return };
    let width = usize::from(*width) % (TILE_WIDTH + 1);
    if let Ok(records) = tile::decode_entries(bytes, width) {
        assert_eq!(tile::encode_entries(&records).as_deref(), Ok(bytes));
    }
    if let Ok(hashes) = tile::decode_hashes(bytes, width) {
        assert_eq!(tile::encode_hashes(&hashes), bytes);
    }
}

/// A proof bundle has one spelling, and proves only under the log's own key.
pub fn proof_bundle(data: &[u8]) {
    let (Some(log), Ok(bundle)) = (&*LOG, ProofBundle::decode(data)) else { return };
    assert_eq!(bundle.encode().as_bytes(), data);
    let _ = bundle.verify(log.verifier());
}

/// A record reads back as it was encoded.
pub fn record(data: &[u8]) {
    let Some(record) = Record::decode(data) else { return };
    let Ok(bytes) = record.encode(&record.writer, record.wseq) else { return };
    let again = Record::decode(&bytes).map(|record| record.encode(&record.writer, record.wseq));
    assert_eq!(again, Some(Ok(bytes)));
}

/// A time that is read is written as the same time.
pub fn rfc3339(data: &[u8]) {
    let Some(at) = from_utf8(data).ok().and_then(time::parse_rfc3339) else { return };
    assert_eq!(time::parse_rfc3339(&at.to_string()), Some(Timestamp(at.0)));
}

/// A traceparent may stand in an HTTP header.
pub fn traceparent(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if text::is_traceparent(text) {
        assert!(text.bytes().all(|b| b.is_ascii_graphic()), "it ends the header");
    }
}
