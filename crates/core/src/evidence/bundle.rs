// SPDX-License-Identifier: MIT OR Apache-2.0
//! One record with the proof that it is in the log, as one text file to be checked offline.
//!
//! The file is a C2SP tlog-proof whose `extra` line carries the record:
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra BASE64-OF-THE-RECORD
//! index 73894
//! BASE64-HASH          (none or more lines, from the leaf's sibling upwards)
//!
//! origin
//! 109482
//! BASE64-ROOT
//!
//! — origin BASE64-SIGNATURE
//! ```
//!
//! Stricter than tlog-proof: the `extra` line must be there, numbers and base64 have one spelling,
//! and the checkpoint has no extension lines. Nothing in the file is believed: the record counts
//! only once its leaf hash leads to the root of a checkpoint signed by a key from elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::leaf::{Hash, RECORD_BYTES_MAX, hash_text, leaf_hash, parse_decimal, parse_hash};
use super::note::{NOTE_BYTES_MAX, VerifierKey};
use super::proof::{PROOF_HASHES_MAX, ProofError, verify_inclusion};

/// The longest bundle that is looked at, in bytes.
pub const BUNDLE_BYTES_MAX: usize = NOTE_BYTES_MAX + RECORD_BYTES_MAX * 2;

const HEADING: &str = "c2sp.org/tlog-proof@v1";

/// A record, its place, the way to the root, and the checkpoint's note as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofBundle {
    /// The record's exact bytes.
    pub record: Vec<u8>,
    /// The leaf's index, from zero.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling upwards.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// A record that is in the log of the key it was verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven<'a> {
    /// The record's exact bytes.
    pub record: &'a [u8],
    /// The leaf's index, from zero.
    pub index: u64,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
}

/// Why a bundle is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Over [`BUNDLE_BYTES_MAX`], [`RECORD_BYTES_MAX`] or [`PROOF_HASHES_MAX`].
    #[error("the bundle is over the limit")]
    TooLarge,
    /// Not the form of a bundle.
    #[error("not a proof bundle")]
    Malformed,
    /// Its checkpoint is refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its proof does not lead from the record to the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl ProofBundle {
    /// The bundle as a text file.
    pub fn encode(&self) -> String {
        let record = STANDARD.encode(&self.record);
        let mut text = format!("{HEADING}\nextra {record}\nindex {}\n", self.index);
        for hash in &self.proof {
            text.push_str(&hash_text(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a text file. Nothing is verified yet.
    ///
    /// # Errors
    /// [`BundleError::TooLarge`] or [`BundleError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BundleError::Malformed)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(BundleError::Malformed)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADING) {
            return Err(BundleError::Malformed);
        }
        let extra = labelled(lines.next(), "extra ")?;
        let record = STANDARD.decode(extra).map_err(|_| BundleError::Malformed)?;
        let index = parse_decimal(labelled(lines.next(), "index ")?);
        if record.len() > RECORD_BYTES_MAX || lines.clone().count() > PROOF_HASHES_MAX {
            return Err(BundleError::TooLarge);
        }
        Ok(Self {
            record,
            index: index.ok_or(BundleError::Malformed)?,
            proof: lines.map(parse_hash).collect::<Option<_>>().ok_or(BundleError::Malformed)?,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// The record, if its checkpoint is signed by `key` and the proof leads from one to the other.
    ///
    /// # Errors
    /// [`BundleError::Checkpoint`] or [`BundleError::Proof`].
    pub fn verify(&self, key: &VerifierKey) -> Result<Proven<'_>, BundleError> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        let leaf = leaf_hash(&self.record);
        verify_inclusion(&leaf, self.index, checkpoint.size, &self.proof, &checkpoint.root)?;
        Ok(Proven { record: &self.record, index: self.index, checkpoint })
    }
}

fn labelled<'a>(line: Option<&'a str>, label: &str) -> Result<&'a str, BundleError> {
    line.and_then(|line| line.strip_prefix(label)).ok_or(BundleError::Malformed)
}
