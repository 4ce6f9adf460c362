// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ledger and broker come and go under a running consumer. To end would hand everything back to the
//! broker, which counts that against the messages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery::core::claim::ClaimRequest;
use chancery::core::record::Record;
use chancery::core::snapshot::BundleMark;
use chancery::core::{FaultKind, Reader};
use chancery::ports::{Kept, KeptMessage, Stored};
use chancery::{
    Admitted, Begun, ConsumeError, Consumer, Delivery, Fault, Handler, Ledger, Outcome, Publisher,
    Settings, Signals, Source, Timestamp,
};
use chancery_local::{Broker, LocalSource};
use chancery_stores::sqlite::{Database, Transactional, Tx};
use chancery_testkit::world::{BEGINNING, TestClock, World, order, secret};
use serde::de::IgnoredAny;

const EVENTS: u64 = 40;

/// Two calls in a row fail, once in so many.
struct Weather {
    calls: AtomicU32,
    storms: Storms,
}

/// What fails, and in how many calls once.
type Storms = Option<(FaultKind, u32)>;

impl Weather {
    fn call(&self) -> Result<(), Fault> {
        let Some((kind, every)) = self.storms else { return Ok(()) };
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match call >= every && call % every < 2 {
            true => Err(Fault { kind, detail: "it rains".into() }),
            false => Ok(()),
        }
    }
}

struct Leaky<T>(T, Weather);

impl<L: Ledger> Ledger for Leaky<L> {
    type Unit = L::Unit;

    async fn begin(&self, ask: &ClaimRequest, now: Timestamp) -> Result<Begun<L::Unit>, Fault> {
        self.1.call()?;
        self.0.begin(ask, now).await
    }

    async fn keep(&self, kept: &Kept<'_>, record: Record) -> Result<Stored, Fault> {
        self.1.call()?;
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
        self.1.call()?;
        self.0.to_judge_again(group, stream, snapshot, after, max).await
    }

    async fn raise_bundle(&self, bundle: BundleMark) -> Result<BundleMark, Fault> {
        self.0.raise_bundle(bundle).await
    }
}

impl<S: Source> Source for Leaky<S> {
    type Receipt = S::Receipt;

    async fn receive(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, S::Receipt)>, Fault> {
        self.1.call()?;
        self.0.receive(max, wait).await
    }

    async fn acknowledge(&mut self, receipts: Vec<S::Receipt>) -> Result<(), Fault> {
        let told = self.1.call();
        match told {
            Ok(()) => self.0.acknowledge(receipts).await,
            // What cannot be told comes again.
            Err(fault) => {
                for receipt in receipts {
                    self.0.give_back(receipt, Duration::ZERO).await?;
                }
                Err(fault)
            }
        }
    }

    async fn give_back(&mut self, receipt: S::Receipt, delay: Duration) -> Result<(), Fault> {
        self.0.give_back(receipt, delay).await
    }

    async fn pass_over(&mut self, receipts: Vec<(S::Receipt, Duration)>) -> Result<(), Fault> {
        self.0.pass_over(receipts).await
    }
}

struct Row;

impl Handler<IgnoredAny, Tx> for Row {
    async fn handle(&self, event: &Admitted<IgnoredAny>, tx: &mut Tx) -> Outcome {
        match tx.execute("INSERT INTO effect(key) VALUES (?1)", [event.id()]) {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Retry(error.to_string()),
        }
    }
}

struct Stand {
    _dir: tempfile::TempDir,
    broker: Broker,
    database: Database,
    signals: Signals,
    heard: Arc<Mutex<Vec<Fault>>>,
    consumer: Consumer<Leaky<LocalSource>, Leaky<Transactional>>,
}

/// A consumer of events that are there, under this weather.
async fn stand(ledger: Storms, broker_down: Storms, patience: Duration) -> Stand {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(BEGINNING));
    let broker = Broker::open(&dir.path().join("broker")).unwrap().with_clock(clock.clone());
    let snapshots = World::shop().snapshots();
    let (sink, key) = (broker.clone(), secret("svc-orders", 1));
    let publisher =
        Publisher::with_clock(sink, snapshots.clone(), "svc-orders", key, [1; 16], clock.clone())
            .unwrap();
    for number in 0..EVENTS {
        publisher.publish(&order(number, "acme")).await.unwrap();
    }
    let database = Database::open(dir.path().join("service.db")).unwrap();
    let sql = "CREATE TABLE effect(key TEXT)";
    database.connection().unwrap().execute_batch(sql).unwrap();
    let source = broker.subscribe("orders.created", "billing").unwrap();
    let [rain, storm] =
        [ledger, broker_down].map(|storms| Weather { calls: AtomicU32::new(0), storms });
    let ledger = Leaky(Transactional::new(&database).unwrap(), rain);
    let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
    let (signals, heard) = (Signals::default(), Arc::<Mutex<Vec<Fault>>>::default());
    let told = heard.clone();
    let settings = Settings {
        batch_max: 7,
        poll: Duration::from_millis(10),
        handled_max: Some(EVENTS),
        patience,
        ..Settings::default()
    };
    let consumer = Consumer::new(Leaky(source, storm), ledger, snapshots, "orders.created", reader)
        .unwrap()
        .clock(clock)
        .signals(signals.clone())
        .on_fault(move |fault| told.lock().unwrap().push(fault.clone()))
        .settings(settings);
    Stand { _dir: dir, broker, database, signals, heard, consumer }
}

impl Stand {
    fn effects(&self) -> BTreeMap<String, u64> {
        let sql = self.database.connection().unwrap();
        let mut select = sql.prepare("SELECT key, count(*) FROM effect GROUP BY key").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    async fn run(&mut self) -> Result<chancery::Summary, ConsumeError> {
        let run = self.consumer.run::<IgnoredAny, _>(&Row, std::future::pending());
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends")
    }
}

// Threat: our own outage dead-letters the backlog, or handles it twice.
#[tokio::test]
async fn a_ledger_and_a_broker_that_come_and_go_cost_no_message() {
    let patience = Duration::from_secs(60);
    let mut stand =
        stand(Some((FaultKind::Store, 23)), Some((FaultKind::Broker, 5)), patience).await;
    stand.run().await.unwrap();
    let effects = stand.effects();
    assert_eq!(effects.len() as u64, EVENTS);
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
    let heard = stand.heard.lock().unwrap();
    for kind in [FaultKind::Store, FaultKind::Broker] {
        assert!(heard.iter().any(|fault| fault.kind == kind), "no {kind:?} was told of");
        let series = format!("chancery_faults_total{{stream=\"orders.created\",fault=\"{}\"}}", {
            kind.code()
        });
        assert!(stand.signals.exposition().contains(&series));
    }
    drop(heard);
    assert_eq!(stand.database.stats().unwrap().kept.len(), 0, "something was set aside");
    drop(stand.consumer);
    let left = stand.broker.lag("orders.created", "billing").unwrap().messages;
    assert!(left <= 7, "{left} messages were settled and not told of");
}

#[tokio::test]
async fn patience_ends_with_the_last_fault() {
    let mut stand = stand(Some((FaultKind::Store, 23)), None, Duration::ZERO).await;
    let error = stand.run().await.unwrap_err();
    assert!(matches!(error, ConsumeError::Fault(fault) if fault.kind == FaultKind::Store));
}

// Threat: a ledger that was swapped for an empty one is waited out, and then believed.
#[tokio::test]
async fn what_needs_a_person_is_not_waited_out() {
    let hour = Duration::from_secs(3600);
    let mut stand = stand(Some((FaultKind::StoreReset, 23)), None, hour).await;
    let error = stand.run().await.unwrap_err();
    assert!(matches!(error, ConsumeError::Fault(fault) if fault.kind == FaultKind::StoreReset));
}
