// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages that were set aside, and what operators do with them.

use chancery_core::order::Head;
use chancery_core::record::{Decider, Record, RecordKind};
use chancery_core::text::hex;
use chancery_core::{AppendTime, Delivery, Fault, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::claims::{self, State};
use super::database::Database;
use super::write::Write;

mod codec;
mod keep;
mod quota;

pub(crate) use keep::{delivery, forget, keep, to_judge_again};
pub(crate) use quota::tell_sums;

/// The messages of a database that were set aside. Changes wait for the write lock and block their
/// thread meanwhile: they are for operators' commands, not for a consumer's runtime.
#[derive(Clone, Copy, Debug)]
pub struct KeptStore<'d>(pub(crate) &'d Database);

/// Which kept messages to list; what is `None` matches all.
#[derive(Clone, Debug)]
pub struct KeptFilter {
    /// The consuming group.
    pub group: Option<String>,
    /// The stream.
    pub stream: Option<String>,
    /// `hold`, `park` or `quarantine`.
    pub disposition: Option<String>,
    /// Code of a reason.
    pub reason: Option<String>,
    /// Only rows above this one.
    pub after: i64,
    /// At most this many.
    pub max: usize,
}

impl Default for KeptFilter {
    fn default() -> KeptFilter {
        let (group, stream, disposition, reason) = (None, None, None, None);
        KeptFilter { group, stream, disposition, reason, after: i64::MIN, max: 1_000 }
    }
}

/// What is known of a kept message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEntry {
    /// Its row.
    pub row: i64,
    /// The group that refused it.
    pub group: String,
    /// The stream.
    pub stream: String,
    /// `hold`, `park` or `quarantine`.
    pub disposition: String,
    /// Code of the last reason.
    pub reason: String,
    /// The last reason's detail.
    pub detail: String,
    /// What its header's digest is; not verified unless [`KeptEntry::producer`] is there.
    pub message_id: Option<[u8; 32]>,
    /// The verified producer, if it got as far as a claim.
    pub producer: Option<String>,
    /// The verified tenant.
    pub tenant: Option<String>,
    /// The verified ordering version.
    pub version: Option<u64>,
    /// Where the broker kept it.
    pub position: String,
    /// When the broker first appended it.
    pub appended: AppendTime,
    /// When it was first kept.
    pub since: Timestamp,
    /// When it was last judged.
    pub updated: Timestamp,
    /// Digest of the snapshot that it was last judged against.
    pub snapshot: [u8; 32],
    /// Whether it will be judged again at the next occasion.
    pub due: bool,
    /// Size of everything that is kept of it, in bytes.
    pub bytes: u64,
}

const COLUMNS: &str = "row, grp, stream, disposition, reason, detail, message_id, producer, tenant,
    version, position, appended, clock, since, updated, snapshot, due, bytes";

impl KeptEntry {
    fn read(row: &Row<'_>) -> rusqlite::Result<KeptEntry> {
        let at: Option<i64> = row.get(11)?;
        let clock: String = row.get(12)?;
        let appended = match (clock.as_str(), at.map(Timestamp)) {
            ("broker", Some(at)) => AppendTime::Broker(at),
            ("bounded", Some(at)) => AppendTime::Bounded(at),
            _ => AppendTime::Unknown,
        };
        Ok(KeptEntry {
            row: row.get(0)?,
            group: row.get(1)?,
            stream: row.get(2)?,
            disposition: row.get(3)?,
            reason: row.get(4)?,
            detail: row.get(5)?,
            message_id: row.get(6)?,
            producer: row.get(7)?,
            tenant: row.get(8)?,
            version: row.get(9)?,
            position: row.get(10)?,
            appended,
            since: Timestamp(row.get(13)?),
            updated: Timestamp(row.get(14)?),
            snapshot: row.get(15)?,
            due: row.get(16)?,
            bytes: row.get(17)?,
        })
    }
}

impl KeptStore<'_> {
    /// Lists kept messages, oldest first.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn list(&self, filter: &KeptFilter) -> Result<Vec<KeptEntry>, Fault> {
        self.0.0.read(|sql| {
            let mut select = sql.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM chancery_kept
                 WHERE (?1 IS NULL OR grp = ?1) AND (?2 IS NULL OR stream = ?2)
                     AND (?3 IS NULL OR disposition = ?3) AND (?4 IS NULL OR reason = ?4)
                     AND row > ?5 ORDER BY row LIMIT ?6"
            ))?;
            let KeptFilter { group, stream, disposition, reason, after, max } = filter;
            let asked = params![group, stream, disposition, reason, after, max];
            select.query_map(asked, KeptEntry::read)?.collect()
        })
    }

    /// One kept message, whole.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn show(&self, row: i64) -> Result<Option<(KeptEntry, Delivery)>, Fault> {
        self.0.0.read(|sql| {
            sql.prepare_cached(&format!(
                "SELECT {COLUMNS}, message FROM chancery_kept WHERE row = ?1"
            ))?
            .query_row([row], |row| Ok((KeptEntry::read(row)?, delivery(row, 18)?)))
            .optional()
        })
    }

    /// Lets a message be judged again, with its attempts and deaths forgotten; that it came late
    /// is then no fault. `false`: there is no such row.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn release(&self, row: i64, operator: &str, now: Timestamp) -> Result<bool, Fault> {
        self.decide(row, RecordKind::Release, operator, now, |sql, ledger| {
            sql.execute("UPDATE chancery_kept SET due = 1 WHERE row = ?1", [row])?;
            if let Some((id, content)) = ledger {
                sql.execute(
                    "UPDATE chancery_ledger SET attempts = 0, deaths = 0, timely = 1,
                         lease_until = iif(owner IS NULL, NULL, lease_until)
                     WHERE id = ?1 AND content = ?2 AND state <> ?3",
                    params![id, content, State::Done],
                )?;
            }
            Ok(())
        })
    }

    /// Gives a message up: it is kept no longer, and a verified one that comes again is skipped.
    /// `false`: there is no such row.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn discard(&self, row: i64, operator: &str, now: Timestamp) -> Result<bool, Fault> {
        self.decide(row, RecordKind::Discard, operator, now, |sql, ledger| {
            sql.execute("DELETE FROM chancery_kept WHERE row = ?1", [row])?;
            if let Some((id, content)) = ledger {
                sql.execute(
                    "UPDATE chancery_ledger SET state = ?3, owner = NULL, lease_until = NULL
                     WHERE id = ?1 AND content = ?2 AND state <> ?4",
                    params![id, content, State::Discarded, State::Done],
                )?;
            }
            Ok(())
        })
    }

    /// Makes `key.version` the next version of a key: the only way past a lost one.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn skip_to(
        &self,
        key: &SkipKey<'_>,
        operator: &str,
        now: Timestamp,
    ) -> Result<Skipped, Fault> {
        let shared = &self.0.0;
        let id = claims::key_id(shared, key.group, key.stream, key.tenant, key.key);
        let mut write = shared.write_blocking()?;
        let head = shared.tell(write.sql().and_then(|sql| claims::head(sql, &id)))?;
        let last = head.map_or(0, |head| head.version);
        let Some(skipped) = key.version.checked_sub(1).filter(|version| *version > last) else {
            return Ok(Skipped::Past { last });
        };
        let waiting = shared.tell(write.sql().and_then(|sql| waiting(sql, &id, last)))?;
        let Some(highest) = waiting else { return Ok(Skipped::NothingWaits { last }) };
        if key.version > highest {
            return Ok(Skipped::TooFar { highest });
        }
        let head = Head { version: skipped, message: None, term: head.map_or(0, |h| h.term) };
        shared.tell(write.sql().and_then(|sql| claims::set_head(sql, &id, &head)))?;
        let decider = Decider {
            group: key.group.to_owned(),
            service: "operator".to_owned(),
            build: BUILD.to_owned(),
        };
        let mut record = Record::new(RecordKind::Release, &decider, &[0; 32], now);
        let (stream, key) = (key.stream, hex(&id));
        record.detail = Some(format!("key {key} of `{stream}` goes on after version {skipped}"));
        record.operator = Some(operator.to_owned());
        write.record(record);
        write.commit()?;
        Ok(Skipped::GoesOn)
    }

    fn decide(
        &self,
        row: i64,
        kind: RecordKind,
        operator: &str,
        now: Timestamp,
        change: impl FnOnce(&Connection, Option<([u8; 16], [u8; 16])>) -> rusqlite::Result<()>,
    ) -> Result<bool, Fault> {
        let shared = &self.0.0;
        let mut write = shared.write_blocking()?;
        let Some(kept) = shared.tell(write.sql().and_then(|sql| Decided::read(sql, row)))? else {
            return Ok(false);
        };
        shared.tell(write.sql().and_then(|sql| change(sql, kept.ledger)))?;
        let mut record = kept.record(kind, now);
        record.operator = Some(operator.to_owned());
        write.record(record);
        write.commit()?;
        Ok(true)
    }
}

/// Version of the software, for records that are made here.
const BUILD: &str = concat!("chancery-stores ", env!("CARGO_PKG_VERSION"));

/// An ordering key and the version to go on with.
#[derive(Clone, Copy, Debug)]
pub struct SkipKey<'k> {
    /// The consuming group.
    pub group: &'k str,
    /// The stream.
    pub stream: &'k str,
    /// The tenant, on streams that have tenants.
    pub tenant: Option<&'k str>,
    /// The key.
    pub key: &'k str,
    /// The version that is to be the next.
    pub version: u64,
}

/// What became of a skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// The key goes on with the version that was named.
    GoesOn,
    /// The key is there already, or beyond.
    Past {
        /// Its last version that was done, or skipped.
        last: u64,
    },
    /// Nothing of this key is set aside: there is no gap to skip.
    NothingWaits {
        /// Its last version that was done, or skipped; 0 for a key that is not known.
        last: u64,
    },
    /// A message that only waits for its turn would be lost, or versions that may still come.
    TooFar {
        /// The highest version to go on with.
        highest: u64,
    },
}

/// The highest version that a key may go on with: of what waits for its turn the first, otherwise
/// what follows the last that is set aside.
fn waiting(sql: &Connection, key: &[u8; 16], last: u64) -> rusqlite::Result<Option<u64>> {
    sql.prepare_cached(
        "SELECT ifnull(min(iif(reason IN ('E511_GAP', 'E604_BEHIND_PARKED'), version, NULL)),
                       max(version) + 1)
         FROM chancery_kept
         WHERE okey = ?1 AND version > ?2 AND disposition IN ('park', 'hold')",
    )?
    .query_row(params![key, last], |row| row.get(0))
}

/// A kept message about which something is decided without its consumer.
struct Decided {
    row: i64,
    ledger: Option<([u8; 16], [u8; 16])>,
    snapshot: [u8; 32],
    decider: Decider,
    reason: String,
    delivery: Delivery,
}

impl Decided {
    const SELECT: &str = "SELECT row, ledger, content, snapshot, grp, service, build, reason,
        message FROM chancery_kept";

    fn read(sql: &Connection, row: i64) -> rusqlite::Result<Option<Decided>> {
        sql.prepare_cached(&format!("{} WHERE row = ?1", Decided::SELECT))?
            .query_row([row], Decided::of)
            .optional()
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Decided> {
        let (id, content): (Option<_>, Option<_>) = (row.get(1)?, row.get(2)?);
        Ok(Decided {
            row: row.get(0)?,
            ledger: id.zip(content),
            snapshot: row.get(3)?,
            decider: Decider { group: row.get(4)?, service: row.get(5)?, build: row.get(6)? },
            reason: row.get(7)?,
            delivery: delivery(row, 8)?,
        })
    }

    fn record(&self, kind: RecordKind, now: Timestamp) -> Record {
        let mut record =
            Record::new(kind, &self.decider, &self.snapshot, now).about(&self.delivery);
        record.reason = Some(self.reason.clone());
        record
    }
}

/// Parks what was held longer than `hold_ms_max`. Gives whether there was anything.
pub(crate) fn expire_holds(write: &mut Write, now: Timestamp) -> rusqlite::Result<bool> {
    let limit_ms = write.shared.limits.hold_ms_max;
    let refusal = keep::hold_is_over(limit_ms);
    let over: Vec<Decided> = write
        .sql()?
        .prepare_cached(&format!(
            "{} WHERE disposition = 'hold' AND since < ?1 ORDER BY since LIMIT 50",
            Decided::SELECT
        ))?
        .query_map([now.0.saturating_sub(limit_ms)], Decided::of)?
        .collect::<rusqlite::Result<_>>()?;
    for kept in &over {
        write.sql()?.execute(
            "UPDATE chancery_kept SET disposition = 'park', reason = ?2, detail = ?3, due = 0,
                 updated = ?4 WHERE row = ?1",
            params![kept.row, refusal.reason.code(), refusal.detail, now.0],
        )?;
        write.record(kept.record(RecordKind::Park, now).because(&refusal));
    }
    Ok(!over.is_empty())
}
