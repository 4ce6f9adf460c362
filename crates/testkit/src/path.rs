// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole path on one broker, from a publisher with its key to an effect in a database: what was
//! published is compared with what was done. A broker's tests name their fixture and call
//! `chancery_testkit::path_suite!(ItsFixture);`, with `chancery-stores` among their dependencies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a test that several crates share"
)]

use std::collections::BTreeMap;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chancery::core::record::{Record, RecordKind};
use chancery::core::{Reader, Timestamp};
use chancery::{
    Admitted, Clock, ConsumeError, Consumer, Handler, Ledger, Outcome, PublishError, Publisher,
    Settings, Sink, Snapshots, Source, SystemClock, Unit,
};
use serde::Deserialize;
use tempfile::TempDir;

use crate::conformance::{Fixture, Place, STREAM};
use crate::world::{World, order_of, secret};

pub mod cases;
pub mod crash;
pub mod faults;
pub mod processes;
mod sqlite;

/// The group that handles.
pub const GROUP: &str = "billing";
/// Longest time for everything that was published to be settled.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is asked whether all is done, and anything is tried again that failed.
const AGAIN: Duration = Duration::from_millis(100);

/// A ledger with a table of effects beside it, in a folder that processes share.
pub trait Store: Send + Sync + 'static {
    /// The ledger.
    type Ledger: Ledger;

    /// Opens it, to grow to so many pages and no further.
    fn ledger(folder: &Path, pages_max: Option<u32>) -> Self::Ledger;

    /// The effect of an event, in what the ledger lends.
    ///
    /// # Errors
    /// What the database says.
    fn effect(lent: &mut Lent<Self>, event: &str) -> Result<(), String>;

    /// The events whose effects are committed, in that order.
    fn effects(folder: &Path) -> Vec<String>;

    /// Disposition and reason of every message that was set aside.
    fn kept(folder: &Path) -> Vec<(String, String)>;

    /// Every record, oldest first.
    fn records(folder: &Path) -> Vec<Record>;
}

/// What a store's ledger lends to handlers.
pub type Lent<S> = <<<S as Store>::Ledger as Ledger>::Unit as Unit>::Lent;
type UnitOf<S> = <<S as Store>::Ledger as Ledger>::Unit;

/// A broker, a ledger, and the producer's own list.
pub struct Stand<F, S> {
    place: String,
    folder: PathBuf,
    world: World,
    published: Vec<String>,
    guard: Option<(Place, TempDir)>,
    of: PhantomData<fn() -> (F, S)>,
}

/// The payload.
#[derive(Deserialize)]
pub struct Order {
    order_id: String,
}

/// Writes each order's effect, then does as its key says: `retry…` fails twice, `park…` is set
/// aside, `abort…` takes the process with it.
pub struct Shop<S> {
    takes: Duration,
    attempts: Mutex<BTreeMap<String, u32>>,
    of: PhantomData<fn() -> S>,
}

impl<S> Shop<S> {
    /// Each order takes so long.
    pub fn slow(takes: Duration) -> Shop<S> {
        Shop { takes, attempts: Mutex::default(), of: PhantomData }
    }
}

impl<S> Default for Shop<S> {
    fn default() -> Shop<S> {
        Shop::slow(Duration::ZERO)
    }
}

impl<S: Store> Handler<Order, Lent<S>> for Shop<S> {
    async fn handle(&self, event: &Admitted<Order>, lent: &mut Lent<S>) -> Outcome {
        tokio::time::sleep(self.takes).await;
        if let Err(why) = S::effect(lent, event.id()) {
            return Outcome::Retry(why);
        }
        let attempts = {
            let mut all = self.attempts.lock().unwrap();
            let of_this = all.entry(event.id().to_owned()).or_default();
            *of_this += 1;
            *of_this
        };
        match event.value().order_id.as_str() {
            key if key.starts_with("abort") => std::process::abort(),
            key if key.starts_with("park") => Outcome::Park("as it was told".into()),
            key if key.starts_with("retry") && attempts < 3 => Outcome::Retry("not yet".into()),
            _ => Outcome::Done,
        }
    }
}

/// The machine's clock, and so much more.
pub struct Later(i64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }
}

/// Ids of so many events, one after another of each key.
pub fn ids(keys: &[&str], each: usize) -> Vec<String> {
    let all = (0..each).flat_map(|n| keys.iter().map(move |key| format!("{key}-{n:08}")));
    all.collect()
}

impl<F: Fixture, S: Store> Stand<F, S> {
    /// An empty broker and an empty database.
    pub fn fresh() -> Self {
        let (place, folder) = (F::fresh(), TempDir::new().unwrap());
        let now = SystemClock.now().0.to_string();
        fs::write(folder.path().join("beginning"), now).unwrap();
        let mut stand = Self::at(&place.name, folder.path());
        stand.guard = Some((place, folder));
        stand
    }

    /// The same from another process.
    pub fn at(place: &str, folder: &Path) -> Self {
        let beginning = fs::read_to_string(folder.join("beginning")).unwrap().parse().unwrap();
        Stand {
            place: place.to_owned(),
            folder: folder.to_owned(),
            world: World::shop_at(Timestamp(beginning)),
            published: Vec::new(),
            guard: None,
            of: PhantomData,
        }
    }

    fn name(&self) -> String {
        format!("{}\n{}", self.place, self.folder.display())
    }

    /// A publisher of the shop's, by a clock that is so far ahead.
    fn publisher<K: Sink>(&self, sink: K, ahead_ms: i64) -> Publisher<K> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let lane = u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
        let (snapshots, key) = (self.world.snapshots(), secret("svc-orders", 1));
        let clock = Arc::new(Later(ahead_ms));
        Publisher::with_clock(sink, snapshots, "svc-orders", key, lane, clock).unwrap()
    }

    /// Publishes these, in batches, and writes them down.
    async fn publish(&mut self, ids: &[String]) {
        let publisher = self.publisher(F::sink(&self.place).await, 0);
        for batch in ids.chunks(64) {
            publish_surely(&publisher, batch).await;
        }
        self.published.extend_from_slice(ids);
    }

    /// A consumer with what it reads from and what it writes into.
    fn consumer<Q, L>(&self, source: Q, ledger: L, snapshots: Snapshots) -> Consumer<Q, L>
    where
        Q: Source,
        L: Ledger,
    {
        let reader = Reader { service: "svc-billing".into(), group: GROUP.into() };
        let settings = Settings {
            batch_max: 100,
            poll: Duration::from_millis(200),
            // The cases run again after a fault, and count how often.
            patience: Duration::ZERO,
            ..Settings::default()
        };
        Consumer::new(source, ledger, snapshots, STREAM, reader).unwrap().settings(settings)
    }

    /// Consumes until it is done.
    async fn consume(&self, shop: &Shop<S>, done: impl Fn(&Self) -> bool + Send + Sync) {
        let source = F::source(&self.place, STREAM, GROUP).await;
        let ledger = S::ledger(&self.folder, None);
        let mut consumer = self.consumer(source, ledger, self.world.snapshots());
        self.run(&mut consumer, shop, done).await;
    }

    /// Runs a consumer until it is done, and again after each fault, as a service does; gives the
    /// faults.
    async fn run<Q, L>(
        &self,
        consumer: &mut Consumer<Q, L>,
        shop: &Shop<S>,
        done: impl Fn(&Self) -> bool + Send + Sync,
    ) -> u32
    where
        Q: Source,
        L: Ledger<Unit = UnitOf<S>>,
    {
        let (started, mut faults) = (Instant::now(), 0);
        loop {
            let stop = async {
                while !done(self) && started.elapsed() < PATIENCE {
                    tokio::time::sleep(AGAIN).await;
                }
            };
            match consumer.run(shop, stop).await {
                Ok(_) if done(self) => return faults,
                Ok(_) => self.gives_up(),
                Err(ConsumeError::Misuse(misuse)) => panic!("{misuse}"),
                Err(ConsumeError::Fault(fault)) => {
                    assert!(started.elapsed() < PATIENCE, "it goes on and on: {fault}");
                    faults += 1;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn gives_up(&self) -> ! {
        let (effects, kept) = (S::effects(&self.folder).len(), S::kept(&self.folder).len());
        let published = self.published.len();
        panic!("{published} published, {effects} done, {kept} set aside, and nothing more comes");
    }

    /// Messages that are done or set aside.
    fn settled(&self) -> usize {
        S::effects(&self.folder).len() + S::kept(&self.folder).len()
    }

    /// Outcomes on record, those of copies among them.
    fn outcomes(&self) -> usize {
        let records = S::records(&self.folder);
        records.iter().filter(|record| record.kind != RecordKind::Snapshot).count()
    }

    /// Compares the producer's own list with the effects: none lost, none doubled, those of a key
    /// in order. `but`: how many of them were not to be done.
    fn all_is_done_once_but(&self, but: impl Fn(&str) -> bool) {
        let wanted: Vec<&String> = self.published.iter().filter(|id| !but(id)).collect();
        let done = S::effects(&self.folder);
        let by_key = |ids: &mut dyn Iterator<Item = &String>| {
            let mut keys = BTreeMap::<String, Vec<String>>::new();
            for id in ids {
                let key = id.rsplit_once('-').unwrap().0.to_owned();
                keys.entry(key).or_default().push(id.clone());
            }
            keys
        };
        let (wanted_of, done_of) = (by_key(&mut wanted.iter().copied()), by_key(&mut done.iter()));
        for (key, ids) in &wanted_of {
            assert_eq!(done_of.get(key), Some(ids), "of {key}: right is what was published");
        }
        assert_eq!(done.len(), wanted.len(), "done, against published");
    }

    fn all_is_done_once(&self) {
        self.all_is_done_once_but(|_| false);
    }
}

/// Publishes a batch, again after each fault, as a producer does that has written down what it
/// owes.
async fn publish_surely<K: Sink>(publisher: &Publisher<K>, ids: &[String]) {
    let key = |id: &str| id.rsplit_once('-').unwrap().0.to_owned();
    let events: Vec<_> = ids.iter().map(|id| order_of(&key(id), id)).collect();
    let started = Instant::now();
    loop {
        match publisher.publish_all(&events).await {
            Ok(published) => return assert_eq!(published.len(), ids.len()),
            Err(PublishError::Fault(fault)) => {
                assert!(started.elapsed() < PATIENCE, "{fault}");
                tokio::time::sleep(AGAIN).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Every case as a test of its own, on the SQLite ledger, and the entry point for child processes.
#[macro_export]
macro_rules! path_suite {
    ($fixture:ty) => {
        $crate::sqlite_store!();
        $crate::path_suite!($fixture, cases:
            everything_is_done_once, what_is_published_twice_is_done_once,
            what_is_refused_is_kept_before_it_is_acknowledged,
            a_retry_keeps_the_order_of_its_key, what_was_held_is_done_once_its_key_is_known,
            the_backlog_of_an_outage_is_not_refused, what_was_signed_long_before_is_refused);
        $crate::path_suite!($fixture, faults:
            a_ledger_that_is_down_costs_nothing, a_full_ledger_costs_nothing,
            a_group_that_changes_does_everything_once,
            a_network_that_fails_does_everything_once);
        $crate::path_suite!($fixture, processes:
            killed_consumers_do_everything_once,
            a_message_that_aborts_its_consumer_stops_nothing_else);

        #[test]
        fn path_child() {
            $crate::path::processes::child::<$fixture, Sqlite>();
        }
    };
    ($fixture:ty, $module:ident: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::path::$module::$case::<$fixture, Sqlite>().await;
            }
        )*
    };
}

/// The cases that kill the server `cargo xtask brokers up NAME` has started, each as a test: for a
/// test program of its own, because nobody else may be at that server meanwhile.
#[macro_export]
macro_rules! crash_suite {
    ($fixture:ty, $server:literal) => {
        $crate::sqlite_store!();
        $crate::crash_suite!($fixture, $server:
            what_was_appended_survives, what_was_acknowledged_stays_so,
            a_server_that_is_killed_does_everything_once);
    };
    ($fixture:ty, $server:literal: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::path::crash::$case::<$fixture, Sqlite>($server).await;
            }
        )*
    };
}
