// SPDX-License-Identifier: MIT OR Apache-2.0
//! One signature over a batch: what it says of one message it must not say of another. And what is
//! not signed at all.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64U;
use chancery::core::evidence::{leaf_hash, node_hash};
use chancery::core::header::{HEADER, SIGNATURE};
use chancery::core::keys::{BATCH_TYPE, pae};
use chancery::core::seal::{Content, build, sign_all};
use chancery::core::{Delivery, Field, Reader, Reason, Snapshot, screen};
use chancery_testkit::fuzz::seeds::{STAMP, arrived, draft};
use chancery_testkit::world::{BEGINNING, World, secret};

/// Two orders under one signature: each with its proof, and what stands before that.
fn batch(snapshot: &Snapshot) -> [(Delivery, String, Vec<u8>); 2] {
    let key = secret("svc-orders", 1);
    let [first, second] = ["order-000001", "order-000002"].map(|id| {
        let mut draft = draft(Content::Payload(r#"{"order_id":"o_1"}"#.into()));
        draft.id = id.to_owned();
        arrived(build(&draft, &STAMP, snapshot).unwrap().sign(&key))
    });
    let leaves = [&first, &second].map(|delivery| {
        leaf_hash(&delivery.fields.iter().find(|field| field.name == HEADER).unwrap().value)
    });
    let root = node_hash(&leaves[0], &leaves[1]);
    let signed = [&2_u64.to_be_bytes()[..], &root].concat();
    let signature = B64U.encode(key.sign(&pae(BATCH_TYPE, &signed)));
    let block = |index: u8| format!("m1;{}:{signature};2;{index}", key.kid());
    let proof = |leaf: usize| leaves[leaf].to_vec();
    [(first, block(0), proof(1)), (second, block(1), proof(0))]
}

fn judged(delivery: &Delivery, block: &str, proof: &[u8], snapshot: &Snapshot) -> Option<Reason> {
    let mut delivery = delivery.clone();
    delivery.fields.retain(|field| field.name != SIGNATURE);
    delivery.fields.push(Field::new(SIGNATURE, format!("{block};{}", B64U.encode(proof))));
    let reader = Reader { service: "svc-billing".to_owned(), group: "billing".to_owned() };
    screen(&delivery, snapshot, &reader, BEGINNING).err().map(|refusal| refusal.reason)
}

#[test]
fn every_message_of_a_batch_is_admitted_and_again() {
    let snapshot = World::shop().snapshot();
    for _ in 0..2 {
        for (delivery, block, proof) in batch(&snapshot) {
            assert_eq!(judged(&delivery, &block, &proof, &snapshot), None);
        }
    }
}

// Threat: what was verified for one message is believed of another. The snapshot remembers the
// honest batch before each forgery.
#[test]
fn a_batch_that_verified_admits_nothing_else() {
    let snapshot = World::shop().snapshot();
    let [(first, block, proof), (second, ..)] = batch(&snapshot);
    assert_eq!(judged(&first, &block, &proof, &snapshot), None);
    let refused = Some(Reason::BadSignature);
    assert_eq!(judged(&second, &block, &proof, &snapshot), refused, "another header");
    assert_eq!(judged(&first, &block, &[0; 32], &snapshot), refused, "another proof");
    assert_eq!(judged(&first, &block, &[], &snapshot), refused, "no proof");
    let (head, tail) = block.split_at(block.find(':').unwrap() + 1);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    let forged: String = [head, other].into_iter().chain(tail.get(1..)).collect();
    assert_eq!(judged(&first, &forged, &proof, &snapshot), refused, "another signature");
    let larger = block.replace(";2;0", ";3;0");
    assert_eq!(judged(&first, &larger, &proof, &snapshot), refused, "another size");
}

// Threat: bytes that nobody signed ride in the proof.
#[test]
fn a_proof_is_whole_hashes() {
    let snapshot = World::shop().snapshot();
    let [(first, block, mut proof), _] = batch(&snapshot);
    proof.push(0);
    assert_eq!(judged(&first, &block, &proof, &snapshot), Some(Reason::BadSignature));
}

// Threat: a key that the new bundle no longer has lives on in what was remembered.
#[test]
fn a_new_snapshot_remembers_nothing() {
    let old = World::shop().snapshot();
    let [(first, block, proof), _] = batch(&old);
    assert_eq!(judged(&first, &block, &proof, &old), None);
    let mut world = World::shop();
    world.keys.retain(|key| key.principal != "svc-orders");
    let new = world.snapshot();
    assert_eq!(judged(&first, &block, &proof, &new), Some(Reason::UnknownKey));
}

#[test]
fn what_is_too_long_for_a_header_is_refused_by_its_name() {
    let mut draft = draft(Content::Payload(r#"{"order_id":"o_1"}"#.into()));
    draft.actor = Some("a".repeat(5000));
    let refusal = build(&draft, &STAMP, &World::shop().snapshot()).unwrap_err();
    assert_eq!(refusal.reason, Reason::TooLarge);
}

// Threat: what no reader may parse is signed all the same.
#[test]
fn what_runs_when_it_is_read_is_not_signed() {
    let mut world = World::shop();
    world.policy =
        world.policy.replace("types: {orders.created: 1}", "content: [application/octet-stream]");
    let java = bytes::Bytes::from_static(&[0xac, 0xed, 0, 5]);
    let draft = draft(Content::Opaque("application/octet-stream".to_owned(), java));
    let refusal = build(&draft, &STAMP, &world.snapshot()).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnsafeFormat);
}

/// Drafts of one stream and tenant.
fn drafts(count: usize) -> Vec<chancery::core::seal::Unsigned> {
    let snapshot = World::shop().snapshot();
    let build = |nth: usize| {
        let mut draft = draft(Content::Payload(r#"{"order_id":"o_1"}"#.into()));
        draft.id = format!("order-{nth:06}");
        build(&draft, &STAMP, &snapshot).unwrap()
    };
    (0..count).map(build).collect()
}

fn block(delivery: &Delivery) -> String {
    let field = delivery.fields.iter().find(|field| field.name == SIGNATURE).unwrap();
    String::from_utf8(field.value.to_vec()).unwrap()
}

fn admitted(delivery: &Delivery, snapshot: &Snapshot) -> bool {
    let reader = Reader { service: "svc-billing".to_owned(), group: "billing".to_owned() };
    screen(delivery, snapshot, &reader, BEGINNING).is_ok()
}

// Every size of a tree: a proof that is right for powers of two alone loses honest messages.
#[test]
fn what_is_signed_together_is_admitted_one_by_one() {
    let (key, snapshot) = (secret("svc-orders", 1), World::shop().snapshot());
    for count in 0..=130 {
        let sealed = sign_all(drafts(count), &key, |_, _| None);
        assert_eq!(sealed.len(), count);
        for (nth, sealed) in sealed.into_iter().enumerate() {
            assert_eq!(sealed.event_id, format!("order-{nth:06}"), "the order is kept");
            assert!(admitted(&arrived(sealed), &snapshot), "{nth} of {count}");
        }
    }
}

// One reader verifies a whole batch, or it costs as much as single signatures.
#[test]
fn each_partition_has_a_batch_of_its_own() {
    let snapshot = World::shop().snapshot();
    let build = |nth: usize| {
        let payload = format!(r#"{{"order_id":"o_{nth}"}}"#);
        let mut draft = draft(Content::Payload(payload.into()));
        draft.id = format!("order-{nth:06}");
        build(&draft, &STAMP, &snapshot).unwrap()
    };
    let odd = |_: &str, key: Option<&[u8]>| Some(u32::from(key.unwrap().ends_with(b"1")));
    let sealed = sign_all((0..12).map(build).collect(), &secret("svc-orders", 1), odd);
    let sizes: Vec<String> = sealed
        .into_iter()
        .map(arrived)
        .map(|delivery| {
            assert!(admitted(&delivery, &snapshot));
            block(&delivery).split(';').nth(2).unwrap().to_owned()
        })
        .collect();
    let of = |nth: usize| if nth % 10 == 1 { "2" } else { "10" };
    assert_eq!(sizes, (0..12).map(of).collect::<Vec<_>>());
}

// For consumers that know CloudEvents and not us; ours must still admit them.
#[test]
fn cloud_events_attributes_are_beside_and_admitted() {
    let (key, snapshot) = (secret("svc-orders", 1), World::shop().snapshot());
    let told: Vec<_> = drafts(2).into_iter().map(|draft| draft.with_cloud_events()).collect();
    for sealed in sign_all(told, &key, |_, _| None) {
        let delivery = arrived(sealed);
        let value = |name: &str| {
            let found = delivery.fields.iter().find(|field| field.name == name);
            String::from_utf8(found.unwrap_or_else(|| panic!("{name}")).value.to_vec()).unwrap()
        };
        assert_eq!(value("ce_specversion"), "1.0");
        assert_eq!(value("ce_type"), "orders.created");
        assert_eq!(value("ce_source"), "svc-orders");
        assert_eq!(value("ce_partitionkey"), "o_1");
        assert!(value("ce_id").starts_with("order-"));
        assert!(admitted(&delivery, &snapshot));
    }
}

// A proof of more than six hashes is longer than what it saves; a batch of one proves nothing.
#[test]
fn a_batch_has_at_most_64_and_never_one() {
    let key = secret("svc-orders", 1);
    let blocks: Vec<String> = sign_all(drafts(65), &key, |_, _| None)
        .into_iter()
        .map(arrived)
        .map(|d| block(&d))
        .collect();
    assert!(blocks[..64].iter().all(|block| block.starts_with("m1;") && block.contains(";64;")));
    assert!(blocks[64].starts_with("1;"), "{}", blocks[64]);
}

// Threat: the header of one message of a batch with the proof of another.
#[test]
fn proofs_of_a_batch_cannot_be_exchanged() {
    let (key, snapshot) = (secret("svc-orders", 1), World::shop().snapshot());
    let sealed: Vec<Delivery> =
        sign_all(drafts(5), &key, |_, _| None).into_iter().map(arrived).collect();
    for (one, other) in [(0, 1), (1, 0), (4, 0), (2, 3)] {
        let mut forged: Delivery = sealed[one].clone();
        forged.fields.retain(|field| field.name != SIGNATURE);
        forged.fields.push(Field::new(SIGNATURE, block(&sealed[other])));
        assert!(!admitted(&forged, &snapshot), "{one} with the proof of {other}");
    }
}

// Threat: a producer speaks past the schema, to whoever reads the rest of the envelope.
#[test]
fn what_the_stream_does_not_take_in_an_envelope_is_not_signed() {
    let told = r#"{"event_id":"order-000001","event_type":"orders.created","schema_version":1,"#;
    let told = format!(r#"{told}"producer":"svc-orders","tenant_id":"acme","approved":true,"#);
    let told = format!(r#"{told}"occurred_at":"{BEGINNING}","payload":{{"order_id":"o_1"}}}}"#);
    let draft = draft(Content::Envelope(told.into()));
    let mut world = World::shop();
    build(&draft, &STAMP, &world.snapshot()).unwrap();
    let types = "types: {orders.created: 1}";
    world.policy = world.policy.replace(types, &format!("{types}\n    extra_members: false"));
    let refusal = build(&draft, &STAMP, &world.snapshot()).unwrap_err();
    assert_eq!(refusal.reason, Reason::EnvelopeMember);
}
