// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a log cannot be sealed or read.

use std::io;

use chancery_core::evidence::{CheckpointError, ProofError, TileError};

/// Why a log cannot be sealed or read. Nothing wrong has been published in any of these cases.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another process is this log's sealer.
    #[error("another sealer is at work")]
    Busy,
    /// The folder cannot be read or written.
    #[error("the log's folder: {path}: {source}")]
    Storage {
        /// Relative to the log's folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be read or written.
    #[error("the log's database: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The folder has published what the database knows nothing of: the database is an older copy.
    /// Sealing on would sign a second history.
    #[error("checkpoint {published} is published, the database ends at {known}: an older copy?")]
    Ahead {
        /// Size of the published checkpoint.
        published: u64,
        /// Size of the newest checkpoint in the database.
        known: u64,
    },
    /// Folder and database have different roots for one size.
    #[error("two different trees of {size} records")]
    Forked {
        /// The size they have in common.
        size: u64,
    },
    /// Another sealer went further meanwhile; the next round continues from there.
    #[error("another sealer has already gone beyond {size} records")]
    Overtaken {
        /// The size that is no longer the newest.
        size: u64,
    },
    /// A full tile, which never changes, is there with other bytes.
    #[error("{path} exists with other content")]
    Conflict {
        /// Relative to the log's folder.
        path: String,
    },
    /// A file that the tree must have is not there.
    #[error("{path} is missing")]
    Missing {
        /// Relative to the log's folder.
        path: String,
    },
    /// A file is not what its name says.
    #[error("{path}: {source}")]
    Damaged {
        /// Relative to the log's folder.
        path: String,
        /// What is wrong with it.
        source: TileError,
    },
    /// The database lost or changed records that already have an index.
    #[error("the database's records from {index} on are not those of the log")]
    Rows {
        /// The first index in doubt.
        index: u64,
    },
    /// A limit of the format.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The checkpoint is refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A proof cannot be made, or does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl LogError {
    pub(super) fn storage(path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage { path: path.to_owned(), source }
    }

    pub(super) fn database(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Database(Box::new(error))
    }
}
