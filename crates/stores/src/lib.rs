// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where Chancery keeps what it did: ledger, kept messages, outbox, evidence.

pub mod sqlite;
pub mod log;
