// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forgets, expires and sums up, a small step at a time.

use chancery_core::Timestamp;

use super::write::Write;
use super::{claims, kept};

/// Rows that are forgotten in one step.
const FORGOTTEN_MAX: usize = 500;

/// One small step of everything. Gives whether there was anything to do.
pub(crate) fn step(write: &mut Write, now: Timestamp) -> rusqlite::Result<bool> {
    let forgotten = write
        .sql()?
        .prepare_cached(
            "DELETE FROM chancery_ledger WHERE id IN
                 (SELECT id FROM chancery_ledger WHERE expires <= ?1 LIMIT ?2)",
        )?
        .execute(rusqlite::params![claims::day(now), FORGOTTEN_MAX])?;
    let expired = kept::expire_holds(write, now)?;
    let told = kept::tell_sums(write, now)?;
    Ok(forgotten > 0 || expired || told)
}
