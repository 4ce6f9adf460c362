// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kafka, judged by the suite of all brokers and by its own promises, on the server that
//! `cargo xtask brokers up kafka` has made.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod foreign;
mod identities;
mod mirror;
mod rebalance;
mod refusals;
mod suite;
mod world;

use suite::Kafka;

chancery_testkit::conformance!(Kafka);
chancery_testkit::path_suite!(Kafka);
