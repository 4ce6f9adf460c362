// SPDX-License-Identifier: MIT OR Apache-2.0
//! For operators: what there is, dead letters, and what is too old.

use chancery::{Clock, Live, SystemClock, TimeSource};
use chancery_core::{Delivery, Fault, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::config::{check_group, check_stream};
use crate::consume::LocalSource;
use crate::convert::load;
use crate::lease;
use crate::produce::{Broker, blocking, next_offset, stream_id};

/// Messages moved or deleted in one transaction.
const CHUNK: usize = 256;
/// Most messages of a page.
const PAGE_MAX: usize = 10_000;
/// Bytes after which a page of messages ends.
const PAGE_BYTES_MAX: usize = 32 << 20;
const DEAD_LETTERS: &str = ".dlq";

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStats {
    /// Its name.
    pub name: String,
    /// Messages that it keeps.
    pub messages: u64,
    /// Offset of its oldest message; none if it keeps none.
    pub first_offset: Option<i64>,
    /// Offset that its next message will have.
    pub next_offset: i64,
    /// Groups that have subscribed to it, by name.
    pub groups: Vec<String>,
}

/// A message that cannot be read; it stops every group that comes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its place, as `orders.created/17`.
    pub position: String,
    /// Its row in the table `message`.
    pub row: i64,
    /// What is wrong with it.
    pub why: String,
}

/// What a group has not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages, those in a receiver's hands among them.
    pub messages: u64,
    /// Milliseconds since the oldest of them was appended.
    pub oldest_ms: Option<i64>,
}

impl Broker {
    /// All streams, by name.
    ///
    /// # Errors
    /// A fault of the file.
    pub fn streams(&self) -> Result<Vec<StreamStats>, Fault> {
        self.database().read("list streams", |tx| {
            let mut select = tx.prepare_cached(
                "SELECT id, name, next,
                   (SELECT count(*) FROM message WHERE stream = s.id),
                   (SELECT min(offset) FROM message WHERE stream = s.id)
                 FROM stream AS s ORDER BY name",
            )?;
            let rows = select.query_map([], |row| {
                Ok(StreamStats {
                    groups: groups(tx, row.get(0)?)?,
                    name: row.get(1)?,
                    next_offset: row.get(2)?,
                    messages: row.get(3)?,
                    first_offset: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// How far a group is behind; one that never came has everything before it. A stream that
    /// does not exist has no lag.
    ///
    /// # Errors
    /// A fault of the file.
    pub fn lag(&self, stream: &str, group: &str) -> Result<Lag, Fault> {
        let now = self.clock.now();
        self.database().read("measure a lag", |tx| {
            let Some(stream) = find_stream(tx, stream)? else { return Ok(Lag::default()) };
            lag(tx, stream, lease::find_subscription(tx, stream, group)?, now)
        })
    }

    /// Up to `max` messages from this offset on, read without taking them; `deliveries` is 0.
    /// Fewer come if they are large: go on after the last one.
    ///
    /// # Errors
    /// A fault of the file.
    pub fn browse(&self, stream: &str, from: i64, max: usize) -> Result<Vec<Delivery>, Fault> {
        self.database().read("browse", |tx| {
            let Some(id) = find_stream(tx, stream)? else { return Ok(Vec::new()) };
            let mut page = Vec::new();
            let mut bytes = 0;
            for offset in offsets(tx, id, from, max.min(PAGE_MAX))? {
                let Some(delivery) = load(tx, (id, stream), offset, 0)? else { continue };
                bytes += delivery.body.as_ref().map_or(0, |body| body.len());
                page.push(delivery);
                if bytes >= PAGE_BYTES_MAX {
                    break;
                }
            }
            Ok(page)
        })
    }

    /// Reads everything that is kept, and gives the first `max` messages that cannot be read.
    ///
    /// # Errors
    /// A fault if not even that much can be read of the file.
    pub fn unreadable(&self, max: usize) -> Result<Vec<Unreadable>, Fault> {
        let mut found = Vec::new();
        let mut after = i64::MIN;
        while found.len() < max {
            // In steps, so that a writer's log is not kept from being folded in meanwhile.
            let step = self.database().read("look a file over", |tx| look_over(tx, after))?;
            let Some(last) = step.last else { break };
            after = last;
            found.extend(step.unreadable);
        }
        found.truncate(max);
        Ok(found)
    }

    /// Moves a message that a group has not acknowledged to the stream `<stream>.dlq`: header
    /// fields, key, body and append time as they are; whose it was is kept beside it. It does not
    /// come to the group again. Gives its offset there.
    ///
    /// # Errors
    /// A fault if the group was not given this message, or has settled it, or of the file.
    pub fn dead_letter(&self, stream: &str, group: &str, offset: i64) -> Result<i64, Fault> {
        let dlq = format!("{stream}{DEAD_LETTERS}");
        check_stream(&dlq)?;
        check_group(group)?;
        let (stored, now) = (self.clock.now(), SystemClock.now());
        let moved = self.database().write("dead-letter", |tx| {
            let Some(id) = find_stream(tx, stream)? else { return Ok(None) };
            let Some(subscription) = lease::find_subscription(tx, id, group)? else {
                return Ok(None);
            };
            if !is_outstanding(tx, subscription, offset)? {
                return Ok(None);
            }
            let to = stream_id(tx, &dlq)?;
            let moved = next_offset(tx, to)?;
            let copied = tx.execute(
                "INSERT INTO message (stream, offset, appended, stored, key, fields, body,
                                      dead_group, dead_offset)
                 SELECT ?3, ?4, appended, ?5, key, fields, body, ?6, offset
                 FROM message WHERE stream = ?1 AND offset = ?2",
                (id, offset, to, moved, stored.0, group),
            )?;
            lease::settle_unless_held(tx, subscription, offset, None, now.0)?;
            Ok((copied == 1).then_some(moved))
        })?;
        moved.ok_or_else(|| {
            Fault::broker(format!(
                "group `{}` does not have {}/{offset} in hand; look with `browse` and `lag`",
                group.escape_default(),
                stream.escape_default()
            ))
        })
    }

    /// Appends everything in a `.dlq` stream to the stream that it came from, by the ordinary
    /// append (new offset, new append time), and removes it from the `.dlq` stream. Gives how many.
    ///
    /// # Errors
    /// A fault if the name does not end in `.dlq`, or of the file; what was moved until then
    /// stays moved.
    pub fn redrive(&self, dlq: &str) -> Result<u64, Fault> {
        let Some(stream) = dlq.strip_suffix(DEAD_LETTERS) else {
            let name = dlq.escape_default();
            return Err(Fault::broker(format!("`{name}` is no dead-letter stream: name a `.dlq`")));
        };
        check_stream(stream)?;
        // What arrives meanwhile waits for the next redrive, so that this one ends.
        let end = self.database().read("redrive", |tx| {
            find_stream(tx, dlq)?.map_or(Ok(0), |id| {
                tx.query_row("SELECT next FROM stream WHERE id = ?1", [id], |row| row.get(0))
            })
        })?;
        let mut total = 0;
        loop {
            let now = self.clock.now();
            let moved =
                self.database().write("redrive", |tx| redrive_some(tx, dlq, stream, end, now))?;
            total += moved;
            if moved == 0 {
                return Ok(total);
            }
        }
    }

    /// Deletes what was stored longer ago than the retention, acknowledged or not, and nothing
    /// younger. Gives how many messages.
    ///
    /// # Errors
    /// A fault of the file; what was deleted until then stays deleted.
    pub fn expire(&self, now: Timestamp) -> Result<u64, Fault> {
        let mut total = 0;
        loop {
            let gone = self.expire_some(now)?;
            total += gone;
            if gone == 0 {
                return Ok(total);
            }
        }
    }

    pub(crate) fn expire_some(&self, now: Timestamp) -> Result<u64, Fault> {
        let before = now.0.saturating_sub(self.retention_ms);
        let mut database = self.database();
        let Some(stream) = database.read("look for old messages", |tx| with_old(tx, before))?
        else {
            return Ok(0);
        };
        database.write("delete old messages", |tx| {
            let old = old_offsets(tx, stream, before)?;
            forget(tx, stream, &old)?;
            Ok(u64::try_from(old.len()).unwrap_or(u64::MAX))
        })
    }
}

impl chancery::Broker for Broker {
    type Source = LocalSource;

    /// Makes stream and group if they are missing: the folder has no other operator.
    async fn subscribe(&self, stream: &str, group: &str) -> Result<LocalSource, Fault> {
        let (broker, stream, group) = (self.clone(), stream.to_owned(), group.to_owned());
        blocking(move || broker.subscribe(&stream, &group)).await
    }

    async fn lag(&self, stream: &str, group: &str) -> Result<chancery::Lag, Fault> {
        let (broker, stream, group) = (self.clone(), stream.to_owned(), group.to_owned());
        let lag = blocking(move || broker.lag(&stream, &group)).await?;
        Ok(chancery::Lag { messages: Some(lag.messages), oldest_ms: lag.oldest_ms })
    }

    async fn inspect(&self, _: &str, _: Option<&str>) -> Result<Live, Fault> {
        Ok(Live {
            server: format!("embedded broker (SQLite {})", rusqlite::version()),
            identity: None,
            append_time: TimeSource::Broker,
            findings: Vec::new(),
        })
    }
}

struct Step {
    last: Option<i64>,
    unreadable: Vec<Unreadable>,
}

fn look_over(db: &Connection, after: i64) -> rusqlite::Result<Step> {
    let mut select = db.prepare_cached(
        "SELECT m.rowid, m.stream, s.name, m.offset FROM message AS m JOIN stream AS s
           ON s.id = m.stream WHERE m.rowid > ?1 ORDER BY m.rowid LIMIT ?2",
    )?;
    let mut rows = select.query((after, CHUNK))?;
    let mut step = Step { last: None, unreadable: Vec::new() };
    while let Some(row) = rows.next()? {
        let (at, stream, name, offset) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        step.last = Some(at);
        let name: String = name;
        if let Err(error) = load(db, (stream, &name), offset, 0) {
            let position = format!("{name}/{offset}");
            step.unreadable.push(Unreadable { position, row: at, why: error.to_string() });
        }
    }
    Ok(step)
}

fn find_stream(db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM stream WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn groups(db: &Connection, stream: i64) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached("SELECT name FROM subscription WHERE stream = ?1 ORDER BY name")?
        .query_map([stream], |row| row.get(0))?
        .collect()
}

fn lag(db: &Connection, stream: i64, group: Option<i64>, now: Timestamp) -> rusqlite::Result<Lag> {
    let mut select = db.prepare_cached(
        "SELECT count(*), min(appended) FROM (
           SELECT appended FROM message WHERE stream = ?1
             AND offset > coalesce((SELECT cursor FROM subscription WHERE id = ?2), 0)
           UNION ALL
           SELECT m.appended FROM outstanding AS o
             JOIN message AS m ON m.stream = ?1 AND m.offset = o.offset
             WHERE o.subscription = ?2 AND o.settled = 0)",
    )?;
    select.query_row((stream, group), |row| {
        let oldest: Option<i64> = row.get(1)?;
        let oldest_ms = oldest.map(|appended| now.0.saturating_sub(appended).max(0));
        Ok(Lag { messages: row.get(0)?, oldest_ms })
    })
}

fn offsets(db: &Connection, stream: i64, from: i64, max: usize) -> rusqlite::Result<Vec<i64>> {
    db.prepare_cached(
        "SELECT offset FROM message WHERE stream = ?1 AND offset >= ?2 ORDER BY offset LIMIT ?3",
    )?
    .query_map((stream, from, max), |row| row.get(0))?
    .collect()
}

fn is_outstanding(db: &Connection, subscription: i64, offset: i64) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM outstanding WHERE subscription = ?1 AND offset = ?2 AND settled = 0",
    )?
    .exists((subscription, offset))
}

fn redrive_some(
    tx: &Transaction<'_>,
    dlq: &str,
    stream: &str,
    end: i64,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let Some(from) = find_stream(tx, dlq)? else { return Ok(0) };
    let to = stream_id(tx, stream)?;
    let mut dead = offsets(tx, from, 0, CHUNK)?;
    dead.retain(|offset| *offset < end);
    for offset in &dead {
        let moved = next_offset(tx, to)?;
        tx.prepare_cached(
            "INSERT INTO message (stream, offset, appended, stored, key, fields, body)
             SELECT ?3, ?4, ?5, ?5, key, fields, body
             FROM message WHERE stream = ?1 AND offset = ?2",
        )?
        .execute((from, offset, to, moved, now.0))?;
    }
    forget(tx, from, &dead)?;
    Ok(u64::try_from(dead.len()).unwrap_or(u64::MAX))
}

// A stream whose oldest message is too old. Deletion goes from the oldest end and stops at the
// first that is young enough, so a clock that was wrong once keeps too much, never too little.
fn with_old(db: &Connection, before: i64) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached(
        "SELECT id FROM stream AS s WHERE
           (SELECT stored FROM message WHERE stream = s.id ORDER BY offset LIMIT 1) < ?1 LIMIT 1",
    )?
    .query_row([before], |row| row.get(0))
    .optional()
}

fn old_offsets(db: &Connection, stream: i64, before: i64) -> rusqlite::Result<Vec<i64>> {
    let mut select = db.prepare_cached(
        "SELECT offset, stored FROM message WHERE stream = ?1 ORDER BY offset LIMIT ?2",
    )?;
    let mut rows = select.query((stream, CHUNK))?;
    let mut old = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? >= before {
            break;
        }
        old.push(row.get(0)?);
    }
    Ok(old)
}

fn forget(tx: &Transaction<'_>, stream: i64, offsets: &[i64]) -> rusqlite::Result<()> {
    let now = SystemClock.now();
    let groups = tx
        .prepare_cached("SELECT id FROM subscription WHERE stream = ?1")?
        .query_map([stream], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for offset in offsets {
        tx.prepare_cached("DELETE FROM message WHERE stream = ?1 AND offset = ?2")?
            .execute((stream, offset))?;
        for group in &groups {
            lease::settle_unless_held(tx, *group, *offset, None, now.0)?;
        }
    }
    Ok(())
}
