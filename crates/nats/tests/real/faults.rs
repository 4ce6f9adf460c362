// SPDX-License-Identifier: MIT OR Apache-2.0
//! Killed servers, cut connections, receivers that sleep: what was appended is compared with what
//! came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chancery::{Broker, Sink, Source};
use chancery_core::Field;
use chancery_core::seal::Sealed;
use chancery_nats::NatsBroker;
use chancery_testkit::conformance::{STREAM, body, finish, message, take};
use chancery_testkit::proxy::{Proxy, Towards};

use crate::world::{Corner, Private, config, connect, name, placed, subject};

const KEYS: usize = 5;

/// A message with a signed header of its own: the server knows it by that.
fn signed(n: usize) -> Sealed {
    let mut sealed = message(Some(&format!("key-{}", n % KEYS)), &n.to_string());
    sealed.fields.push(Field::new("chancery", format!("{{\"n\":{n}}}")));
    sealed
}

/// What came and what was acknowledged, by all receivers together.
#[derive(Default)]
struct Seen {
    first: Vec<usize>,
    came: BTreeSet<usize>,
    copies: usize,
}

impl Seen {
    fn enter(&mut self, n: usize) {
        match self.came.insert(n) {
            true => self.first.push(n),
            false => self.copies += 1,
        }
    }

    /// Every message came, and of each key none before an earlier one.
    fn check(&self, appended: usize) {
        assert_eq!(self.came, (0..appended).collect());
        let mut last = BTreeMap::new();
        for n in &self.first {
            let before = last.insert(n % KEYS, *n);
            assert!(before.is_none_or(|before| before < *n), "{n} came after {before:?}");
        }
    }
}

async fn append_all(broker: NatsBroker, count: usize) {
    for n in 0..count {
        let began = Instant::now();
        while let Err(fault) = broker.append(&[signed(n)]).await {
            assert!(!fault.detail.contains("incident"), "{fault}");
            assert!(began.elapsed() < Duration::from_secs(60), "{fault}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn receive_all(broker: NatsBroker, seen: Arc<Mutex<Seen>>, count: usize) {
    let mut source = broker.subscribe(STREAM, "g").await.unwrap();
    while seen.lock().unwrap().came.len() < count {
        let Ok(batch) = source.receive(7, Duration::from_millis(300)).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        for (delivery, receipt) in batch {
            seen.lock().unwrap().enter(body(&delivery).parse().unwrap());
            let _ = source.acknowledge(vec![receipt]).await;
        }
    }
}

/// A server killed twice while messages flow: the producer's own list arrives, each key in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing() {
    const COUNT: usize = 600;
    let mut server = Private::start();
    server.furnish("g").await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let broker = connect(&server.config("admin", None)).await.unwrap();
        tasks.push(tokio::spawn(receive_all(broker, Arc::clone(&seen), COUNT)));
    }
    let producer = connect(&server.config("admin", None)).await.unwrap();
    tasks.push(tokio::spawn(append_all(producer, COUNT)));
    for part in [COUNT / 4, COUNT / 2] {
        while seen.lock().unwrap().came.len() < part {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.again();
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(90), task).await.unwrap().unwrap();
    }
    seen.lock().unwrap().check(COUNT);
}

/// Three receivers, whose connections are cut and stalled in turn: the pin moves, the order stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_keeps_its_order_while_the_pin_moves() {
    const COUNT: usize = 400;
    let server = Private::start();
    server.furnish("g").await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (mut tasks, mut proxies) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let proxy = Proxy::to(server.port()).await;
        let broker = connect(&server.config("admin", Some(proxy.port()))).await.unwrap();
        tasks.push(tokio::spawn(receive_all(broker, Arc::clone(&seen), COUNT)));
        proxies.push(proxy);
    }
    let producer = connect(&server.config("admin", None)).await.unwrap();
    let appended = tokio::spawn(append_all(producer, COUNT));
    for round in 0..6 {
        let proxy = &proxies[round % 3];
        match round % 2 {
            0 => proxy.cut_after(400, Towards::Client),
            _ => proxy.stall(),
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        proxy.resume().await;
    }
    appended.await.unwrap();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(90), task).await.unwrap().unwrap();
    }
    seen.lock().unwrap().check(COUNT);
}

/// A receiver that slept past its time does not hand over, or acknowledge, what another has by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_was_cut_off_has_lost_what_it_had() {
    let corner = Corner::new();
    let port = crate::fixture::port();
    let proxy = Proxy::to(port).await;
    let mut through = placed(config("admin"), &corner.id);
    through["url"] = format!("tls://localhost:{}", proxy.port()).into();
    let (slow, quick) = (connect(&through).await.unwrap(), placed(config("admin"), &corner.id));
    let quick = connect(&quick).await.unwrap();
    quick.append(&(0..4).map(signed).collect::<Vec<_>>()).await.unwrap();
    let mut first = slow.subscribe(STREAM, "g").await.unwrap();
    let held = take(&mut first, 2).await;
    proxy.stall();
    let mut second = quick.subscribe(STREAM, "g").await.unwrap();
    assert_eq!(finish(&mut second, 4).await, ["0", "1", "2", "3"]);
    proxy.resume().await;
    let receipts = held.into_iter().map(|(_, receipt)| receipt).collect();
    // It may be told, or its window has forgotten them: it gets none of them again.
    let _ = first.acknowledge(receipts).await;
    quick.append(&[signed(4)]).await.unwrap();
    assert_eq!(finish(&mut second, 1).await, ["4"]);
    assert!(first.receive(10, Duration::from_secs(1)).await.unwrap_or_default().is_empty());
}

/// Threat: a receiver that goes, long after its time, takes the pin and the messages from another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_was_cut_off_gives_back_nothing_of_anothers() {
    let corner = Corner::new();
    let proxy = Proxy::to(crate::fixture::port()).await;
    let mut through = placed(config("admin"), &corner.id);
    through["url"] = format!("tls://localhost:{}", proxy.port()).into();
    let (slow, quick) = (connect(&through).await.unwrap(), placed(config("admin"), &corner.id));
    let quick = connect(&quick).await.unwrap();
    quick.append(&(0..2).map(signed).collect::<Vec<_>>()).await.unwrap();
    let mut first = slow.subscribe(STREAM, "g").await.unwrap();
    take(&mut first, 2).await;
    proxy.stall();
    let mut second = quick.subscribe(STREAM, "g").await.unwrap();
    let held = take(&mut second, 2).await;
    let info = format!("$JS.API.CONSUMER.INFO.{}.g", name(&corner.id));
    let pin = async || {
        let answer = quick.request(&info, b"", b"").await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let of_group = answer["priority_groups"][0].clone();
        of_group["pinned_client_id"].as_str().unwrap_or_default().to_owned()
    };
    let before = pin().await;
    drop(first);
    proxy.resume().await;
    // What it has sent before arrives before the answer to this.
    slow.request(&info, b"", b"").await.unwrap();
    assert!(!before.is_empty() && pin().await == before, "the pin was taken away");
    second.acknowledge(held.into_iter().map(|(_, receipt)| receipt).collect()).await.unwrap();
    assert!(second.receive(10, Duration::from_secs(1)).await.unwrap().is_empty());
}

/// Threat: whoever knows, or guesses, a message's id publishes it first, and the server drops the
/// real one and calls that success.
#[tokio::test]
async fn being_first_with_an_id_is_an_incident_and_never_silent() {
    let corner = Corner::new();
    let broker = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    // The id that signed(7) will have, as if it had been guessed: SHA-256 of its header.
    broker.append(&[signed(7)]).await.unwrap();
    let victim = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    let fault = victim.append(&[signed(7)]).await.unwrap_err();
    assert!(fault.detail.contains("incident") && fault.detail.contains("duplicate"), "{fault}");
    let fault = victim.append(&[signed(7)]).await.unwrap_err();
    assert!(fault.detail.contains("incident"), "asking again does not make it well: {fault}");
    // What this process has appended itself is its own copy.
    assert_eq!(broker.append(&[signed(7)]).await.unwrap(), [format!("{}/1", name(&corner.id))]);
    // A guess that is wrong costs nothing, on any subject of the stream.
    for id in ["event-8", "8", "AAAAAAAAAAAAAAAAAAAAAA"] {
        let head = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
        let on = format!("{}.other", subject(&corner.id));
        broker.request(&on, head.as_bytes(), b"x").await.unwrap();
    }
    victim.append(&[signed(8)]).await.unwrap();
}

/// A confirmation that was lost on the way is asked for again, and the copy is known as our own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_confirmation_is_no_incident_and_no_second_message() {
    let corner = Corner::new();
    let proxy = Proxy::to(crate::fixture::port()).await;
    let mut through = placed(config("admin"), &corner.id);
    through["url"] = format!("tls://localhost:{}", proxy.port()).into();
    let broker = connect(&through).await.unwrap();
    for n in 0..20 {
        proxy.cut_after(1, Towards::Client);
        let at = broker.append(&[signed(n)]).await.unwrap();
        assert!(at[0].ends_with(&format!("/{}", n + 1)), "{n} is at {at:?}");
    }
    let direct = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    let mut source = direct.subscribe(STREAM, "g").await.unwrap();
    let want: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(finish(&mut source, 20).await, want);
}
