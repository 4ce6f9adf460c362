// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sealer: pending records become tiles, tiles become a signed checkpoint.
//!
//! The files are a pure function of rows whose index the database has fixed, so every step can be
//! done again after a crash, by anybody. The order is what makes it safe:
//!
//! index in the database → entries → tiles → names synced → (size, root) reserved → signed → note
//! stored → `checkpoint` renamed → name synced → rows of full bundles deleted.

use std::collections::BTreeSet;

use chancery_core::evidence::tile::{TILE_WIDTH, encode_entries, encode_hashes};
use chancery_core::evidence::{Checkpoint, Frontier, Hash, Row, Signer, Tile, leaf_hash};

use super::read::{bytes_max, hashes, published};
use super::{CHECKPOINT, CheckpointRow, LogError, Pending, Reserved, Storage};

/// The most records that one round seals.
pub const BATCH_RECORDS_MAX: u64 = 65_536;

const WIDTH: u64 = TILE_WIDTH as u64;

/// The one process that writes a log. Holds the log's lock for as long as it lives.
pub struct Sealer<'a, S: Storage, P> {
    storage: &'a S,
    pending: P,
    signer: &'a Signer,
    _lock: S::Lock,
}

/// What a round did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// How many records this round put under a checkpoint.
    pub records: u64,
    /// The newest published checkpoint; none while the log is empty.
    pub checkpoint: Option<Checkpoint>,
}

impl<'a, S: Storage, P: Pending> Sealer<'a, S, P> {
    /// Becomes the log's sealer. The signer's name is the log's origin.
    ///
    /// # Errors
    /// [`LogError::Busy`] if there is one, [`LogError::Storage`].
    pub fn open(storage: &'a S, pending: P, signer: &'a Signer) -> Result<Self, LogError> {
        let lock = storage.lock().map_err(LogError::storage("sealer.lock"))?;
        Ok(Self { storage, pending, signer, _lock: lock.ok_or(LogError::Busy)? })
    }

    /// One round: finishes what an earlier one left, then seals at most [`BATCH_RECORDS_MAX`]
    /// records. A round that sealed that many has probably left some.
    ///
    /// # Errors
    /// [`LogError`]. Every failed round can be repeated; [`LogError::Ahead`], [`LogError::Forked`],
    /// [`LogError::Conflict`], [`LogError::Missing`], [`LogError::Damaged`] and [`LogError::Rows`]
    /// will fail again until somebody has looked at the folder and the database.
    pub fn seal_once(&mut self) -> Result<Sealed, LogError> {
        // First the folder, then the database, which is never behind it unless it is an older copy.
        let published = published(self.storage, self.signer.verifier())?;
        let before = self.pending.latest().map_err(LogError::database)?;
        let published_size = self.check_published(published, before.as_ref())?;
        let mut frontier = self.load(before.as_ref())?;
        if let Some(row) = before.filter(|row| row.size > published_size) {
            self.publish(row)?;
        }
        let begin = frontier.size();
        let end = self.pending.assign(BATCH_RECORDS_MAX).map_err(LogError::database)?;
        if end > begin {
            self.write(&mut frontier, end)?;
            let row = self.reserve(end, frontier.root())?;
            self.publish(row)?;
        } else if end < begin {
            return Err(LogError::Rows { index: end });
        }
        self.pending.forget(end - end % WIDTH).map_err(LogError::database)?;
        Ok(Sealed { records: end - begin, checkpoint: self.checkpoint(end, frontier.root()) })
    }

    fn checkpoint(&self, size: u64, root: Hash) -> Option<Checkpoint> {
        let origin = self.signer.verifier().name().to_owned();
        (size > 0).then_some(Checkpoint { origin, size, root })
    }

    /// The published size, which the database must know with the same root.
    fn check_published(
        &mut self,
        published: Option<(String, Checkpoint)>,
        known: Option<&CheckpointRow>,
    ) -> Result<u64, LogError> {
        let Some((_, Checkpoint { size, root, .. })) = published else { return Ok(0) };
        let known = known.map_or(0, |row| row.size);
        if size > known {
            return Err(LogError::Ahead { published: size, known });
        }
        match self.pending.root(size).map_err(LogError::database)? {
            Some(reserved) if reserved == root => Ok(size),
            _ => Err(LogError::Forked { size }),
        }
    }

    /// The right edge of the newest tree, out of files that lead to the root in the database.
    fn load(&self, known: Option<&CheckpointRow>) -> Result<Frontier, LogError> {
        let Some(row) = known else { return Ok(Frontier::new()) };
        let frontier = Frontier::load(row.size, |tile| hashes(self.storage, tile))?;
        if frontier.root() == row.root {
            Ok(frontier)
        } else {
            Err(LogError::Forked { size: row.size })
        }
    }

    /// Writes the entries and tiles that take the tree to `end` records, durably.
    fn write(&mut self, frontier: &mut Frontier, end: u64) -> Result<(), LogError> {
        let mut files = Files::new(self.storage);
        while frontier.size() < end {
            let index = frontier.size() / WIDTH;
            let bundle = Tile::at(Row::Entries, index, end).ok_or(LogError::Rows { index: end })?;
            let records = self.bundle_records(frontier, bundle)?;
            files.put(bundle, &encode_entries(&records)?)?;
            let known = (frontier.size() % WIDTH) as usize;
            for record in records.iter().skip(known) {
                frontier.append(leaf_hash(record), |tile, hashes| {
                    files.put(tile, &encode_hashes(hashes))
                })?;
            }
        }
        for (tile, hashes) in frontier.partial_tiles() {
            files.put(tile, &encode_hashes(hashes))?;
        }
        files.finish()
    }

    /// A bundle's records, of which the first may be in the tree already.
    fn bundle_records(
        &mut self,
        frontier: &Frontier,
        bundle: Tile,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let begin = bundle.index() * WIDTH;
        let end = begin + bundle.width() as u64;
        let records = self.pending.records(begin, end).map_err(LogError::database)?;
        let leaves = frontier.partial_tiles().find(|(tile, _)| tile.row() == Row::Level(0));
        let leaves = leaves.map(|(_, leaves)| leaves).unwrap_or_default();
        let known = records.iter().zip(leaves).all(|(record, leaf)| leaf_hash(record) == *leaf);
        if records.len() == bundle.width() && known {
            Ok(records)
        } else {
            Err(LogError::Rows { index: begin })
        }
    }

    fn reserve(&mut self, size: u64, root: Hash) -> Result<CheckpointRow, LogError> {
        match self.pending.reserve(size, &root).map_err(LogError::database)? {
            Reserved::Ours => Ok(CheckpointRow { size, root, note: None }),
            Reserved::Overtaken => Err(LogError::Overtaken { size }),
            Reserved::Forked => Err(LogError::Forked { size }),
        }
    }

    /// Signs a reserved row if that is still to be done, stores the note, then shows it to the
    /// world.
    fn publish(&mut self, row: CheckpointRow) -> Result<(), LogError> {
        let CheckpointRow { size, root, note } = row;
        let origin = self.signer.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size, root };
        let note = match note {
            Some(note) => note,
            None => {
                let note = checkpoint.sign(self.signer)?;
                self.pending.store_note(size, &note).map_err(LogError::database)?;
                note
            }
        };
        if Checkpoint::open(note.as_bytes(), self.signer.verifier())? != checkpoint {
            return Err(LogError::Forked { size });
        }
        let staged = self.storage.stage(note.as_bytes()).map_err(LogError::storage(CHECKPOINT))?;
        // The lock keeps others away; should it fail, a newer checkpoint still does not go back.
        let newer = published(self.storage, self.signer.verifier())?;
        if newer.is_some_and(|(_, newer)| newer.size > size) {
            return Err(LogError::Overtaken { size });
        }
        self.storage.rename(&staged, CHECKPOINT).map_err(LogError::storage(CHECKPOINT))?;
        self.storage.sync_folder("").map_err(LogError::storage(""))
    }
}

/// Files being written: which folders to sync, and which partial tiles have become full.
struct Files<'a, S> {
    storage: &'a S,
    folders: BTreeSet<String>,
    filled: Vec<Tile>,
}

impl<'a, S: Storage> Files<'a, S> {
    fn new(storage: &'a S) -> Self {
        Self { storage, folders: BTreeSet::new(), filled: Vec::new() }
    }

    /// Writes one tile. A full one that is there already must have the same bytes; a partial one
    /// that has others belongs to no checkpoint and is replaced.
    fn put(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), LogError> {
        let path = tile.to_string();
        self.folders.extend(
            path.match_indices('/').filter_map(|(at, _)| path.get(..at)).map(str::to_owned),
        );
        if tile.is_full() {
            self.filled.push(tile);
        }
        match self.storage.read(&path, bytes_max(tile)).map_err(LogError::storage(&path))? {
            Some(found) if found == bytes => return Ok(()),
            Some(_) if tile.is_full() => return Err(LogError::Conflict { path }),
            _ => {}
        }
        let staged = self.storage.stage(bytes).map_err(LogError::storage(&path))?;
        self.storage.rename(&staged, &path).map_err(LogError::storage(&path))
    }

    /// Makes all names durable, then drops the partial tiles that full ones have replaced.
    fn finish(self) -> Result<(), LogError> {
        for folder in self.folders.iter().map(String::as_str).rev().chain([""]) {
            self.storage.sync_folder(folder).map_err(LogError::storage(folder))?;
        }
        for tile in self.filled {
            let folder = format!("{tile}.p");
            self.storage.remove_folder(&folder).map_err(LogError::storage(&folder))?;
        }
        Ok(())
    }
}
