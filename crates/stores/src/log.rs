// SPDX-License-Identifier: MIT OR Apache-2.0
//! The evidence log's folder: written by one [`Sealer`], read by anybody.
//!
//! The folder is that of a C2SP tlog-tiles log: `checkpoint`, `tile/<L>/…`, `tile/entries/…`.
//! Beside them stand `sealer.lock`, and `tmp/` while something is being written.

mod error;
mod pending;
mod read;
mod seal;
mod storage;
mod verify;

pub use error::LogError;
pub use pending::{CheckpointRow, Pending, Reserved};
pub use read::LogReader;
pub use seal::{BATCH_RECORDS_MAX, Sealed, Sealer};
pub use storage::{Disk, Storage};
pub use verify::{BREAKS_MAX, Break, Fault, Report, verify, verify_dir};

/// The file that holds the newest signed checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
