// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kafka behind the ports of `chancery`.
//!
//! A stream is a topic, a group a consumer group, a key's order that of its partition. What is
//! settled out of order stands beside the group's offset (`consume/offsets.rs`).

mod config;
mod connect;
mod convert;
mod produce;
mod consume;
mod admin;

pub use config::{Address, Config, Settings};
pub use consume::{KafkaReceipt, KafkaWire};
pub use produce::KafkaBroker;
