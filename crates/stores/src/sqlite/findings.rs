// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `enforce` would have refused, counted in the commit of what ran all the same.

use std::collections::BTreeMap;

use chancery_core::record::Record;
use chancery_core::time::parse_rfc3339;
use chancery_core::{Reason, Timestamp};
use rusqlite::{Connection, params};

/// The rows that are no reason's: all that ran, and those of them that had findings.
const RAN: &str = "ran";
const BLOCKED: &str = "blocked";

/// What ran on one stream below `enforce`, for one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages that ran.
    pub ran: u64,
    /// Those of them that `enforce` would have refused.
    pub would_refuse: u64,
    /// Findings by reason, and when each was last found; a message may have several.
    pub reasons: BTreeMap<Reason, (u64, Timestamp)>,
}

/// Counts what a record tells of a message that ran below `enforce`.
pub(crate) fn count(sql: &Connection, record: &Record) -> rusqlite::Result<()> {
    let (Some(unproven), Some(message)) = (&record.unproven, &record.message) else {
        return Ok(());
    };
    let at = parse_rfc3339(&record.at).map_or(0, |at| at.0);
    let blocked = (!unproven.findings.is_empty()).then_some(BLOCKED);
    let mut codes: Vec<&str> = unproven.findings.iter().map(String::as_str).collect();
    codes.sort_unstable();
    codes.dedup();
    for row in [RAN].into_iter().chain(blocked).chain(codes) {
        sql.prepare_cached(
            "INSERT INTO chancery_finding (grp, stream, reason, count, last)
             VALUES (?1, ?2, ?3, 1, ?4) ON CONFLICT (grp, stream, reason)
             DO UPDATE SET count = count + 1, last = max(last, excluded.last)",
        )?
        .execute(params![record.group, message.stream, row, at])?;
    }
    Ok(())
}

/// Everything that was counted, by group and stream.
pub(crate) fn all(sql: &Connection) -> rusqlite::Result<BTreeMap<(String, String), Findings>> {
    let mut found: BTreeMap<(String, String), Findings> = BTreeMap::new();
    let mut select =
        sql.prepare("SELECT grp, stream, reason, count, last FROM chancery_finding")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let of = found.entry((row.get(0)?, row.get(1)?)).or_default();
        let (reason, count): (String, u64) = (row.get(2)?, row.get(3)?);
        match (&*reason, Reason::parse(&reason)) {
            (RAN, _) => of.ran = count,
            (BLOCKED, _) => of.would_refuse = count,
            (_, Some(reason)) => {
                of.reasons.insert(reason, (count, Timestamp(row.get(4)?)));
            }
            _ => {}
        }
    }
    Ok(found)
}
