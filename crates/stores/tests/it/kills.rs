// SPDX-License-Identifier: MIT OR Apache-2.0
//! kill -9 of a consumer process, at named points and at random: every event exactly once, none
//! lost, none parked as poison, and the evidence holds after each.
//!
//! The consumer is a child process of this test binary. Points are reached through wrappers round
//! the ports, so that the product has no hooks for it. `CHANCERY_KILLS` sets the rounds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chancery::core::claim::ClaimRequest;
use chancery::core::evidence::Signer;
use chancery::core::order::KeyState;
use chancery::core::record::Record;
use chancery::core::snapshot::BundleMark;
use chancery::core::{Reader, Timestamp};
use chancery::ports::{KeptMessage, Stored};
use chancery::{
    Admitted, Begun, Consumer, Delivery, Fault, Handler, Kept, Ledger, Outcome, Publisher,
    Settings, Source, Unit,
};
use chancery_local::{Broker, LocalReceipt, LocalSource};
use chancery_stores::log::{Disk, LogReader, Sealer, verify_dir};
use chancery_stores::sqlite::evidence::SqliteEvidence;
use chancery_stores::sqlite::{Database, Lease, Leased, Transactional, Tx};
use serde::Deserialize;

use chancery_testkit::world::{BEGINNING, TestClock, World, order, secret};

const STREAM: &str = "orders.created";
/// Rounds in a plain test run; `cargo xtask test --soak` asks for 200.
const ROUNDS: u32 = 20;
/// Events that are published before each round.
const EVENTS: u64 = 15;

/// Where a consumer is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Received,
    Claimed,
    EffectWritten,
    BeforeCommit,
    Committed,
    Acknowledged,
    AnyTime,
}

const POINTS: [Point; 7] = [
    Point::Received,
    Point::Claimed,
    Point::EffectWritten,
    Point::BeforeCommit,
    Point::Committed,
    Point::Acknowledged,
    Point::AnyTime,
];

/// Stands still at the n-th time that a point is reached, after saying so; the parent then kills.
struct Fuse {
    at: Point,
    left: AtomicU32,
    marker: PathBuf,
}

impl Fuse {
    fn reach(&self, point: Point) {
        if point == self.at && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            fs::write(&self.marker, b"here").unwrap();
            loop {
                std::thread::park();
            }
        }
    }
}

struct WatchedSource(LocalSource, Arc<Fuse>);

impl Source for WatchedSource {
    type Receipt = LocalReceipt;

    async fn receive(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, LocalReceipt)>, Fault> {
        let batch = self.0.receive(max, wait).await?;
        for _ in &batch {
            self.1.reach(Point::Received);
        }
        Ok(batch)
    }

    async fn acknowledge(&mut self, receipts: Vec<LocalReceipt>) -> Result<(), Fault> {
        let any = !receipts.is_empty();
        self.0.acknowledge(receipts).await?;
        if any {
            self.1.reach(Point::Acknowledged);
        }
        Ok(())
    }

    async fn give_back(&mut self, receipt: LocalReceipt, delay: Duration) -> Result<(), Fault> {
        self.0.give_back(receipt, delay).await
    }

    async fn pass_over(&mut self, receipts: Vec<(LocalReceipt, Duration)>) -> Result<(), Fault> {
        self.0.pass_over(receipts).await
    }
}

struct WatchedLedger<L>(L, Arc<Fuse>);
struct WatchedUnit<U>(U, Arc<Fuse>);

impl<U: Unit> Unit for WatchedUnit<U> {
    type Lent = U::Lent;

    fn key_state(&self) -> &KeyState {
        self.0.key_state()
    }

    fn lend(&mut self) -> &mut U::Lent {
        self.0.lend()
    }

    async fn finish(self, record: Record) -> Result<(), Fault> {
        self.1.reach(Point::BeforeCommit);
        self.0.finish(record).await?;
        self.1.reach(Point::Committed);
        Ok(())
    }
}

impl<L: Ledger> Ledger for WatchedLedger<L> {
    type Unit = WatchedUnit<L::Unit>;

    async fn begin(&self, ask: &ClaimRequest, now: Timestamp) -> Result<Begun<Self::Unit>, Fault> {
        Ok(match self.0.begin(ask, now).await? {
            Begun::Run(unit) => {
                self.1.reach(Point::Claimed);
                Begun::Run(WatchedUnit(unit, self.1.clone()))
            }
            Begun::Known(known) => Begun::Known(known),
        })
    }

    async fn keep(&self, kept: &Kept<'_>, record: Record) -> Result<Stored, Fault> {
        self.0.keep(kept, record).await
    }

    async fn failed(&self, ask: &ClaimRequest, now: Timestamp) -> Result<u32, Fault> {
        self.0.failed(ask, now).await
    }

    async fn note(&self, record: Record) -> Result<(), Fault> {
        self.0.note(record).await
    }

    async fn to_judge_again(
        &self,
        group: &str,
        stream: &str,
        snapshot: &[u8; 32],
        after: i64,
        max: usize,
    ) -> Result<Vec<KeptMessage>, Fault> {
        self.0.to_judge_again(group, stream, snapshot, after, max).await
    }

    async fn raise_bundle(&self, bundle: BundleMark) -> Result<BundleMark, Fault> {
        self.0.raise_bundle(bundle).await
    }
}

#[derive(Deserialize)]
struct Order {
    order_id: String,
}

/// The effect is a row of the handler's own, in the message's transaction.
struct Row(Arc<Fuse>);

impl Handler<Order, Tx> for Row {
    async fn handle(&self, event: &Admitted<Order>, tx: &mut Tx) -> Outcome {
        let order = &event.value().order_id;
        match tx.execute("INSERT INTO effect(key) VALUES (?1)", [order]) {
            Ok(_) => self.0.reach(Point::EffectWritten),
            Err(error) => return Outcome::Retry(error.to_string()),
        }
        Outcome::Done
    }
}

/// The effect is outside: a folder in which a file of the idempotency key's name is made once, whole
/// or not at all, as whoever honours such a key must. What is counted is what each accepted call
/// wrote.
struct Sink(Arc<Fuse>, PathBuf);

impl Handler<Order, Lease> for Sink {
    async fn handle(&self, event: &Admitted<Order>, lease: &mut Lease) -> Outcome {
        // Made and then written, it would be empty after a kill in between, and taken for done.
        let draft = self.1.with_extension(std::process::id().to_string());
        // The name's last file may be an effect by now, under its other name.
        let _ = fs::remove_file(&draft);
        fs::write(&draft, &event.value().order_id).unwrap();
        match fs::hard_link(&draft, self.1.join(&lease.key)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Outcome::Retry(error.to_string()),
        }
        self.0.reach(Point::EffectWritten);
        Outcome::Done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_consumers_of_transactions_do_everything_once() {
    rounds("transactional").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_consumers_under_lease_do_everything_once() {
    rounds("leased").await;
}

async fn rounds(mode: &'static str) {
    let rounds = std::env::var("CHANCERY_KILLS").ok().and_then(|n| n.parse().ok());
    let rounds: u32 = rounds.unwrap_or(ROUNDS);
    let seed: u64 = std::env::var("CHANCERY_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| chancery::Clock::now(&chancery::SystemClock).0.cast_unsigned());
    println!("{mode}: {rounds} rounds, CHANCERY_SEED={seed}");
    let mut random = Random(seed | 1);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("sink")).unwrap();
    let signer = Signer::from_seed("test.example/kills", &[7; 32]).unwrap();
    let mut kills = BTreeMap::new();
    for round in 0..rounds {
        publish(dir, u64::from(round) * EVENTS, EVENTS).await;
        let point = POINTS[random.below(POINTS.len() as u64) as usize];
        let nth = if point == Point::Acknowledged { 1 } else { 2 + random.below(8) as u32 };
        let killed = kill_one(dir, mode, point, nth, random.below(300));
        *kills.entry(format!("{point:?}")).or_insert(0) += u32::from(killed);
        seal_and_verify(dir, &signer);
    }
    let mut last = consumer(dir, mode, Point::AnyTime, u32::MAX);
    assert!(last.wait().unwrap().success(), "the last consumer did not end well");
    seal_and_verify(dir, &signer);
    println!("{mode}: killed {kills:?}");
    assert!(kills.values().sum::<u32>() >= rounds / 2, "too few kills to show anything");

    let wanted: Vec<String> = (0..u64::from(rounds) * EVENTS).map(|n| format!("o_{n}")).collect();
    let mut seen = effects(dir, mode);
    seen.sort_by_key(|key| key[2..].parse::<u64>().unwrap());
    assert_eq!(seen, wanted, "{mode}: each effect once, none lost (seed {seed})");
    let kept = Database::open(dir.join("service.db")).unwrap();
    let kept: i64 = kept
        .connection()
        .unwrap()
        .query_row("SELECT count(*) FROM chancery_kept", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 0, "{mode}: nothing was set aside (seed {seed})");
}

async fn publish(dir: &Path, from: u64, count: u64) {
    let snapshots = World::shop().snapshots();
    let key = secret("svc-orders", 1);
    let (sink, lane) = (broker(dir), [1; 16]);
    let publisher =
        Publisher::with_clock(sink, snapshots, "svc-orders", key, lane, clock()).unwrap();
    let events: Vec<_> = (from..from + count).map(|number| order(number, "acme")).collect();
    publisher.publish_all(&events).await.unwrap();
}

fn broker(dir: &Path) -> Broker {
    Broker::open(&dir.join("broker")).unwrap().with_clock(clock())
}

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(BEGINNING))
}

fn effects(dir: &Path, mode: &str) -> Vec<String> {
    if mode == "leased" {
        let files = fs::read_dir(dir.join("sink")).unwrap();
        return files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    }
    let connection = rusqlite::Connection::open(dir.join("service.db")).unwrap();
    let mut select = connection.prepare("SELECT key FROM effect").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Starts a consumer, kills it where it should be killed; false if it finished before.
fn kill_one(dir: &Path, mode: &str, point: Point, nth: u32, after_ms: u64) -> bool {
    let marker = dir.join("marker");
    let _ = fs::remove_file(&marker);
    let mut child = consumer(dir, mode, point, nth);
    let until = Instant::now() + Duration::from_secs(60);
    let kill_at = Instant::now() + Duration::from_millis(after_ms);
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        let due = point == Point::AnyTime && Instant::now() >= kill_at;
        if due || marker.exists() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        assert!(Instant::now() < until, "the consumer hangs at {point:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn consumer(dir: &Path, mode: &str, point: Point, nth: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--nocapture", "--test-threads", "1"])
        .env("CHANCERY_CHILD_DIR", dir)
        .env("CHANCERY_CHILD_MODE", mode)
        .env("CHANCERY_CHILD_POINT", format!("{point:?}"))
        .env("CHANCERY_CHILD_NTH", nth.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the children run.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(dir) = std::env::var_os("CHANCERY_CHILD_DIR").map(PathBuf::from) else { return };
    let text = |name: &str| std::env::var(name).unwrap();
    let at = POINTS.into_iter().find(|p| format!("{p:?}") == text("CHANCERY_CHILD_POINT"));
    let fuse = Arc::new(Fuse {
        at: at.unwrap(),
        left: AtomicU32::new(text("CHANCERY_CHILD_NTH").parse().unwrap()),
        marker: dir.join("marker"),
    });
    let source = broker(&dir).subscribe(STREAM, "billing").unwrap();
    let source = WatchedSource(source, fuse.clone());
    let database = Database::open(dir.join("service.db")).unwrap();
    let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
    let settings = Settings {
        idle_exit: Some(Duration::from_millis(400)),
        poll: Duration::from_millis(50),
        ..Settings::default()
    };
    if text("CHANCERY_CHILD_MODE") == "leased" {
        let ledger = WatchedLedger(Leased::new(&database).unwrap(), fuse.clone());
        let consumer =
            Consumer::new(source, ledger, World::shop().snapshots(), STREAM, reader).unwrap();
        let sink = Sink(fuse, dir.join("sink"));
        consumer
            .clock(clock())
            .settings(settings)
            .run(&sink, std::future::pending())
            .await
            .unwrap();
    } else {
        let connection = database.connection().unwrap();
        connection.execute_batch("CREATE TABLE IF NOT EXISTS effect(key TEXT)").unwrap();
        let ledger = WatchedLedger(Transactional::new(&database).unwrap(), fuse.clone());
        let consumer =
            Consumer::new(source, ledger, World::shop().snapshots(), STREAM, reader).unwrap();
        consumer
            .clock(clock())
            .settings(settings)
            .run(&Row(fuse), std::future::pending())
            .await
            .unwrap();
    }
}

/// Seals what is pending in `service.db` and verifies the log in `evidence`.
pub(crate) fn seal_and_verify(dir: &Path, signer: &Signer) {
    let folder = dir.join("evidence");
    let disk = Disk::new(&folder);
    let pending = SqliteEvidence::open(&dir.join("service.db")).unwrap();
    let mut sealer = Sealer::open(&disk, pending, signer).unwrap();
    let mut any = false;
    loop {
        let sealed = sealer.seal_once().unwrap();
        any |= sealed.checkpoint.is_some();
        if sealed.records == 0 {
            break;
        }
    }
    if any {
        let report = verify_dir(&folder, signer.verifier(), None, |_, _| {}).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let disk = Disk::new(&folder);
        let reader = LogReader::open(&disk, signer.verifier()).unwrap();
        assert_eq!(reader.records().filter(Result::is_err).count(), 0);
    }
}

/// xorshift64*: seeds are printed, so a failure can be played again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
