// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a broker hands over, before anything about it is believed.

use bytes::Bytes;

use crate::time::Timestamp;

/// One message as it arrived. Only [`Delivery::stream`] is ours (the adapter maps the physical
/// source to the logical stream the consumer asked for); every other byte is the sender's or the
/// broker's claim.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The logical stream that the consumer subscribed to.
    pub stream: String,
    /// Where the broker keeps this copy, in the broker's own words (`orders.created/42`).
    pub position: String,
    /// Header fields in order, duplicates kept.
    pub fields: Vec<Field>,
    /// The record key, where the broker has one.
    pub key: Option<Bytes>,
    /// The body; `None` is a null value (tombstone), not an empty one.
    pub body: Option<Bytes>,
    /// When the broker first appended this message.
    pub appended: AppendTime,
    /// How often this copy was delivered, as far as the broker counts; 1 is the first time.
    pub deliveries: u32,
}

/// One header field: a name and raw bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// Name as it arrived, case kept.
    pub name: String,
    /// Value as it arrived.
    pub value: Bytes,
}

impl Field {
    /// A field of a static or owned name and value.
    pub fn new(name: impl Into<String>, value: impl Into<Bytes>) -> Field {
        Field { name: name.into(), value: value.into() }
    }
}

/// The broker's word on when it took the message (spec/message.md "Time").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendTime {
    /// Stamped by the broker itself; a client cannot choose it.
    Broker(Timestamp),
    /// Chosen by the client, bounded by the broker.
    Bounded(Timestamp),
    /// The broker keeps none that can be believed.
    Unknown,
}

impl AppendTime {
    /// The moment, if there is one to believe.
    pub fn at(self) -> Option<Timestamp> {
        match self {
            AppendTime::Broker(at) | AppendTime::Bounded(at) => Some(at),
            AppendTime::Unknown => None,
        }
    }
}

/// Sizes only: a delivery is unverified and may be anyone's data.
impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("stream", &self.stream)
            .field("position", &self.position)
            .field("fields", &self.fields.len())
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .field("appended", &self.appended)
            .field("deliveries", &self.deliveries)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} B", self.name.escape_default(), self.value.len())
    }
}
