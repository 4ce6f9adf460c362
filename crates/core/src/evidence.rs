// SPDX-License-Identifier: MIT OR Apache-2.0
//! The evidence log: an RFC 6962 Merkle tree of records, in the formats of C2SP.
//!
//! Everything here is arithmetic over bytes that somebody else reads and writes. A log is a set of
//! [tiles](tile) and one signed [checkpoint]; a [proof bundle](bundle) shows that one record is in
//! it.

pub mod bundle;
pub mod checkpoint;
pub mod leaf;
pub mod note;
pub mod proof;
pub mod tile;
pub mod tree;

pub use bundle::{BundleError, ProofBundle, Proven};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use leaf::{Hash, RECORD_BYTES_MAX, leaf_hash, node_hash};
pub use note::{NoteError, Signer, VerifierKey};
pub use proof::ProofError;
pub use tile::{Row, Tile, TileError};
pub use tree::Frontier;

#[cfg(test)]
mod tests;
