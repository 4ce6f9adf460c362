// SPDX-License-Identifier: MIT OR Apache-2.0
//! A group that changes while messages are in hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chancery::{Broker, Sink, Source, Windowed};
use chancery_kafka::KafkaWire;
use chancery_testkit::conformance::{body, message};

use crate::world::{At, PATIENCE, Topic, World};

const KEYS: usize = 12;
const EACH: usize = 25;

type Member = Windowed<KafkaWire>;

/// What came, by key, in order; what was acknowledged.
#[derive(Default)]
struct Seen {
    done: BTreeMap<usize, Vec<usize>>,
    by: BTreeSet<usize>,
}

impl Seen {
    fn done(&self) -> usize {
        self.done.values().map(Vec::len).sum()
    }

    /// Handles a batch slowly, and acknowledges it.
    async fn handle(&mut self, who: usize, member: &mut Member, max: usize) {
        let batch = member.receive(max, Duration::from_millis(200)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        for (delivery, receipt) in batch {
            let n: usize = body(&delivery).parse().unwrap();
            let of_key = self.done.entry(n % KEYS).or_default();
            assert!(!of_key.contains(&n), "{n} was acknowledged and came again");
            assert!(of_key.last().is_none_or(|last| *last == n - KEYS), "{n} after {of_key:?}");
            member.acknowledge(vec![receipt]).await.unwrap();
            of_key.push(n);
            self.by.insert(who);
        }
    }
}

// Threat: a partition moves, and what its old owner had in hand runs twice, or its key's order is
// lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_nothing_runs_twice_or_out_of_order() {
    let topic = Topic::make(&format!("rebalance-{}", std::process::id()), 6, &[]);
    let world = World::new(At::Scram).with_topic("s", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let sealed = (0..KEYS * EACH).map(|n| {
        let mut sealed = message(Some(&format!("key-{}", n % KEYS)), &n.to_string());
        sealed.stream = "s".into();
        sealed
    });
    broker.append(&sealed.collect::<Vec<_>>()).await.unwrap();
    let mut members = vec![Some(broker.subscribe("s", "g").await.unwrap())];
    let mut seen = Seen::default();
    let started = Instant::now();
    let mut changed = 0;
    while seen.done() < KEYS * EACH {
        assert!(started.elapsed() < 3 * PATIENCE, "{} came", seen.done());
        for (who, member) in members.iter_mut().enumerate() {
            if let Some(member) = member {
                seen.handle(who, member, 4).await;
            }
        }
        // Two come, then the first goes with whatever it has.
        let due = [20, 60, 140].into_iter().filter(|at| seen.done() >= *at).count();
        match (changed < due, changed) {
            (true, 0 | 1) => members.push(Some(broker.subscribe("s", "g").await.unwrap())),
            (true, 2) => members[0] = None,
            _ => continue,
        }
        changed += 1;
    }
    assert_eq!(changed, 3);
    assert!(seen.by.len() >= 2, "nobody but {:?} had a share", seen.by);
    for (key, of_key) in &seen.done {
        assert_eq!(of_key.len(), EACH, "key {key}");
    }
}

// What is in hand holds its partition; what only waits goes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_hand_is_nobody_elses_until_it_is_settled() {
    let topic = Topic::make(&format!("hand-{}", std::process::id()), 2, &[]);
    let world = World::new(At::Scram).with_topic("s", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let sealed = (0..40).map(|n| {
        let mut sealed = message(Some(&format!("key-{}", n % 8)), &n.to_string());
        sealed.stream = "s".into();
        sealed
    });
    broker.append(&sealed.collect::<Vec<_>>()).await.unwrap();
    let mut first = broker.subscribe("s", "g").await.unwrap();
    let mut hand: Vec<(usize, KafkaTicket)> = Vec::new();
    while hand.len() < 40 {
        for (delivery, ticket) in first.receive(40, Duration::from_secs(5)).await.unwrap() {
            hand.push((body(&delivery).parse().unwrap(), ticket));
        }
    }
    let mut second = broker.subscribe("s", "g").await.unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let batch = second.receive(10, Duration::from_millis(100)).await.unwrap();
        assert!(batch.is_empty(), "what is in hand came to another");
        assert!(first.receive(10, Duration::ZERO).await.unwrap().is_empty());
    }
    let (settled, returned): (Vec<_>, Vec<_>) = hand.into_iter().partition(|(n, _)| *n < 8);
    let settled_tickets = settled.into_iter().map(|(_, ticket)| ticket).collect();
    first.acknowledge(settled_tickets).await.unwrap();
    for (_, ticket) in returned.into_iter().rev() {
        first.give_back(ticket, Duration::ZERO).await.unwrap();
    }
    let (mut seen, started) = (BTreeSet::new(), Instant::now());
    let mut shares = [0, 0];
    while seen.len() < 32 {
        assert!(started.elapsed() < PATIENCE, "{seen:?}");
        for (who, member) in [&mut first, &mut second].into_iter().enumerate() {
            for (delivery, ticket) in member.receive(10, Duration::from_millis(100)).await.unwrap()
            {
                let n: usize = body(&delivery).parse().unwrap();
                assert!(n >= 8 && seen.insert(n), "{n} came again");
                member.acknowledge(vec![ticket]).await.unwrap();
                shares[who] += 1;
            }
        }
    }
    assert!(shares[1] > 0, "the second has no share: {shares:?}");
}

type KafkaTicket = <Member as Source>::Receipt;
