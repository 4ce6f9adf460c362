// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets messages aside, and finds those that should be judged again.

use chancery::ports::{Kept, KeptMessage, Stored};
use chancery_core::header::HEADER;
use chancery_core::keys::message_id;
use chancery_core::record::{Record, RecordKind};
use chancery_core::{AppendTime, Delivery, Disposition, Reason, Refusal, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::claims::{self, Ids, State};
use super::super::write::Write;
use super::codec;
use super::quota::{self, Bucket};

/// Keeps a message with its record and ends its claim, or says that its bucket is full. One to
/// skip is not kept, and a copy of it that was kept goes.
pub(crate) fn keep(
    write: &mut Write,
    kept: &Kept<'_>,
    mut record: Record,
    held_by_another: bool,
) -> rusqlite::Result<Stored> {
    let shared = write.shared.clone();
    let limits = &shared.limits;
    let sql = write.sql()?;
    if let (Some(ask), Disposition::Skip) = (kept.ask, kept.refusal.reason.disposition()) {
        forget(sql, kept.group, &kept.delivery.stream, &ask.message_id)?;
        if !ask.standing.is_signed() {
            forget_unproven(sql, kept)?;
        }
        // With some brokers a client chooses the position: a copy may pass for a redelivery.
        let copy = matches!(kept.refusal.reason, Reason::Replay | Reason::Duplicate);
        if !copy || quota::has_own_record(sql, kept, &record, limits.stranger_records_max)? {
            write.record(record);
        }
        return Ok(Stored::Kept);
    }
    let bucket = Bucket::of(kept, &shared);
    let mut this = This::of(kept);
    let existing = this.find(sql)?;
    // Judged again and still to be held, after it was held for too long.
    let over = this.would_hold_again(existing.as_ref(), limits.hold_ms_max);
    let over = over.then(|| hold_is_over(limits.hold_ms_max));
    let kept = &Kept { refusal: over.as_ref().unwrap_or(kept.refusal), ..*kept };
    this.kept = kept;
    if let Some(refusal) = &over {
        record = Record { kind: RecordKind::Park, ..record }.because(refusal);
    }
    let room = match &existing {
        Some(_) => None,
        None => bucket.room(sql, this.message.len() as u64, limits.stranger_buckets_max)?,
    };
    if existing.is_none() && room.is_none() {
        quota::has_own_record(sql, kept, &record, 0)?;
        return Ok(Stored::OverQuota);
    }
    let ids = kept.ask.map(|ask| (ask, Ids::of(ask, &shared)));
    if let Some((ask, ids)) = &ids {
        let state = State::of(kept.refusal.reason.disposition());
        record.attempts = claims::set_aside(sql, ask, ids, state, held_by_another)?;
    }
    let ids = ids.map(|(_, ids)| ids);
    match (&existing, room) {
        (Some(existing), _) => this.update(sql, existing, ids.as_ref(), &record)?,
        (None, Some(bucket)) => this.insert(sql, &bucket, ids.as_ref(), &record)?,
        (None, None) => {}
    }
    // Anyone can append one message again and again; the evidence must not grow with it.
    let copy = existing.is_some_and(|existing| !existing.itself);
    let own = !(copy || bucket.is_strangers())
        || quota::has_own_record(sql, kept, &record, limits.stranger_records_max)?;
    if own {
        write.record(record);
    }
    Ok(Stored::Kept)
}

/// Why a message is held no longer.
pub(crate) fn hold_is_over(hold_ms_max: i64) -> Refusal {
    Refusal::new(Reason::HoldExpired, format!("held for more than {hold_ms_max} ms"))
}

/// The message that is being kept.
struct This<'k> {
    kept: &'k Kept<'k>,
    digest: [u8; 32],
    message_id: Option<[u8; 32]>,
    verified: bool,
    message: Vec<u8>,
}

/// A copy of it that is kept already.
struct Existing {
    row: i64,
    /// Whether it is this very one, judged again, to the last byte. A position proves nothing:
    /// with some brokers the client chooses it.
    itself: bool,
    digest: [u8; 32],
    /// Whether it got as far as a claim.
    claimed: bool,
    /// Whether what it was refused for can be the copy's own fault, so that it must not stand for
    /// one that is held.
    gives_way: bool,
    since: Timestamp,
}

impl<'k> This<'k> {
    fn of(kept: &'k Kept<'k>) -> This<'k> {
        This {
            kept,
            digest: codec::digest(kept.delivery),
            message_id: claimed_id(kept.delivery),
            verified: quota::is_verified(kept),
            message: codec::encode(kept.delivery),
        }
    }

    // A header alone proves nothing: whoever copies it onto other bytes must not get at the row of
    // the message that it was made for. Only a verified copy is looked for by its id.
    fn find(&self, sql: &Connection) -> rusqlite::Result<Option<Existing>> {
        let Kept { group, delivery, .. } = self.kept;
        let columns = "row, message = ?4, digest, ledger IS NOT NULL,
            ledger IS NULL AND disposition = 'quarantine', since";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Existing {
                row: row.get(0)?,
                itself: row.get(1)?,
                digest: row.get(2)?,
                claimed: row.get(3)?,
                gives_way: row.get(4)?,
                since: Timestamp(row.get(5)?),
            })
        };
        if let Some(id) = self.message_id.filter(|_| self.verified) {
            let by_id = sql
                .prepare_cached(&format!(
                    "SELECT {columns} FROM chancery_kept
                     WHERE grp = ?1 AND stream = ?2 AND message_id = ?3 AND verified = 1",
                ))?
                .query_row(params![group, delivery.stream, id, self.message], read)
                .optional()?;
            if by_id.is_some() {
                return Ok(by_id);
            }
        }
        sql.prepare_cached(&format!(
            "SELECT {columns} FROM chancery_kept WHERE grp = ?1 AND stream = ?2 AND digest = ?3",
        ))?
        .query_row(params![group, delivery.stream, self.digest, self.message], read)
        .optional()
    }

    fn holds(&self) -> bool {
        self.kept.refusal.reason.disposition() == Disposition::Hold
    }

    fn would_hold_again(&self, existing: Option<&Existing>, hold_ms_max: i64) -> bool {
        let over = |existing: &Existing| self.kept.now - existing.since > hold_ms_max;
        self.holds() && existing.is_some_and(|existing| existing.itself && over(existing))
    }

    // Its bytes, place and first append time stay, once they have borne a claim. A copy says
    // nothing about the kept one that was not proven under a claim, and its own lateness says
    // nothing at all; but where the kept one can be a forgery that never runs, what a newer
    // snapshot could admit takes its place.
    fn update(
        &self,
        sql: &Connection,
        existing: &Existing,
        ids: Option<&Ids>,
        record: &Record,
    ) -> rusqlite::Result<()> {
        let Kept { group, delivery, refusal, ask, snapshot, now } = self.kept;
        if self.digest != existing.digest {
            // The same message, once kept before it was verified.
            sql.prepare_cached(
                "DELETE FROM chancery_kept
                 WHERE grp = ?1 AND stream = ?2 AND digest = ?3 AND row <> ?4",
            )?
            .execute(params![group, delivery.stream, self.digest, existing.row])?;
        }
        let proven = ask.filter(|ask| ask.standing.is_signed());
        let unproven = ask.is_none() || refusal.reason == Reason::LatePublish;
        let stands_instead = existing.gives_way && self.holds();
        if !existing.itself && unproven && !stands_instead {
            return Ok(());
        }
        if !existing.itself && !existing.claimed {
            self.replace(sql, existing)?;
        }
        sql.prepare_cached(
            "UPDATE chancery_kept SET disposition = ?2, reason = ?3, detail = ?4, updated = ?5,
                 snapshot = ?6, service = ?7, build = ?8, due = ?9, verified = max(verified, ?10),
                 ledger = coalesce(?11, ledger), content = coalesce(?12, content),
                 producer = coalesce(?13, producer), tenant = coalesce(?14, tenant),
                 okey = coalesce(?15, okey), version = coalesce(?16, version)
             WHERE row = ?1",
        )?
        .execute(params![
            existing.row,
            refusal.reason.disposition().word(),
            refusal.reason.code(),
            refusal.detail,
            now.0,
            *snapshot,
            record.service,
            record.build,
            self.is_due(sql, ids)?,
            self.verified,
            ids.map(|ids| ids.id),
            ids.map(|ids| ids.content),
            proven.map(|ask| &ask.producer),
            proven.and_then(|ask| ask.tenant.as_ref()),
            ids.and_then(|ids| ids.moves),
            ask.and_then(|ask| ask.version),
        ])?;
        Ok(())
    }

    // Anyone can append the signed bytes again under a wrong record key or too late. Such a copy,
    // kept first, must not stand for the one that the claim was made with, or that is held. (The
    // room that it takes stays as it was counted.)
    fn replace(&self, sql: &Connection, existing: &Existing) -> rusqlite::Result<()> {
        let delivery = self.kept.delivery;
        sql.prepare_cached(
            "UPDATE chancery_kept
             SET digest = ?2, position = ?3, appended = ?4, clock = ?5, message = ?6, since = ?7
             WHERE row = ?1",
        )?
        .execute(params![
            existing.row,
            self.digest,
            delivery.position,
            delivery.appended.at().map(|at| at.0),
            clock(delivery.appended),
            self.message,
            self.kept.now.0,
        ])?;
        Ok(())
    }

    fn insert(
        &self,
        sql: &Connection,
        bucket: &[u8; 16],
        ids: Option<&Ids>,
        record: &Record,
    ) -> rusqlite::Result<()> {
        let Kept { group, delivery, refusal, ask, snapshot, now } = self.kept;
        let proven = ask.filter(|ask| ask.standing.is_signed());
        sql.prepare_cached(
            "INSERT INTO chancery_kept (grp, stream, digest, message_id, verified, disposition,
                 reason, detail, ledger, content, producer, tenant, okey, version, position,
                 appended, clock, since, updated, snapshot, service, build, due, bucket, bytes,
                 message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)",
        )?
        .execute(params![
            group,
            delivery.stream,
            self.digest,
            self.message_id,
            self.verified,
            refusal.reason.disposition().word(),
            refusal.reason.code(),
            refusal.detail,
            ids.map(|ids| ids.id),
            ids.map(|ids| ids.content),
            proven.map(|ask| &ask.producer),
            proven.and_then(|ask| ask.tenant.as_ref()),
            ids.and_then(|ids| ids.moves),
            ask.and_then(|ask| ask.version),
            delivery.position,
            delivery.appended.at().map(|at| at.0),
            clock(delivery.appended),
            now.0,
            *snapshot,
            record.service,
            record.build,
            self.is_due(sql, ids)?,
            bucket,
            self.message.len(),
            self.message,
        ])?;
        Ok(())
    }

    /// Whether it waits for a version that has come meanwhile.
    fn is_due(&self, sql: &Connection, ids: Option<&Ids>) -> rusqlite::Result<bool> {
        let waits = matches!(self.kept.refusal.reason, Reason::Gap | Reason::BehindParked);
        let (Some(key), true) = (ids.and_then(|ids| ids.moves), waits) else { return Ok(false) };
        let last = claims::head(sql, &key)?.map_or(0, |head| head.version);
        let version = self.kept.ask.and_then(|ask| ask.version).unwrap_or(0);
        Ok(version <= last.saturating_add(1))
    }
}

fn clock(appended: AppendTime) -> &'static str {
    match appended {
        AppendTime::Broker(_) => "broker",
        AppendTime::Bounded(_) => "bounded",
        AppendTime::Unknown => "none",
    }
}

/// The id of a message by its header, which nobody may have verified.
fn claimed_id(delivery: &Delivery) -> Option<[u8; 32]> {
    let header = delivery.fields.iter().find(|field| field.name == HEADER)?;
    Some(message_id(&header.value))
}

/// The message is settled: no copy of it is held or parked any longer. Quarantined ones stay, they
/// may be somebody's forgery of it.
pub(crate) fn forget(
    sql: &Connection,
    group: &str,
    stream: &str,
    message_id: &[u8; 32],
) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "DELETE FROM chancery_kept WHERE grp = ?1 AND stream = ?2 AND message_id = ?3
         AND disposition IN ('hold', 'park')",
    )?
    .execute(params![group, stream, message_id])?;
    Ok(())
}

/// What nobody signed is known by its bytes alone: a copy of it that ran is held no longer.
fn forget_unproven(sql: &Connection, kept: &Kept<'_>) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "DELETE FROM chancery_kept WHERE grp = ?1 AND stream = ?2 AND digest = ?3
         AND verified = 0 AND disposition IN ('hold', 'park')",
    )?
    .execute(params![kept.group, kept.delivery.stream, codec::digest(kept.delivery)])?;
    Ok(())
}

pub(crate) fn to_judge_again(
    sql: &Connection,
    group: &str,
    stream: &str,
    snapshot: &[u8; 32],
    after: i64,
    max: usize,
) -> rusqlite::Result<Vec<KeptMessage>> {
    let mut select = sql.prepare_cached(
        "SELECT row, message FROM chancery_kept
         WHERE grp = ?1 AND stream = ?2 AND row > ?4 AND due = 1
         UNION ALL
         SELECT row, message FROM chancery_kept
         WHERE grp = ?1 AND stream = ?2 AND row > ?4 AND due = 0 AND disposition = 'hold'
             AND (snapshot < ?3 OR snapshot > ?3)
         ORDER BY row LIMIT ?5",
    )?;
    let rows = select.query_map(params![group, stream, snapshot, after, max], |row| {
        Ok(KeptMessage { row: row.get(0)?, delivery: delivery(row, 1)? })
    })?;
    rows.collect()
}

/// A kept delivery's column.
pub(crate) fn delivery(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Delivery> {
    let bytes: Vec<u8> = row.get(at)?;
    let broken =
        || rusqlite::Error::FromSqlConversionFailure(at, Type::Blob, "not a kept message".into());
    codec::decode(&bytes).ok_or_else(broken)
}
