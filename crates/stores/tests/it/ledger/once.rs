// SPDX-License-Identifier: MIT OR Apache-2.0
//! An event runs once, whatever happens in between.

use chancery::Outcome;
use chancery::Reason;
use chancery::ports::{Begun, Ledger, Unit};
use chancery::receive::{Settle, Settled};
use chancery_core::record::{Record, RecordKind};
use chancery_core::time::{DAY_MS, MINUTE_MS};
use chancery_core::{AppendTime, Timestamp};
use chancery_stores::sqlite::Transactional;

use super::world::{self, Effect, NOW, World, ask, order, run, run_at, run_later, snapshot};

const DONE: Settle = Settle::Acknowledge(Settled::Done);

#[tokio::test]
async fn an_event_runs_once_and_its_copies_are_skipped() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let delivery = order(1);
    assert_eq!(run(&ledger, &Effect(Outcome::Done), &delivery).await, Ok(DONE));
    let mut copied = delivery.clone();
    copied.position = "orders.created/999".into();
    for (copy, reason) in [(&delivery, Reason::Duplicate), (&copied, Reason::Replay)] {
        let settle = run(&ledger, &Effect(Outcome::Done), copy).await;
        assert_eq!(settle, Ok(Settle::Acknowledge(Settled::Refused(reason))));
    }
    assert_eq!(world.effects(), 1);
    let kinds: Vec<_> = world.records().iter().map(|r| (r.kind, r.wseq)).collect();
    assert_eq!(kinds, [(RecordKind::Done, 1), (RecordKind::Skip, 2), (RecordKind::Skip, 3)]);
}

// A crash at any point before the commit leaves nothing behind, so the event runs again; after it,
// everything, so it does not.
#[tokio::test]
async fn a_crash_at_each_point_runs_it_exactly_once() {
    for point in ["begun", "lent", "effect", "committed"] {
        let world = World::new();
        let delivery = order(1);
        let ledger = Transactional::new(&world.open()).unwrap();
        let Ok(Begun::Run(mut unit)) = ledger.begin(&ask(&delivery), NOW).await else {
            panic!("{point}: not begun")
        };
        if point != "begun" {
            let tx = unit.lend();
            if point != "lent" {
                tx.execute("INSERT INTO effect VALUES ('x')", []).unwrap();
            }
        }
        if point == "committed" {
            let decider = world::decider();
            unit.finish(Record::new(RecordKind::Done, &decider, &[0; 32], NOW)).await.unwrap();
        } else {
            drop(unit);
        }
        drop(ledger);
        let ledger = Transactional::new(&world.open()).unwrap();
        let again = run(&ledger, &Effect(Outcome::Done), &delivery).await.unwrap();
        assert_eq!(again == DONE, point != "committed", "{point}");
        assert_eq!(world.effects(), 1, "{point}");
    }
}

// Threat: a message failed a moment ago, and a stranger appends copies of it until its attempts
// are used up and it is set aside.
#[tokio::test]
async fn copies_of_what_failed_use_up_no_attempts() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let (delivery, retry) = (order(1), Effect(Outcome::Retry("not now".into())));
    assert!(matches!(run(&ledger, &retry, &delivery).await, Ok(Settle::GiveBack(_))));
    for number in 0..20 {
        let mut copy = delivery.clone();
        copy.position = format!("orders.created/{}", 900 + number);
        let settle = run(&ledger, &retry, &copy).await;
        assert!(matches!(settle, Ok(Settle::GiveBack(_))), "{settle:?}");
    }
    assert_eq!(world.count("SELECT attempts FROM chancery_ledger"), 1);
    assert_eq!(run_later(&ledger, &Effect(Outcome::Done), &delivery, 1).await, Ok(DONE));
}

// A clock that was ahead when it failed, and is right again, holds it back for no longer than any
// failure would.
#[tokio::test]
async fn a_clock_that_was_set_back_holds_nothing_back() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let retry = Effect(Outcome::Retry("not now".into()));
    let ahead = NOW + 2 * DAY_MS;
    let settle = run_at(&ledger, &retry, &order(1), &snapshot(2), ahead).await;
    assert!(matches!(settle, Ok(Settle::GiveBack(_))));
    assert_eq!(run(&ledger, &Effect(Outcome::Done), &order(1)).await, Ok(DONE));
}

// Threat: a clock that runs ahead for an hour, or a horizon that is raised later, makes the ledger
// forget what it still would admit; where the broker keeps no time a captured copy then runs twice.
#[tokio::test]
async fn what_was_forgotten_too_early_does_not_run_again() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let mut delivery = order(1);
    delivery.appended = AppendTime::Unknown;
    assert_eq!(run(&ledger, &Effect(Outcome::Done), &delivery).await, Ok(DONE));
    database.housekeep(Timestamp(NOW.0 + 400 * DAY_MS)).unwrap();
    assert_eq!(world.count("SELECT count(*) FROM chancery_ledger"), 0);
    delivery.position = "orders.created/999".into();
    for _ in 0..2 {
        let settle = run(&ledger, &Effect(Outcome::Done), &delivery).await;
        let refused = Settle::Acknowledge(Settled::Refused(Reason::BeyondHorizon));
        assert_eq!(settle, Ok(refused));
    }
    assert_eq!(world.effects(), 1);
    let later = world::signed(
        &world::draft(world::ORDERS, "order-later", r#"{"item":"hat"}"#),
        &world::shop(),
        NOW + MINUTE_MS,
    );
    assert_eq!(run_later(&ledger, &Effect(Outcome::Done), &later, 1).await, Ok(DONE));
}
