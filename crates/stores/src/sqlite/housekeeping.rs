// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forgets, expires and sums up, a small step at a time.

use chancery_core::Timestamp;

use rusqlite::{Connection, params};

use super::write::Write;
use super::{claims, kept, tables};

/// Rows that are forgotten in one step.
const FORGOTTEN_MAX: usize = 500;

/// One small step of everything. Gives whether there was anything to do.
pub(crate) fn step(write: &mut Write, now: Timestamp) -> rusqlite::Result<bool> {
    let forgotten = forget(write.sql()?, now)?;
    let expired = kept::expire_holds(write, now)?;
    let told = kept::tell_sums(write, now)?;
    Ok(forgotten || expired || told)
}

/// Forgets what has expired, and remembers until when: a horizon that is raised later, or a clock
/// that was wrong, must not make new what may have been done.
fn forget(sql: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    let mut delete = sql.prepare_cached(
        "DELETE FROM chancery_ledger WHERE id IN
             (SELECT id FROM chancery_ledger WHERE expires <= ?1 LIMIT ?2) RETURNING signed",
    )?;
    let rows = delete.query_map(params![claims::day(now), FORGOTTEN_MAX], |row| row.get(0))?;
    let signed: Vec<Option<i64>> = rows.collect::<rusqlite::Result<_>>()?;
    if let Some(until) = signed.iter().flatten().max() {
        sql.prepare_cached(
            "INSERT INTO chancery_meta (name, value) VALUES ('forgotten_until', ?1)
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        )?
        .execute([until])?;
    }
    Ok(!signed.is_empty())
}

/// The latest signing time of anything that was forgotten.
pub(crate) fn forgotten_until(sql: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    Ok(tables::meta(sql, "forgotten_until")?.map(Timestamp))
}
