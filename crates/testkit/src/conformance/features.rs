// SPDX-License-Identifier: MIT OR Apache-2.0
//! What brokers honestly differ in, one constant each. `docs/brokers.md` has them as a table.

use std::time::Duration;

/// What a broker can do. A case whose feature is missing passes without asking.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// A null body is told from an empty one.
    pub null_body: bool,
    /// Header fields may repeat, and keep their order.
    pub repeated_fields: bool,
    /// Header values are any bytes.
    pub binary_fields: bool,
    /// Record keys are any bytes.
    pub binary_keys: bool,
    /// The broker stamps the append time itself.
    pub append_time: bool,
    /// A group that comes late still gets what the broker has; otherwise its share begins when an
    /// operator makes it.
    pub history: bool,
    /// What one of a group's receivers has to itself.
    pub share: Share,
    /// Longest time after a receiver's death until its messages come again.
    pub death: Duration,
    /// Largest body in bytes, beside a header of ours; what is 64 KiB larger is refused.
    pub body_bytes_max: usize,
    /// Most header fields of a message.
    pub fields_max: usize,
    /// Header fields that the broker would obey: what we append has none of them.
    pub control_fields: &'static [&'static str],
    /// It is a server: with identities, and a network between.
    pub server: bool,
}

/// How receivers of one group divide a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Each message by itself, but for those of one key.
    Messages,
    /// Whole partitions.
    Partitions,
    /// One receiver has everything, until it is gone.
    One,
}

impl Share {
    /// Its name in output.
    pub fn word(self) -> &'static str {
        match self {
            Share::Messages => "messages",
            Share::Partitions => "partitions",
            Share::One => "nothing: one has all",
        }
    }
}

/// RabbitMQ 4 with quorum queues, and its timestamp interceptor on.
pub const RABBITMQ: Features = Features {
    null_body: false,
    repeated_fields: false,
    binary_fields: true,
    binary_keys: false,
    append_time: true,
    history: false,
    share: Share::One,
    death: Duration::from_secs(5),
    body_bytes_max: 16 << 20,
    fields_max: 128,
    control_fields: &["CC", "BCC", "x-delay", "x-match", "expiration"],
    server: true,
};

/// RabbitMQ 3, which Debian 12 has: it stamps nothing.
pub const RABBITMQ_3: Features = Features { append_time: false, ..RABBITMQ };

/// The embedded broker.
pub const LOCAL: Features = Features {
    null_body: true,
    repeated_fields: true,
    binary_fields: true,
    binary_keys: true,
    append_time: true,
    history: true,
    share: Share::Messages,
    death: Duration::from_secs(2),
    body_bytes_max: 16 << 20,
    fields_max: 128,
    control_fields: &[],
    server: false,
};

/// NATS JetStream, server 2.11 and later. A header value has no line breaks and no zero byte.
pub const NATS: Features = Features {
    null_body: false,
    repeated_fields: true,
    binary_fields: false,
    binary_keys: true,
    append_time: true,
    history: true,
    share: Share::One,
    death: Duration::from_secs(15),
    body_bytes_max: 1_000_000,
    fields_max: 128,
    control_fields: &["Nats-Rollup", "Nats-TTL", "Nats-Schedule", "Nats-Msg-Id", "nats-expected"],
    server: true,
};

/// SQS, with a FIFO queue for each group.
pub const SQS: Features = Features {
    null_body: false,
    repeated_fields: false,
    binary_fields: true,
    binary_keys: true,
    append_time: true,
    history: false,
    // It is by messages, but a receiver takes ten of them at once.
    share: Share::One,
    death: Duration::from_secs(10),
    // Other than text travels in base64, and what SQS limits is the text.
    body_bytes_max: 760 << 10,
    fields_max: 10,
    control_fields: &["te"],
    server: true,
};

/// Kafka 4.3, one topic of three partitions stamped by the broker. A member that dies keeps its
/// partitions until its session of 10 seconds is over.
pub const KAFKA: Features = Features {
    null_body: true,
    repeated_fields: true,
    binary_fields: true,
    binary_keys: true,
    append_time: true,
    history: true,
    share: Share::Partitions,
    death: Duration::from_secs(15),
    body_bytes_max: 1_040_000,
    fields_max: 1_000,
    control_fields: &[],
    server: true,
};
