// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds while the network fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chancery::{Sink, Source};
use chancery_core::Delivery;

use super::{Fixture, PATIENCE, SILENCE, STREAM, append, body, finish, message, take};
use crate::proxy::{Proxy, Towards};

/// Longest time until a call says that the server is gone.
const IN_TIME: Duration = Duration::from_secs(30);
/// Between attempts while it is gone.
const AGAIN: Duration = Duration::from_millis(100);
const KEYS: [&str; 3] = ["k", "l", "m"];

async fn proxied<F: Fixture>(place: &str) -> Option<(Proxy, String)> {
    if !F::FEATURES.server {
        return None;
    }
    let proxied = F::proxied(place).await;
    assert!(proxied.is_some(), "the fixture puts no proxy before its server");
    proxied
}

/// Counts what came and what was acknowledged; each promise is checked as it comes.
#[derive(Default)]
struct Seen {
    came: BTreeMap<usize, u32>,
    acknowledged: BTreeSet<usize>,
    /// The acknowledgement failed: the broker may have heard it, then they do not come again.
    doubtful: BTreeSet<usize>,
}

impl Seen {
    fn check(&mut self, delivery: &Delivery) -> usize {
        let n: usize = body(delivery).parse().unwrap();
        assert!(!self.acknowledged.contains(&n), "{n} was acknowledged and came again");
        let skipped = (n % KEYS.len()..n).step_by(KEYS.len()).find(|m| !self.came.contains_key(m));
        assert_eq!(skipped, None, "it was passed by {n} of its key");
        *self.came.entry(n).or_default() += 1;
        self.doubtful.remove(&n);
        n
    }

    /// Receives and acknowledges one by one until so many have come and were acknowledged, as far
    /// as anybody can know, whatever fails.
    async fn finish<S: Source>(&mut self, source: &mut S, until: usize) {
        let started = Instant::now();
        while self.acknowledged.len() + self.doubtful.len() < until {
            let done = self.acknowledged.len();
            assert!(started.elapsed() < 4 * PATIENCE, "{done} of {until} were acknowledged");
            let Ok(batch) = source.receive(4, Duration::from_secs(1)).await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            for (delivery, receipt) in batch {
                let n = self.check(&delivery);
                match source.acknowledge(vec![receipt]).await {
                    Ok(()) => self.acknowledged.insert(n),
                    Err(_) => self.doubtful.insert(n),
                };
            }
        }
    }
}

async fn append_numbers<F: Fixture>(place: &str, n: usize) {
    let texts: Vec<String> = (0..n).map(|n| n.to_string()).collect();
    let keyed = texts.iter().enumerate().map(|(n, text)| (Some(KEYS[n % KEYS.len()]), &**text));
    append::<F>(place, &keyed.collect::<Vec<_>>()).await;
}

/// A connection that breaks, between messages and in the middle of one: what was acknowledged does
/// not come again, all else does, in order.
pub async fn a_receiver_that_is_cut_loses_nothing<F: Fixture>() {
    let place = F::fresh();
    let Some((proxy, through)) = proxied::<F>(&place.name).await else { return };
    append_numbers::<F>(&place.name, 40).await;
    let mut source = F::source(&through, STREAM, "g").await;
    let mut seen = Seen::default();
    for round in 1..=4 {
        seen.finish(&mut source, round * 8).await;
        match round % 2 {
            0 => proxy.cut(),
            _ => proxy.cut_after(150, Towards::Client),
        }
    }
    seen.finish(&mut source, 40).await;
    drop(source);
    let mut direct = F::source(&place.name, STREAM, "g").await;
    let doubtful = seen.doubtful.clone();
    for (delivery, _) in direct.receive(40, SILENCE).await.unwrap() {
        let n = seen.check(&delivery);
        assert!(doubtful.contains(&n), "{n} came, and nobody had given it back");
    }
}

/// A sink whose connection breaks says so, or has appended: appending again loses nothing, and
/// doubles no more than it failed.
pub async fn an_append_that_is_cut_is_a_fault_or_done<F: Fixture>() {
    const N: usize = 24;
    let place = F::fresh();
    let Some((proxy, through)) = proxied::<F>(&place.name).await else { return };
    let sink = F::sink(&through).await;
    let mut faults = 0;
    for n in 0..N {
        let towards = [Towards::Server, Towards::Client][n % 2];
        proxy.cut_after(u32::try_from(n * 29 % 300).unwrap(), towards);
        let one = message(Some(KEYS[n % KEYS.len()]), &n.to_string());
        let started = Instant::now();
        while sink.append(std::slice::from_ref(&one)).await.is_err() {
            faults += 1;
            assert!(started.elapsed() < IN_TIME, "{n} was never appended");
            tokio::time::sleep(AGAIN).await;
        }
    }
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut came = BTreeMap::<usize, u32>::new();
    let mut copies = 0;
    while came.len() < N {
        for (delivery, receipt) in take(&mut source, 1).await {
            let n: usize = body(&delivery).parse().unwrap();
            let before = (n % KEYS.len()..n).step_by(KEYS.len()).all(|m| came.contains_key(&m));
            assert!(before, "{n} was appended before an earlier one of its key");
            let times = came.entry(n).or_default();
            *times += 1;
            copies += u32::from(*times > 1);
            source.acknowledge(vec![receipt]).await.unwrap();
        }
    }
    assert!(copies <= faults, "{copies} copies after {faults} faults");
}

/// A server that says nothing any more is not waited for for ever, and nothing is called durable
/// that no server has confirmed.
pub async fn a_stalled_append_is_a_fault_in_time<F: Fixture>() {
    let place = F::fresh();
    let Some((proxy, through)) = proxied::<F>(&place.name).await else { return };
    let sink = F::sink(&through).await;
    sink.append(&[message(Some("k"), "before")]).await.unwrap();
    proxy.stall();
    let started = Instant::now();
    let late = message(Some("k"), "late");
    let told = tokio::time::timeout(IN_TIME, sink.append(std::slice::from_ref(&late))).await;
    assert!(told.expect("the append hangs").is_err(), "no server has confirmed it");
    proxy.resume().await;
    while let Err(fault) = sink.append(std::slice::from_ref(&late)).await {
        assert!(started.elapsed() < IN_TIME + PATIENCE, "{fault}");
        tokio::time::sleep(AGAIN).await;
    }
    let mut source = F::source(&place.name, STREAM, "g").await;
    assert_eq!(finish(&mut source, 2).await, ["before", "late"]);
}

/// A receiver that hears nothing goes on where it was, as soon as it hears again.
pub async fn a_stalled_receiver_goes_on<F: Fixture>() {
    let place = F::fresh();
    let Some((proxy, through)) = proxied::<F>(&place.name).await else { return };
    append_numbers::<F>(&place.name, 6).await;
    let mut source = F::source(&through, STREAM, "g").await;
    let mut seen = Seen::default();
    seen.finish(&mut source, 2).await;
    proxy.stall();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        let told = tokio::time::timeout(IN_TIME, source.receive(4, Duration::from_secs(1))).await;
        for (delivery, _) in told.expect("the receive hangs").unwrap_or_default() {
            seen.check(&delivery);
        }
    }
    proxy.resume().await;
    drop(source);
    let mut source = F::source(&through, STREAM, "g").await;
    seen.finish(&mut source, 6).await;
}

/// Both sides tell that the server is gone, and find it again by themselves.
pub async fn a_server_that_comes_back_is_found_again<F: Fixture>() {
    let place = F::fresh();
    let Some((proxy, through)) = proxied::<F>(&place.name).await else { return };
    let sink = F::sink(&through).await;
    let mut source = F::source(&through, STREAM, "g").await;
    let mut seen = Seen::default();
    sink.append(&[message(Some("k"), "0")]).await.unwrap();
    seen.finish(&mut source, 1).await;
    proxy.refuse().await;
    let one = message(Some("l"), "1");
    let told = tokio::time::timeout(IN_TIME, sink.append(std::slice::from_ref(&one))).await;
    let fault = told.expect("the append hangs").expect_err("nobody can have appended it");
    assert_eq!(fault.kind.code(), "E705_BROKER_DOWN", "{fault}");
    let told = tokio::time::timeout(IN_TIME, source.receive(4, Duration::from_secs(1))).await;
    assert!(told.expect("the receive hangs").unwrap_or_default().is_empty());
    proxy.resume().await;
    let started = Instant::now();
    while let Err(fault) = sink.append(std::slice::from_ref(&one)).await {
        assert!(started.elapsed() < PATIENCE, "{fault}");
        tokio::time::sleep(AGAIN).await;
    }
    seen.finish(&mut source, 2).await;
}

/// Whoever drops a receiver has stopped it: no task of it goes on telling the broker that its
/// messages are worked on.
pub async fn a_dropped_receiver_leaves_nothing_running<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "a"), (Some("k"), "b")]).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut before = None;
    for _ in 0..5 {
        let mut source = F::source(&place.name, STREAM, "g").await;
        let held = take(&mut source, 1).await;
        assert_eq!(body(&held[0].0), "a");
        drop((held, source));
        let started = Instant::now();
        // The first may leave what all share behind.
        while *before.get_or_insert(tasks()) < tasks() {
            assert!(started.elapsed() < PATIENCE, "{before:?} tasks became {}", tasks());
            tokio::time::sleep(AGAIN).await;
        }
    }
    let mut source = F::source(&place.name, STREAM, "g").await;
    assert_eq!(finish(&mut source, 2).await, ["a", "b"]);
}
