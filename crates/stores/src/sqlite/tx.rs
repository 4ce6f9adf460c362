// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a transactional handler is lent.

use std::fmt;

use chancery_core::Timestamp;
use chancery_core::seal::Draft;
use rusqlite::{Params, Row, Statement};

use super::outbox;
use super::write::Write;

/// The open transaction of one message. What is written here is committed with the outcome, or
/// not at all. `BEGIN`, `COMMIT`, `ROLLBACK`, `ATTACH`, `DETACH`, most pragmas and writes to
/// `chancery_` tables are refused; savepoints are not.
pub struct Tx {
    pub(crate) write: Write,
    identity: [u8; 32],
    published: u64,
    now: Timestamp,
}

impl Tx {
    pub(crate) fn new(write: Write, identity: [u8; 32], now: Timestamp) -> Tx {
        Tx { write, identity, published: 0, now }
    }

    /// Runs one statement; gives the rows it changed.
    ///
    /// # Errors
    /// SQLite's own, `not authorized` among them.
    pub fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.prepare(sql)?.execute(params)
    }

    /// Runs several statements without parameters.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn execute_batch(&self, sql: &str) -> rusqlite::Result<()> {
        self.write.sql()?.execute_batch(sql)
    }

    /// Runs a query that gives one row.
    ///
    /// # Errors
    /// SQLite's own; `QueryReturnedNoRows` if there is none.
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.prepare(sql)?.query_row(params, read)
    }

    /// Prepares a statement, to be run more than once or to read many rows. Do not hold it across
    /// an `.await`.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn prepare(&self, sql: &str) -> rusqlite::Result<Statement<'_>> {
        // Not from the cache: ours are in it, prepared without the handler's limits.
        self.write.sql()?.prepare(sql)
    }

    /// Row id of the last insert.
    ///
    /// # Errors
    /// None while the transaction is open.
    pub fn last_insert_rowid(&self) -> rusqlite::Result<i64> {
        self.write.sql().map(rusqlite::Connection::last_insert_rowid)
    }

    /// Publishes in the same commit: a relay signs and appends it afterwards. Without an id the
    /// draft gets one that is the same each time this event is handled. Gives the id.
    ///
    /// # Errors
    /// SQLite's own; `InvalidQuery` if the transaction was ended.
    pub fn publish(&mut self, draft: Draft) -> rusqlite::Result<String> {
        if !self.write.is_open() {
            return Err(rusqlite::Error::InvalidQuery);
        }
        self.published += 1;
        let draft = outbox::with_id(draft, &self.identity, self.published);
        self.write.lend(false);
        let put = self.write.sql().and_then(|sql| outbox::put(sql, &draft, self.now));
        self.write.lend(true);
        put.map(|()| draft.id)
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("published", &self.published).finish_non_exhaustive()
    }
}
