// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several processes on one file, some of which die.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chancery::ports::{Begun, Known, Ledger};
use chancery::receive::{Settle, Settled};
use chancery::{Admitted, Delivery, Handler, Outcome, Reason};
use chancery_core::seal::{Stamp, build};
use chancery_stores::sqlite::{Database, Leased, Transactional, Tx};

use super::world::{self, Effect, NOW, ORDERS, Payload, World, ask, draft, order, run, snapshot};

const WHAT: &str = "CHANCERY_TEST_CHILD";
const WHERE: &str = "CHANCERY_TEST_DATABASE";
const DONE: Settle = Settle::Acknowledge(Settled::Done);

/// Runs this test binary again, as the process that [`child`] describes.
fn spawn(what: &str, world: &World) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::processes::child", "--nocapture"])
        .env(WHAT, what)
        .env(WHERE, world.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The same message in every process.
fn same_order(number: u64) -> Delivery {
    let id = format!("order-{number:06}");
    let (draft, secret) = (draft(ORDERS, &id, "{}"), world::shop());
    let stamp = Stamp { service: "shop", now: NOW, lane: [7; 16], sequence: number };
    let sealed = build(&draft, &stamp, &snapshot(2)).unwrap().sign(&secret);
    let mut delivery = order(number);
    (delivery.fields, delivery.body) = (sealed.fields, Some(sealed.body));
    delivery.position = format!("{ORDERS}/{number}");
    delivery
}

struct Aborts;

impl Handler<Payload, Tx> for Aborts {
    async fn handle(&self, _: &Admitted<Payload>, tx: &mut Tx) -> Outcome {
        tx.execute("INSERT INTO effect VALUES ('x')", []).unwrap();
        std::process::abort();
    }
}

/// Not a test of its own: what [`spawn`] runs.
#[tokio::test]
async fn child() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let database = Database::open(PathBuf::from(std::env::var(WHERE).unwrap())).unwrap();
    match what.as_str() {
        "abort" => {
            let ledger = Transactional::new(&database).unwrap();
            run(&ledger, &Aborts, &same_order(1)).await.unwrap();
        }
        "race" => {
            let ledger = Transactional::new(&database).unwrap();
            for number in 1..=20 {
                run(&ledger, &Effect(Outcome::Done), &same_order(number)).await.unwrap();
            }
        }
        "hold a lease" => {
            let ledger = Leased::new(&database).unwrap();
            let _unit = ledger.begin(&ask(&same_order(1)), NOW).await.unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn processes_that_race_run_each_event_once() {
    let world = World::new();
    let children: Vec<Child> = (0..3).map(|_| spawn("race", &world)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(world.effects(), 20);
    assert_eq!(world.count("SELECT count(DISTINCT event) FROM effect"), 20);
    assert_eq!(world.records().len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_race_run_each_event_once() {
    let world = World::new();
    let (one, other) = (world.open(), world.open());
    let mut tasks = Vec::new();
    for database in [&one, &one, &other, &other] {
        let ledger = Transactional::new(database).unwrap();
        tasks.push(tokio::spawn(async move {
            for number in 1..=20 {
                run(&ledger, &Effect(Outcome::Done), &same_order(number)).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(world.effects(), 20);
    for database in [&one, &other] {
        let records = world.records();
        let of = records.iter().filter(|record| record.writer == database.writer());
        let numbers: Vec<u64> = of.map(|record| record.wseq).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<u64>>());
    }
}

// On one thread, whoever waits for the write lock must let its holder go on.
#[tokio::test(flavor = "current_thread")]
async fn a_waiting_task_does_not_block_the_holder() {
    struct Slow;
    impl Handler<Payload, Tx> for Slow {
        async fn handle(&self, _: &Admitted<Payload>, tx: &mut Tx) -> Outcome {
            tx.execute("INSERT INTO effect VALUES ('x')", []).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            Outcome::Done
        }
    }
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let (one, two) = (same_order(1), same_order(2));
    let began = Instant::now();
    let both = tokio::join!(run(&ledger, &Slow, &one), run(&ledger, &Slow, &two));
    assert_eq!(both, (Ok(DONE), Ok(DONE)));
    assert!(began.elapsed() < Duration::from_secs(3));
}

// No attempt of a message that aborts its process is ever rolled back by anyone but the kernel, so
// nothing but the file of the dead can tell.
#[tokio::test]
async fn poison_that_kills_its_process_is_parked() {
    let world = World::new();
    for _ in 0..5 {
        assert!(!spawn("abort", &world).wait().unwrap().success());
    }
    let ledger = Transactional::new(&world.open()).unwrap();
    let settle = run(&ledger, &Effect(Outcome::Done), &same_order(1)).await;
    assert_eq!(settle, Ok(Settle::Acknowledge(Settled::Refused(Reason::Attempts))));
    assert_eq!(world.effects(), 0);
    assert_eq!(world.count("SELECT deaths FROM chancery_ledger"), 5);
    let again = Transactional::new(&world.open()).unwrap();
    assert_eq!(run(&again, &Effect(Outcome::Done), &same_order(2)).await, Ok(DONE));
    assert_eq!(world.count("SELECT max(deaths) FROM chancery_ledger"), 5);
}

#[tokio::test]
async fn fewer_deaths_are_forgotten_once_it_is_done() {
    let world = World::new();
    for _ in 0..2 {
        assert!(!spawn("abort", &world).wait().unwrap().success());
    }
    let ledger = Transactional::new(&world.open()).unwrap();
    assert_eq!(world.count("SELECT deaths FROM chancery_ledger"), 2);
    assert_eq!(run(&ledger, &Effect(Outcome::Done), &same_order(1)).await, Ok(DONE));
    assert_eq!(world.count("SELECT deaths FROM chancery_ledger"), 0);
}

// Whoever counts the dead may die between counting and removing what they left.
#[tokio::test]
async fn a_death_is_counted_once_though_its_file_is_found_twice() {
    let world = World::new();
    assert!(!spawn("abort", &world).wait().unwrap().success());
    let owners = world.folder.path().join("billing.db.owners");
    let left = std::fs::read_dir(&owners).unwrap().next().unwrap().unwrap().path();
    let marks = std::fs::read(&left).unwrap();
    for _ in 0..3 {
        std::fs::write(&left, &marks).unwrap();
        drop(Transactional::new(&world.open()).unwrap());
        assert!(!left.exists());
        assert_eq!(world.count("SELECT deaths FROM chancery_ledger"), 1);
    }
}

// Between making its file and locking it, an owner looks dead.
#[tokio::test]
async fn an_owner_that_is_only_coming_is_not_buried() {
    let world = World::new();
    drop(Transactional::new(&world.open()).unwrap());
    let coming = world.folder.path().join("billing.db.owners").join("0123456789abcdef.new");
    std::fs::write(&coming, "").unwrap();
    drop(Transactional::new(&world.open()).unwrap());
    assert!(coming.exists());
}

#[tokio::test]
async fn a_lease_is_kept_while_its_owner_lives_and_over_when_it_is_killed() {
    let world = World::new();
    let mut child = spawn("hold a lease", &world);
    let ledger = Leased::new(&world.open()).unwrap();
    let began = Instant::now();
    while world.count("SELECT count(*) FROM chancery_ledger") == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "the child claims nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    let claim = ask(&same_order(1));
    let busy = ledger.begin(&claim, NOW + 1).await.unwrap();
    assert!(matches!(busy, Begun::Known(Known::Busy { retry_in_ms: 59_999 })));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(ledger.begin(&claim, NOW + 1).await, Ok(Begun::Run(_))));
    assert_eq!(world.count("SELECT deaths FROM chancery_ledger"), 1);
    let owners = std::fs::read_dir(world.folder.path().join("billing.db.owners")).unwrap();
    assert_eq!(owners.count(), 1);
}
