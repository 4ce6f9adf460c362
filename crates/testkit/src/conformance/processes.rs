// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds between processes, and when one of them is killed.

use std::collections::BTreeMap;
use std::time::Instant;

use super::child::Process;
use super::{Fixture, STREAM, append, finish, silent, take};

/// `kill -9` of a receiver: what it had comes again, in order, to somebody else.
pub async fn killed_receivers_lose_nothing<F: Fixture>() {
    let place = F::fresh();
    append::<F>(&place.name, &[(Some("k"), "1"), (Some("k"), "2"), (Some("k"), "3")]).await;
    let mut child = Process::start(&place.name, "hold g 2");
    assert_eq!(child.next_word().as_deref(), Some("1"));
    assert_eq!(child.next_word().as_deref(), Some("2"));
    let mut source = F::source(&place.name, STREAM, "g").await;
    silent(&mut source).await;
    drop(child);
    let killed = Instant::now();
    let batch = take(&mut source, 1).await;
    let took = killed.elapsed();
    assert!(took <= F::FEATURES.death, "it came again only after {took:?}");
    assert_eq!(super::bodies(&batch), ["1"]);
    drop((batch, source));
    let mut source = F::source(&place.name, STREAM, "g").await;
    assert_eq!(finish(&mut source, 3).await, ["1", "2", "3"]);
}

/// Several processes append and several consume, and one of those is killed on the way: each
/// message is acknowledged once, and nothing that was appended is missing.
pub async fn processes_share_without_loss_or_doubling<F: Fixture>() {
    const EACH: usize = 100;
    let place = F::fresh();
    let victim = Process::start(&place.name, "hold g 3");
    let mut producers: Vec<Process> = ["a", "b"]
        .map(|prefix| Process::start(&place.name, &format!("append {prefix} {EACH}")))
        .into();
    let mut consumers: Vec<Process> =
        (0..2).map(|_| Process::start(&place.name, "consume g")).collect();
    for producer in &mut producers {
        assert_eq!(producer.next_word().as_deref(), Some("appended"));
    }
    drop(victim);
    let mut seen = BTreeMap::<String, u32>::new();
    for consumer in &mut consumers {
        while let Some(body) = consumer.next_word() {
            *seen.entry(body).or_default() += 1;
        }
    }
    assert!(seen.values().all(|times| *times == 1), "an acknowledged message came again");
    let mut source = F::source(&place.name, STREAM, "g").await;
    let left = 2 * EACH - seen.len();
    for body in finish(&mut source, left).await {
        assert!(seen.insert(body, 1).is_none(), "an acknowledged message came again");
    }
    assert_eq!(seen.len(), 2 * EACH);
    silent(&mut source).await;
}
