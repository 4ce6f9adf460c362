// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is alive: a locked file per receiver. The kernel frees the lock of a process that dies,
//! however it dies.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use chancery_core::{Fault, text};
use rusqlite::{Connection, Transaction};

use crate::config::{corrupt, io_fault, private_file};

/// A living receiver. Dropping it frees its lock: then what it has comes again.
pub(crate) struct Owner {
    pub(crate) name: String,
    path: PathBuf,
    _lock: File,
}

impl Owner {
    /// A new one, its file locked before anybody can know its name.
    pub(crate) fn new(dir: &Path) -> Result<Owner, Fault> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Fault::broker(format!("no random numbers: {error}")))?;
        let name = text::hex(&random);
        let path = dir.join("owners").join(&name);
        let lock = private_file(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| io_fault(&path, "cannot be locked", &error))?;
        Ok(Owner { name, path, _lock: lock })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A missing file says the same as a free lock; whoever looks next tidies up the rest.
        let _ = fs::remove_file(&self.path);
    }
}

/// Owners other than `me` whose lock is free, or who have been silent for their whole lease.
pub(crate) fn dead(db: &Connection, dir: &Path, me: i64, now: i64) -> rusqlite::Result<Vec<Dead>> {
    let mut select = db.prepare_cached("SELECT id, name, until FROM owner WHERE id <> ?1")?;
    let mut rows = select.query([me])?;
    let mut dead = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, until): (String, i64) = (row.get(1)?, row.get(2)?);
        if name.len() != 32 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(corrupt("the name of an owner"));
        }
        let path = dir.join("owners").join(&name);
        let locked = is_locked(&path);
        if !locked || until < now {
            dead.push(Dead { id: row.get(0)?, until, path: (!locked).then_some(path) });
        }
    }
    Ok(dead)
}

/// An owner whose leases are over.
pub(crate) struct Dead {
    pub(crate) id: i64,
    until: i64,
    path: Option<PathBuf>,
}

impl Dead {
    /// Whether the owner has been heard of since it was found silent.
    pub(crate) fn is_back(&self, tx: &Transaction<'_>) -> rusqlite::Result<bool> {
        if self.path.is_some() {
            return Ok(false);
        }
        let mut select = tx.prepare_cached("SELECT until <> ?2 FROM owner WHERE id = ?1")?;
        let mut rows = select.query((self.id, self.until))?;
        rows.next()?.map_or(Ok(true), |row| row.get(0))
    }

    /// Removes its lock file, once its leases are given up.
    pub(crate) fn bury(self) {
        if let Some(path) = self.path {
            let _ = fs::remove_file(path);
        }
    }
}

// When in doubt it is locked: the end of the lease is the second line.
fn is_locked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
