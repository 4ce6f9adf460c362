// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for each message alone.

use std::time::{Duration, Instant};

use chancery::{Broker, Clock, Source, SystemClock};
use chancery_core::{AppendTime, Field};

use super::{
    Fixture, Raw, SILENCE, STREAM, append, bodies, body, finish, matrix, names, set, silent, take,
};

/// Positions name the stream, differ, and are what the consumer is told (evidence names them).
pub async fn positions_are_given_in_order<F: Fixture>() {
    let place = F::fresh();
    let positions = append::<F>(&place.name, &[(None, "a"), (Some("k"), "b"), (None, "c")]).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut batch = take(&mut source, 3).await;
    batch.sort_by_key(|(delivery, _)| body(delivery));
    let seen: Vec<String> = batch.iter().map(|(d, _)| d.position.clone()).collect();
    let named = positions.iter().zip(&seen).all(|(told, found)| names(told, found));
    assert!(named, "{positions:?} were told, {seen:?} were found");
    assert_eq!(set(seen).len(), 3);
    assert!(batch.iter().all(|(d, _)| d.stream == STREAM));
}

/// Signatures are over header bytes: an adapter that trims, sorts or merges fields breaks them,
/// and one that hides a duplicate hides an attack.
pub async fn header_fields_arrive_as_they_were<F: Fixture>() {
    let mut fields = vec![
        Field::new("b", "2"),
        Field::new("Chancery-Like", " spaces and CASE "),
        Field::new("empty", ""),
    ];
    if F::FEATURES.repeated_fields {
        fields.extend([Field::new("b", "1"), Field::new("a", "0"), Field::new("b", "2")]);
    }
    if F::FEATURES.binary_fields {
        fields.push(Field::new("binary", vec![0, 0xff, 0xfe, b'\r', b'\n', 0]));
    }
    let place = F::fresh();
    let key: &[u8] = if F::FEATURES.binary_keys { b"k\0\xff" } else { b"k=1 & more" };
    let raw = Raw { fields: fields.clone(), key: Some(key.into()), body: Some(vec![0, 1]) };
    F::raw(&place.name, STREAM, raw).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let (delivery, _) = take(&mut source, 1).await.remove(0);
    if !F::FEATURES.repeated_fields {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let same = delivery.fields == fields;
    assert!(same, "{:?} came for {fields:?}", delivery.fields);
    assert_eq!(delivery.key.as_deref(), Some(key));
    assert_eq!(delivery.body.as_deref(), Some(&[0, 1][..]));
}

/// A tombstone is not an empty message.
pub async fn null_and_empty_bodies_differ<F: Fixture>() {
    if !F::FEATURES.null_body {
        return;
    }
    let place = F::fresh();
    for body in [None, Some(Vec::new())] {
        F::raw(&place.name, STREAM, Raw { key: Some(b"k".into()), body, ..Raw::default() }).await;
    }
    let mut source = F::source(&place.name, STREAM, "g").await;
    let batch = take(&mut source, 2).await;
    assert_eq!(batch[0].0.body, None);
    assert_eq!(batch[1].0.body.as_deref(), Some(&[][..]));
}

/// What one group acknowledges, another still gets.
pub async fn groups_are_independent<F: Fixture>() {
    let place = F::fresh();
    let mut billing = F::source(&place.name, STREAM, "billing").await;
    let mut audit = F::source(&place.name, STREAM, "audit").await;
    append::<F>(&place.name, &[(Some("k"), "a"), (Some("k"), "b")]).await;
    assert_eq!(finish(&mut billing, 2).await, ["a", "b"]);
    assert_eq!(finish(&mut audit, 2).await, ["a", "b"]);
    silent(&mut billing).await;
    silent(&mut audit).await;
}

/// A group that is new loses nothing that the broker still has.
pub async fn a_new_group_starts_at_the_beginning<F: Fixture>() {
    if !F::FEATURES.history {
        return;
    }
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "a"), (Some("k"), "b")]).await;
    let mut first = F::source(&place.name, STREAM, "first").await;
    finish(&mut first, 2).await;
    let mut late = F::source(&place.name, STREAM, "late").await;
    assert_eq!(finish(&mut late, 2).await, ["a", "b"]);
}

/// Durable once it returns.
pub async fn acknowledged_messages_do_not_come_again<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(None, "a"), (Some("k"), "b"), (Some("k"), "c")]).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut batch = take(&mut source, 3).await;
    batch.sort_by_key(|(delivery, _)| body(delivery));
    let (_, last) = batch.pop().unwrap();
    for (_, receipt) in batch {
        source.acknowledge(vec![receipt]).await.unwrap();
    }
    drop((last, source));
    let mut source = F::source(&place.name, STREAM, "g").await;
    assert_eq!(finish(&mut source, 1).await, ["c"]);
    silent(&mut source).await;
}

/// Not before, and not much later.
pub async fn given_back_messages_come_after_their_delay<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(None, "a")]).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    let (_, receipt) = take(&mut source, 1).await.remove(0);
    let started = Instant::now();
    let delay = SILENCE * 4;
    source.give_back(receipt, delay).await.unwrap();
    silent(&mut source).await;
    assert_eq!(finish(&mut source, 1).await, ["a"]);
    let took = started.elapsed();
    assert!(delay <= took && took < delay + Duration::from_secs(5), "it came after {took:?}");
}

/// Giving back must not drain a backlog into a dead-letter queue while our store is down.
pub async fn giving_back_is_no_failure<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "a")]).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    for round in 1..=30 {
        let (delivery, receipt) = take(&mut source, 1).await.remove(0);
        assert!(delivery.deliveries >= 1 && delivery.deliveries <= round);
        source.give_back(receipt, Duration::ZERO).await.unwrap();
    }
    assert_eq!(finish(&mut source, 1).await, ["a"]);
}

/// A receiver that goes away leaves nothing behind in its hands.
pub async fn a_dropped_receiver_gives_back<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "a"), (Some("k"), "b"), (None, "c")]).await;
    let mut first = F::source(&place.name, STREAM, "g").await;
    let batch = take(&mut first, 3).await;
    let mut second = F::source(&place.name, STREAM, "g").await;
    silent(&mut second).await;
    drop((batch, first));
    let again = take(&mut second, 3).await;
    assert_eq!(set(bodies(&again)), set(["a", "b", "c"].map(String::from)));
}

/// A consumer that is told to stop drops the future it waits on.
pub async fn a_cancelled_receive_loses_nothing<F: Fixture>() {
    let place = F::fresh();
    let mut source = F::source(&place.name, STREAM, "g").await;
    for round in 0..20u64 {
        append::<F>(&place.name, &[(Some("k"), "a")]).await;
        let wait = source.receive(10, Duration::from_secs(1));
        let cut = tokio::time::timeout(Duration::from_micros(100 * round), wait).await;
        let got = match cut {
            Ok(batch) => batch.unwrap(),
            Err(_) => take(&mut source, 1).await,
        };
        assert_eq!(bodies(&got), ["a"]);
        for (_, receipt) in got {
            source.acknowledge(vec![receipt]).await.unwrap();
        }
    }
    silent(&mut source).await;
}

/// Freshness is judged at the append time: no client may choose it.
pub async fn the_broker_stamps_the_time<F: Fixture>() {
    if !F::FEATURES.append_time {
        return;
    }
    let place = F::fresh();
    let before = SystemClock.now();
    let lies = ["timestamp", "appended", "date", "x-opt-enqueued-time", "Nats-Time-Stamp"];
    let fields = lies.map(|name| Field::new(name, "946684800000")).to_vec();
    F::raw(&place.name, STREAM, Raw { fields, key: None, body: Some(b"a".into()) }).await;
    let after = SystemClock.now();
    let mut source = F::source(&place.name, STREAM, "g").await;
    let (delivery, _) = take(&mut source, 1).await.remove(0);
    let AppendTime::Broker(at) = delivery.appended else { panic!("{:?}", delivery.appended) };
    assert!(before <= at && at <= after, "{before} <= {at} <= {after}");
}

/// Waiting ends when something comes, and when nothing does.
pub async fn an_empty_stream_waits_and_then_wakes<F: Fixture>() {
    let place = F::fresh();
    let mut source = F::source(&place.name, STREAM, "g").await;
    let started = Instant::now();
    silent(&mut source).await;
    assert!(started.elapsed() >= SILENCE);
    let name = place.name.clone();
    let late = tokio::spawn(async move {
        tokio::time::sleep(SILENCE).await;
        append::<F>(&name, &[(None, "a")]).await;
    });
    assert_eq!(finish(&mut source, 1).await, ["a"]);
    late.await.unwrap();
}

/// The table of `docs/brokers.md` is about this server, and no other.
pub async fn the_server_is_one_that_is_named<F: Fixture<Sink: Broker>>() {
    let place = F::fresh();
    let live = F::sink(&place.name).await.inspect(STREAM, Some("g")).await.unwrap();
    let mut named = matrix::ALL.iter().flat_map(|tried| tried.servers);
    assert!(named.any(|name| live.server.contains(name)), "{} is in no column", live.server);
}
