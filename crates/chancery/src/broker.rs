// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker as one service meets it: where it appends, what it reads, and what the live streams
//! can really give.

use std::future::Future;

use chancery_core::{Fault, Timestamp};
use serde::Deserialize;

use crate::ports::{Sink, Source};

/// A broker, connected with one service's credentials. Clones share the connection.
pub trait Broker: Sink + Clone {
    /// What its subscriptions are.
    type Source: Source;

    /// One group's share of a stream. Makes nothing on the broker that an operator should have
    /// made: a stream or queue that is missing is a fault that names it.
    fn subscribe(
        &self,
        stream: &str,
        group: &str,
    ) -> impl Future<Output = Result<Self::Source, Fault>> + Send;

    /// How far a group is behind.
    fn lag(&self, stream: &str, group: &str) -> impl Future<Output = Result<Lag, Fault>> + Send;

    /// The broker's clock, where it tells the time.
    fn time(&self) -> impl Future<Output = Result<Option<Timestamp>, Fault>> + Send {
        std::future::ready(Ok(None))
    }

    /// Reads what a stream, and a group's share of it, are really set to.
    fn inspect(
        &self,
        stream: &str,
        group: Option<&str>,
    ) -> impl Future<Output = Result<Live, Fault>> + Send;
}

/// What a group has not acknowledged. `None`: the broker does not say, or not to this service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages, those in a receiver's hands among them.
    pub messages: Option<u64>,
    /// Milliseconds since the oldest of them was appended.
    pub oldest_ms: Option<i64>,
}

/// What a live stream is set to, as far as this service may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Name and version of the server, in its own words (`RabbitMQ 4.0.5`).
    pub server: String,
    /// How the server knows this service (`User:billing`, a certificate's name, an ARN).
    pub identity: Option<String>,
    /// Whose word a message's append time is.
    pub append_time: TimeSource,
    /// What it cannot promise, or does not let us see.
    pub findings: Vec<Finding>,
}

/// Whose word the append time is (spec/message.md "Time").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The broker stamps it.
    Broker,
    /// The client's, within this many milliseconds of the broker's clock.
    Bounded {
        /// Milliseconds.
        ms: u64,
    },
    /// Nobody's that can be believed.
    Nobody,
    /// We may not read the setting.
    Unknown,
}

/// One thing that a live stream cannot promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is not kept.
    pub promise: Promise,
    /// Whether that is certain; what could not be read is never taken as good.
    pub certain: bool,
    /// What is wrong, in words.
    pub what: String,
    /// The setting, in the broker's own name, with its value: `message.timestamp.type=CreateTime`.
    pub setting: String,
    /// The command that mends it.
    pub fix: String,
}

/// What a stream is expected to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// An append time to judge freshness by.
    Freshness,
    /// Messages of a key come one after another, as they were appended.
    Order,
    /// A message is there until every group has settled it.
    NothingLost,
    /// Who connected is who the broker says.
    Identity,
}

impl Promise {
    /// Its name in output.
    pub fn word(self) -> &'static str {
        match self {
            Promise::Freshness => "freshness",
            Promise::Order => "order",
            Promise::NothingLost => "nothing-lost",
            Promise::Identity => "identity",
        }
    }
}
