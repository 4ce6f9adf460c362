// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a log from its files alone, under a key from elsewhere.

use std::io;

use chancery_core::evidence::note::NOTE_BYTES_MAX;
use chancery_core::evidence::proof::{consistency, inclusion};
use chancery_core::evidence::tile::{
    self, ENTRIES_BYTES_MAX, TILE_WIDTH, decode_entries, decode_hashes,
};
use chancery_core::evidence::{
    BundleError, Checkpoint, CheckpointError, Hash, NoteError, ProofBundle, Row, Tile, TileError,
    VerifierKey,
};

use super::{CHECKPOINT, LogError, Storage};

/// A log as its newest published checkpoint has it. Never writes.
///
/// The checkpoint's signature is verified when the log is opened. Records and hashes come as the
/// files have them: [`LogReader::bundle`] proves one record, [`super::verify`] all of them.
#[derive(Debug)]
pub struct LogReader<'a, S> {
    storage: &'a S,
    key: VerifierKey,
    note: String,
    checkpoint: Checkpoint,
}

impl<'a, S: Storage> LogReader<'a, S> {
    /// Reads the checkpoint and verifies it under `key`.
    ///
    /// # Errors
    /// [`LogError::Missing`] for a log that has published nothing yet, [`LogError::Checkpoint`] for
    /// one of another key, [`LogError::Storage`].
    pub fn open(storage: &'a S, key: &VerifierKey) -> Result<Self, LogError> {
        let missing = || LogError::Missing { path: CHECKPOINT.to_owned() };
        let (note, checkpoint) = published(storage, key)?.ok_or_else(missing)?;
        Ok(Self { storage, key: key.clone(), note, checkpoint })
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint's note, as it was signed.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// All records under the checkpoint with their indices, in order, one bundle in memory at a
    /// time. The first error ends it.
    pub fn records(&self) -> impl Iterator<Item = Result<(u64, Vec<u8>), LogError>> + '_ {
        let size = self.checkpoint.size;
        let bundles = (0..).map_while(move |n| Tile::at(Row::Entries, n, size));
        let mut failed = false;
        let records = bundles.flat_map(|tile| match entries(self.storage, tile) {
            Ok(records) => {
                let first = tile.index() * TILE_WIDTH as u64;
                (first..).zip(records).map(Ok).collect()
            }
            Err(error) => vec![Err(error)],
        });
        records.take_while(move |record| !std::mem::replace(&mut failed, record.is_err()))
    }

    /// The index of the first record that `wanted` says yes to.
    ///
    /// # Errors
    /// Those of reading the files.
    pub fn find(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> Result<Option<u64>, LogError> {
        for record in self.records() {
            let (index, record) = record?;
            if wanted(&record) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Record `index` with the proof that it is under the checkpoint, already verified.
    ///
    /// # Errors
    /// [`LogError::Proof`] for an index outside the log or files that do not lead to the signed
    /// root; those of reading the files.
    pub fn bundle(&self, index: u64) -> Result<ProofBundle, LogError> {
        let size = self.checkpoint.size;
        let proof = inclusion(index, size, |level, at| self.node(level, at))?;
        let width = TILE_WIDTH as u64;
        let tile = Tile::at(Row::Entries, index / width, size).ok_or(TileError::Length)?;
        let mut records = entries(self.storage, tile)?;
        let at = (index % width) as usize;
        if at >= records.len() {
            return Err(TileError::Length.into());
        }
        let record = records.swap_remove(at);
        let bundle = ProofBundle { record, index, proof, checkpoint: self.note.clone() };
        bundle.verify(&self.key).map_err(|error| match error {
            BundleError::Checkpoint(error) => LogError::from(error),
            BundleError::Proof(error) => LogError::from(error),
            _ => LogError::from(TileError::TooLarge),
        })?;
        Ok(bundle)
    }

    /// The proof that the tree of `old` records is a prefix of this one.
    ///
    /// # Errors
    /// [`LogError::Proof`] for a size of zero or beyond the log; those of reading the files.
    pub fn consistency(&self, old: u64) -> Result<Vec<Hash>, LogError> {
        consistency(old, self.checkpoint.size, |level, at| self.node(level, at))
    }

    fn node(&self, level: u8, index: u64) -> Result<Hash, LogError> {
        let mut read = |tile| hashes(self.storage, tile);
        tile::node(level, index, self.checkpoint.size, &mut read)
    }
}

/// The published checkpoint with its note, verified; none if nothing was published.
pub(super) fn published<S: Storage>(
    storage: &S,
    key: &VerifierKey,
) -> Result<Option<(String, Checkpoint)>, LogError> {
    let note = match storage.read(CHECKPOINT, NOTE_BYTES_MAX) {
        Ok(Some(note)) => note,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(CheckpointError::from(NoteError::TooLarge).into());
        }
        Err(error) => return Err(LogError::storage(CHECKPOINT)(error)),
    };
    let checkpoint = Checkpoint::open(&note, key)?;
    // Verified notes are UTF-8.
    let note = String::from_utf8_lossy(&note).into_owned();
    Ok(Some((note, checkpoint)))
}

/// The hashes of a tile; of a partial one also out of the full one that replaced it.
pub(super) fn hashes<S: Storage>(storage: &S, tile: Tile) -> Result<Vec<Hash>, LogError> {
    let (found, bytes) = read_tile(storage, tile)?;
    let mut hashes = decode_hashes(&bytes, found.width()).map_err(damaged(found))?;
    hashes.truncate(tile.width());
    Ok(hashes)
}

/// The records of an entry bundle; of a partial one also out of the full one that replaced it.
pub(super) fn entries<S: Storage>(storage: &S, tile: Tile) -> Result<Vec<Vec<u8>>, LogError> {
    let (found, bytes) = read_tile(storage, tile)?;
    let records = decode_entries(&bytes, found.width()).map_err(damaged(found))?;
    Ok(records.into_iter().take(tile.width()).map(<[u8]>::to_vec).collect())
}

fn read_tile<S: Storage>(storage: &S, tile: Tile) -> Result<(Tile, Vec<u8>), LogError> {
    for tile in [tile, tile.filled()] {
        let path = tile.to_string();
        match storage.read(&path, bytes_max(tile)) {
            Ok(Some(bytes)) => return Ok((tile, bytes)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(damaged(tile)(TileError::Length));
            }
            Err(error) => return Err(LogError::storage(&path)(error)),
        }
    }
    Err(LogError::Missing { path: tile.to_string() })
}

/// The longest file that a tile can be.
pub(super) fn bytes_max(tile: Tile) -> usize {
    match tile.row() {
        Row::Entries => ENTRIES_BYTES_MAX,
        Row::Level(_) => TILE_WIDTH * size_of::<Hash>(),
    }
}

fn damaged(tile: Tile) -> impl FnOnce(TileError) -> LogError {
    move |source| LogError::Damaged { path: tile.to_string(), source }
}
