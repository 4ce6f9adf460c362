// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file: limits, schema, opening, and what its errors mean.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_core::time::DAY_MS;
use chancery_core::{Fault, text};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

/// Longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Most header fields of a message.
pub const FIELDS_MAX: usize = 128;
/// Longest header fields of a message, names and values together, in bytes.
pub const FIELDS_BYTES_MAX: usize = 1 << 20;
/// Longest record key, in bytes.
pub const KEY_BYTES_MAX: usize = 8 << 10;
/// How long messages are kept by default, in milliseconds: seven days.
pub const RETENTION_MS: i64 = 7 * DAY_MS;

/// "CHBR": marks the file as ours (SQLite, `PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x4348_4252;
const SCHEMA_VERSION: i32 = 1;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

// `outstanding` has the messages up to a subscription's cursor that are not acknowledged.
// `head`: no earlier message of its key is outstanding. `settled`: acknowledged or dead-lettered
// while another receiver has it; it goes when that one lets go of it, so that the key stays his.
const SCHEMA: &str = "
CREATE TABLE stream (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  next INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE TABLE message (
  stream INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  appended INTEGER NOT NULL,
  stored INTEGER NOT NULL,
  key BLOB,
  fields BLOB NOT NULL,
  body BLOB,
  dead_group TEXT,
  dead_offset INTEGER,
  UNIQUE (stream, offset)
) STRICT;
CREATE TABLE subscription (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL,
  name TEXT NOT NULL,
  cursor INTEGER NOT NULL DEFAULT 0,
  UNIQUE (stream, name)
) STRICT;
CREATE TABLE owner (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  until INTEGER NOT NULL
) STRICT;
CREATE TABLE outstanding (
  subscription INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  key BLOB,
  head INTEGER NOT NULL,
  owner INTEGER,
  not_before INTEGER NOT NULL,
  deliveries INTEGER NOT NULL,
  settled INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (subscription, offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX outstanding_key ON outstanding (subscription, key, offset) WHERE key IS NOT NULL;
CREATE INDEX outstanding_ready ON outstanding (subscription, not_before, offset)
  WHERE head = 1 AND owner IS NULL;
CREATE INDEX outstanding_held ON outstanding (subscription, key, owner) WHERE owner IS NOT NULL;
CREATE INDEX outstanding_owner ON outstanding (owner) WHERE owner IS NOT NULL;
";

/// One connection to the file.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    pub(crate) dir: PathBuf,
    /// Device and inode: which file this is, whatever lies at its path by now.
    file: Option<(u64, u64)>,
    // Writers of one process queue here: SQLite's own waiting is a sleep that grows, and with a
    // few busy writers most of the time is slept away.
    gate: Arc<Mutex<()>>,
}

impl Database {
    /// Opens the file in `dir`, and makes both if they are missing.
    pub(crate) fn open(dir: &Path) -> Result<Database, Fault> {
        let made = make_private_dir(dir).and_then(|()| make_private_dir(&dir.join("owners")));
        made.map_err(|error| io_fault(dir, "cannot be made", &error))?;
        // One at a time: SQLite does not wait when two switch a new file to WAL at once.
        let lock = dir.join("open.lock");
        let _alone = private_file(&lock)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| io_fault(&lock, "cannot be locked", &error))?;
        let file = dir.join("broker.db");
        let identity = private_file(&file).and_then(|_| identity(&file));
        let identity = identity.map_err(|error| io_fault(&file, "cannot be opened", &error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&file, flags)
            .map_err(|error| fault(&file, "cannot be opened", &error))?;
        recognize(&mut connection, &file)?;
        configure(&connection).map_err(|error| fault(&file, "cannot be set up", &error))?;
        Ok(Database { connection, dir: dir.to_owned(), file: identity, gate: Arc::default() })
    }

    /// One more connection to the same file, for another thread of this process.
    pub(crate) fn another(&self) -> Result<Database, Fault> {
        let mut other = Database::open(&self.dir)?;
        other.gate = Arc::clone(&self.gate);
        Ok(other)
    }

    /// All of `work` in one durable transaction, or none of it.
    pub(crate) fn write<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Fault> {
        let gate = Arc::clone(&self.gate);
        let _turn = gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_still_there()?;
        let run = |connection: &mut Connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let out = work(&tx)?;
            tx.commit()?;
            Ok(out)
        };
        run(&mut self.connection).map_err(|error| self.fault(doing, &error))
    }

    /// All of `work` on one state of the file.
    pub(crate) fn read<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Fault> {
        self.is_still_there()?;
        let run = |connection: &mut Connection| work(&connection.transaction()?);
        run(&mut self.connection).map_err(|error| self.fault(doing, &error))
    }

    // An open file goes on working after it was removed: what is appended to it nobody will read,
    // and what is read from it is the past.
    fn is_still_there(&self) -> Result<(), Fault> {
        let path = self.dir.join("broker.db");
        match identity(&path) {
            Ok(found) if found == self.file => Ok(()),
            Ok(_) => Err(Fault::broker(format!(
                "{}: the file was replaced while it was in use; start this program again",
                path.display()
            ))),
            Err(error) => Err(io_fault(&path, "is gone while it was in use", &error)),
        }
    }

    fn fault(&self, doing: &str, error: &rusqlite::Error) -> Fault {
        fault(&self.dir.join("broker.db"), doing, error)
    }
}

/// An error that says that the file holds what this broker never wrote.
pub(crate) fn corrupt(what: impl Into<String>) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(what.into()))
}

/// A stream name, or what is wrong with it.
pub(crate) fn check_stream(name: &str) -> Result<(), Fault> {
    if text::is_dotted(name) {
        return Ok(());
    }
    Err(Fault::broker(format!(
        "`{}` is no stream name: use dotted words of A-Za-z0-9_-, at most 128 characters",
        name.escape_default().take(140).collect::<String>()
    )))
}

/// A group name, or what is wrong with it.
pub(crate) fn check_group(name: &str) -> Result<(), Fault> {
    if text::is_name(name) {
        return Ok(());
    }
    Err(Fault::broker(format!(
        "`{}` is no group name: use 1 to 64 of A-Za-z0-9._-, beginning with a letter or digit",
        name.escape_default().take(80).collect::<String>()
    )))
}

/// A fault of a file or folder: what, where, what to do.
pub(crate) fn io_fault(path: &Path, what: &str, error: &std::io::Error) -> Fault {
    let path = path.display();
    Fault::broker(format!("{path} {what} ({error}); check the path, its permissions and the disk"))
}

fn fault(file: &Path, doing: &str, error: &rusqlite::Error) -> Fault {
    let file = file.display();
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "the disk or the quota is full; nothing was changed: free space, then try again"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "the file is damaged: stop everything that uses it, keep a copy and restore it; messages \
             that are in no backup are lost with it"
        }
        Some(ErrorCode::NotADatabase) => {
            "the file is not a broker's, or its beginning is damaged: name another directory, or \
             keep a copy and restore it"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process has held it for 10 s: find that process, then try again"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "check the permissions of the file and its directory"
        }
        _ => "check the disk, then try again",
    };
    Fault::broker(format!("{file}: {doing}: {error}; {advice}"))
}

// Nothing is changed in a file that is not known to be ours.
fn recognize(connection: &mut Connection, file: &Path) -> Result<(), Fault> {
    let run = |connection: &mut Connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let id: i32 = tx.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let objects: i64 =
            tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if (id, version, objects) == (0, 0, 0) {
            tx.execute_batch(SCHEMA)?;
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            tx.commit()?;
            return Ok((APPLICATION_ID, SCHEMA_VERSION));
        }
        Ok((id, version))
    };
    match run(connection).map_err(|error| fault(file, "cannot be read", &error))? {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(()),
        (APPLICATION_ID, newer) => Err(Fault::broker(format!(
            "{}: its format is version {newer}, this program knows {SCHEMA_VERSION}; \
             use the program that made it, or a newer one",
            file.display()
        ))),
        _ => Err(Fault::broker(format!(
            "{}: this is another program's database; name another directory",
            file.display()
        ))),
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(corrupt("the file system has no shared memory for SQLite's WAL"));
    }
    // NORMAL would lose acknowledged appends when the power fails (SQLite, "Performance
    // Considerations" of WAL).
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

#[cfg(unix)]
fn identity(path: &Path) -> std::io::Result<Option<(u64, u64)>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path)?;
    Ok(Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> std::io::Result<Option<(u64, u64)>> {
    fs::metadata(path).map(|_| None)
}

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Opens a file, made for its owner alone if it is missing.
pub(crate) fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    // "Durable once it returns" is lost with anything less when the power fails.
    #[test]
    fn commits_are_synchronous() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(dir.path()).unwrap().connection;
        let of = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((of("synchronous"), of("busy_timeout")), (2, 10_000));
    }
}
