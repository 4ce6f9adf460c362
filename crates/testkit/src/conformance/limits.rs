// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for the largest, the longest and the most.

use bytes::Bytes;
use chancery::Sink;
use chancery_core::Field;
use chancery_core::header::{HEADER, HEADER_BYTES_MAX, SIGNATURE, SIGNATURE_BYTES_MAX};
use chancery_core::seal::{SIGNED_TOGETHER_MAX, Sealed};

use super::{
    Fixture, Raw, STREAM, append, bodies, body, finish, message, names, set, silent, take,
};

/// Bytes that do not compress, the same each time.
fn noise(bytes: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| step()).collect()
}

/// A body near the limit is not cut, and not held back for ever behind a receiver's own limit.
pub async fn the_largest_message_arrives_whole<F: Fixture>() {
    let place = F::fresh();
    let largest = Sealed { body: noise(F::FEATURES.body_bytes_max), ..message(Some("k"), "") };
    F::sink(&place.name).await.append(std::slice::from_ref(&largest)).await.unwrap();
    append::<F>(&place.name, &[(Some("k"), "behind")]).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let (delivery, receipt) = take(&mut source, 1).await.remove(0);
    let same = delivery.body.as_ref() == Some(&largest.body);
    assert!(same, "{} bytes came", delivery.body.map_or(0, |body| body.len()));
    chancery::Source::acknowledge(&mut source, vec![receipt]).await.unwrap();
    assert_eq!(finish(&mut source, 1).await, ["behind"]);
}

/// What the broker will never take is told at once, and is not a half of a batch that hangs.
pub async fn a_larger_one_is_a_fault_that_loses_nothing<F: Fixture>() {
    let place = F::fresh();
    let sink = F::sink(&place.name).await;
    let above = noise(F::FEATURES.body_bytes_max + (64 << 10));
    let batch = [
        message(Some("k"), "before"),
        Sealed { body: above, ..message(Some("k"), "") },
        message(Some("k"), "after"),
    ];
    let fault = sink.append(&batch).await.unwrap_err();
    let text = fault.detail.to_lowercase();
    assert!(["large", "size", "bytes"].iter().any(|word| text.contains(word)), "{fault}");
    sink.append(&[message(Some("k"), "last")]).await.unwrap();
    let mut source = F::source(&place.name, STREAM, "g").await;
    let first = finish(&mut source, 1).await;
    match first[0].as_str() {
        // "Any prefix may have been appended": that is all that may.
        "before" => assert_eq!(finish(&mut source, 1).await, ["last"]),
        other => assert_eq!(other, "last"),
    }
    silent(&mut source).await;
}

/// A signature is worth nothing over a header that lost a byte.
pub async fn the_longest_header_and_signature_arrive<F: Fixture>() {
    let place = F::fresh();
    let fields = vec![
        Field::new(HEADER, "h".repeat(HEADER_BYTES_MAX)),
        Field::new(SIGNATURE, "s".repeat(SIGNATURE_BYTES_MAX)),
    ];
    let sealed = Sealed { fields: fields.clone(), ..message(Some("k"), "a") };
    F::sink(&place.name).await.append(&[sealed]).await.unwrap();
    let mut source = F::source(&place.name, STREAM, "g").await;
    let (delivery, _) = take(&mut source, 1).await.remove(0);
    for field in fields {
        let found = delivery.fields.iter().find(|it| it.name == field.name);
        assert_eq!(found.map(|it| &it.value), Some(&field.value), "{}", field.name);
    }
}

/// Others put their own fields beside ours.
pub async fn many_fields_arrive<F: Fixture>() {
    let place = F::fresh();
    let named = |n: usize| Field::new(format!("field-{n:03}"), format!("value {n}"));
    let fields: Vec<Field> = (0..F::FEATURES.fields_max).map(named).collect();
    let raw = Raw { fields: fields.clone(), key: Some(b"k".into()), body: Some(b"a".into()) };
    F::raw(&place.name, STREAM, raw).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let (delivery, _) = take(&mut source, 1).await.remove(0);
    assert_eq!(delivery.fields, fields);
}

/// Whoever does not know whether he has appended appends again: that is no fault, and the message
/// is there.
pub async fn appending_again_is_safe<F: Fixture>() {
    let place = F::fresh();
    let sink = F::sink(&place.name).await;
    let header = Field::new(HEADER, "this very message");
    let again = Sealed { fields: vec![header], ..message(Some("k"), "again") };
    for _ in 0..3 {
        sink.append(std::slice::from_ref(&again)).await.unwrap();
    }
    sink.append(&[message(Some("k"), "last")]).await.unwrap();
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|body| body != "last") {
        seen.extend(finish(&mut source, 1).await);
    }
    assert!((2..=4).contains(&seen.len()) && seen[0] == "again", "{seen:?}");
}

/// A field that the broker obeys (a copy to a queue, a life time, a de-duplication id) is a
/// stranger's order under our name: it is refused, or left out.
pub async fn control_fields_are_not_appended<F: Fixture>() {
    let place = F::fresh();
    let sink = F::sink(&place.name).await;
    for name in F::FEATURES.control_fields {
        let mut sealed = message(Some("k"), name);
        sealed.fields.push(Field::new(*name, "1"));
        if sink.append(&[sealed]).await.is_err() {
            append::<F>(&place.name, &[(Some("k"), name)]).await;
        }
    }
    let mut source = F::source(&place.name, STREAM, "g").await;
    for name in F::FEATURES.control_fields {
        let (delivery, receipt) = take(&mut source, 1).await.remove(0);
        assert_eq!(body(&delivery), *name);
        let obeyed = delivery.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        assert!(!obeyed, "`{name}` was appended");
        chancery::Source::acknowledge(&mut source, vec![receipt]).await.unwrap();
    }
    silent(&mut source).await;
}

/// What is signed together is appended together: in order, each with a position of its own.
pub async fn a_batch_keeps_its_order_and_its_positions<F: Fixture>() {
    let place = F::fresh();
    let texts: Vec<String> = (0..SIGNED_TOGETHER_MAX).map(|n| format!("{n:02}")).collect();
    let keys = ["k", "l", "m"];
    let keyed = |(n, text): (usize, &String)| message(Some(keys[n % 3]), text);
    let batch: Vec<Sealed> = texts.iter().enumerate().map(keyed).collect();
    let positions = F::sink(&place.name).await.append(&batch).await.unwrap();
    assert_eq!(set(positions.clone()).len(), SIGNED_TOGETHER_MAX);
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut seen = Vec::new();
    while seen.len() < SIGNED_TOGETHER_MAX {
        let got = take(&mut source, 1).await;
        seen.push((bodies(&got).remove(0), got[0].0.position.clone()));
        for (_, receipt) in got {
            chancery::Source::acknowledge(&mut source, vec![receipt]).await.unwrap();
        }
    }
    for third in 0..3 {
        let of_key = |(body, _): &&(String, String)| body.parse::<usize>().unwrap() % 3 == third;
        let got: Vec<&(String, String)> = seen.iter().filter(of_key).collect();
        assert!(got.is_sorted(), "{got:?}");
    }
    seen.sort();
    for ((body, found), (text, told)) in seen.iter().zip(texts.iter().zip(&positions)) {
        assert!(body == text && names(told, found), "{text} is {found}, and {told} was told");
    }
}
