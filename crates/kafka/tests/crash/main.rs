// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker is killed while messages are on their way. A program of its own: no other test of
//! this package has the server then.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and the other tests use the rest"
)]

#[path = "../real/suite.rs"]
mod suite;
#[path = "../real/world.rs"]
mod world;

use suite::Kafka;

chancery_testkit::crash_suite!(Kafka, "kafka");
