// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every vector is judged, every reason has one, and the index is fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use chancery_core::keys::{HEADER_TYPE, body_digest, message_id, pae};
use chancery_core::text::{b64u, from_b64u, hex};
use chancery_core::{Delivery, Reason};
use chancery_testkit::vectors::{self, Expect, Snapshots, Vector, Verdict};
use sha2::{Digest, Sha256};

fn all() -> Vec<Vector> {
    vectors::all(&vectors::folder()).unwrap()
}

#[test]
fn every_vector_is_judged_as_it_says() {
    let snapshots = Snapshots::load(&vectors::folder()).unwrap();
    let mut wrong = Vec::new();
    for vector in all() {
        let verdicts = vectors::judge(&vector, &snapshots).unwrap();
        for (at, (step, verdict)) in vector.steps.iter().zip(&verdicts).enumerate() {
            let (word, refused_at) = match verdict {
                Verdict::Ok => ("ok", None),
                Verdict::Retry => ("retry", None),
                Verdict::Refused(why) => (why.reason.code(), Some(why.reason.step().to_string())),
            };
            if word != step.expect.word() || refused_at != step.step {
                let (name, expect) = (&vector.name, step.expect.word());
                wrong.push(format!("{name} [{}]: expected {expect}, got {verdict:?}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_has_a_vector_and_every_code_exists() {
    let mut seen = BTreeSet::new();
    for vector in all() {
        for step in &vector.steps {
            if let Expect::Refused(code) = &step.expect {
                let known = Reason::ALL.iter().find(|reason| reason.code() == code);
                assert!(known.is_some(), "{}: {code} is no reason", vector.name);
                seen.insert(code.clone());
            }
        }
    }
    let without: Vec<_> = Reason::ALL.iter().filter(|r| !seen.contains(r.code())).collect();
    assert!(without.is_empty(), "no vector for {without:?}");
}

/// The generator's own arithmetic against ours.
#[test]
fn digests_are_the_same_as_the_generators() {
    for vector in all() {
        for step in &vector.steps {
            let Ok(delivery) = &step.message else { continue };
            let said: BTreeMap<_, _> = step.facts.iter().cloned().collect();
            if let Some(h) = field(delivery, "chancery") {
                assert_eq!(said["message_id"], b64u(&message_id(h)), "{}", vector.name);
                let signed = hex(&Sha256::digest(pae(HEADER_TYPE, h)));
                assert_eq!(said["pae_sha256"], signed, "{}", vector.name);
            }
            let salt =
                field(delivery, "chancery-salt").and_then(|salt| std::str::from_utf8(salt).ok());
            let digest = body_digest(delivery.body.as_deref(), salt.and_then(from_b64u).as_ref());
            if let Some(said) = said.get("body_digest") {
                assert_eq!(*said, b64u(&digest), "{}", vector.name);
            }
        }
    }
}

#[test]
fn the_index_is_fresh() {
    let path = vectors::folder().join("INDEX.md");
    let index = vectors::index(&all());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &index).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == index, "run the test once with BLESS=1");
}

/// A reader that is lax about the format would let two readers see two cases in one file.
#[test]
fn only_the_written_form_is_read() {
    let vector = all().into_iter().find(|v| v.name == "signature/source-envelope").unwrap();
    let good = String::from_utf8(vector.render()).unwrap();
    assert_eq!(Vector::parse(good.as_bytes()).as_ref(), Ok(&vector));
    for (from, to) in [
        ("chancery-vector: 1", "chancery-vector: 2"),
        ("\n\ndelivery", "\ndelivery"),
        ("why: ", "reason: "),
        ("body: 3", "body: 4"),
        ("body: 3", "body: "),
        ("expect: ok", "expect: ok\nstep: decode"),
        ("appended: broker", "appended: perhaps"),
        ("field: chancery text", "field: chancery hex"),
        ("now: 2026", "now: 26"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(Vector::parse(bad.as_bytes()).is_err(), "{from} -> {to}");
    }
    assert!(Vector::parse(format!("{good}\n").as_bytes()).is_err());
}

fn field<'d>(delivery: &'d Delivery, name: &str) -> Option<&'d [u8]> {
    delivery.fields.iter().find(|field| field.name == name).map(|field| &*field.value)
}
