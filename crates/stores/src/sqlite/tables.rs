// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables, and what is pinned in a database when it is born.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::evidence;

/// Version of the tables below. A newer one is refused.
pub(crate) const FORMAT: i64 = 3;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS chancery_meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS chancery_ledger (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    state INTEGER NOT NULL,
    content BLOB NOT NULL CHECK (length(content) = 16),
    message_id BLOB NOT NULL CHECK (length(message_id) = 32),
    position TEXT NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NULL,
    owner TEXT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    dead_owner TEXT NULL,
    timely INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    signed INTEGER NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chancery_ledger_expires ON chancery_ledger (expires);

CREATE TABLE IF NOT EXISTS chancery_key (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    version INTEGER NOT NULL,
    message BLOB NOT NULL CHECK (length(message) = 16),
    term INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS chancery_kept (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    grp TEXT NOT NULL,
    stream TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    message_id BLOB NULL,
    verified INTEGER NOT NULL,
    disposition TEXT NOT NULL CHECK (disposition IN ('quarantine', 'hold', 'park')),
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    ledger BLOB NULL,
    content BLOB NULL,
    producer TEXT NULL,
    tenant TEXT NULL,
    okey BLOB NULL,
    version INTEGER NULL,
    position TEXT NOT NULL,
    appended INTEGER NULL,
    clock TEXT NOT NULL,
    since INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    snapshot BLOB NOT NULL CHECK (length(snapshot) = 32),
    service TEXT NOT NULL,
    build TEXT NOT NULL,
    due INTEGER NOT NULL DEFAULT 0,
    bucket BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    message BLOB NOT NULL,
    UNIQUE (grp, stream, digest)
) STRICT;
CREATE INDEX IF NOT EXISTS chancery_kept_message
    ON chancery_kept (grp, stream, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS chancery_kept_ledger
    ON chancery_kept (ledger) WHERE ledger IS NOT NULL;
CREATE INDEX IF NOT EXISTS chancery_kept_key
    ON chancery_kept (okey, version) WHERE okey IS NOT NULL;
CREATE INDEX IF NOT EXISTS chancery_kept_due ON chancery_kept (grp, stream, row) WHERE due = 1;
CREATE INDEX IF NOT EXISTS chancery_kept_held
    ON chancery_kept (grp, stream, snapshot) WHERE disposition = 'hold';
CREATE INDEX IF NOT EXISTS chancery_kept_since ON chancery_kept (since) WHERE disposition = 'hold';

CREATE TABLE IF NOT EXISTS chancery_quota (
    bucket BLOB PRIMARY KEY,
    strangers TEXT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chancery_quota_strangers
    ON chancery_quota (strangers) WHERE strangers IS NOT NULL;
CREATE TRIGGER IF NOT EXISTS chancery_kept_in AFTER INSERT ON chancery_kept BEGIN
    UPDATE chancery_quota SET rows = rows + 1, bytes = bytes + new.bytes
    WHERE bucket = new.bucket;
END;
CREATE TRIGGER IF NOT EXISTS chancery_kept_out AFTER DELETE ON chancery_kept BEGIN
    UPDATE chancery_quota SET rows = rows - 1, bytes = bytes - old.bytes
    WHERE bucket = old.bucket;
    DELETE FROM chancery_quota WHERE bucket = old.bucket AND rows <= 0;
END;

CREATE TABLE IF NOT EXISTS chancery_sum (
    grp TEXT NOT NULL,
    stream TEXT NOT NULL,
    reason TEXT NOT NULL,
    minute INTEGER NOT NULL,
    own INTEGER NOT NULL,
    summed INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (minute, grp, stream, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS chancery_latch (
    grp TEXT NOT NULL,
    stream TEXT NOT NULL,
    producer TEXT NOT NULL,
    PRIMARY KEY (grp, stream, producer)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS chancery_finding (
    grp TEXT NOT NULL,
    stream TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (grp, stream, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS chancery_outbox (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    draft TEXT NOT NULL,
    body BLOB NOT NULL,
    created INTEGER NOT NULL,
    refused TEXT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS chancery_outbox_pending ON chancery_outbox (row) WHERE refused IS NULL;
";

/// What a database was born with.
pub(crate) struct Birth {
    pub(crate) store_uuid: [u8; 16],
    pub(crate) key: [u8; 32],
    pub(crate) born: i64,
}

/// The version of the tables, if there are any.
pub(crate) fn format(sql: &Connection) -> rusqlite::Result<Option<i64>> {
    let there: bool = sql.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'chancery_meta')",
        [],
        |row| row.get(0),
    )?;
    if there { meta(sql, "format") } else { Ok(None) }
}

/// Makes what is not there. Only the first caller's birth counts.
pub(crate) fn migrate(sql: &Connection, birth: &Birth) -> rusqlite::Result<()> {
    let format = format(sql)?;
    sql.execute_batch(TABLES)?;
    if format.is_some_and(|format| format < 3) {
        sql.execute_batch("ALTER TABLE chancery_ledger ADD COLUMN signed INTEGER NULL")?;
    }
    evidence::migrate(sql)?;
    let mut insert = sql.prepare(
        "INSERT INTO chancery_meta (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?;
    insert.execute(params!["format", FORMAT])?;
    insert.execute(params!["store_uuid", birth.store_uuid])?;
    insert.execute(params!["key", birth.key])?;
    insert.execute(params!["born", birth.born])?;
    insert.execute(params!["bundle_version", 0])?;
    let raise = "UPDATE chancery_meta SET value = ?1 WHERE name = 'format' AND value < ?1";
    sql.execute(raise, [FORMAT])?;
    Ok(())
}

/// A pinned value.
pub(crate) fn meta<T: rusqlite::types::FromSql>(
    sql: &Connection,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    sql.prepare_cached("SELECT value FROM chancery_meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}
