// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random interleavings of two owners that crash, hang and give up: an event's outcome is committed
//! at most once, and it is never lost while it is not.

use std::collections::BTreeSet;
use std::time::Duration;

use chancery::Delivery;
use chancery::ports::{Begun, Known, Ledger, Unit};
use chancery_core::record::{Record, RecordKind};
use chancery_stores::sqlite::{Leased, LeasedUnit, Limits, Transactional};

use super::world::{NOW, World, ask, decider, order};

const LEASE_MS: i64 = 1_000;
const STEPS: usize = 40;

/// xorshift64; a seed names a run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

struct Sim {
    world: World,
    orders: Vec<Delivery>,
    owners: Vec<Leased>,
    units: Vec<Option<(usize, LeasedUnit)>>,
    transactional: Transactional,
    /// Keys that the other side was called with, per order.
    calls: Vec<BTreeSet<String>>,
    done: Vec<u32>,
    now: i64,
}

impl Sim {
    fn new() -> Sim {
        let world = World::new();
        // Deaths and attempts without end: exhaustion is another test's.
        let limits = Limits { attempts_max: 99, deaths_max: 99, ..Limits::default() };
        let database = world.open_with(limits);
        let lease = Duration::from_millis(LEASE_MS as u64);
        Sim {
            orders: (1..=3).map(order).collect(),
            owners: (0..2).map(|_| Leased::new(&database).unwrap().lease(lease)).collect(),
            units: vec![None, None],
            transactional: Transactional::new(&database).unwrap(),
            calls: vec![BTreeSet::new(); 3],
            done: vec![0; 3],
            now: 0,
            world,
        }
    }

    async fn step(&mut self, dice: &mut Dice) {
        let (who, which) = (dice.below(2), dice.below(3));
        match dice.below(8) {
            0 | 1 => self.begin(who, which).await,
            2 => drop(self.units[who].take()),
            // A hang: the unit is never heard of again, its owner lives.
            3 => std::mem::forget(self.units[who].take()),
            4 | 5 => self.finish(who).await,
            6 => self.now += LEASE_MS / 2,
            _ => self.transact(which, dice.below(2) == 0).await,
        }
    }

    async fn begin(&mut self, who: usize, which: usize) {
        if self.units[who].is_some() {
            return;
        }
        let ask = ask(&self.orders[which]);
        match self.owners[who].begin(&ask, NOW + self.now).await.unwrap() {
            Begun::Known(known) => self.allowed(&known, which),
            Begun::Run(mut unit) => {
                assert_eq!(self.done[which], 0, "order {which} runs after it was done");
                self.calls[which].insert(unit.lend().key.clone());
                self.units[who] = Some((which, unit));
            }
        }
    }

    async fn finish(&mut self, who: usize) {
        let Some((which, unit)) = self.units[who].take() else { return };
        if unit.finish(self.record()).await.is_ok() {
            self.done[which] += 1;
        }
    }

    async fn transact(&mut self, which: usize, commits: bool) {
        let ask = ask(&self.orders[which]);
        match self.transactional.begin(&ask, NOW + self.now).await.unwrap() {
            Begun::Known(known) => self.allowed(&known, which),
            Begun::Run(mut unit) => {
                assert_eq!(self.done[which], 0, "order {which} runs after it was done");
                unit.lend().execute("INSERT INTO effect VALUES (?1)", [which]).unwrap();
                if commits {
                    unit.finish(self.record()).await.unwrap();
                    self.done[which] += 1;
                }
            }
        }
    }

    fn allowed(&self, known: &Known, which: usize) {
        match known {
            Known::Done { .. } => assert_eq!(self.done[which], 1, "order {which} is lost"),
            Known::Busy { retry_in_ms } => assert!((1..=LEASE_MS).contains(retry_in_ms)),
            other => panic!("{other:?}"),
        }
    }

    /// When all leases are over, what is not done runs.
    async fn drain(&mut self) {
        self.units.clear();
        self.now += 2 * LEASE_MS;
        for which in 0..3 {
            self.transact(which, true).await;
        }
        assert_eq!(self.done, [1, 1, 1]);
        assert!(self.calls.iter().all(|keys| keys.len() <= 1));
        let records = self.world.records();
        assert_eq!(records.iter().filter(|record| record.kind == RecordKind::Done).count(), 3);
        let twice =
            "SELECT count(*) FROM (SELECT 1 FROM effect GROUP BY event HAVING count(*) > 1)";
        assert_eq!(self.world.count(twice), 0);
    }

    fn record(&self) -> Record {
        Record::new(RecordKind::Done, &decider(), &[0; 32], NOW + self.now)
    }
}

#[tokio::test]
async fn at_most_once_and_never_lost() {
    for seed in 1..=20 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut sim = Sim::new();
        for _ in 0..STEPS {
            sim.step(&mut dice).await;
        }
        sim.drain().await;
    }
}
