// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker killed (SIGKILL) and started again in the middle of a stream. A program of its own:
//! no other test of this package has the server then.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery::{Broker, Sink, Source};
use chancery_kafka::KafkaBroker;
use chancery_testkit::conformance::{body, message};
use chancery_testkit::servers::Server;

#[path = "../real/world.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod world;

use world::{At, Topic, World};

const KEYS: usize = 7;
const LONGEST: Duration = Duration::from_secs(240);

/// How many messages, and how often the broker is killed on the way; more with `CHANCERY_SOAK`.
fn size() -> (usize, usize) {
    if std::env::var_os("CHANCERY_SOAK").is_some() { (20_000, 8) } else { (600, 1) }
}

/// Appends all, each until it is confirmed; gives how often it had to try again.
async fn append(sink: KafkaBroker, confirmed: Arc<AtomicUsize>) -> usize {
    let mut faults = 0;
    for n in 0..size().0 {
        let mut one = message(Some(&format!("key-{}", n % KEYS)), &n.to_string());
        one.stream = "s".into();
        while sink.append(std::slice::from_ref(&one)).await.is_err() {
            faults += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        confirmed.store(n + 1, Ordering::Release);
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_loses_nothing_and_keeps_the_order_of_keys() {
    let topic = Topic::make(&format!("restart-{}", std::process::id()), 3, &[]);
    let world = World::new(At::Scram).with_topic("s", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let mut source = broker.subscribe("s", "g").await.unwrap();
    let confirmed = Arc::new(AtomicUsize::new(0));
    let appending = tokio::spawn(append(broker.clone(), Arc::clone(&confirmed)));
    let started = Instant::now();
    let (mut acknowledged, mut came) = (BTreeSet::new(), BTreeMap::<usize, usize>::new());
    let (messages, kills) = size();
    let (mut restarting, mut killed) = (None::<tokio::task::JoinHandle<()>>, 0);
    let (mut faults, mut again) = (0, 0);
    while acknowledged.len() < messages {
        let left = LONGEST * u32::try_from(kills).unwrap();
        assert!(started.elapsed() < left, "{} of {messages}", acknowledged.len());
        let due = messages * (killed + 1) / (kills + 2);
        let idle = restarting.as_ref().is_none_or(|it| it.is_finished());
        if idle && killed < kills && confirmed.load(Ordering::Acquire) >= due {
            killed += 1;
            restarting = Some(tokio::task::spawn_blocking(|| {
                let server = Server::hardened("kafka");
                server.kill();
                server.start();
            }));
        }
        let Ok(batch) = source.receive(16, Duration::from_millis(500)).await else {
            faults += 1;
            continue;
        };
        for (delivery, receipt) in batch {
            let n: usize = body(&delivery).parse().unwrap();
            let earlier = (n % KEYS..n).step_by(KEYS).find(|m| !came.contains_key(m));
            assert_eq!(earlier, None, "it was passed by {n} of its key");
            *came.entry(n).or_default() += 1;
            match source.acknowledge(vec![receipt]).await {
                Ok(()) => again += usize::from(!acknowledged.insert(n)),
                Err(_) => faults += 1,
            }
        }
    }
    restarting.unwrap().await.unwrap();
    assert_eq!(killed, kills);
    let retried = appending.await.unwrap();
    // A copy of a message comes only where an append or an acknowledgement has failed.
    assert!(again <= retried + faults, "{again} copies after {retried} and {faults} faults");
    let missing: Vec<usize> = (0..messages).filter(|n| !acknowledged.contains(n)).collect();
    assert_eq!(missing, Vec::<usize>::new());
}
