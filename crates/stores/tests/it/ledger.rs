// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ledgers, through `chancery::receive` with signed messages.

mod world;

mod broken;
mod consumed;
mod copies;
mod interleaved;
mod ladder;
mod leased;
mod lent;
mod once;
mod outbox;
mod processes;
mod set_aside;
