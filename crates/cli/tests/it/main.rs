// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real binary, driven as its users drive it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod bad_input;
mod consume;
mod crash;
mod evidence;
mod guides;
mod keys;
mod kept;
mod ladder;
mod metrics;
mod policy;
mod publish;
mod reload;
mod schema;
mod shop;
mod start;
