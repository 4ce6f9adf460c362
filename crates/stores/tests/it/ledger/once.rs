// SPDX-License-Identifier: MIT OR Apache-2.0
//! An event runs once, whatever happens in between.

use chancery::Outcome;
use chancery::Reason;
use chancery::ports::{Begun, Ledger, Unit};
use chancery::receive::{Settle, Settled};
use chancery_core::record::{Record, RecordKind};
use chancery_stores::sqlite::Transactional;

use super::world::{self, Effect, NOW, World, ask, order, run};

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
