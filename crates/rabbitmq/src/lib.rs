// SPDX-License-Identifier: MIT OR Apache-2.0
//! RabbitMQ behind the ports of `chancery`.
//!
//! A stream is an exchange, a group's share of it a quorum queue with a single active consumer,
//! the record key the routing key. Operators make them; this crate makes nothing on the broker.
//!
//! - Header fields are string headers. A field that is sent twice arrives once, the last of them,
//!   and fields arrive in order of their names: so the client library reads them.
//! - An acknowledgement that the broker has heard and not yet written when it is killed is
//!   forgotten: the message comes again.
//! - The client library logs a message that the broker returns, whole, through `tracing` at level
//!   `warn`: leave its target `lapin` out of any log.

mod admin;
mod config;
mod connect;
mod consume;
mod convert;
mod produce;

pub use config::{Address, Certificate, Config, Settings, Stamped};
pub use consume::{RabbitReceipt, RabbitWire};
pub use produce::RabbitBroker;
