// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who signed, and is this what was signed?

use crate::cases::{Cases, Step};
use crate::craft::{BATCH_TYPE, Copy, HEADER_TYPE, Key, b64u, hmac_sha256, pae, sha256};
use crate::world::{SOURCE, World};

const E202: &str = "E202_UNKNOWN_KEY";
const E203: &str = "E203_PROVENANCE";
const E205: &str = "E205_BAD_SIGNATURE";
const E210: &str = "E210_BODY_DIGEST";
const E301: &str = "E301_GRANT";

pub(crate) fn cases(cases: &mut Cases, world: &World) {
    let copy = world.order().signed(&[&world.orders]);
    let why = "the source document's envelope, byte for byte, signed with Ed25519";
    cases.one("signature/source-envelope", why, Step::new("orders.created", copy, "ok"));
    ed25519(cases, world);
    wrong_bytes(cases, world);
    several(cases, world);
    shared(cases, world);
    bodies(cases, world);
    batches(cases, world);
    broken_batches(cases, world);
}

fn block(key: &Key, signature: &[u8]) -> String {
    format!("1;{}:{}", key.kid(), b64u(signature))
}

fn ed25519(cases: &mut Cases, world: &World) {
    let (order, h) = (world.order(), world.order().h());
    let signature = world.orders.sign(&pae(HEADER_TYPE, h.as_bytes()));
    let spoilt = |change: fn(&mut Vec<u8>)| {
        let mut signature = signature.clone();
        change(&mut signature);
        order.carrying(&h, &block(&world.orders, &signature))
    };
    for (file, copy, why) in [
        ("first-bit", spoilt(|s| s[0] ^= 1), "R changed"),
        ("last-bit", spoilt(|s| s[63] ^= 1), "S changed"),
        ("top-bit", spoilt(|s| s[63] ^= 0x80), "S has a bit that older verifiers ignored"),
        (
            "s-plus-order",
            spoilt(|s| add_order(s)),
            "S must be below the group's order: one signature, one spelling",
        ),
        ("cut", spoilt(|s| s.truncate(63)), "64 bytes"),
        ("extended", spoilt(|s| s.push(0)), "64 bytes"),
        ("zero", spoilt(|s| s.fill(0)), "small-order R"),
        (
            "other-kid",
            order.carrying(&h, &block(&world.orders_next, &signature)),
            "the kid is a hint, the key decides",
        ),
    ] {
        cases.one(&format!("signature/{file}"), why, Step::new("orders.created", copy, E205));
    }
    let loose = order.signed(&[&world.orders]).with("chancery-sig", |block| {
        let (head, last) = block.split_at(block.len() - 1);
        let next = if last == "w" { 'x' } else { char::from(last.as_bytes()[0] + 1) };
        format!("{head}{next}").into_bytes()
    });
    let why = "bits beyond the last byte must be zero: one signature, one spelling";
    cases.one("signature/loose-bits", why, Step::new("orders.created", loose, E205));
    let copy = order.signed(&[&world.stranger]);
    cases.one(
        "signature/unknown-key",
        "a key that the bundle does not have",
        Step::new("orders.created", copy, E202),
    );
}

/// Adds the order of the group to S, which is little-endian.
fn add_order(signature: &mut [u8]) {
    let order = b"\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14\
                  \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
    let mut carry = 0;
    for (digit, add) in signature[32..].iter_mut().zip(order) {
        carry += u16::from(*digit) + u16::from(*add);
        *digit = (carry & 0xff) as u8;
        carry >>= 8;
    }
}

fn wrong_bytes(cases: &mut Cases, world: &World) {
    let (order, h) = (world.order(), world.order().h());
    let signed = order.signed(&[&world.orders]);
    let changed = |from: &'static str, to: &'static str| {
        signed.clone().with("chancery", move |h| h.replace(from, to).into_bytes())
    };
    let by =
        |message: &[u8]| order.carrying(&h, &block(&world.orders, &world.orders.sign(message)));
    for (file, copy, why) in [
        ("header-tenant", changed("t_123", "t_456"), "another tenant under the same signature"),
        (
            "header-stream",
            changed("test/orders.created", "test/orders.mirror"),
            "another destination",
        ),
        ("header-space", changed("\"v\":1", "\"v\": 1"), "the same JSON in other bytes"),
        (
            "header-time",
            changed("\"iat\":1772705553500", "\"iat\":1772705553501"),
            "a fresher time",
        ),
        ("without-pae", by(h.as_bytes()), "signed without its type: an oracle for other protocols"),
        ("batch-type", by(&pae(BATCH_TYPE, h.as_bytes())), "signed as something else"),
        ("body-instead", by(SOURCE.as_bytes()), "a signature over the body is not one over H"),
    ] {
        cases.one(&format!("signature/{file}"), why, Step::new("orders.created", copy, E205));
    }
}

fn several(cases: &mut Cases, world: &World) {
    let (order, h) = (world.order(), world.order().h());
    let entry = |key: &Key| key.entry(h.as_bytes());
    let bad = format!("{}:{}", world.orders_next.kid(), b64u(&[7; 64]));
    let garbage = format!("{}:AA", world.stranger.kid());
    let of = |entries: &[&str]| order.carrying(&h, &format!("1;{}", entries.join(",")));
    let (mine, next, billing) =
        (entry(&world.orders), entry(&world.orders_next), entry(&world.billing));
    for (file, copy, expect, why) in [
        ("two-keys", of(&[&mine, &next]), "ok", "rotation: both keys sign for a while"),
        ("two-principals", of(&[&billing, &mine]), "ok", "the key of `src` is among the signers"),
        ("unknown-passed-over", of(&[&garbage, &mine]), "ok", "an unknown kid is passed over"),
        ("known-fails", of(&[&mine, &bad]), E205, "a known key whose signature fails refuses"),
        ("known-fails-first", of(&[&bad, &mine]), E205, "in any order"),
        ("all-unknown", of(&[&garbage, &garbage]), E202, "nobody we know signed"),
        (
            "other-principal",
            of(&[&billing]),
            E301,
            "the key of another service speaks for itself only",
        ),
    ] {
        cases.one(
            &format!("signature/several-{file}"),
            why,
            Step::new("orders.created", copy, expect),
        );
    }
}

fn shared(cases: &mut Cases, world: &World) {
    let legacy = |stream: &str| world.legacy_event(stream);
    let on = |stream: &str, keys: &[&Key]| legacy(stream).signed(keys);
    let (own, other) = ("orders.legacy", "orders.exclusive");
    let h = legacy(own).h();
    let mac = world.legacy.sign(&pae(HEADER_TYPE, h.as_bytes()));
    let cut = legacy(own).carrying(&h, &block(&world.legacy, &mac[..31]));
    let mut flipped = mac.clone();
    flipped[31] ^= 1;
    let flipped = legacy(own).carrying(&h, &block(&world.legacy, &flipped));
    let confused = {
        let order = world.order();
        let h = order.h();
        let mac = hmac_sha256(&world.orders.public(), &pae(HEADER_TYPE, h.as_bytes()));
        order.carrying(&h, &block(&world.orders, &mac))
    };
    for (file, stream, copy, expect, why) in [
        ("allowed", own, on(own, &[&world.legacy]), "ok", "the stream says `shared_keys: true`"),
        (
            "refused",
            other,
            on(other, &[&world.legacy]),
            E203,
            "every holder of the secret can forge",
        ),
        (
            "vouched-for",
            other,
            on(other, &[&world.legacy, &world.billing]),
            E301,
            "svc-billing holds the secret too: its own key must not vouch for the forgery",
        ),
        (
            "secret-absent",
            own,
            on(own, &[&world.legacy_absent]),
            E202,
            "the bundle knows it, we were not given the secret",
        ),
        ("cut", own, cut, E205, "32 bytes"),
        ("last-bit", own, flipped, E205, "the code does not match"),
        (
            "public-key-as-secret",
            "orders.created",
            confused,
            E205,
            "the key has one algorithm, the message none",
        ),
    ] {
        cases.one(&format!("signature/shared-{file}"), why, Step::new(stream, copy, expect));
    }
}

fn bodies(cases: &mut Cases, world: &World) {
    let order = |copy: fn(Copy) -> Copy| copy(world.order().signed(&[&world.orders]));
    let blob = |body: Option<&[u8]>| world.blob(body).signed(&[&world.orders]);
    let salt = [7; 16];
    let salted = || world.order().salted(salt).signed(&[&world.orders]);
    let resalted = salted().with("chancery-salt", |_| b64u(&[8; 16]).into_bytes());
    let created = "orders.created";
    let stored = "blobs.stored";
    for (file, stream, copy, expect, why) in [
        (
            "changed",
            created,
            order(|c| {
                let b = SOURCE.replace("129.50", "929.50");
                c.body(Some(b.as_bytes()))
            }),
            E210,
            "same length, other amount",
        ),
        (
            "cut",
            created,
            order(|c| c.body(Some(&SOURCE.as_bytes()[..SOURCE.len() - 1]))),
            E210,
            "one line feed less",
        ),
        (
            "extended",
            created,
            order(|c| c.body(Some(format!("{SOURCE} ").as_bytes()))),
            E210,
            "one space more",
        ),
        ("gone", created, order(|c| c.body(None)), E210, "a null value in its place"),
        ("tombstone", stored, blob(None), "ok", "a null value, signed as such"),
        ("empty", stored, blob(Some(b"")), "ok", "an empty body, signed as such"),
        (
            "tombstone-for-empty",
            stored,
            blob(Some(b"")).body(None),
            E210,
            "a null value deletes where an empty one does not",
        ),
        ("empty-for-tombstone", stored, blob(None).body(Some(b"")), E210, "nor the other way"),
        (
            "salted",
            created,
            salted(),
            "ok",
            "the digest cannot be guessed once body and salt are erased",
        ),
        (
            "salt-taken",
            created,
            salted().without("chancery-salt"),
            E210,
            "the salt is part of what was signed",
        ),
        ("salt-changed", created, resalted, E210, "the salt is part of what was signed"),
        (
            "salt-added",
            created,
            order(|c| c.field("chancery-salt", &b64u(&[7; 16]))),
            E210,
            "there was none",
        ),
        (
            "tombstone-salted",
            stored,
            world.blob(None).salted(salt).signed(&[&world.orders]),
            "ok",
            "no body, and a salt",
        ),
    ] {
        cases.one(&format!("body/{file}"), why, Step::new(stream, copy, expect));
    }
}

fn batches(cases: &mut Cases, world: &World) {
    for (size, index) in
        [(1, 0), (2, 0), (2, 1), (3, 0), (3, 2), (7, 3), (7, 6), (64, 0), (64, 37), (64, 63)]
    {
        let copy = world.order().batched(&world.orders, size, index, |_| {});
        let step = Step::new("orders.created", copy, "ok");
        cases.one(
            &format!("batch/{size}-at-{index}"),
            "one signature for the batch, a proof for each",
            step,
        );
    }
    let copy = world.order().batched(&world.stranger, 7, 3, |_| {});
    cases.one("batch/unknown-key", "as for one signature", Step::new("orders.created", copy, E202));
    let copy = world.legacy_event("orders.legacy").batched(&world.legacy, 3, 1, |_| {});
    cases.one(
        "batch/shared-key",
        "a shared key may sign batches too",
        Step::new("orders.legacy", copy, "ok"),
    );
}

fn broken_batches(cases: &mut Cases, world: &World) {
    type Spoil = fn(&mut crate::craft::Batch);
    let table: &[(&str, Spoil, &str)] = &[
        ("other-index", |b| b.index = "2".into(), "the index says on which side each hash stands"),
        ("other-size", |b| b.size = "8".into(), "the size is signed"),
        ("other-size-same-shape", |b| b.size = "6".into(), "the size is signed"),
        (
            "proof-cut",
            |b| {
                b.proof.pop();
            },
            "a shorter proof leads to an inner node",
        ),
        ("proof-empty", |b| b.proof.clear(), "a proof has its exact length"),
        ("proof-extended", |b| b.proof.push([7; 32]), "a proof has its exact length"),
        ("siblings-swapped", |b| b.proof.swap(0, 1), "order is part of the proof"),
        ("sibling-changed", |b| b.proof[0][0] ^= 1, "another root"),
        (
            "signature-changed",
            |b| {
                b.signature
                    .replace_range(0..1, if b.signature.starts_with('A') { "B" } else { "A" })
            },
            "the root is not signed",
        ),
    ];
    for (file, spoil, why) in table {
        let copy = world.order().batched(&world.orders, 7, 3, *spoil);
        cases.one(&format!("batch/{file}"), why, Step::new("orders.created", copy, E205));
    }
    let other = world.order().set("seq", "2").batched(&world.orders, 7, 3, |_| {});
    let copy = other.with("chancery", |_| world.order().h().into_bytes());
    cases.one(
        "batch/other-header",
        "the proof is another message's",
        Step::new("orders.created", copy, E205),
    );
    let single = world.order().signed(&[&world.orders]);
    let copy = single.with("chancery-sig", |block| format!("m{block};1;0;").into_bytes());
    let why = "a signature over H is none over a batch of one: types apart";
    cases.one("batch/plain-signature", why, Step::new("orders.created", copy, E205));
    let copy = world.order().batched(&world.orders, 1, 0, |_| {}).with("chancery-sig", |block| {
        block.trim_start_matches('m').trim_end_matches(";1;0;").as_bytes().to_vec()
    });
    cases.one("batch/as-plain", "nor the other way", Step::new("orders.created", copy, E205));
    // An inner node in the place of a header: the leaf prefix keeps them apart.
    let h = world.order().h();
    let (left, right) = (sha256(&[&[0], b"a"]), sha256(&[&[0], b"b"]));
    let signed = [&2u64.to_be_bytes()[..], &sha256(&[&[1], &left, &right])].concat();
    let signature = b64u(&world.orders.sign(&pae(BATCH_TYPE, &signed)));
    let block = format!("m1;{}:{signature};2;0;{}", world.orders.kid(), b64u(&right));
    let copy = world.order().carrying(&h, &block);
    cases.one(
        "batch/not-a-member",
        "a batch that never held this header",
        Step::new("orders.created", copy, E205),
    );
}
