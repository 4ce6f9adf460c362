// SPDX-License-Identifier: MIT OR Apache-2.0
//! Against the server that `cargo xtask brokers up nats` has started.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod faults;
mod fixture;
mod identity;
mod inspect;
mod stock;
mod suite;
mod world;
