// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the stores promise, tried from outside.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod faults;
mod kills;
mod ledger;
mod log_kill;
mod log_restore;
mod log_tamper;
mod log_together;
mod log_world;
mod pauses;
mod publishing;
mod rollout;
mod vectors;
