// SPDX-License-Identifier: MIT OR Apache-2.0
//! A full disk, a damaged file, a newer file: one clear fault, nothing lost, nothing run.

use chancery::ports::Ledger;
use chancery::receive::{Settle, Settled};
use chancery::{Fault, Outcome};
use chancery_core::FaultKind;
use chancery_stores::sqlite::{Database, Limits, Transactional};

use super::world::{Effect, World, order, run};

const DONE: Settle = Settle::Acknowledge(Settled::Done);
const OK: Effect = Effect(Outcome::Done);

fn is_clear(fault: &Fault, what: &str, world: &World) {
    assert_eq!(fault.kind, FaultKind::Store);
    let path = world.path().display().to_string();
    assert!(fault.detail.contains(&path) && fault.detail.contains(what), "{}", fault.detail);
}

#[tokio::test]
async fn a_full_disk_is_a_fault_and_loses_nothing() {
    let world = World::new();
    let limits = Limits { pages_max: Some(80), ..Limits::default() };
    let ledger = Transactional::new(&world.open_with(limits)).unwrap();
    let mut done = 0;
    let fault = loop {
        match run(&ledger, &OK, &order(done + 1)).await {
            Ok(settle) => assert_eq!(settle, DONE),
            Err(fault) => break fault,
        }
        done += 1;
        assert!(done < 10_000, "it never gets full");
    };
    is_clear(&fault, "make room", &world);
    let park = Effect(Outcome::Park("no".into()));
    for number in done + 1..done + 9 {
        let _ = run(&ledger, &park, &order(number)).await;
    }
    assert!(run(&ledger, &park, &order(done + 9)).await.is_err());
    assert_eq!(world.effects() as u64, done);
    let roomy = Transactional::new(&world.open()).unwrap();
    assert_eq!(run(&roomy, &OK, &order(done + 9)).await, Ok(DONE));
    assert_eq!(world.effects() as u64, done + 1);
    let records = world.records();
    let first = records.iter().filter(|record| record.writer == records[0].writer);
    let numbers: Vec<u64> = first.map(|record| record.wseq).collect();
    assert_eq!(numbers, (1..records.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_is_not_a_database_says_what_to_do() {
    let world = World::new();
    std::fs::write(world.path(), vec![0x41; 8192]).unwrap();
    let _ = std::fs::remove_file(world.folder.path().join("billing.db-wal"));
    let fault = Database::open(world.path()).unwrap_err();
    is_clear(&fault, "restore it from a backup", &world);
}

#[tokio::test]
async fn damaged_pages_are_a_fault_and_run_nothing() {
    let world = World::new();
    {
        let ledger = Transactional::new(&world.open()).unwrap();
        for number in 1..=50 {
            assert_eq!(run(&ledger, &OK, &order(number)).await, Ok(DONE));
        }
    }
    let sql = rusqlite::Connection::open(world.path()).unwrap();
    sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(sql);
    let mut bytes = std::fs::read(world.path()).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0xa5;
    }
    std::fs::write(world.path(), bytes).unwrap();
    let fault = match Database::open(world.path()) {
        Err(fault) => fault,
        Ok(database) => {
            let ledger = Transactional::new(&database).unwrap();
            run(&ledger, &OK, &order(1)).await.unwrap_err()
        }
    };
    is_clear(&fault, "restore it from a backup", &world);
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let world = World::new();
    let sql = world.open().connection().unwrap();
    sql.execute("UPDATE chancery_meta SET value = 4 WHERE name = 'format'", []).unwrap();
    is_clear(&Database::open(world.path()).unwrap_err(), "newer build", &world);
}

/// What an older build made gets the tables that it lacks, and is told from then on.
#[tokio::test]
async fn an_older_format_is_brought_up() {
    let world = World::new();
    let sql = world.open().connection().unwrap();
    let old = "DROP TABLE chancery_latch; DROP TABLE chancery_finding;
               ALTER TABLE chancery_ledger DROP COLUMN signed;
               UPDATE chancery_meta SET value = 1 WHERE name = 'format'";
    sql.execute_batch(old).unwrap();
    let uuid = world.open().store_uuid();
    assert_eq!(world.count("SELECT value FROM chancery_meta WHERE name = 'format'"), 3);
    assert_eq!(world.count("SELECT count(*) FROM chancery_latch"), 0);
    assert_eq!(world.count("SELECT count(signed) FROM chancery_ledger"), 0);
    assert_eq!(world.open().store_uuid(), uuid);
}

#[tokio::test]
async fn a_missing_folder_is_a_fault() {
    let world = World::new();
    let path = world.folder.path().join("no/such/billing.db");
    let fault = Database::open(&path).unwrap_err();
    assert!(fault.detail.contains("create its folder"), "{}", fault.detail);
}

#[tokio::test]
async fn what_is_pinned_at_birth_stays() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    assert_eq!(one.store_uuid(), two.store_uuid());
    assert_ne!(one.writer(), two.writer());
    assert_ne!(World::new().open().store_uuid(), one.store_uuid());
}

// A record that is too large must not let its effect pass without evidence.
#[tokio::test]
async fn a_record_that_is_too_large_commits_nothing() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let huge = Effect(Outcome::DoneWith("x".repeat(1 << 20)));
    assert_eq!(run(&ledger, &huge, &order(1)).await, Ok(DONE));
    assert!(world.records()[0].effects.as_ref().unwrap().starts_with("sha256:"));
    let mut record = world.records().pop().unwrap();
    record.detail = Some("x".repeat(1 << 17));
    assert_eq!(ledger.note(record).await.unwrap_err().kind, FaultKind::Evidence);
    assert_eq!(world.records().len(), 1);
}

/// Without this an attacker who deletes the ledger has replayed everything that the broker keeps.
#[tokio::test]
async fn an_empty_database_in_place_of_the_old_one_is_refused() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    assert_eq!(run(&ledger, &OK, &order(1)).await, Ok(DONE));
    drop(ledger);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", world.path().display()));
    }
    let fault = Database::open(world.path()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::StoreReset);
    assert!(fault.detail.contains("billing.db.id"), "{}", fault.detail);
}

/// Effects without a trace: a sealer that is gone must stop them before the disk is full.
#[tokio::test]
async fn too_many_records_without_a_sealer_stop_the_effects_and_lose_nothing() {
    let world = World::new();
    let limits = Limits { evidence_rows_max: 5, ..Limits::default() };
    let ledger = Transactional::new(&world.open_with(limits)).unwrap();
    for number in 1..=5 {
        assert_eq!(run(&ledger, &OK, &order(number)).await, Ok(DONE));
    }
    let fault = run(&ledger, &OK, &order(6)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Evidence);
    assert!(fault.detail.contains("evidence seal"), "{}", fault.detail);
    assert_eq!(world.effects(), 5);
    let roomy = Transactional::new(&world.open()).unwrap();
    assert_eq!(run(&roomy, &OK, &order(6)).await, Ok(DONE));
}

/// Several consumers of one service are started at once on a new machine.
#[test]
fn many_may_open_a_new_database_at_once() {
    for _ in 0..20 {
        let world = World::new();
        let path = world.folder.path().join("new.db");
        std::thread::scope(|all| {
            let open = || Database::open(&path).map(|database| database.store_uuid());
            let opened: Vec<_> = (0..6).map(|_| all.spawn(open)).collect();
            let mut uuids: Vec<_> =
                opened.into_iter().map(|one| one.join().unwrap().unwrap()).collect();
            uuids.dedup();
            assert_eq!(uuids.len(), 1);
        });
    }
}
