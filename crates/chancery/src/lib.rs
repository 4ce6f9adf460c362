// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publish and consume messages that are provably from the service they name, meant for the
//! stream they arrived on, handled once and in order.
//!
//! A message's path is [`receive`]: read it first. What a broker or a store owes is in [`ports`].

pub mod ports;
pub mod broker;
pub mod capability;
pub mod receive;
pub mod handler;
pub mod consumer;
pub mod publisher;
pub mod snapshots;
pub mod signals;
pub mod clock;
pub mod window;
pub mod secret;

pub use broker::{Broker, Finding, Lag, Live, Promise, TimeSource};
pub use chancery_core as core;
pub use chancery_core::{
    Admitted, Delivery, Fault, Misuse, MisuseKind, Reason, Refusal, Snapshot, Timestamp, Unproven,
};
pub use clock::{Clock, SystemClock};
pub use consumer::{ConsumeError, Consumer, Settings, Summary};
pub use handler::{Handler, Observer, Outcome};
pub use ports::{Begun, Kept, Known, Ledger, Sink, Source, Unit};
pub use publisher::{Event, PublishError, Published, Publisher};
pub use secret::{SecretFrom, SecretText};
pub use signals::Signals;
pub use snapshots::Snapshots;
pub use window::{Windowed, Wire};
