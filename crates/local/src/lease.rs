// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has which message: taking, settling, giving back, and taking from the dead.
//!
//! A message of a key is taken only if no earlier one of its key is left behind, and none of its
//! key is with another owner.

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::convert::size;

/// New messages looked at in one transaction.
const SCAN_MAX: usize = 1_024;
/// A batch larger than this takes no further message.
const BATCH_BYTES_MAX: usize = 32 << 20;
/// Most messages of a batch.
const BATCH_MAX: usize = 1_024;

/// One owner's view of one subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) stream: i64,
    pub(crate) subscription: i64,
    pub(crate) owner: i64,
    /// Milliseconds of the machine's clock.
    pub(crate) now: i64,
}

/// What one transaction takes: offsets and how often each was delivered.
pub(crate) struct Batch {
    pub(crate) taken: Vec<(i64, u32)>,
    /// There are new messages that were not looked at.
    pub(crate) more: bool,
    room: usize,
    bytes: usize,
}

impl Batch {
    pub(crate) fn new(max: usize) -> Batch {
        Batch { taken: Vec::new(), more: false, room: max.min(BATCH_MAX), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.room == 0 || self.bytes >= BATCH_BYTES_MAX
    }

    fn add(&mut self, offset: i64, deliveries: u32, bytes: usize) {
        self.taken.push((offset, deliveries));
        self.room -= 1;
        self.bytes += bytes;
    }
}

/// Makes the subscription if it is missing: its id.
pub(crate) fn subscription(
    tx: &Transaction<'_>,
    stream: i64,
    group: &str,
) -> rusqlite::Result<i64> {
    tx.execute(
        "INSERT INTO subscription (stream, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        (stream, group),
    )?;
    find_subscription(tx, stream, group)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// The subscription's id, if there is one.
pub(crate) fn find_subscription(
    db: &Connection,
    stream: i64,
    group: &str,
) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM subscription WHERE stream = ?1 AND name = ?2")?
        .query_row((stream, group), |row| row.get(0))
        .optional()
}

/// Whether there may be something to take.
pub(crate) fn has_work(db: &Connection, view: &View) -> rusqlite::Result<bool> {
    let mut select = db.prepare_cached(
        "SELECT (SELECT next - 1 FROM stream WHERE id = ?1)
              > (SELECT cursor FROM subscription WHERE id = ?2)
           OR EXISTS (SELECT 1 FROM outstanding WHERE subscription = ?2
                      AND head = 1 AND owner IS NULL AND not_before <= ?3)",
    )?;
    select.query_row((view.stream, view.subscription, view.now), |row| row.get(0))
}

/// When the next message that was given back is due, in milliseconds.
pub(crate) fn next_due(db: &Connection, view: &View) -> rusqlite::Result<Option<i64>> {
    let mut select = db.prepare_cached(
        "SELECT min(not_before) FROM outstanding
         WHERE subscription = ?1 AND head = 1 AND owner IS NULL AND not_before > ?2",
    )?;
    select.query_row((view.subscription, view.now), |row| row.get(0))
}

/// Takes messages that were delivered before or had to wait for their key, longest due first.
pub(crate) fn take_returned(
    tx: &Transaction<'_>,
    view: &View,
    batch: &mut Batch,
) -> rusqlite::Result<()> {
    let mut select = tx.prepare_cached(
        "SELECT offset, key FROM outstanding AS o
         WHERE subscription = ?1 AND head = 1 AND owner IS NULL AND not_before <= ?2
           AND NOT EXISTS (SELECT 1 FROM outstanding AS held WHERE held.subscription = ?1
                           AND held.key = o.key AND held.owner IS NOT NULL AND held.owner <> ?3)
         ORDER BY not_before, offset LIMIT ?4",
    )?;
    let heads = select
        .query_map((view.subscription, view.now, view.owner, batch.room), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<Vec<(i64, Option<Vec<u8>>)>>>()?;
    for (head, key) in heads {
        if batch.is_full() {
            break;
        }
        take_row(tx, view, head, batch)?;
        if let Some(key) = key {
            take_followers(tx, view, head, &key, batch)?;
        }
    }
    Ok(())
}

// The key is with this owner from here on, so what follows in order may come in the same batch.
fn take_followers(
    tx: &Transaction<'_>,
    view: &View,
    head: i64,
    key: &[u8],
    batch: &mut Batch,
) -> rusqlite::Result<()> {
    let mut select = tx.prepare_cached(
        "SELECT offset, owner IS NULL AND not_before <= ?4 FROM outstanding
         WHERE subscription = ?1 AND key = ?2 AND offset > ?3 ORDER BY offset LIMIT ?5",
    )?;
    let followers = select
        .query_map((view.subscription, key, head, view.now, batch.room), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<Vec<(i64, bool)>>>()?;
    for (offset, _) in followers.into_iter().take_while(|(_, free)| *free) {
        if batch.is_full() {
            break;
        }
        take_row(tx, view, offset, batch)?;
    }
    Ok(())
}

fn take_row(
    tx: &Transaction<'_>,
    view: &View,
    offset: i64,
    batch: &mut Batch,
) -> rusqlite::Result<()> {
    let Some(bytes) = size(tx, view.stream, offset)? else {
        return settle(tx, view.subscription, offset, view.now);
    };
    let deliveries = tx
        .prepare_cached(
            "UPDATE outstanding SET owner = ?3, deliveries = min(deliveries + 1, 4294967295)
             WHERE subscription = ?1 AND offset = ?2 RETURNING deliveries",
        )?
        .query_row((view.subscription, offset, view.owner), |row| row.get(0))?;
    batch.add(offset, deliveries, bytes);
    Ok(())
}

/// Takes messages that no receiver of the group has seen, and moves the cursor past them. Those
/// that must wait for an earlier one of their key are noted and passed over.
pub(crate) fn take_fresh(
    tx: &Transaction<'_>,
    view: &View,
    batch: &mut Batch,
) -> rusqlite::Result<()> {
    let mut select = tx.prepare_cached(
        "SELECT offset, key FROM message WHERE stream = ?1
           AND offset > (SELECT cursor FROM subscription WHERE id = ?2)
         ORDER BY offset LIMIT ?3",
    )?;
    let mut rows = select.query((view.stream, view.subscription, SCAN_MAX))?;
    let (mut cursor, mut scanned) = (None, 0);
    while !batch.is_full()
        && let Some(row) = rows.next()?
    {
        let offset = row.get(0)?;
        enter(tx, view, offset, row.get(1)?, batch)?;
        cursor = Some(offset);
        scanned += 1;
    }
    batch.more = scanned == SCAN_MAX;
    if let Some(cursor) = cursor {
        tx.prepare_cached("UPDATE subscription SET cursor = ?2 WHERE id = ?1")?
            .execute((view.subscription, cursor))?;
    }
    Ok(())
}

fn enter(
    tx: &Transaction<'_>,
    view: &View,
    offset: i64,
    key: Option<Vec<u8>>,
    batch: &mut Batch,
) -> rusqlite::Result<()> {
    let lane = key.as_deref().map_or(Ok(Lane::Free), |key| lane(tx, view, key))?;
    let (head, takes) = (lane == Lane::Free, lane != Lane::Waiting);
    let owner = takes.then_some(view.owner);
    tx.prepare_cached(
        "INSERT INTO outstanding (subscription, offset, key, head, owner, not_before, deliveries)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((view.subscription, offset, key, head, owner, view.now, takes))?;
    if takes {
        batch.add(offset, 1, size(tx, view.stream, offset)?.unwrap_or_default());
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Nothing of the key is outstanding.
    Free,
    /// All that is outstanding of the key is with this owner.
    Mine,
    /// Something of the key is with another, or with nobody.
    Waiting,
}

fn lane(tx: &Transaction<'_>, view: &View, key: &[u8]) -> rusqlite::Result<Lane> {
    let mut select = tx.prepare_cached(
        "SELECT owner IS ?3 FROM outstanding WHERE subscription = ?1 AND key = ?2",
    )?;
    let mut rows = select.query((view.subscription, key, view.owner))?;
    let mut lane = Lane::Free;
    while let Some(row) = rows.next()? {
        lane = Lane::Mine;
        if !row.get::<_, bool>(0)? {
            return Ok(Lane::Waiting);
        }
    }
    Ok(lane)
}

/// The message does not come again; the next of its key may.
pub(crate) fn settle(
    tx: &Transaction<'_>,
    subscription: i64,
    offset: i64,
    now: i64,
) -> rusqlite::Result<()> {
    let mut delete = tx.prepare_cached(
        "DELETE FROM outstanding WHERE subscription = ?1 AND offset = ?2 RETURNING key, head",
    )?;
    let gone: Option<(Option<Vec<u8>>, bool)> = delete
        .query_row((subscription, offset), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((Some(key), true)) = gone {
        promote(tx, subscription, &key, now)?;
    }
    Ok(())
}

/// What is now the first of a key may come.
fn promote(tx: &Transaction<'_>, subscription: i64, key: &[u8], now: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE outstanding SET head = 1, not_before = max(not_before, ?3)
         WHERE subscription = ?1 AND offset =
           (SELECT min(offset) FROM outstanding WHERE subscription = ?1 AND key = ?2)",
    )?
    .execute((subscription, key, now))?;
    Ok(())
}

/// Settles the message as soon as no receiver but `owner` has it.
pub(crate) fn settle_unless_held(
    tx: &Transaction<'_>,
    subscription: i64,
    offset: i64,
    owner: Option<i64>,
    now: i64,
) -> rusqlite::Result<()> {
    let held = tx
        .prepare_cached(
            "UPDATE outstanding SET settled = 1 WHERE subscription = ?1 AND offset = ?2
               AND owner IS NOT NULL AND owner IS NOT ?3",
        )?
        .execute((subscription, offset, owner))?;
    if held == 0 { settle(tx, subscription, offset, now) } else { Ok(()) }
}

/// Gives back one delivery of a message, if that delivery is still the owner's.
pub(crate) fn give_back(
    tx: &Transaction<'_>,
    view: &View,
    (offset, deliveries): (i64, u32),
    not_before: i64,
) -> rusqlite::Result<()> {
    let settled: Option<bool> = tx
        .prepare_cached(
            "UPDATE outstanding SET owner = NULL, not_before = ?5
             WHERE subscription = ?1 AND offset = ?2 AND owner = ?3 AND deliveries = ?4
             RETURNING settled",
        )?
        .query_row((view.subscription, offset, view.owner, deliveries, not_before), |row| {
            row.get(0)
        })
        .optional()?;
    match settled {
        Some(true) => settle(tx, view.subscription, offset, view.now),
        _ => Ok(()),
    }
}

/// Gives back one delivery of a message, if that delivery is still the owner's, and takes it out
/// of its key's order for good.
pub(crate) fn pass_over(
    tx: &Transaction<'_>,
    view: &View,
    (offset, deliveries): (i64, u32),
    not_before: i64,
) -> rusqlite::Result<()> {
    let found: Option<(Option<Vec<u8>>, bool)> = tx
        .prepare_cached(
            "SELECT key, head FROM outstanding
             WHERE subscription = ?1 AND offset = ?2 AND owner = ?3 AND deliveries = ?4
               AND settled = 0",
        )?
        .query_row((view.subscription, offset, view.owner, deliveries), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    if let Some((Some(key), head)) = found {
        tx.prepare_cached(
            "UPDATE outstanding SET key = NULL, head = 1 WHERE subscription = ?1 AND offset = ?2",
        )?
        .execute((view.subscription, offset))?;
        if head {
            promote(tx, view.subscription, &key, view.now)?;
        }
    }
    give_back(tx, view, (offset, deliveries), not_before)
}

/// Gives up all that an owner has, in every subscription, and forgets the owner.
pub(crate) fn release_owner(tx: &Transaction<'_>, owner: i64, now: i64) -> rusqlite::Result<()> {
    let mut select = tx.prepare_cached(
        "SELECT subscription, offset FROM outstanding WHERE owner = ?1 AND settled = 1",
    )?;
    let settled = select
        .query_map([owner], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
    for (subscription, offset) in settled {
        settle(tx, subscription, offset, now)?;
    }
    tx.execute("UPDATE outstanding SET owner = NULL WHERE owner = ?1", [owner])?;
    tx.execute("DELETE FROM owner WHERE id = ?1", [owner])?;
    Ok(())
}
