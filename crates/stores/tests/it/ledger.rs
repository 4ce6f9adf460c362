// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ledgers, through `chancery::receive` with signed messages.

mod world;

mod once;
