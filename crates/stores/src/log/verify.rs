// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checking a whole log from its files alone: every record, every tile, the signed root.
//!
//! What this cannot see: a tail that was cut off together with the newer checkpoints. Only a
//! checkpoint kept elsewhere shows that, which is what `at_least` is for.

use std::collections::BTreeMap;
use std::path::Path;

use chancery_core::evidence::tile::TILE_WIDTH;
use chancery_core::evidence::{
    Checkpoint, CheckpointError, Frontier, Hash, Row, Tile, VerifierKey, leaf_hash,
};
use chancery_core::record::Record;

use super::read::{entries, hashes, published};
use super::{Disk, LogError, Storage};

/// The most breaks that a report lists.
pub const BREAKS_MAX: usize = 100;

/// What a whole log was found to be.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The published checkpoint, if its signature verified.
    pub checkpoint: Option<Checkpoint>,
    /// How many records were read and hashed.
    pub records: u64,
    /// Where it breaks, in order: the first [`BREAKS_MAX`].
    pub breaks: Vec<Break>,
    /// How many breaks there are.
    pub breaks_count: u64,
}

impl Report {
    /// Whether every record is under the signed checkpoint and every file is as it must be.
    pub fn is_sound(&self) -> bool {
        self.checkpoint.is_some() && self.breaks_count == 0
    }

    fn add(&mut self, found: Break) {
        self.breaks_count += 1;
        if self.breaks.len() < BREAKS_MAX {
            self.breaks.push(found);
        }
    }
}

/// One thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Break {
    /// Nothing was ever published here, or the checkpoint was removed.
    NoCheckpoint,
    /// The checkpoint is not one that the key signed.
    Checkpoint(CheckpointError),
    /// A tile or entry bundle is not what it must be.
    Tile {
        /// Which.
        tile: Tile,
        /// In what way.
        fault: Fault,
    },
    /// A record is not the one that the tile above it has the hash of.
    Record {
        /// The record's index.
        index: u64,
    },
    /// A writer numbers its records 1, 2, 3…; between these some were taken away before they were
    /// sealed.
    Gap {
        /// The index of the record before which they are missing.
        index: u64,
        /// The process that wrote them.
        writer: String,
        /// How many.
        records: u64,
    },
    /// The records do not lead to the signed root.
    Root,
    /// The log ends before the checkpoint that it must contain: its tail was cut off.
    RolledBack {
        /// The size of the checkpoint that was expected.
        expected: u64,
    },
    /// The log has another history than the checkpoint that it must contain.
    OtherHistory {
        /// The size of the checkpoint that was expected.
        expected: u64,
    },
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It is not of its length.
    Damaged,
    /// Its hashes are not those of the records.
    Differs,
}

/// Checks the log in `folder` under `key`, reading only.
///
/// # Errors
/// As for [`verify`].
pub fn verify_dir(
    folder: &Path,
    key: &VerifierKey,
    at_least: Option<&str>,
    progress: impl FnMut(u64, u64),
) -> Result<Report, LogError> {
    verify(&Disk::new(folder), key, at_least, progress)
}

/// Checks a log under `key`, reading only. The log must contain the tree of `at_least`, the note of
/// an older checkpoint of the same key. `progress` is told after each bundle how many records of
/// how many are done.
///
/// # Errors
/// [`LogError::Storage`] if a file cannot be read, [`LogError::Checkpoint`] if `at_least` is not a
/// checkpoint that `key` signed. Whatever is wrong with the log itself is in the [`Report`].
pub fn verify<S: Storage>(
    storage: &S,
    key: &VerifierKey,
    at_least: Option<&str>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, LogError> {
    let at_least = at_least.map(|note| Checkpoint::open(note.as_bytes(), key)).transpose()?;
    let mut report = Report::default();
    let checkpoint = match published(storage, key) {
        Ok(Some((_, checkpoint))) => checkpoint,
        Ok(None) => {
            report.add(Break::NoCheckpoint);
            return Ok(report);
        }
        Err(LogError::Checkpoint(error)) => {
            report.add(Break::Checkpoint(error));
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let (size, root) = (checkpoint.size, checkpoint.root);
    report.checkpoint = Some(checkpoint);
    let (frontier, writers) = (Frontier::new(), BTreeMap::new());
    let mut walk = Walk { storage, size, at_least, frontier, writers, report };
    walk.check_rolled_back();
    for bundle in (0..).map_while(|n| Tile::at(Row::Entries, n, size)) {
        if !walk.bundle(bundle)? {
            return Ok(walk.report);
        }
        progress(walk.frontier.size(), size);
    }
    walk.finish(&root)?;
    Ok(walk.report)
}

/// A way through the log from its first record on.
struct Walk<'a, S> {
    storage: &'a S,
    size: u64,
    at_least: Option<Checkpoint>,
    frontier: Frontier,
    /// The last number of each writer.
    writers: BTreeMap<String, u64>,
    report: Report,
}

impl<S: Storage> Walk<'_, S> {
    fn check_rolled_back(&mut self) {
        let expected = self.at_least.as_ref().map_or(0, |checkpoint| checkpoint.size);
        if expected > self.size {
            self.report.add(Break::RolledBack { expected });
        }
    }

    /// Goes over one bundle; false if neither its records nor their hashes are to be had.
    fn bundle(&mut self, bundle: Tile) -> Result<bool, LogError> {
        let tile = Tile::at(Row::Level(0), bundle.index(), self.size).unwrap_or(bundle);
        let stored = self.noted(tile, hashes(self.storage, tile))?;
        let records = self.noted(bundle, entries(self.storage, bundle))?;
        let leaves = match (records, &stored) {
            (Some(records), stored) => {
                self.report.records += records.len() as u64;
                self.check_numbers(bundle, &records);
                let leaves: Vec<_> = records.iter().map(|record| leaf_hash(record)).collect();
                self.compare_records(bundle, &leaves, stored.as_deref());
                leaves
            }
            // Its records are lost; their hashes still show whether the rest is whole.
            (None, Some(stored)) => stored.clone(),
            (None, None) => return Ok(false),
        };
        for leaf in leaves {
            self.append(leaf)?;
        }
        Ok(true)
    }

    fn check_numbers(&mut self, bundle: Tile, records: &[Vec<u8>]) {
        let first = bundle.index() * TILE_WIDTH as u64;
        for (index, record) in (first..).zip(records) {
            let Some(Record { writer, wseq, .. }) = Record::decode(record) else { continue };
            let last = self.writers.entry(writer.clone()).or_insert(0);
            let records = wseq.saturating_sub(last.saturating_add(1));
            *last = wseq.max(*last);
            if records > 0 {
                self.report.add(Break::Gap { index, writer, records });
            }
        }
    }

    fn compare_records(&mut self, bundle: Tile, leaves: &[Hash], stored: Option<&[Hash]>) {
        let first = bundle.index() * TILE_WIDTH as u64;
        let pairs = leaves.iter().zip(stored.unwrap_or_default());
        for (index, _) in (first..).zip(pairs).filter(|(_, (leaf, stored))| leaf != stored) {
            self.report.add(Break::Record { index });
        }
    }

    fn append(&mut self, leaf: Hash) -> Result<(), LogError> {
        let mut full = Vec::new();
        self.frontier.append(leaf, |tile, hashes| {
            full.push((tile, hashes.to_vec()));
            Ok::<_, LogError>(())
        })?;
        for (tile, hashes) in full {
            self.compare_tile(tile, &hashes)?;
        }
        let expected = self.at_least.as_ref().filter(|c| c.size == self.frontier.size());
        if expected.is_some_and(|expected| expected.root != self.frontier.root()) {
            self.report.add(Break::OtherHistory { expected: self.frontier.size() });
        }
        Ok(())
    }

    /// Tiles above the leaves; those of the leaves were compared record by record.
    fn compare_tile(&mut self, tile: Tile, computed: &[Hash]) -> Result<(), LogError> {
        if tile.row() == Row::Level(0) {
            return Ok(());
        }
        let stored = self.noted(tile, hashes(self.storage, tile))?;
        if stored.is_some_and(|stored| stored != computed) {
            self.report.add(Break::Tile { tile, fault: Fault::Differs });
        }
        Ok(())
    }

    fn finish(&mut self, root: &Hash) -> Result<(), LogError> {
        let partial: Vec<_> =
            self.frontier.partial_tiles().map(|(tile, hashes)| (tile, hashes.to_vec())).collect();
        for (tile, hashes) in partial {
            self.compare_tile(tile, &hashes)?;
        }
        if self.frontier.root() != *root {
            self.report.add(Break::Root);
        }
        Ok(())
    }

    /// What a file holds; what is wrong with the file goes into the report.
    fn noted<T>(&mut self, tile: Tile, read: Result<T, LogError>) -> Result<Option<T>, LogError> {
        let fault = match read {
            Ok(found) => return Ok(Some(found)),
            Err(LogError::Missing { .. }) => Fault::Missing,
            Err(LogError::Damaged { .. }) => Fault::Damaged,
            Err(error) => return Err(error),
        };
        self.report.add(Break::Tile { tile, fault });
        Ok(None)
    }
}
