// SPDX-License-Identifier: MIT OR Apache-2.0
//! A log with its database, and what must always hold of it.

use std::path::{Path, PathBuf};

use chancery_core::evidence::proof::verify_consistency;
use chancery_core::evidence::{Checkpoint, Signer};
use chancery_stores::log::{Disk, LogReader, Sealed, Sealer, Storage, verify};
use chancery_stores::sqlite::evidence::{SqliteEvidence, insert_record};
use tempfile::TempDir;

pub(crate) const NAME: &str = "log.example/orders";

pub(crate) fn signer() -> Signer {
    Signer::from_seed(NAME, &[7; 32]).unwrap()
}

/// Records with numbers `begin..end`, of several lengths.
pub(crate) fn insert(database: &SqliteEvidence, begin: u64, end: u64) {
    let transaction = database.connection().unchecked_transaction().unwrap();
    for number in begin..end {
        insert_record(&transaction, &record(number)).unwrap();
    }
    transaction.commit().unwrap();
}

pub(crate) fn record(number: u64) -> Vec<u8> {
    format!("{number}:{}", "x".repeat((number % 7) as usize)).into_bytes()
}

/// Every record once and in order, every file as it must be, and `earlier` a prefix.
pub(crate) fn assert_sound(storage: &impl Storage, count: u64, earlier: &[String]) {
    let signer = signer();
    let key = signer.verifier();
    let report = verify(storage, key, earlier.last().map(String::as_str), |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let reader = LogReader::open(storage, key).unwrap();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    let expected: Vec<_> = (0..count).map(|number| (number, record(number))).collect();
    assert_eq!(records, expected);
    assert_eq!((reader.checkpoint().size, report.records), (count, count));
    for note in earlier {
        let old = Checkpoint::open(note.as_bytes(), key).unwrap();
        let proof = reader.consistency(old.size).unwrap();
        let new = reader.checkpoint();
        verify_consistency(old.size, new.size, &old.root, &new.root, &proof).unwrap();
    }
}

/// A log on disk.
pub(crate) struct OnDisk {
    pub(crate) folder: TempDir,
    pub(crate) signer: Signer,
}

impl OnDisk {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), signer: signer() }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(crate) fn disk(&self) -> Disk {
        Disk::new(self.log())
    }

    pub(crate) fn database_path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    pub(crate) fn database(&self) -> SqliteEvidence {
        SqliteEvidence::open(&self.database_path()).unwrap()
    }

    pub(crate) fn seal(&self) -> Result<Sealed, chancery_stores::log::LogError> {
        Sealer::open(&self.disk(), self.database(), &self.signer)?.seal_once()
    }

    /// Inserts records up to number `end` in steps, and gives the note published after each.
    pub(crate) fn grow(&self, ends: &[u64]) -> Vec<String> {
        let mut begin = 0;
        let mut notes = Vec::new();
        for &end in ends {
            insert(&self.database(), begin, end);
            assert_eq!(self.seal().unwrap().records, end - begin);
            notes.push(std::fs::read_to_string(self.log().join("checkpoint")).unwrap());
            begin = end;
        }
        notes
    }
}

/// All files under `folder`, relative to it.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, target).unwrap();
    }
}
