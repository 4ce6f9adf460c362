// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pending evidence and checkpoints in the ledger's own SQLite database.

use std::path::Path;
use std::time::Duration;

use chancery_core::evidence::Hash;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::log::{CheckpointRow, Pending, Reserved};

/// How long a write waits for another process, in milliseconds.
const BUSY_TIMEOUT_MS: u64 = 5_000;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS chancery_evidence (
        idx INTEGER NULL UNIQUE,
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        record BLOB NOT NULL CHECK (typeof(record) = 'blob' AND length(record) <= 65535)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS chancery_checkpoint (
        size INTEGER PRIMARY KEY,
        root BLOB NOT NULL CHECK (length(root) = 32),
        note TEXT NULL
    ) STRICT;
";

/// Adds a record that has no index yet. Call it inside the transaction of what the record tells of:
/// both are committed or neither.
///
/// # Errors
/// SQLite's own; a record over 65 535 bytes violates a constraint.
pub fn insert_record(connection: &Connection, record: &[u8]) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT INTO chancery_evidence (record) VALUES (?1)")?;
    insert.execute([record]).map(|_| ())
}

/// Makes the tables unless they are there.
///
/// # Errors
/// SQLite's own.
pub fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)
}

/// Sets a connection up so that a commit survives a power cut and waits for other writers.
///
/// # Errors
/// SQLite's own.
pub fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")
}

/// How many records wait for an index, and how many have one but are in no full published bundle.
///
/// # Errors
/// SQLite's own.
pub fn backlog(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let sql = "SELECT count(*) FILTER (WHERE idx IS NULL), count(idx) FROM chancery_evidence";
    connection.query_row(sql, [], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))
}

/// About how many records are not yet in a full published bundle: those are deleted, and what is
/// left is dense. Two look-ups, however many there are.
///
/// # Errors
/// SQLite's own.
pub fn rows(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce((SELECT max(seq) FROM chancery_evidence), 0)
                    - coalesce((SELECT min(seq) FROM chancery_evidence), 1) + 1";
    connection.prepare_cached(sql)?.query_row([], |row| Ok(unsigned(row.get(0)?)))
}

/// The sealer's side of the tables.
#[derive(Debug)]
pub struct SqliteEvidence {
    connection: Connection,
}

impl SqliteEvidence {
    /// Opens the database at `path`, with the tables.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        Self::new(Connection::open(path)?)
    }

    /// Takes over a connection, configured and with the tables.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn new(connection: Connection) -> rusqlite::Result<Self> {
        configure(&connection)?;
        migrate(&connection)?;
        Ok(Self { connection })
    }

    /// The connection, to insert records or look at the tables.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The only way in which these tables are written.
    fn write(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }
}

impl Pending for SqliteEvidence {
    type Error = rusqlite::Error;

    fn assign(&mut self, limit: u64) -> rusqlite::Result<u64> {
        let transaction = self.write()?;
        // Rows of published bundles are deleted, so checkpoints say too how far the indices go.
        let next: i64 = transaction.query_row(
            "SELECT max(coalesce((SELECT max(idx) + 1 FROM chancery_evidence), 0),
                        coalesce((SELECT max(size) FROM chancery_checkpoint), 0))",
            [],
            |row| row.get(0),
        )?;
        let assigned = transaction.execute(
            "WITH waiting AS (
                 SELECT seq, row_number() OVER (ORDER BY seq) - 1 AS place
                 FROM chancery_evidence WHERE idx IS NULL ORDER BY seq LIMIT ?1
             )
             UPDATE chancery_evidence SET idx = ?2 + waiting.place
             FROM waiting WHERE chancery_evidence.seq = waiting.seq",
            params![signed(limit), next],
        )?;
        transaction.commit()?;
        Ok(unsigned(next) + assigned as u64)
    }

    fn records(&mut self, begin: u64, end: u64) -> rusqlite::Result<Vec<Vec<u8>>> {
        let mut select = self.connection.prepare_cached(
            "SELECT record FROM chancery_evidence WHERE idx >= ?1 AND idx < ?2 ORDER BY idx",
        )?;
        let rows = select.query_map([signed(begin), signed(end)], |row| row.get(0))?;
        rows.collect()
    }

    fn latest(&mut self) -> rusqlite::Result<Option<CheckpointRow>> {
        let sql = "SELECT size, root, note FROM chancery_checkpoint ORDER BY size DESC LIMIT 1";
        let row = self.connection.query_row(sql, [], |row| {
            let size = unsigned(row.get(0)?);
            Ok(CheckpointRow { size, root: row.get(1)?, note: row.get(2)? })
        });
        row.optional()
    }

    fn root(&mut self, size: u64) -> rusqlite::Result<Option<Hash>> {
        root_at(&self.connection, size)
    }

    fn reserve(&mut self, size: u64, root: &Hash) -> rusqlite::Result<Reserved> {
        let transaction = self.write()?;
        let larger: bool = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM chancery_checkpoint WHERE size > ?1)",
            [signed(size)],
            |row| row.get(0),
        )?;
        let known = root_at(&transaction, size)?;
        match known {
            Some(known) if known != *root => return Ok(Reserved::Forked),
            _ if larger => return Ok(Reserved::Overtaken),
            Some(_) => return Ok(Reserved::Ours),
            None => {}
        }
        let sql = "INSERT INTO chancery_checkpoint (size, root) VALUES (?1, ?2)";
        transaction.execute(sql, params![signed(size), root])?;
        transaction.commit()?;
        Ok(Reserved::Ours)
    }

    fn store_note(&mut self, size: u64, note: &str) -> rusqlite::Result<()> {
        let transaction = self.write()?;
        let sql = "UPDATE chancery_checkpoint SET note = ?2 WHERE size = ?1";
        match transaction.execute(sql, params![signed(size), note])? {
            1 => transaction.commit(),
            _ => Err(rusqlite::Error::QueryReturnedNoRows),
        }
    }

    fn forget(&mut self, end: u64) -> rusqlite::Result<()> {
        let transaction = self.write()?;
        transaction.execute(
            "DELETE FROM chancery_evidence WHERE idx < ?1 AND EXISTS (
                 SELECT 1 FROM chancery_checkpoint WHERE size >= ?1 AND note IS NOT NULL)",
            [signed(end)],
        )?;
        transaction.commit()
    }
}

fn root_at(connection: &Connection, size: u64) -> rusqlite::Result<Option<Hash>> {
    let sql = "SELECT root FROM chancery_checkpoint WHERE size = ?1";
    connection.query_row(sql, [signed(size)], |row| row.get(0)).optional()
}

/// SQLite counts to 2^63 - 1, which no log reaches.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
