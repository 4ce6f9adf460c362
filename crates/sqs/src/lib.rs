// SPDX-License-Identifier: MIT OR Apache-2.0
//! SQS behind the ports of `chancery`: a stream is a FIFO queue for each group that reads it, and
//! whoever appends sends to all of them.

mod admin;
mod config;
mod connect;
mod consume;
mod convert;
mod produce;

pub use config::{Address, Config, Settings, Via};
pub use consume::SqsWire;
pub use produce::SqsBroker;
