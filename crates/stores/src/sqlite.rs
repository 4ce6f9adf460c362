// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stores in SQLite: the service's own database holds its tables, the ledger, kept messages,
//! outbox and pending evidence, so that one commit covers them all.

pub mod database;
pub mod ledger;
pub mod tx;
pub mod lease;
pub mod kept;
pub mod outbox;
pub mod evidence;

mod claims;
mod common;
mod findings;
mod housekeeping;
mod identity;
mod owners;
mod tables;
mod write;

pub use database::{Database, Limits, Stats};
pub use findings::Findings;
pub use kept::{KeptEntry, KeptFilter, KeptStore, SkipKey, Skipped};
pub use lease::{Lease, Leased, LeasedUnit};
pub use ledger::{Transaction, Transactional};
pub use outbox::{Outbox, RefusedDraft, relay};
pub use tx::Tx;
