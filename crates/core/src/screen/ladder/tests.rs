// SPDX-License-Identifier: MIT OR Apache-2.0
//! What no rung lets through, and what is found of the rest. Single rules are judged below
//! `enforce` by the testkit, with the same vectors.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::claim::{ClaimRequest, Standing};
use crate::delivery::Field;
use crate::header::SIGNATURE;
use crate::keys::Secret;
use crate::order::{Head, KeyState, order_unproven};
use crate::policy::Rung;
use crate::reason::Reason;
use crate::screen::tests::{
    BODY, NOW, POLICY, any_delivery, flipped, good, insider, message_by, snapshot,
};
use crate::text::b64u;
use crate::unproven::Unproven;

const HORIZON_MS: i64 = 1_000;

fn at(rung: &str, more: &str) -> Snapshot {
    let rules = format!("owner: svc, rung: {rung}, {more}");
    snapshot(&POLICY.replace("owner: svc,", &rules))
}

fn listed(rung: &str) -> Snapshot {
    at(rung, "unsigned: [svc],")
}

fn judge<'d>(delivery: &'d Delivery, by: &'d Snapshot) -> Result<Assessed<'d>, Reason> {
    let reader = Reader { service: "reader".into(), group: "group".into() };
    assess(delivery, by, &reader, NOW).map_err(|refusal| refusal.reason)
}

fn run(
    delivery: &Delivery,
    by: &Snapshot,
    state: &KeyState,
) -> Result<(Unproven, Vec<Reason>), Reason> {
    let judged = order_unproven(judge(delivery, by)?, state).map_err(|refusal| refusal.reason)?;
    let reasons = judged.1.iter().map(|finding| finding.reason).collect();
    Ok((judged.0, reasons))
}

fn ask(delivery: &Delivery, by: &Snapshot) -> ClaimRequest {
    judge(delivery, by).unwrap().claim(HORIZON_MS, NOW)
}

fn unsigned(body: &str) -> Delivery {
    Delivery { fields: Vec::new(), body: Some(Bytes::from(body.to_owned())), ..good() }
}

/// The good message's own header on it, signed by another.
fn signed_by(secret: &Secret) -> Delivery {
    let h = String::from_utf8(good().fields[0].value.to_vec()).unwrap();
    message_by(secret, &h, BODY, Some([9; 16]))
}

fn changed(from: &str, to: &str) -> Delivery {
    let h = String::from_utf8(good().fields[0].value.to_vec()).unwrap();
    assert!(h.contains(from), "{from}");
    message_by(&crate::screen::tests::secret(), &h.replace(from, to), BODY, Some([9; 16]))
}

#[test]
fn a_perfect_message_is_unproven_all_the_same() {
    for rung in ["observe", "mark"] {
        let (by, delivery) = (at(rung, ""), good());
        let (event, found) = run(&delivery, &by, &KeyState::default()).unwrap();
        assert_eq!((event.verified_producer(), found.as_slice()), (Some("svc"), &[][..]));
        assert_eq!(event.payload(), b"{\"n\":1}");
        let proven = ask(&delivery, &by);
        assert_eq!(proven.standing, Standing::Sound);
        // What runs below is a duplicate once the stream is enforced.
        let reader = Reader { service: "reader".into(), group: "group".into() };
        let by = snapshot(POLICY);
        let enforced = crate::screen(&delivery, &by, &reader, NOW).unwrap().claim(HORIZON_MS);
        assert_eq!(proven, enforced);
    }
}

/// Threat: the lower rung as an open door.
#[test]
fn a_producer_that_is_not_listed_must_sign() {
    for rung in ["observe", "mark"] {
        for by in [at(rung, ""), at(rung, "unsigned: [reader],")] {
            let none = KeyState::default();
            let refused = |delivery: &Delivery| run(delivery, &by, &none).unwrap_err();
            assert_eq!(refused(&unsigned(BODY)), Reason::Unsigned);
            assert_eq!(refused(&signed_by(&Secret::ed25519(&[5; 32]))), Reason::UnknownKey);
            assert_eq!(refused(&signed_by(&insider())), Reason::Grant);
            assert_eq!(refused(&changed("d/e/orders", "d/e/other")), Reason::WrongDestination);
        }
    }
}

/// Threat: an unsigned message that is not what its claim is read from.
#[test]
fn what_cannot_be_read_claims_nobody() {
    let by = listed("observe");
    let huge = format!("{BODY}{}", " ".repeat(1 << 20));
    let cases = [
        "",
        "{}",
        "[1]",
        "\u{feff}{}",
        huge.as_str(),
        &BODY.replace("\"producer\":\"svc\"", "\"producer\":\"svc\",\"producer\":\"svc\""),
        &BODY.replace("\"producer\":\"svc\"", "\"producer\":\"SVC \""),
        &BODY.replace("\"payload\":{\"n\":1}", "\"payload\":1"),
        &BODY.replace("\"svc\"", "\"reader\""),
    ];
    for body in cases {
        let refused = run(&unsigned(body), &by, &KeyState::default()).unwrap_err();
        assert_eq!(refused, Reason::Unsigned, "{body:.60}");
    }
    let magic = Delivery { body: Some(Bytes::from_static(b"\xac\xed\0\x05")), ..unsigned("") };
    assert_eq!(run(&magic, &by, &KeyState::default()).unwrap_err(), Reason::Unsigned);
}

/// Threat: framing, signatures and digests that one rung judges more gently than another.
#[test]
fn what_is_never_laddered_is_refused_for_listed_producers_too() {
    let by = listed("observe");
    let refused = |delivery: &Delivery| run(delivery, &by, &KeyState::default()).unwrap_err();
    let mut stripped = good();
    stripped.fields.retain(|field| field.name != SIGNATURE);
    assert_eq!(refused(&stripped), Reason::SignatureStripped);
    let mut bare = good();
    bare.fields.retain(|field| field.name == SIGNATURE);
    assert_eq!(refused(&bare), Reason::Malformed);
    let mut doubled = unsigned(BODY);
    doubled.fields = vec![Field::new("Chancery", "x")];
    assert_eq!(refused(&doubled), Reason::HeaderAmbiguous);
    let body = BODY.replace("\"n\":1", "\"n\":2");
    assert_eq!(refused(&Delivery { body: Some(body.into()), ..good() }), Reason::BodyDigest);
    let mut bad = signed_by(&insider());
    let mut block = good().fields[1].value.to_vec();
    *block.last_mut().unwrap() = if block.ends_with(b"A") { b"Q" } else { b"A" }[0];
    bad.fields[1].value = block.into();
    assert_eq!(refused(&bad), Reason::BadSignature);
}

/// The reader's right is no rule about the message.
#[test]
fn a_reader_without_the_right_gets_nothing() {
    let by = listed("observe");
    let reader = Reader { service: "reader".into(), group: "other".into() };
    let refused = |delivery: &Delivery| assess(delivery, &by, &reader, NOW).unwrap_err().reason;
    assert_eq!(refused(&good()), Reason::Grant);
    // Not as if somebody's key vouched for it.
    assert_eq!(refused(&unsigned(BODY)), Reason::Unsigned);
}

#[test]
fn a_listed_producer_may_be_unsigned_and_is_told_of() {
    let none = KeyState::default();
    let delivery = unsigned(&BODY.replace("\"n\":1", "\"n\":\"SECRET\""));
    for (rung, handed) in [("observe", 0), ("mark", 1)] {
        let by = listed(rung);
        let (event, found) = run(&delivery, &by, &none).unwrap();
        assert_eq!(found, [Reason::Unsigned]);
        assert_eq!((event.claimed_producer(), event.verified_producer()), ("svc", None));
        assert_eq!((event.findings().len(), event.verified_message_id()), (handed, None));
        assert!(!format!("{event:?}").contains("SECRET"));
    }
    let by = at("mark", "unsigned: [svc], types: {other: 2..3}, tenants: any,");
    let (_, found) = run(&unsigned(BODY), &by, &none).unwrap();
    assert_eq!(found, [Reason::Unsigned, Reason::Type, Reason::Tenant]);
    let by = at("mark", "unsigned: [svc], extra_members: false,");
    let more = BODY.replacen('{', "{\"more\":1,", 1);
    let (_, found) = run(&unsigned(&more), &by, &none).unwrap();
    assert_eq!(found, [Reason::Unsigned, Reason::EnvelopeMember]);
    let by = at("mark", "unsigned: [svc], key: n,");
    let (event, found) = run(&unsigned(BODY), &by, &none).unwrap();
    assert_eq!((event.claimed_key(), found.last()), (Some("1"), Some(&Reason::KeyMismatch)));
}

/// Threat: once a producer signs, taking its signature away.
#[test]
fn after_the_latch_its_producer_must_be_proven() {
    let latched = KeyState { latched: true, ..KeyState::default() };
    for rung in ["observe", "mark"] {
        let by = listed(rung);
        let after = |delivery: &Delivery| run(delivery, &by, &latched).unwrap_err();
        assert_eq!(after(&unsigned(BODY)), Reason::SignatureStripped);
        assert_eq!(after(&signed_by(&Secret::ed25519(&[5; 32]))), Reason::UnknownKey);
        assert_eq!(after(&signed_by(&insider())), Reason::Grant);
        assert_eq!(after(&changed("d/e/orders", "d/e/other")), Reason::WrongDestination);
        assert!(run(&good(), &by, &latched).is_ok());
    }
}

/// Threat (invariant 6): a stranger takes an event's id, message id or key away.
#[test]
fn an_unproven_message_meets_no_authentic_one() {
    let by = at("observe", "unsigned: [svc], key: n, ordered: true,");
    let authentic = ask(&changed("\"ct\"", "\"okey\":\"1\",\"ov\":1,\"ct\""), &by);
    assert_eq!((authentic.standing, authentic.key.as_deref()), (Standing::Signed, Some("1")));
    let stranger = Secret::ed25519(&[5; 32]);
    for forged in [unsigned(BODY), signed_by(&stranger), signed_by(&insider())] {
        let forged = ask(&forged, &by);
        assert_eq!(forged.event_id, authentic.event_id);
        assert_ne!(forged.identity, authentic.identity);
        assert_ne!(forged.message_id, authentic.message_id);
        assert_eq!((forged.key, forged.ordered, forged.version), (None, false, None));
        assert_eq!(forged.standing, Standing::Claimed);
    }
}

#[test]
fn a_gap_is_found_and_the_past_is_refused() {
    let by = at("observe", "key: n, ordered: true,");
    let version = |version: u64| {
        let h = format!("\"okey\":\"1\",\"ov\":{version},\"ct\"");
        Delivery { key: Some(Bytes::from_static(b"1")), ..changed("\"ct\"", &h) }
    };
    let head = Head { version: 3, message: None, term: 0 };
    let state = KeyState { head: Some(head), ..KeyState::default() };
    assert_eq!(ask(&version(4), &by).standing, Standing::Sound);
    assert_eq!(run(&version(4), &by, &state).unwrap().1, []);
    assert_eq!(run(&version(9), &by, &state).unwrap().1, [Reason::Gap]);
    assert_eq!(run(&version(2), &by, &state).unwrap_err(), Reason::StaleVersion);
    assert_eq!(run(&version(3), &by, &state).unwrap_err(), Reason::Fork);
    let behind = KeyState { behind: true, ..state };
    assert_eq!(run(&version(4), &by, &behind).unwrap_err(), Reason::BehindParked);
}

/// Threat: a history that follows another message. After an operator's skip there is none that it
/// could follow, and the next one must not be taken for a fork.
#[test]
fn a_version_follows_the_message_that_was_done() {
    let by = at("observe", "key: n, ordered: true,");
    let oph = b64u(&[7; 16]);
    let h = format!("\"okey\":\"1\",\"ov\":4,\"oph\":\"{oph}\",\"ct\"");
    let fourth = Delivery { key: Some(Bytes::from_static(b"1")), ..changed("\"ct\"", &h) };
    for (message, refused) in
        [(None, None), (Some([7; 16]), None), (Some([8; 16]), Some(Reason::Fork))]
    {
        let head = Some(Head { version: 3, message, term: 0 });
        let judged = run(&fourth, &by, &KeyState { head, ..KeyState::default() });
        assert_eq!(judged.err(), refused, "{message:?}");
    }
}

/// Threat: what was forgotten because it is too old runs again and again.
#[test]
fn what_is_too_old_is_remembered_from_now_on() {
    let by = at("mark", "");
    let old = changed(&format!("\"iat\":{}", NOW.0), "\"iat\":1");
    let (event, found) = run(&old, &by, &KeyState::default()).unwrap();
    assert!(found.contains(&Reason::BeyondHorizon), "{found:?}");
    assert_eq!((event.verified_producer(), event.rung()), (Some("svc"), Rung::Mark));
    assert_eq!(ask(&old, &by).remember_until, NOW + HORIZON_MS);
}

/// Threat: tampering in the broker, one bit at a time: whatever still runs says that it is nobody's.
#[test]
fn no_flipped_bit_is_verified() {
    let (unlisted, listed) = (at("observe", ""), listed("observe"));
    let whole = good();
    let none = KeyState::default();
    let never_verified = |changed: &Delivery| {
        assert!(run(changed, &unlisted, &none).is_err());
        if let Ok((event, found)) = run(changed, &listed, &none) {
            assert_eq!((event.verified_producer(), found.is_empty()), (None, false));
        }
    };
    for at in 0..whole.fields.len() {
        for bit in 0..whole.fields[at].value.len() * 8 {
            let mut changed = whole.clone();
            changed.fields[at].value = flipped(&whole.fields[at].value, bit);
            never_verified(&changed);
        }
    }
    for bit in 0..BODY.len() * 8 {
        never_verified(&Delivery { body: Some(flipped(BODY.as_bytes(), bit)), ..whole.clone() });
    }
}

proptest! {
    /// Whatever arrives is judged; what runs is the one message that was signed, or says that it
    /// is nobody's and claims whom the stream lists.
    #[test]
    fn any_delivery_is_judged_below_enforce(delivery in any_delivery()) {
        let (unlisted, listed) = (at("mark", ""), listed("mark"));
        let (none, whole) = (KeyState::default(), good());
        if let Ok((event, _)) = run(&delivery, &unlisted, &none) {
            prop_assert_eq!(event.verified_producer(), Some("svc"));
            prop_assert_eq!(Some(event.body()), whole.body.as_ref());
        }
        if let Ok((event, found)) = run(&delivery, &listed, &none) {
            prop_assert_eq!(event.claimed_producer(), "svc");
            prop_assert!(event.verified_producer().is_some() || !found.is_empty());
        }
    }
}
