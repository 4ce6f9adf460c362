// SPDX-License-Identifier: MIT OR Apache-2.0
//! The service's own database: opened, checked, shared.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery::clock::{Clock, SystemClock};
use chancery_core::text::hex;
use chancery_core::time::{DAY_MS, SECOND_MS};
use chancery_core::{Fault, Timestamp};
use hmac::{Hmac, Mac};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior};
use sha2::Sha256;

use super::claims::State;
use super::findings::{self, Findings};
use super::housekeeping;
use super::identity;
use super::kept::KeptStore;
use super::outbox::Outbox;
use super::tables::{self, Birth};
use super::write::{Pooled, Write};

/// Longest wait for another process's write, in milliseconds: more than a handler may take.
pub(crate) const LOCK_WAIT_MS: u64 = 60_000;
/// Longest wait where nobody should hold a lock for long, in milliseconds.
const BUSY_MS: u64 = 5_000;
/// Idle connections that are kept open.
const POOL_MAX: usize = 8;
/// How often expired rows are looked for, in milliseconds.
const HOUSEKEEPING_MS: i64 = 10 * SECOND_MS;

/// The limits of a database's tables.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Failed attempts before an event is not run again.
    pub attempts_max: u32,
    /// Owners that died with it in hand before an event is not run again.
    pub deaths_max: u32,
    /// Most messages kept per group, producer and tenant.
    pub rows_max: u64,
    /// Most bytes kept per group, producer and tenant.
    pub bytes_max: u64,
    /// Most messages kept per group, stream and key that nobody vouches for.
    pub stranger_rows_max: u64,
    /// Most bytes kept per group, stream and key that nobody vouches for.
    pub stranger_bytes_max: u64,
    /// Most buckets of strangers per group and stream; the others share one more.
    pub stranger_buckets_max: u64,
    /// Records that strangers' refusals get of their own per group, stream, reason and minute.
    pub stranger_records_max: u64,
    /// Longest time that a message is held, in milliseconds; then it is parked.
    pub hold_ms_max: i64,
    /// Records that may wait for the sealer; at this many nothing more is done.
    pub evidence_rows_max: u64,
    /// Largest file, in SQLite's pages (of 4096 bytes unless made otherwise); then as if the disk
    /// were full. `None`: as large as the disk.
    pub pages_max: Option<u32>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            attempts_max: 5,
            deaths_max: 5,
            rows_max: 100_000,
            bytes_max: 1 << 30,
            stranger_rows_max: 1_000,
            stranger_bytes_max: 16 << 20,
            stranger_buckets_max: 16,
            stranger_records_max: 100,
            hold_ms_max: 15 * DAY_MS,
            evidence_rows_max: 1_000_000,
            pages_max: None,
        }
    }
}

/// Counts for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Ledger rows by state: `claimed`, `open`, `done`, `parked`, `held`, `quarantined`,
    /// `discarded`.
    pub ledger: BTreeMap<&'static str, u64>,
    /// Kept messages by stream and disposition (`hold`, `park`, `quarantine`).
    pub kept: BTreeMap<(String, String), u64>,
    /// What ran below `enforce`, by group and stream.
    pub findings: BTreeMap<(String, String), Findings>,
    /// When the oldest held message was first kept.
    pub held_since: Option<Timestamp>,
    /// Records that are not sealed yet.
    pub evidence_pending: u64,
    /// Drafts that wait to be signed and appended.
    pub outbox_pending: u64,
    /// Drafts that no reader could admit.
    pub outbox_refused: u64,
}

/// A service's own database. Cheap to clone; clones share one writer number and one pool.
#[derive(Clone)]
pub struct Database(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) limits: Limits,
    /// Random per boot; names this process in its records.
    pub(crate) writer: String,
    /// Number of the last committed record. Held from numbering a record until its commit.
    pub(crate) numbered: Mutex<u64>,
    key: [u8; 32],
    store_uuid: [u8; 16],
    pool: Mutex<Vec<Pooled>>,
    housekept: Mutex<Timestamp>,
}

impl Database {
    /// Opens the database at `path` with the default limits, and makes what is not there.
    ///
    /// # Errors
    /// A fault if the file is damaged, is not SQLite, was written by a newer version, or is not
    /// the database that was here before.
    pub fn open(path: impl AsRef<Path>) -> Result<Database, Fault> {
        Database::open_with(path, Limits::default())
    }

    /// Opens the database at `path` with these limits.
    ///
    /// # Errors
    /// See [`Database::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: Limits) -> Result<Database, Fault> {
        let path = std::path::absolute(path.as_ref()).map_err(|error| {
            Fault::store(format!("{}: {error}; correct the path", path.as_ref().display()))
        })?;
        let told = |error| told(&path, &error);
        let mut sql = connect(&path).map_err(told)?;
        match tables::format(&sql).map_err(told)? {
            Some(newer) if newer > tables::FORMAT => return Err(too_new(&path, newer)),
            Some(tables::FORMAT) => {}
            _ => {
                let birth = birth()?;
                let mut migrate = || {
                    let all = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    tables::migrate(&all, &birth)?;
                    all.commit()
                };
                migrate().map_err(told)?;
            }
        }
        let (key, store_uuid) = pinned(&sql).map_err(told)?;
        identity::pin(&path, &store_uuid)?;
        let pool = Mutex::new(vec![pooled(sql, &limits).map_err(told)?]);
        let writer = hex(&random::<8>()?);
        Ok(Database(Arc::new(Shared {
            limits,
            writer,
            numbered: Mutex::new(0),
            key,
            store_uuid,
            pool,
            housekept: Mutex::new(Timestamp(i64::MIN)),
            path,
        })))
    }

    /// A connection of the user's own, to make tables with. Not for handlers: those are lent one.
    ///
    /// # Errors
    /// A fault if the file cannot be opened.
    pub fn connection(&self) -> Result<Connection, Fault> {
        connect(&self.0.path).map_err(|error| self.0.told(&error))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Identifies this database among all; random at birth.
    pub fn store_uuid(&self) -> [u8; 16] {
        self.0.store_uuid
    }

    /// Names this process in its records.
    pub fn writer(&self) -> &str {
        &self.0.writer
    }

    /// The messages that were set aside.
    pub fn kept(&self) -> KeptStore<'_> {
        KeptStore(self)
    }

    /// The drafts that wait to be signed and appended.
    pub fn outbox(&self) -> Outbox<'_> {
        Outbox(self)
    }

    /// Forgets what has expired, parks what was held too long, tells of strangers in sums: a small
    /// step of each. Ledgers do this by themselves as they work; a process that stays idle may
    /// call it now and then. Gives whether anything was done.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn housekeep(&self, now: Timestamp) -> Result<bool, Fault> {
        let mut write = self.0.write_blocking()?;
        let worked = self.0.tell(housekeeping::step(&mut write, now))?;
        if worked {
            write.commit()?;
        }
        Ok(worked)
    }

    /// Counts everything. Reads the whole ledger: for a page or a slow metric, not each second.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn stats(&self) -> Result<Stats, Fault> {
        self.0.read(stats)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Shared {
    /// Sixteen bytes that only this database can compute, so that ids in it cannot be guessed or
    /// made to collide from outside.
    pub(crate) fn hash(&self, label: &str, parts: &[Option<&[u8]>]) -> [u8; 16] {
        let mut out = [0; 16];
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return out };
        for part in std::iter::once(Some(label.as_bytes())).chain(parts.iter().copied()) {
            mac.update(&[u8::from(part.is_some())]);
            let part = part.unwrap_or_default();
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        out.copy_from_slice(mac.finalize().into_bytes().split_at(16).0);
        out
    }

    /// The next write transaction. Waits without blocking the thread: whoever holds the lock may
    /// need this thread to let it go.
    pub(crate) async fn write(self: &Arc<Self>) -> Result<Write, Fault> {
        let mut write = Write::new(self.clone(), self.pooled()?);
        let mut waits = Waits::default();
        while !self.tell(write.begin())? {
            tokio::time::sleep(waits.next().ok_or_else(|| self.locked())?).await;
        }
        Ok(write)
    }

    /// The next write transaction, for callers that are not async.
    pub(crate) fn write_blocking(self: &Arc<Self>) -> Result<Write, Fault> {
        self.write_within(LOCK_WAIT_MS)
    }

    pub(crate) fn write_within(self: &Arc<Self>, wait_ms: u64) -> Result<Write, Fault> {
        let mut write = Write::new(self.clone(), self.pooled()?);
        let mut waits = Waits { waited_ms: LOCK_WAIT_MS.saturating_sub(wait_ms) };
        while !self.tell(write.begin())? {
            std::thread::sleep(waits.next().ok_or_else(|| self.locked())?);
        }
        Ok(write)
    }

    /// Reads in one snapshot of the database.
    pub(crate) fn read<T>(
        self: &Arc<Self>,
        of: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Fault> {
        let pooled = self.pooled()?;
        let all = self.tell(pooled.connection.unchecked_transaction());
        let value = all.and_then(|all| self.tell(of(&all)));
        self.put_back(pooled);
        value
    }

    /// Whether it is time to look after old rows and dead owners; then the time counts anew.
    pub(crate) fn housekeeping_is_due(&self, now: Timestamp) -> bool {
        let mut last = lock(&self.housekept);
        let due = now < *last || now - *last >= HOUSEKEEPING_MS;
        if due {
            *last = now;
        }
        due
    }

    fn pooled(&self) -> Result<Pooled, Fault> {
        let idle = lock(&self.pool).pop();
        idle.map_or_else(
            || self.tell(connect(&self.path).and_then(|sql| pooled(sql, &self.limits))),
            Ok,
        )
    }

    pub(crate) fn put_back(&self, pooled: Pooled) {
        let mut pool = lock(&self.pool);
        if pool.len() < POOL_MAX && pooled.connection.is_autocommit() {
            pool.push(pooled);
        }
    }

    pub(crate) fn tell<T>(&self, result: rusqlite::Result<T>) -> Result<T, Fault> {
        result.map_err(|error| self.told(&error))
    }

    pub(crate) fn told(&self, error: &rusqlite::Error) -> Fault {
        told(&self.path, error)
    }

    fn locked(&self) -> Fault {
        let path = self.path.display();
        Fault::store(format!(
            "{path}: another process has held the write lock for {LOCK_WAIT_MS} ms; find it with \
             `fuser {path}`"
        ))
    }
}

/// Pauses between attempts to take the write lock: short at first, together [`LOCK_WAIT_MS`].
#[derive(Default)]
struct Waits {
    waited_ms: u64,
}

impl Iterator for Waits {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let ms = (self.waited_ms / 4).clamp(1, 20);
        self.waited_ms += ms;
        (self.waited_ms <= LOCK_WAIT_MS).then(|| Duration::from_millis(ms))
    }
}

/// A lock that a panic elsewhere does not spoil.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let sql = Connection::open(path)?;
    sql.busy_timeout(Duration::from_millis(BUSY_MS))?;
    switch_to_wal(&sql)?;
    sql.pragma_update(None, "synchronous", "FULL")?;
    sql.pragma_update(None, "foreign_keys", true)?;
    sql.set_prepared_statement_cache_capacity(64);
    Ok(sql)
}

// SQLite's own waiting does not cover this switch: of several that open a new file at once, all
// but one would be told that it is locked.
fn switch_to_wal(sql: &Connection) -> rusqlite::Result<()> {
    let mut waits = Waits::default();
    loop {
        match sql.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                std::thread::sleep(waits.next().ok_or(error)?);
            }
            switched => return switched,
        }
    }
}

fn pooled(sql: Connection, limits: &Limits) -> rusqlite::Result<Pooled> {
    if let Some(pages) = limits.pages_max {
        sql.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Pooled::new(sql)
}

fn birth() -> Result<Birth, Fault> {
    Ok(Birth { store_uuid: random()?, key: random()?, born: SystemClock.now().0 })
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Fault::store(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

fn pinned(sql: &Connection) -> rusqlite::Result<([u8; 32], [u8; 16])> {
    let missing = || rusqlite::Error::QueryReturnedNoRows;
    let key = tables::meta(sql, "key")?.ok_or_else(missing)?;
    Ok((key, tables::meta(sql, "store_uuid")?.ok_or_else(missing)?))
}

fn too_new(path: &Path, format: i64) -> Fault {
    Fault::store(format!(
        "{}: has format {format}, this build knows up to {}; use the newer build that wrote it",
        path.display(),
        tables::FORMAT
    ))
}

/// What failed, where, and what to do about it.
fn told(path: &Path, error: &rusqlite::Error) -> Fault {
    let what_to_do = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "the file is damaged or not SQLite: stop every consumer, restore it from a backup, or \
             move it away and let `sqlite3 FILE .recover` save what it can"
        }
        Some(ErrorCode::DiskFull) => "the disk or the database's page limit is full: make room",
        Some(ErrorCode::CannotOpen) => "create its folder, or correct the path and its permissions",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "allow this user to write it",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process is writing",
        Some(ErrorCode::SystemIoFailure) => "the disk fails: look at the system's log",
        _ => "nothing was committed; report it if it stays",
    };
    Fault::store(format!("{}: {error}; {what_to_do}", path.display()))
}

fn stats(sql: &Connection) -> rusqlite::Result<Stats> {
    let count = |query: &str| sql.query_row(query, [], |row| row.get::<_, u64>(0));
    let mut stats = Stats {
        evidence_pending: count("SELECT count(*) FROM chancery_evidence WHERE idx IS NULL")?,
        outbox_pending: count("SELECT count(*) FROM chancery_outbox WHERE refused IS NULL")?,
        outbox_refused: count("SELECT count(*) FROM chancery_outbox WHERE refused IS NOT NULL")?,
        findings: findings::all(sql)?,
        ..Stats::default()
    };
    let mut ledger = sql.prepare("SELECT state, count(*) FROM chancery_ledger GROUP BY state")?;
    let mut rows = ledger.query([])?;
    while let Some(row) = rows.next()? {
        stats.ledger.insert(row.get::<_, State>(0)?.word(), row.get(1)?);
    }
    let by = "SELECT stream, disposition, count(*) FROM chancery_kept GROUP BY stream, disposition";
    let mut kept = sql.prepare(by)?;
    let mut rows = kept.query([])?;
    while let Some(row) = rows.next()? {
        stats.kept.insert((row.get(0)?, row.get(1)?), row.get(2)?);
    }
    let oldest =
        "SELECT since FROM chancery_kept WHERE disposition = 'hold' ORDER BY since LIMIT 1";
    stats.held_since = sql.query_row(oldest, [], |row| row.get(0)).optional()?.map(Timestamp);
    Ok(stats)
}
