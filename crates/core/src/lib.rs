// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pure heart of Chancery: what a message is, who may send it, whether it may run.
//!
//! Nothing here reads a clock, a file, a socket or a broker; time, randomness and configuration
//! are arguments. Read in this order: [`delivery`], [`screen`], [`order`], [`admitted`].

pub mod delivery;
pub mod screen;
pub mod claim;
pub mod order;
pub mod admitted;
pub mod unproven;
pub mod record;
pub mod seal;

pub mod header;
pub mod envelope;
pub mod attributes;
pub mod keys;
pub mod json;
pub mod schema;
pub mod evidence;

pub mod snapshot;
pub mod bundle;
pub mod policy;

pub mod reason;
pub mod failure;
pub mod text;
pub mod time;

pub use admitted::Admitted;
pub use delivery::{AppendTime, Delivery, Field};
pub use failure::{Fault, FaultKind, Misuse, MisuseKind, Refusal};
pub use reason::{Disposition, Reason, Step};
pub use screen::{Reader, screen};
pub use snapshot::Snapshot;
pub use time::Timestamp;
pub use unproven::Unproven;
