// SPDX-License-Identifier: MIT OR Apache-2.0
//! One write transaction, from `BEGIN IMMEDIATE` to a commit with numbered records, or to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chancery_core::Fault;
use chancery_core::record::Record;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, ErrorCode};

use super::database::{Shared, lock};
use super::evidence;

/// A connection that can be lent: while it is, it neither ends its transaction nor touches our
/// tables.
pub(crate) struct Pooled {
    pub(crate) connection: Connection,
    lent: Arc<AtomicBool>,
}

impl Pooled {
    pub(crate) fn new(mut connection: Connection) -> rusqlite::Result<Pooled> {
        let lent = Arc::new(AtomicBool::new(false));
        let guarded = lent.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if guarded.load(Ordering::Relaxed) {
                authorize(&context.action)
            } else {
                Authorization::Allow
            }
        }))?;
        // `INSERT OR ROLLBACK` ends a transaction without saying so; what follows it would commit
        // by itself. A commit of a lent connection becomes a rollback.
        let guarded = lent.clone();
        connection.commit_hook(Some(move || guarded.load(Ordering::Relaxed)))?;
        Ok(Pooled { connection, lent })
    }
}

/// What a handler may do with its transaction: anything but end it, leave it, or write our tables.
fn authorize(action: &AuthAction<'_>) -> Authorization {
    use AuthAction::{
        AlterTable, Attach, CreateIndex, CreateTable, CreateTempIndex, CreateTempTable,
        CreateTempTrigger, CreateTempView, CreateTrigger, CreateView, CreateVtable, Delete, Detach,
        DropIndex, DropTable, DropTempIndex, DropTempTable, DropTempTrigger, DropTempView,
        DropTrigger, DropView, DropVtable, Function, Insert, Pragma, Read, Recursive, Savepoint,
        Select, Transaction, Update,
    };
    let allowed = match action {
        Read { .. } | Select | Function { .. } | Recursive | Savepoint { .. } => true,
        Transaction { .. } | Attach { .. } | Detach { .. } => false,
        Pragma { pragma_name, .. } => PRAGMAS.iter().any(|p| p.eq_ignore_ascii_case(pragma_name)),
        Insert { table_name }
        | Delete { table_name }
        | Update { table_name, .. }
        | CreateTable { table_name }
        | CreateTempTable { table_name }
        | DropTable { table_name }
        | DropTempTable { table_name }
        | AlterTable { table_name, .. }
        | CreateVtable { table_name, .. }
        | DropVtable { table_name, .. } => !is_ours(table_name),
        CreateIndex { index_name: name, table_name }
        | CreateTempIndex { index_name: name, table_name }
        | DropIndex { index_name: name, table_name }
        | DropTempIndex { index_name: name, table_name }
        | CreateTrigger { trigger_name: name, table_name }
        | CreateTempTrigger { trigger_name: name, table_name }
        | DropTrigger { trigger_name: name, table_name }
        | DropTempTrigger { trigger_name: name, table_name } => {
            !is_ours(name) && !is_ours(table_name)
        }
        CreateView { view_name }
        | CreateTempView { view_name }
        | DropView { view_name }
        | DropTempView { view_name } => !is_ours(view_name),
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// Pragmas that only look, or end with the transaction.
const PRAGMAS: [&str; 9] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "defer_foreign_keys",
];

fn is_ours(name: &str) -> bool {
    name.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("chancery_"))
}

/// A write transaction. Dropping it undoes everything.
pub(crate) struct Write {
    pooled: Option<Pooled>,
    pub(crate) shared: Arc<Shared>,
    records: Vec<Record>,
}

/// Why a commit did not happen.
pub(crate) enum CommitError {
    /// A constraint that SQLite checks last is broken: the handler's doing.
    Constraint(Fault),
    /// Our fault.
    Fault(Fault),
}

impl Write {
    pub(crate) fn new(shared: Arc<Shared>, pooled: Pooled) -> Write {
        Write { pooled: Some(pooled), shared, records: Vec::new() }
    }

    /// Begins, or gives `false` if another writer is at work.
    pub(crate) fn begin(&mut self) -> rusqlite::Result<bool> {
        let sql = self.sql()?;
        sql.busy_timeout(Duration::ZERO)?;
        let begun = sql.execute_batch("BEGIN IMMEDIATE");
        sql.busy_timeout(Duration::from_secs(5))?;
        match begun {
            Ok(()) => Ok(true),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The connection, inside the transaction.
    pub(crate) fn sql(&self) -> rusqlite::Result<&Connection> {
        let pooled = self.pooled.as_ref().ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(&pooled.connection)
    }

    /// Enters a record, to be numbered and written by the commit.
    pub(crate) fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Guards the connection while a handler has it.
    pub(crate) fn lend(&self, lent: bool) {
        if let Some(pooled) = &self.pooled {
            pooled.lent.store(lent, Ordering::Relaxed);
        }
    }

    /// Whether the transaction is still open.
    pub(crate) fn is_open(&self) -> bool {
        self.pooled.as_ref().is_some_and(|pooled| !pooled.connection.is_autocommit())
    }

    pub(crate) fn commit(self) -> Result<(), Fault> {
        self.try_commit().map_err(|error| match error {
            CommitError::Constraint(fault) | CommitError::Fault(fault) => fault,
        })
    }

    /// Writes the records and commits, all or nothing. Numbers are used up by commits alone.
    pub(crate) fn try_commit(self) -> Result<(), CommitError> {
        let shared = self.shared.clone();
        let mut numbered = lock(&shared.numbered);
        let mut number = *numbered;
        if !self.records.is_empty() {
            self.evidence_has_room()?;
        }
        for record in &self.records {
            number += 1;
            let bytes = record.encode(&shared.writer, number).map_err(|size| {
                CommitError::Fault(Fault::evidence(format!("a record would have {size} bytes")))
            })?;
            let entered = self.sql().and_then(|sql| evidence::insert_record(sql, &bytes));
            entered.map_err(|error| CommitError::Fault(shared.told(&error)))?;
        }
        let committed = self.sql().and_then(|sql| sql.execute_batch("COMMIT"));
        committed.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => CommitError::Constraint(shared.told(&error)),
            _ => CommitError::Fault(shared.told(&error)),
        })?;
        *numbered = number;
        Ok(())
    }

    // Without a sealer the rows would fill the disk that the effects need.
    fn evidence_has_room(&self) -> Result<(), CommitError> {
        let waiting = self.sql().and_then(evidence::rows);
        let waiting = waiting.map_err(|error| CommitError::Fault(self.shared.told(&error)))?;
        if waiting < self.shared.limits.evidence_rows_max {
            return Ok(());
        }
        Err(CommitError::Fault(Fault::evidence(format!(
            "{}: {waiting} records wait to be sealed; run `chancery evidence seal` and see why \
             nothing seals them",
            self.shared.path.display()
        ))))
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let Some(pooled) = self.pooled.take() else { return };
        pooled.lent.store(false, Ordering::Relaxed);
        if !pooled.connection.is_autocommit() {
            // A connection that cannot roll back is closed instead of pooled; that rolls back too.
            let _ = pooled.connection.execute_batch("ROLLBACK");
        }
        self.shared.put_back(pooled);
    }
}
