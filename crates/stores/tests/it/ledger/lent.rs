// SPDX-License-Identifier: MIT OR Apache-2.0
//! A handler cannot end, leave or forge the transaction that it was lent.

use chancery::receive::{Settle, Settled};
use chancery::{Admitted, Handler, Outcome, Reason};
use chancery_core::FaultKind;
use chancery_stores::sqlite::{Transactional, Tx};

use super::world::{Effect, Payload, With, World, order, run, run_later};

const DONE: Settle = Settle::Acknowledge(Settled::Done);

#[tokio::test]
async fn what_would_end_leave_or_forge_is_refused() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let handler = With(|tx: &mut Tx| {
        for refused in [
            "BEGIN",
            "COMMIT",
            "END",
            "ROLLBACK",
            "ATTACH ':memory:' AS other",
            "DETACH main",
            "UPDATE chancery_ledger SET state = 2",
            "DELETE FROM CHANCERY_evidence",
            "INSERT INTO chancery_outbox (stream, draft, body, created) VALUES ('', '', x'', 0)",
            "DROP TABLE chancery_kept",
            "ALTER TABLE chancery_kept ADD COLUMN more TEXT",
            "CREATE TEMP TABLE chancery_ledger (id BLOB)",
            "CREATE TEMP VIEW chancery_key AS SELECT 1",
            "CREATE TRIGGER mine AFTER INSERT ON chancery_ledger BEGIN SELECT 1; END",
            "CREATE TEMP TRIGGER mine AFTER INSERT ON chancery_evidence BEGIN SELECT 1; END",
            "CREATE INDEX mine ON chancery_ledger (state)",
            "DROP INDEX chancery_ledger_expires",
            "PRAGMA writable_schema = 1",
            "PRAGMA synchronous = OFF",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA user_version = 7",
        ] {
            let error = tx.execute_batch(refused).expect_err(refused).to_string();
            assert!(error.contains("not authorized"), "{refused}: {error}");
        }
        let trigger = "CREATE TEMP TRIGGER mine AFTER DELETE ON effect
            BEGIN DELETE FROM chancery_evidence; END; DELETE FROM effect;";
        assert!(tx.execute_batch(trigger).is_err());
        tx.execute("INSERT INTO effect VALUES ('after')", []).unwrap();
    });
    assert_eq!(run(&ledger, &handler, &order(1)).await, Ok(DONE));
    assert_eq!(world.count("SELECT count(*) FROM effect WHERE event = 'after'"), 1);
    assert_eq!(world.records().len(), 1);
}

#[tokio::test]
async fn savepoints_work_and_releasing_one_commits_nothing() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let handler = With(|tx: &mut Tx| {
        tx.execute_batch("SAVEPOINT a; INSERT INTO effect VALUES ('no'); ROLLBACK TO a; RELEASE a")
            .unwrap();
        tx.execute_batch("SAVEPOINT b; INSERT INTO effect VALUES ('yes'); RELEASE b").unwrap();
        let columns = tx.query_row("SELECT count(*) FROM pragma_table_info('effect')", [], |row| {
            row.get::<_, i64>(0)
        });
        assert_eq!(columns, Ok(1));
    });
    assert_eq!(run(&ledger, &handler, &order(1)).await, Ok(DONE));
    assert_eq!(world.count("SELECT count(*) FROM effect WHERE event = 'yes'"), 1);
    assert_eq!(world.count("SELECT count(*) FROM effect WHERE event = 'no'"), 0);
}

// `OR ROLLBACK` needs no `ROLLBACK` statement; what follows it would commit on its own.
#[tokio::test]
async fn a_transaction_ended_by_a_conflict_is_a_fault_and_commits_nothing() {
    let world = World::new();
    let database = world.open();
    let sql = database.connection().unwrap();
    sql.execute_batch("CREATE TABLE one (id INTEGER PRIMARY KEY); INSERT INTO one VALUES (1)")
        .unwrap();
    let ledger = Transactional::new(&database).unwrap();
    let handler = With(|tx: &mut Tx| {
        assert!(tx.execute("INSERT OR ROLLBACK INTO one VALUES (1)", []).is_err());
        let _ = tx.execute("INSERT INTO effect VALUES ('stray')", []);
        let draft = super::world::draft(super::world::ORDERS, "", "{}");
        assert!(tx.publish(draft).is_err());
    });
    for minute in 0..5 {
        let fault = run_later(&ledger, &handler, &order(1), minute).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::HandlerEndedTransaction);
    }
    assert_eq!(world.effects(), 0);
    assert_eq!(world.count("SELECT count(*) FROM chancery_outbox"), 0);
    let parked = run(&ledger, &handler, &order(1)).await;
    assert_eq!(parked, Ok(Settle::Acknowledge(Settled::Refused(Reason::Attempts))));
}

// A constraint that is checked at the commit is the handler's doing too; it must not stop its
// consumer for ever.
#[tokio::test]
async fn a_constraint_broken_at_the_commit_is_parked_in_the_end() {
    let world = World::new();
    let database = world.open();
    let sql = database.connection().unwrap();
    sql.execute_batch(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    )
    .unwrap();
    let ledger = Transactional::new(&database).unwrap();
    let handler = With(|tx: &mut Tx| {
        tx.execute("INSERT INTO child VALUES (1)", []).unwrap();
    });
    for minute in 0..5 {
        assert!(run_later(&ledger, &handler, &order(1), minute).await.is_err());
    }
    let parked = run(&ledger, &handler, &order(1)).await;
    assert_eq!(parked, Ok(Settle::Acknowledge(Settled::Refused(Reason::Attempts))));
    assert_eq!(world.effects(), 0);
    assert_eq!(run(&ledger, &Effect(Outcome::Done), &order(2)).await, Ok(DONE));
}

struct Panics;

impl Handler<Payload, Tx> for Panics {
    async fn handle(&self, _: &Admitted<Payload>, tx: &mut Tx) -> Outcome {
        tx.execute("INSERT INTO effect VALUES ('x')", []).unwrap();
        let mut open = tx.prepare("SELECT * FROM effect").unwrap();
        let mut rows = open.query([]).unwrap();
        rows.next().unwrap();
        panic!("poison");
    }
}

#[tokio::test]
async fn a_panic_undoes_everything_and_parks_in_the_end() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    for minute in 0..4 {
        let settle = run_later(&ledger, &Panics, &order(1), minute).await.unwrap();
        assert!(matches!(settle, Settle::GiveBack(_)));
    }
    let settle = run_later(&ledger, &Panics, &order(1), 4).await;
    assert_eq!(settle, Ok(Settle::Acknowledge(Settled::Refused(Reason::Attempts))));
    assert_eq!(world.effects(), 0);
    assert_eq!(world.records().last().unwrap().attempts, 5);
    assert_eq!(run(&ledger, &Effect(Outcome::Done), &order(2)).await, Ok(DONE));
}

#[tokio::test]
async fn a_cancelled_handler_undoes_everything() {
    struct Hangs;
    impl Handler<Payload, Tx> for Hangs {
        async fn handle(&self, _: &Admitted<Payload>, tx: &mut Tx) -> Outcome {
            tx.execute("INSERT INTO effect VALUES ('x')", []).unwrap();
            std::future::pending().await
        }
    }
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let cancelled = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(cancelled, run(&ledger, &Hangs, &order(1))).await.is_err());
    assert_eq!(run(&ledger, &Effect(Outcome::Done), &order(1)).await, Ok(DONE));
    assert_eq!(world.effects(), 1);
}
