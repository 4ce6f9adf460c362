// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedded broker: keyed streams in a directory, shared by any number of processes of one
//! machine.
//!
//! Everything is in one SQLite file, `broker.db`; `owners/` has a lock file per receiver, which
//! the kernel frees when its process dies. Who may write the file may append anything and stamp
//! it with any time: the broker proves nothing, the messages do.
//!
//! [`Broker`] appends and administers; [`LocalSource`] receives.

mod admin;
mod config;
mod consume;
mod convert;
mod lease;
mod owner;
mod produce;

pub use admin::{Lag, StreamStats, Unreadable};
pub use config::{BODY_BYTES_MAX, FIELDS_BYTES_MAX, FIELDS_MAX, KEY_BYTES_MAX, RETENTION_MS};
pub use consume::{LocalReceipt, LocalSource};
pub use produce::{Broker, RawMessage};
