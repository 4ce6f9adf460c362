// SPDX-License-Identifier: MIT OR Apache-2.0
//! Leases: one holder at a time, the last one finishes, the key never changes.

use std::sync::Mutex;
use std::time::Duration;

use chancery::ports::{Begun, Known, Ledger, Unit};
use chancery::receive::{Settle, Settled};
use chancery::{Admitted, Handler, Outcome};
use chancery_core::record::{Record, RecordKind};
use chancery_stores::sqlite::{Lease, Leased, LeasedUnit, Transactional};

use super::world::{
    Effect, NOW, ORDERS, Payload, World, ask, decider, draft, moved, order, run, run_later,
};

const LEASE_MS: i64 = 1_000;

fn leased(world: &World) -> Leased {
    Leased::new(&world.open()).unwrap().lease(Duration::from_millis(LEASE_MS as u64))
}

fn record() -> Record {
    Record::new(RecordKind::Done, &decider(), &[0; 32], NOW)
}

async fn begin(ledger: &Leased, delivery: &chancery::Delivery, ms: i64) -> LeasedUnit {
    match ledger.begin(&ask(delivery), NOW + ms).await.unwrap() {
        Begun::Run(unit) => unit,
        Begun::Known(known) => panic!("{known:?}"),
    }
}

async fn known(ledger: &impl Ledger, delivery: &chancery::Delivery, ms: i64) -> Known {
    match ledger.begin(&ask(delivery), NOW + ms).await.unwrap() {
        Begun::Run(_) => panic!("it runs"),
        Begun::Known(known) => known,
    }
}

#[tokio::test]
async fn a_live_owners_lease_is_not_stolen_by_either_ledger() {
    let world = World::new();
    let (one, two) = (leased(&world), leased(&world));
    let transactional = Transactional::new(&world.open()).unwrap();
    let delivery = order(1);
    let unit = begin(&one, &delivery, 0).await;
    assert_eq!(known(&two, &delivery, 0).await, Known::Busy { retry_in_ms: LEASE_MS });
    assert_eq!(known(&one, &delivery, 1).await, Known::Busy { retry_in_ms: LEASE_MS - 1 });
    assert_eq!(known(&transactional, &delivery, 0).await, Known::Busy { retry_in_ms: LEASE_MS });
    drop(unit);
    drop(begin(&two, &delivery, 0).await);
}

// The first holder was slow, not dead: what it did is repeated under the same key, and only the
// second one's outcome counts.
#[tokio::test]
async fn a_holder_whose_lease_is_over_is_fenced_off() {
    let world = World::new();
    let (one, two) = (leased(&world), leased(&world));
    let delivery = order(1);
    let mut slow = begin(&one, &delivery, 0).await;
    let mut next = begin(&two, &delivery, LEASE_MS + 1).await;
    assert_eq!(slow.lend().key, next.lend().key);
    assert!(next.lend().fence > slow.lend().fence);
    assert!(slow.finish(record()).await.is_err());
    assert!(world.records().is_empty());
    next.finish(record()).await.unwrap();
    assert!(matches!(known(&one, &delivery, 0).await, Known::Done { .. }));
    assert_eq!(world.records().len(), 1);
}

#[tokio::test]
async fn a_fenced_holder_does_not_give_its_successors_claim_back() {
    let world = World::new();
    let (one, two, three) = (leased(&world), leased(&world), leased(&world));
    let delivery = order(1);
    let slow = begin(&one, &delivery, 0).await;
    let next = begin(&two, &delivery, LEASE_MS + 1).await;
    drop(slow);
    assert_eq!(one.failed(&ask(&delivery), NOW + LEASE_MS + 1).await, Ok(1));
    let busy = known(&three, &delivery, LEASE_MS + 1).await;
    assert_eq!(busy, Known::Busy { retry_in_ms: LEASE_MS });
    next.finish(record()).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_took_over_fences_the_lease_off() {
    let world = World::new();
    let slow_ledger = leased(&world);
    let transactional = Transactional::new(&world.open()).unwrap();
    let delivery = order(1);
    let slow = begin(&slow_ledger, &delivery, 0).await;
    let later = NOW + LEASE_MS + 1;
    let Begun::Run(unit) = transactional.begin(&ask(&delivery), later).await.unwrap() else {
        panic!("not begun")
    };
    unit.finish(record()).await.unwrap();
    assert!(slow.finish(record()).await.is_err());
}

#[tokio::test]
async fn a_key_that_moved_meanwhile_is_a_fault() {
    let world = World::new();
    let ledger = leased(&world);
    let (one, other) = (moved("a", 1), super::world::moved_as("move-other", "a", 1));
    let first = begin(&ledger, &one, 0).await;
    let second = begin(&ledger, &other, 0).await;
    first.finish(record()).await.unwrap();
    assert!(second.finish(record()).await.is_err());
}

/// Keeps the keys it was given; fails as often as it is told.
struct Calls {
    keys: Mutex<Vec<(String, u64)>>,
    failures: usize,
}

impl Handler<Payload, Lease> for Calls {
    async fn handle(&self, _: &Admitted<Payload>, lease: &mut Lease) -> Outcome {
        lease.publish(draft(ORDERS, "", r#"{"told":"twice"}"#));
        let mut keys = self.keys.lock().unwrap();
        keys.push((lease.key.clone(), lease.fence));
        if keys.len() > self.failures { Outcome::Done } else { Outcome::Retry("no".into()) }
    }
}

#[tokio::test]
async fn every_attempt_has_the_same_key_and_only_the_last_publishes() {
    let world = World::new();
    let ledger = leased(&world);
    let calls = Calls { keys: Mutex::default(), failures: 2 };
    for minute in 0..2 {
        let settle = run_later(&ledger, &calls, &order(1), minute).await;
        assert!(matches!(settle, Ok(Settle::GiveBack(_))));
    }
    let settle = run_later(&ledger, &calls, &order(1), 2).await;
    assert_eq!(settle, Ok(Settle::Acknowledge(Settled::Done)));
    let keys = calls.keys.lock().unwrap().clone();
    assert_eq!(keys.len(), 3);
    assert!(keys.windows(2).all(|two| two[0].0 == two[1].0 && two[0].1 < two[1].1));
    assert_eq!(world.count("SELECT count(*) FROM chancery_outbox"), 1);
    let record = world.records().pop().unwrap();
    assert_eq!((record.kind, record.attempts), (RecordKind::Done, 2));
    let other = Calls { keys: Mutex::default(), failures: 0 };
    run(&ledger, &other, &order(2)).await.unwrap();
    assert_ne!(other.keys.lock().unwrap()[0].0, keys[0].0);
}

#[tokio::test]
async fn a_leased_gap_waits_too() {
    let world = World::new();
    let ledger = leased(&world);
    let calls = Calls { keys: Mutex::default(), failures: 0 };
    run(&ledger, &calls, &moved("a", 2)).await.unwrap();
    assert!(calls.keys.lock().unwrap().is_empty());
    run(&ledger, &calls, &moved("a", 1)).await.unwrap();
    let due = world.count("SELECT count(*) FROM chancery_kept WHERE due = 1");
    assert_eq!((calls.keys.lock().unwrap().len(), due), (1, 1));
}

// A leased consumer's claim that was cancelled must not make others wait for the lease's end.
#[tokio::test]
async fn a_dropped_unit_gives_its_claim_back() {
    let world = World::new();
    let (one, two) = (leased(&world), Transactional::new(&world.open()).unwrap());
    let delivery = order(1);
    drop(begin(&one, &delivery, 0).await);
    let settle = run(&two, &Effect(Outcome::Done), &delivery).await;
    assert_eq!(settle, Ok(Settle::Acknowledge(Settled::Done)));
}
