// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kafka behind the ports of `chancery`.

mod admin;
mod config;
mod connect;
mod consume;
mod convert;
mod produce;
