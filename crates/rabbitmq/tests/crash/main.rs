// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server dies in the middle of a stream and comes back: a binary of its own, for the other
//! tests need the server meanwhile.
//!
//! It is the queue that has been there from the start: RabbitMQ writes down late which quorum
//! queues it has, and one that was declared a moment before a crash is another, empty one
//! afterwards (rabbitmq-server#15725).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery::{Broker, Sink, Source};
use chancery_testkit::conformance::{STREAM, body, message};
use chancery_testkit::servers::Server;

#[allow(dead_code, reason = "the other tests need more of it")]
#[path = "../real/world.rs"]
mod world;

use world::{SERVERS, config, connect, unique};

const KEYS: usize = 5;
const N: usize = 400;
const PATIENCE: Duration = Duration::from_secs(120);

/// Whatever was appended comes, in the order of its key; what was not acknowledged may come again.
/// The producer's own list is compared with what the receiver has seen.
async fn nothing_is_lost_when_the_server_is_killed(name: &str) {
    let server = Server::hardened(name);
    let run = unique();
    let broker = connect(config(&server, "orders")).await.unwrap();
    let receiver = connect(config(&server, "billing")).await.unwrap();
    let mut source = receiver.subscribe(STREAM, "billing").await.unwrap();
    let texts: Vec<String> = (0..N).map(|n| format!("{run} {n}")).collect();
    let producer = tokio::spawn(async move {
        let mut appended = BTreeSet::new();
        for (n, text) in texts.iter().enumerate() {
            let one = message(Some(&format!("key-{}", n % KEYS)), text);
            while broker.append(std::slice::from_ref(&one)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            appended.insert(n);
        }
        appended
    });
    // Killed while both sides are at work, each time.
    let came = Arc::new(AtomicUsize::new(0));
    let progress = Arc::clone(&came);
    let killer = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        for part in [N / 4, N / 2] {
            while progress.load(Ordering::Relaxed) < part && started.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
            server.kill();
            server.start();
        }
    });
    let mut heads = BTreeMap::<usize, usize>::new();
    let mut seen = BTreeSet::new();
    let started = Instant::now();
    while seen.len() < N {
        assert!(started.elapsed() < PATIENCE, "{name}: {} of {N} came", seen.len());
        let Ok(batch) = source.receive(16, Duration::from_secs(1)).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        for (delivery, receipt) in batch {
            let text = body(&delivery);
            let number = text.strip_prefix(&run).and_then(|n| n.trim().parse::<usize>().ok());
            // A copy may come again; a first one never before an earlier first one of its key.
            if let Some(n) = number.filter(|n| seen.insert(*n)) {
                came.fetch_add(1, Ordering::Relaxed);
                let head = heads.insert(n % KEYS, n);
                assert!(head.map_or(n < KEYS, |head| head + KEYS == n), "{n} came after {head:?}");
            }
            let _ = source.acknowledge(vec![receipt]).await;
        }
    }
    assert_eq!(seen, producer.await.unwrap(), "{name}");
    killer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing() {
    for name in SERVERS {
        nothing_is_lost_when_the_server_is_killed(name).await;
    }
}
