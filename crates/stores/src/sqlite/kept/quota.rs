// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much may be kept for whom, and how often strangers are written about: nobody's flood may
//! stop another, or fill the evidence.

use chancery::ports::Kept;
use chancery_core::header::{HEADER, SENDER, SIGNATURE, parse};
use chancery_core::record::{Record, RecordKind};
use chancery_core::time::MINUTE_MS;
use chancery_core::{Delivery, Reason, Step, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::database::Shared;
use super::super::write::Write;

/// Sums that are told in one step.
const SUMS_MAX: usize = 100;

/// Whether somebody's known key vouches for the message: it got past the signature, and nothing
/// says that another than who signed it has appended it.
pub(crate) fn is_verified(kept: &Kept<'_>) -> bool {
    let after =
        matches!(kept.refusal.reason.step(), Step::Freshness | Step::Authorize | Step::Validate);
    match kept.ask {
        Some(ask) => ask.standing.is_signed(),
        None => {
            after && claimed_kid(kept.delivery).is_some() && !is_of_another_sender(kept.delivery)
        }
    }
}

/// Whether it came from another login, or from a client that made its sender up.
fn is_of_another_sender(delivery: &Delivery) -> bool {
    let value = |name| delivery.fields.iter().find(|field| field.name == name).map(|it| &it.value);
    let Some(sender) = value(SENDER) else { return false };
    let header = value(HEADER).and_then(|h| std::str::from_utf8(h).ok());
    let header = header.and_then(|h| parse(h).ok());
    header.is_none_or(|header| header.src.as_bytes() != sender)
}

/// Whose room a message takes.
pub(crate) struct Bucket {
    name: [u8; 16],
    /// For strangers, whom they share a last bucket with.
    strangers: Option<String>,
    shared: [u8; 16],
    rows_max: u64,
    bytes_max: u64,
}

impl Bucket {
    /// A claim: the producer's and tenant's own. A verified message without one: its key's. Any
    /// other, and what was signed for another stream: a stranger's, small, of which there are few.
    pub(crate) fn of(kept: &Kept<'_>, shared: &Shared) -> Bucket {
        let limits = &shared.limits;
        let some = |text: &str| Some(text.as_bytes().to_vec());
        let group = some(kept.group);
        let stream = some(&kept.delivery.stream);
        let kid = claimed_kid(kept.delivery).map(|kid| kid.as_bytes().to_vec());
        let hash = |label, parts: [Option<Vec<u8>>; 3]| {
            shared.hash(label, &parts.each_ref().map(Option::as_deref))
        };
        let (rows_max, bytes_max) = (limits.rows_max, limits.bytes_max);
        if let Some(ask) = kept.ask.filter(|ask| ask.standing.is_signed()) {
            let tenant = ask.tenant.as_deref().and_then(some);
            let name = hash("quota/producer", [group, some(&ask.producer), tenant]);
            return Bucket { name, strangers: None, shared: name, rows_max, bytes_max };
        }
        if is_verified(kept) && kept.refusal.reason != Reason::WrongDestination {
            // Whoever has kept old messages can send them all again; that must not fill the bucket
            // of what is held for a newer policy.
            let of = match kept.refusal.reason.step() {
                Step::Freshness => "quota/key/times",
                _ => "quota/key",
            };
            let name = hash(of, [group, stream, kid]);
            return Bucket { name, strangers: None, shared: name, rows_max, bytes_max };
        }
        Bucket {
            name: hash("quota/stranger", [group.clone(), stream.clone(), kid]),
            strangers: Some(format!("{}/{}", kept.group, kept.delivery.stream)),
            shared: hash("quota/strangers", [group, stream, None]),
            rows_max: limits.stranger_rows_max,
            bytes_max: limits.stranger_bytes_max,
        }
    }

    pub(crate) fn is_strangers(&self) -> bool {
        self.strangers.is_some()
    }

    /// The bucket to put `bytes` more into; `None` if it is full.
    pub(crate) fn room(
        &self,
        sql: &Connection,
        bytes: u64,
        buckets_max: u64,
    ) -> rusqlite::Result<Option<[u8; 16]>> {
        let mut name = self.name;
        let mut filled = filled(sql, &name)?;
        if filled.is_none() && self.strangers.is_some() {
            let count = "SELECT count(*) FROM chancery_quota WHERE strangers = ?1";
            let others: u64 =
                sql.prepare_cached(count)?.query_row([&self.strangers], |row| row.get(0))?;
            if others >= buckets_max {
                name = self.shared;
                filled = self::filled(sql, &name)?;
            }
        }
        let (rows, used) = filled.unwrap_or_default();
        if rows >= self.rows_max || used.saturating_add(bytes) > self.bytes_max {
            return Ok(None);
        }
        sql.prepare_cached(
            "INSERT INTO chancery_quota (bucket, strangers, rows, bytes) VALUES (?1, ?2, 0, 0)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![name, self.strangers])?;
        Ok(Some(name))
    }
}

fn filled(sql: &Connection, bucket: &[u8; 16]) -> rusqlite::Result<Option<(u64, u64)>> {
    sql.prepare_cached("SELECT rows, bytes FROM chancery_quota WHERE bucket = ?1")?
        .query_row([bucket], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The key that a signature block names first; nothing about it is believed.
fn claimed_kid(delivery: &Delivery) -> Option<&str> {
    let block = delivery.fields.iter().find(|field| field.name == SIGNATURE)?;
    let block = std::str::from_utf8(&block.value).ok()?;
    let (kid, _) = block.split_once(';')?.1.split_once(':')?;
    (kid.len() == 22).then_some(kid)
}

/// Counts one refusal of a minute; gives whether it gets a record of its own. Otherwise it is
/// told in a sum when the minute is over.
pub(crate) fn has_own_record(
    sql: &Connection,
    kept: &Kept<'_>,
    record: &Record,
    own_max: u64,
) -> rusqlite::Result<bool> {
    let minute = kept.now.0.div_euclid(MINUTE_MS);
    let (stream, reason) = (&kept.delivery.stream, kept.refusal.reason.code());
    let sum = Record { kind: RecordKind::Sum, message: None, detail: None, ..record.clone() };
    let template = sum.encode("", 0).unwrap_or_default();
    sql.prepare_cached(
        "INSERT INTO chancery_sum (grp, stream, reason, minute, own, summed, record)
         VALUES (?1, ?2, ?3, ?4, 0, 0, ?5) ON CONFLICT DO NOTHING",
    )?
    .execute(params![kept.group, stream, reason, minute, template])?;
    let own = sql
        .prepare_cached(
            "UPDATE chancery_sum SET own = own + 1
             WHERE grp = ?1 AND stream = ?2 AND reason = ?3 AND minute = ?4 AND own < ?5",
        )?
        .execute(params![kept.group, stream, reason, minute, own_max])?;
    if own == 0 {
        sql.prepare_cached(
            "UPDATE chancery_sum SET summed = summed + 1
             WHERE grp = ?1 AND stream = ?2 AND reason = ?3 AND minute = ?4",
        )?
        .execute(params![kept.group, stream, reason, minute])?;
    }
    Ok(own > 0)
}

/// Tells of the minutes that are over. Gives whether there were any.
pub(crate) fn tell_sums(write: &mut Write, now: Timestamp) -> rusqlite::Result<bool> {
    let minute = now.0.div_euclid(MINUTE_MS);
    let over: Vec<(String, String, String, i64, u64, Vec<u8>)> = write
        .sql()?
        .prepare_cached(
            "DELETE FROM chancery_sum WHERE (minute, grp, stream, reason) IN
                 (SELECT minute, grp, stream, reason FROM chancery_sum WHERE minute < ?1 LIMIT ?2)
             RETURNING grp, stream, reason, minute, summed, record",
        )?
        .query_map(params![minute, SUMS_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let any = !over.is_empty();
    for (_, stream, _, minute, summed, template) in over {
        let Some(template) = Record::decode(&template).filter(|_| summed > 0) else { continue };
        let at = Timestamp(minute.saturating_mul(MINUTE_MS));
        let detail = format!("{summed} further refusals on `{stream}` in the minute from {at}");
        let at = now.to_string();
        write.record(Record { at, detail: Some(detail), count: Some(summed), ..template });
    }
    Ok(any)
}
