// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signed head of a log (C2SP tlog-checkpoint): origin, size, root; never an extension line.

use super::leaf::{Hash, empty_root, hash_text, parse_decimal, parse_hash};
use super::note::{Note, NoteError, Signer, VerifierKey};

/// A tree's head. That somebody signed it is known of one that [`Checkpoint::open`] gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's own name, which is also its key's.
    pub origin: String,
    /// How many leaves the tree has.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
}

/// Why a checkpoint is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The note round it is refused.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not the three lines of a checkpoint.
    #[error("not a checkpoint of three lines")]
    Malformed,
    /// Its origin is not the name of the key.
    #[error("the checkpoint is of another log than the key")]
    Origin,
}

impl Checkpoint {
    /// The signed note. The same checkpoint and signer give the same bytes.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] if the signer has another name than the log.
    pub fn sign(&self, signer: &Signer) -> Result<String, CheckpointError> {
        if self.origin != signer.verifier().name() {
            return Err(CheckpointError::Origin);
        }
        let text = format!("{}\n{}\n{}\n", self.origin, self.size, hash_text(&self.root));
        Ok(signer.sign(&text)?)
    }

    /// Reads a signed note, verifies it under `key` alone and only then looks at its text.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let text = Note::parse(note)?.verify(key)?;
        let found = Self::parse(text).ok_or(CheckpointError::Malformed)?;
        if found.origin == key.name() { Ok(found) } else { Err(CheckpointError::Origin) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let size = parse_decimal(lines.next()?)?;
        let root = parse_hash(lines.next()?)?;
        let sound = lines.next().is_none() && (size > 0 || root == empty_root());
        sound.then_some(Self { origin, size, root })
    }
}
