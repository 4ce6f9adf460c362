// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time, retention, dead letters, figures, and leases as a second line.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chancery::{Clock, Source};
use chancery_core::time::{DAY_MS, HOUR_MS};
use chancery_core::{AppendTime, Field, Timestamp};
use chancery_local::{Broker, Lag, RawMessage};
use chancery_testkit::conformance::{SILENCE, bodies, finish, silent, take};

struct Fixed(AtomicI64);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

fn at(dir: &Path, ms: i64) -> (Broker, Arc<Fixed>) {
    let clock = Arc::new(Fixed(AtomicI64::new(ms)));
    (Broker::open(dir).unwrap().with_clock(clock.clone()), clock)
}

fn append(broker: &Broker, body: &str) -> i64 {
    broker.append_raw("a.b", &[], Some(b"k"), Some(body.as_bytes())).unwrap()
}

#[tokio::test]
async fn the_append_time_is_stamped_by_append() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, _) = at(dir.path(), 1_234);
    append(&broker, "x");
    let mut source = broker.subscribe("a.b", "g").unwrap();
    let (delivery, _) = take(&mut source, 1).await.remove(0);
    assert_eq!(delivery.appended, AppendTime::Broker(Timestamp(1_234)));
}

#[tokio::test]
async fn retention_takes_the_old_and_nothing_younger() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, clock) = at(dir.path(), 0);
    append(&broker, "old, in hand");
    append(&broker, "old, never seen");
    let mut source = broker.subscribe("a.b", "g").unwrap();
    let mut other = broker.subscribe("a.b", "given.back").unwrap();
    for (_, receipt) in take(&mut other, 2).await {
        other.give_back(receipt, Duration::from_secs(600)).await.unwrap();
    }
    let held = take(&mut source, 1).await.remove(0);
    clock.0.store(HOUR_MS, Ordering::SeqCst);
    append(&broker, "young");
    assert_eq!(broker.expire(Timestamp(7 * DAY_MS)).unwrap(), 0);
    assert_eq!(broker.expire(Timestamp(7 * DAY_MS + HOUR_MS)).unwrap(), 2);
    assert_eq!(broker.lag("a.b", "g").unwrap().messages, 1);
    source.acknowledge(vec![held.1]).await.unwrap();
    assert_eq!(finish(&mut source, 1).await, ["young"]);
    silent(&mut source).await;
    assert_eq!(finish(&mut other, 1).await, ["young"]);
    let db = rusqlite::Connection::open(dir.path().join("broker.db")).unwrap();
    let left = "SELECT count(*) FROM outstanding";
    let left: i64 = db.query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "something of the old messages stayed");
    assert_eq!(append(&broker, "next"), 4, "an offset was used twice");
}

#[test]
fn appending_tidies_up() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, clock) = at(dir.path(), 0);
    append(&broker, "old");
    clock.0.store(8 * DAY_MS, Ordering::SeqCst);
    let again = Broker::open(dir.path()).unwrap().with_clock(clock);
    append(&again, "young");
    assert_eq!(again.browse("a.b", 0, 10).unwrap().len(), 1);
}

// An operator's redrive must be told from an attack by its content alone: nothing may change on
// the way through the dead-letter stream but offset and time.
#[tokio::test]
async fn dead_letters_make_the_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, clock) = at(dir.path(), 1_000);
    let fields = [Field::new("h", vec![0, 255]), Field::new("h", "again")];
    broker.append_raw("a.b", &fields, Some(b"k"), None).unwrap();
    append(&broker, "second");
    let mut source = broker.subscribe("a.b", "g").unwrap();
    let (first, receipt) = take(&mut source, 1).await.remove(0);
    source.give_back(receipt, Duration::from_secs(600)).await.unwrap();
    clock.0.store(2_000, Ordering::SeqCst);
    assert_eq!(broker.dead_letter("a.b", "g", 1).unwrap(), 1);
    let dead = broker.browse("a.b.dlq", 1, 10).unwrap().remove(0);
    assert!(dead.fields == first.fields && dead.key == first.key && dead.body == first.body);
    assert_eq!(dead.appended, AppendTime::Broker(Timestamp(1_000)), "the first append time");
    assert_eq!(finish(&mut source, 1).await, ["second"]);
    assert_eq!(broker.browse("a.b", 1, 10).unwrap().len(), 2, "other groups still need it");

    clock.0.store(3_000, Ordering::SeqCst);
    assert_eq!(broker.redrive("a.b.dlq").unwrap(), 1);
    assert_eq!(broker.redrive("a.b.dlq").unwrap(), 0, "a second redrive has nothing to do");
    let (again, receipt) = take(&mut source, 1).await.remove(0);
    assert!(again.fields == first.fields && again.key == first.key && again.body == first.body);
    assert_eq!(again.appended, AppendTime::Broker(Timestamp(3_000)));
    assert_eq!((again.position.as_str(), again.deliveries), ("a.b/3", 1));
    source.acknowledge(vec![receipt]).await.unwrap();
    silent(&mut source).await;
}

#[tokio::test]
async fn dead_lettering_a_message_in_hand_keeps_its_key_there() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    append(&broker, "1");
    append(&broker, "2");
    let mut first = broker.subscribe("a.b", "g").unwrap();
    let mut second = broker.subscribe("a.b", "g").unwrap();
    let (_, receipt) = take(&mut first, 1).await.remove(0);
    broker.dead_letter("a.b", "g", 1).unwrap();
    silent(&mut second).await;
    first.give_back(receipt, Duration::ZERO).await.unwrap();
    assert_eq!(finish(&mut second, 1).await, ["2"]);
    silent(&mut second).await;
    let again = broker.dead_letter("a.b", "g", 1).unwrap_err();
    assert!(again.detail.contains("does not have a.b/1 in hand"), "{again}");
}

#[tokio::test]
async fn a_hung_receiver_loses_its_messages_and_its_late_word_still_counts() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for body in ["1", "2", "3"] {
        append(&broker, body);
    }
    let lease = Duration::from_millis(300);
    let mut hung = broker.subscribe("a.b", "g").unwrap().with_lease(lease);
    let mut other = broker.subscribe("a.b", "g").unwrap();
    let mut held = take(&mut hung, 2).await;
    silent(&mut other).await;
    let taken = take(&mut other, 2).await;
    assert_eq!(bodies(&taken), ["1", "2"]);
    let mut third = broker.subscribe("a.b", "g").unwrap();
    let (_, second) = held.pop().unwrap();
    let (_, first) = held.pop().unwrap();
    hung.acknowledge(vec![first]).await.unwrap();
    hung.give_back(second, Duration::ZERO).await.unwrap();
    silent(&mut third).await; // its key is still with `other`
    drop((taken, other));
    assert_eq!(finish(&mut third, 2).await, ["2", "3"]);
    silent(&mut third).await;
}

// A receipt is for one delivery: an old one must not give away what is in hand now.
#[tokio::test]
async fn an_old_receipt_gives_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    append(&broker, "1");
    let mut source = broker.subscribe("a.b", "g").unwrap().with_lease(SILENCE);
    let mut other = broker.subscribe("a.b", "g").unwrap();
    let (_, old) = take(&mut source, 1).await.remove(0);
    let (_, receipt) = take(&mut other, 1).await.remove(0);
    other.give_back(receipt, Duration::ZERO).await.unwrap();
    let source = &mut { source }.with_lease(Duration::from_secs(60));
    let (_, current) = take(source, 1).await.remove(0);
    source.give_back(old, Duration::ZERO).await.unwrap();
    silent(&mut other).await;
    source.acknowledge(vec![current]).await.unwrap();
    silent(&mut other).await;
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let body = vec![0; 15 << 20];
    for _ in 0..4 {
        broker.append_raw("a.b", &[], None, Some(&body)).unwrap();
    }
    let mut source = broker.subscribe("a.b", "g").unwrap();
    let batch = source.receive(10, Duration::from_secs(1)).await.unwrap();
    assert_eq!(batch.len(), 3);
    assert_eq!(broker.browse("a.b", 0, 10).unwrap().len(), 3);
    drop((batch, source));
    let mut source = broker.subscribe("a.b", "g").unwrap();
    assert_eq!(source.receive(usize::MAX, Duration::from_secs(1)).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_busy_receiver_keeps_its_lease() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for body in ["1", "2", "3", "4", "5"] {
        append(&broker, body);
    }
    let mut busy = broker.subscribe("a.b", "g").unwrap().with_lease(SILENCE * 3);
    let mut other = broker.subscribe("a.b", "g").unwrap();
    for (_, receipt) in take(&mut busy, 5).await {
        silent(&mut other).await;
        busy.acknowledge(vec![receipt]).await.unwrap();
    }
    silent(&mut other).await;
}

#[tokio::test]
async fn figures_say_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, clock) = at(dir.path(), 1_000);
    append(&broker, "1");
    append(&broker, "2");
    clock.0.store(5_000, Ordering::SeqCst);
    let mut source = broker.subscribe("a.b", "g").unwrap();
    drop(broker.subscribe("a.b", "empty").unwrap());
    assert_eq!(broker.lag("a.b", "g").unwrap(), Lag { messages: 2, oldest_ms: Some(4_000) });
    let mut batch = take(&mut source, 2).await;
    assert_eq!(broker.lag("a.b", "g").unwrap().messages, 2);
    source.acknowledge(vec![batch.pop().unwrap().1]).await.unwrap();
    assert_eq!(broker.lag("a.b", "g").unwrap().messages, 1);
    assert_eq!(broker.lag("no.such", "g").unwrap(), Lag::default());
    assert_eq!(broker.lag("a.b", "never came").unwrap().messages, 2);
    let stats = broker.streams().unwrap().remove(0);
    assert_eq!((stats.name.as_str(), stats.messages), ("a.b", 2));
    assert_eq!((stats.first_offset, stats.next_offset), (Some(1), 3));
    assert_eq!(stats.groups, ["empty", "g"]);
    let page = broker.browse("a.b", 2, usize::MAX).unwrap();
    assert_eq!((page[0].position.as_str(), page[0].deliveries), ("a.b/2", 0));
}

#[tokio::test]
async fn thousands_take_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let keys: Vec<String> = (0..3_000).map(|n| format!("key-{}", n % 50)).collect();
    let raw = |key: &'_ String| (key.clone().into_bytes(), vec![b'x'; 500]);
    let owned: Vec<(Vec<u8>, Vec<u8>)> = keys.iter().map(raw).collect();
    let messages: Vec<RawMessage<'_>> = owned
        .iter()
        .map(|(key, body)| RawMessage { fields: &[], key: Some(key), body: Some(body) })
        .collect();
    let started = Instant::now();
    assert_eq!(broker.append_many("a.b", &messages).unwrap().last(), Some(&3_000));
    let appended = started.elapsed();
    let mut source = broker.subscribe("a.b", "g").unwrap();
    let started = Instant::now();
    assert_eq!(finish(&mut source, 1_500).await.len(), 1_500);
    let singly = started.elapsed();
    let rest = take(&mut source, 1_500).await;
    source.acknowledge(rest.into_iter().map(|(_, r)| r).collect()).await.unwrap();
    let all = started.elapsed();
    println!("3000 appended {appended:?}; 1500 settled singly {singly:?}, 3000 {all:?}");
    assert!(all < Duration::from_secs(60), "{all:?}");
    assert_eq!(broker.lag("a.b", "g").unwrap().messages, 0);
}
