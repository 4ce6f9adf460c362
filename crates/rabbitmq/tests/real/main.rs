// SPDX-License-Identifier: MIT OR Apache-2.0
//! On the real servers: `cargo xtask brokers up rabbitmq rabbitmq4`, then
//! `cargo test -p chancery-rabbitmq --features real --test real`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod identities;
mod strangers;
mod suite;
mod world;
