// SPDX-License-Identifier: MIT OR Apache-2.0
//! The only place that names a broker (`wire/broker.rs`) or a store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use chancery::core::policy::{Rung, Stream, Times};
use chancery::{
    Admitted, Broker, Consumer, Handler, Observer, Outcome, Settings, Signals, Snapshots, Summary,
    Unproven, capability,
};
use chancery_core::{Disposition, Reader};
use chancery_stores::log::{CHECKPOINT, LogError, Pending, Sealer};
use chancery_stores::sqlite::evidence::{SqliteEvidence, backlog};
use chancery_stores::sqlite::{Lease, Leased, Limits};
use serde::de::IgnoredAny;

use crate::cmd::consume::line::{self, Line};
use crate::cmd::consume::{Attempt, Effect};
use crate::exit::{Failure, Result};
use crate::files;
use crate::out::warn;
use crate::project::{Project, Purpose};

mod broker;

pub(crate) use broker::{AnyBroker, require_built};
pub(crate) use chancery_local::{Broker as Local, Unreadable};
pub(crate) use chancery_stores::log::{Break, Disk, LogReader, verify_dir};
pub(crate) use chancery_stores::sqlite::{Database, KeptEntry, KeptFilter, Stats};
pub(crate) use chancery_stores::sqlite::{SkipKey, Skipped};

/// How often the sealer looks for records, and gauges are set.
const SEAL_EVERY: Duration = Duration::from_secs(1);
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// What everything that talks to a broker runs on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().map_err(Failure::bug)
}

/// The embedded broker, if the project has it.
pub(crate) fn local(project: &Project) -> Result<Option<Local>> {
    Ok(project.broker_dir().map(|folder| Local::open(&folder)).transpose()?)
}

/// A service's own database, made if it is not there.
pub(crate) fn database(project: &Project, service: &str) -> Result<Database> {
    database_with(project, service, Limits::default())
}

fn database_with(project: &Project, service: &str, limits: Limits) -> Result<Database> {
    let path = project.database(service);
    if let Some(folder) = path.parent() {
        files::make_folder(folder, 0o700)?;
    }
    Ok(Database::open_with(path, limits)?)
}

/// All that a consumer runs with.
pub(crate) struct Consuming {
    /// The stream.
    pub(crate) stream: String,
    /// Who reads.
    pub(crate) reader: Reader,
    /// What it judges by.
    pub(crate) snapshots: Snapshots,
    /// How it runs.
    pub(crate) settings: Settings,
    /// What it counts into.
    pub(crate) signals: Signals,
    /// How long a message is claimed for.
    pub(crate) lease: Duration,
}

/// Consumes until `stop`, sealing evidence meanwhile and at the end.
pub(crate) async fn consume<E: Effect>(
    project: &Project,
    run: Consuming,
    effect: E,
    stop: impl Future<Output = ()> + Send,
) -> Result<Summary> {
    let Consuming { stream, reader, snapshots, settings, signals, lease } = run;
    let service = reader.service.clone();
    let policy = snapshots.current().policy.clone();
    let rules = policy.streams.get(&stream);
    let enforced = rules.is_none_or(|rules| rules.rung == Rung::Enforce);
    let broker = AnyBroker::connect(project, &service).await?;
    if let Some(rules) = rules.filter(|_| enforced) {
        can_be_kept(project, &broker, &stream, &reader.group, (rules, &policy.times)).await?;
    }
    let hold_ms_max = snapshots.current().policy.times.keep_ms;
    let limits = Limits { hold_ms_max, ..Limits::default() };
    let database = database_with(project, &service, limits)?;
    let _sealing = Sealing::start(project, &service)?;
    let source = broker.subscribe(&stream, &reader.group).await?.with_lease(lease);
    let ledger = Leased::new(&database)?.lease(lease);
    let gauges = Gauges {
        project: project.clone(),
        service: service.clone(),
        broker,
        database,
        stream: stream.clone(),
        group: reader.group.clone(),
        signals: signals.clone(),
    };
    let gauges = tokio::spawn(gauges.run());
    let consumer = Consumer::new(source, ledger, snapshots, &stream, reader)?;
    let told = |fault: &chancery::Fault| warn(&format!("chancery: waiting, nothing lost: {fault}"));
    let mut consumer = consumer.signals(signals).settings(settings).on_fault(told);
    let effect = Leasing(effect);
    let summary = match enforced {
        true => consumer.run::<IgnoredAny, _>(&effect, stop).await,
        false => consumer.run_unproven(&effect, stop).await,
    };
    gauges.abort();
    consumer.close().await;
    Ok(summary?)
}

/// Refuses a stream that the broker is set to break (E901).
async fn can_be_kept(
    project: &Project,
    broker: &AnyBroker,
    stream: &str,
    group: &str,
    (rules, times): (&Stream, &Times),
) -> Result<()> {
    let assumed = project.assumed(stream);
    for promise in assumed {
        let promise = promise.word();
        warn(&format!(
            "chancery: chancery.yaml, assume.{stream}: that its broker keeps `{promise}` is \
             believed where it cannot be read"
        ));
    }
    let live = broker.inspect(stream, Some(group)).await?;
    Ok(capability::require(stream, rules, times, &live, assumed)?)
}

/// Gives an effect what it needs of a lease.
struct Leasing<E>(E);

impl<E: Effect> Leasing<E> {
    async fn run(&self, line: serde_json::Result<Line>, lent: &Lease) -> Outcome {
        let attempt = Attempt { key: lent.key.clone(), fence: lent.fence };
        match line {
            Ok(line) => self.0.run(&line, &attempt).await,
            Err(_) => Outcome::Park("the payload is not one JSON document".to_owned()),
        }
    }
}

impl<E: Effect> Handler<IgnoredAny, Lease> for Leasing<E> {
    async fn handle(&self, event: &Admitted<IgnoredAny>, lent: &mut Lease) -> Outcome {
        self.run(line::admitted(event), lent).await
    }
}

impl<E: Effect> Observer<Lease> for Leasing<E> {
    async fn observe(&self, event: &Unproven, lent: &mut Lease) -> Outcome {
        self.run(line::unproven(event), lent).await
    }
}

struct Gauges {
    project: Project,
    service: String,
    broker: AnyBroker,
    database: Database,
    stream: String,
    group: String,
    signals: Signals,
}

impl Gauges {
    async fn run(self) {
        let this = Arc::new(self);
        loop {
            this.lag().await;
            let at = this.clone();
            // A gauge that cannot be set keeps its last value; the consumer tells of the fault.
            let _ = tokio::task::spawn_blocking(move || at.set()).await;
            tokio::time::sleep(GAUGES_EVERY).await;
        }
    }

    /// A broker that does not tell has no such gauge: 0 would look like "nothing waits".
    async fn lag(&self) {
        let Ok(lag) = self.broker.lag(&self.stream, &self.group).await else { return };
        if let Some(messages) = lag.messages {
            self.signals.gauge("lag_messages", messages as f64);
        }
        let oldest_ms = lag.oldest_ms.or((lag.messages == Some(0)).then_some(0));
        if let Some(oldest_ms) = oldest_ms {
            self.signals.gauge("lag_seconds", oldest_ms as f64 / 1000.0);
        }
    }

    fn set(&self) {
        let Ok(stats) = self.database.stats() else { return };
        self.signals.gauge("evidence_pending", stats.evidence_pending as f64);
        if let Ok(Some(known)) = known(&self.project, &self.service) {
            let size = known.newest.map_or(0, |(size, _)| size);
            self.signals.gauge("evidence_size", size as f64);
        }
        self.signals.gauge("ledger_rows", stats.ledger.values().sum::<u64>() as f64);
        self.signals.gauge("outbox_pending", stats.outbox_pending as f64);
        for disposition in [Disposition::Hold, Disposition::Park, Disposition::Quarantine] {
            let key = (self.stream.clone(), disposition.word().to_owned());
            let kept = stats.kept.get(&key).copied().unwrap_or(0);
            self.signals.kept(&self.stream, disposition, i64::try_from(kept).unwrap_or(i64::MAX));
        }
    }
}

/// The service's sealer, in a thread of its own. Dropping it seals what is left.
pub(crate) struct Sealing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sealing {
    /// Begins. Another process may be the sealer; then this one waits for its turn.
    pub(crate) fn start(project: &Project, service: &str) -> Result<Sealing> {
        project.key(Purpose::Evidence, &project.evidence_origin(service))?.signer()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (project, service, told) = (project.clone(), service.to_owned(), stop.clone());
        let thread = std::thread::Builder::new().name("sealer".to_owned());
        let thread = thread.spawn(move || {
            let mut round = Round { project, service, thorough: true, told: None };
            while !told.load(Ordering::Relaxed) {
                round.run();
                std::thread::park_timeout(SEAL_EVERY);
            }
            round.last();
        });
        Ok(Sealing { stop, thread: Some(thread.map_err(Failure::bug)?) })
    }
}

/// A sealer's rounds. Messages are handled whether they succeed or not; records wait in the
/// database.
struct Round {
    project: Project,
    service: String,
    /// The first round also finishes what an earlier process left.
    thorough: bool,
    /// The failure that was told of last.
    told: Option<Failure>,
}

impl Round {
    fn run(&mut self) {
        let failed = seal(&self.project, &self.service, self.thorough).err();
        self.thorough = false;
        if let Some(failure) = failed.as_ref().filter(|_| failed != self.told) {
            warn(&format!("chancery: evidence is not being sealed: {failure}"));
        }
        self.told = failed;
    }

    /// Seals what is left. Another process may be at it, and end before it has seen the last.
    fn last(&mut self) {
        for _ in 0..10 {
            self.run();
            let known = known(&self.project, &self.service);
            let left = known.is_ok_and(|known| known.is_some_and(|known| known.waiting > 0));
            if !left || self.told.is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Seals what a service has on record; gives how many records that were. Nothing to do if another
/// process is at it. `thorough` looks for rounds that broke off, even if nothing waits.
pub(crate) fn seal(project: &Project, service: &str, thorough: bool) -> Result<u64> {
    let rows = rows(project, service)?;
    if !thorough && waiting(project, service, &rows)? == 0 {
        return Ok(0);
    }
    let folder = project.evidence_dir(service);
    files::make_folder(&folder, 0o700)?;
    let signer = project.key(Purpose::Evidence, &project.evidence_origin(service))?.signer()?;
    let disk = Disk::new(&folder);
    let mut sealer = match Sealer::open(&disk, rows, &signer) {
        Ok(sealer) => sealer,
        Err(LogError::Busy) => return Ok(0),
        Err(error) => return Err(log_failure(&folder, &error)),
    };
    let mut records = 0;
    loop {
        let sealed = sealer.seal_once().map_err(|error| log_failure(&folder, &error))?;
        records += sealed.records;
        if sealed.records == 0 {
            return Ok(records);
        }
    }
}

/// What a service's database knows of its log, to be compared with the files.
pub(crate) struct Known {
    /// Records that are committed and not sealed.
    pub(crate) waiting: u64,
    /// Size and root of the newest checkpoint.
    pub(crate) newest: Option<(u64, [u8; 32])>,
}

/// What the database knows; `None` without a database.
pub(crate) fn known(project: &Project, service: &str) -> Result<Option<Known>> {
    let path = project.database(service);
    if !path.is_file() {
        return Ok(None);
    }
    let mut rows = rows(project, service)?;
    let newest = rows.latest().map_err(|error| database_failure(&path, &error))?;
    let waiting = waiting(project, service, &rows)?;
    Ok(Some(Known { waiting, newest: newest.map(|row| (row.size, row.root)) }))
}

/// Size and root of the checkpoint in a service's log; `None` without one.
pub(crate) fn published(project: &Project, service: &str) -> Result<Option<(u64, [u8; 32])>> {
    let folder = project.evidence_dir(service);
    if !folder.join(CHECKPOINT).exists() {
        return Ok(None);
    }
    let signer = project.key(Purpose::Evidence, &project.evidence_origin(service))?.signer()?;
    let disk = Disk::new(&folder);
    let reader = LogReader::open(&disk, signer.verifier());
    let reader = reader.map_err(|error| log_failure(&folder, &error))?;
    let checkpoint = reader.checkpoint();
    Ok(Some((checkpoint.size, checkpoint.root)))
}

/// What SQLite finds wrong with a file that it was asked to check whole.
pub(crate) fn damage(path: &Path) -> Vec<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let found = rusqlite::Connection::open_with_flags(path, flags).and_then(|sql| {
        let mut check = sql.prepare("PRAGMA integrity_check(10)")?;
        let lines = check.query_map([], |row| row.get::<_, String>(0))?;
        lines.collect::<rusqlite::Result<Vec<String>>>()
    });
    let lines = found.unwrap_or_else(|error| vec![error.to_string()]);
    lines.into_iter().filter(|line| line != "ok").collect()
}

fn rows(project: &Project, service: &str) -> Result<SqliteEvidence> {
    let path = project.database(service);
    SqliteEvidence::open(&path).map_err(|error| database_failure(&path, &error))
}

fn waiting(project: &Project, service: &str, rows: &SqliteEvidence) -> Result<u64> {
    let found = backlog(rows.connection());
    found.map(|found| found.0).map_err(|e| database_failure(&project.database(service), &e))
}

/// A log that cannot be written or read.
pub(crate) fn log_failure(folder: &Path, error: &LogError) -> Failure {
    chancery::Fault::evidence(format!("{}: {error}", folder.display())).into()
}

fn database_failure(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    chancery::Fault::store(format!("{}: {error}", path.display())).into()
}
