// SPDX-License-Identifier: MIT OR Apache-2.0
//! The features of all brokers as a table.

use std::fmt::Write;

use super::features::{Features, KAFKA, LOCAL, NATS, RABBITMQ, RABBITMQ_3, SQS};

/// A broker that the suite has passed on.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// Its name.
    pub broker: &'static str,
    /// The servers, as they name themselves.
    pub servers: &'static [&'static str],
    /// The server that is killed (`cargo xtask brokers up NAME`), and whether what was
    /// acknowledged stays so. `None`: no server that keeps anything.
    pub crash: Option<(&'static str, bool)>,
    /// What it can do.
    pub can: Features,
}

/// Every broker that the suite has passed on.
pub const ALL: &[Tried] = &[
    Tried { broker: "embedded", servers: &["embedded broker"], crash: None, can: LOCAL },
    Tried { broker: "Kafka", servers: &["Kafka"], crash: Some(("kafka", true)), can: KAFKA },
    Tried {
        broker: "RabbitMQ 4",
        servers: &["RabbitMQ 4.0.5"],
        crash: Some(("rabbitmq4", true)),
        can: RABBITMQ,
    },
    Tried {
        broker: "RabbitMQ 3",
        servers: &["RabbitMQ 3.10.8"],
        crash: Some(("rabbitmq", true)),
        can: RABBITMQ_3,
    },
    Tried {
        broker: "NATS JetStream",
        servers: &["nats-server 2.15.2"],
        // A consumer's state is written a moment after its acknowledgements are confirmed.
        crash: Some(("nats", false)),
        can: NATS,
    },
    // It says no version; which stand-in is tried stands in `docs/brokers.md`.
    Tried { broker: "SQS", servers: &["SQS"], crash: None, can: SQS },
];

/// All of it as a table in Markdown: what `docs/brokers.md` says is what the suite has judged.
pub fn matrix() -> String {
    type Row = (&'static str, fn(&Tried) -> String);
    const ROWS: [Row; 13] = [
        ("servers tested", |it| it.servers.join(", ")),
        ("a null body is told from an empty one", |it| yes(it.can.null_body)),
        ("header fields repeat, and keep their order", |it| yes(it.can.repeated_fields)),
        ("header values are any bytes", |it| yes(it.can.binary_fields)),
        ("record keys are any bytes", |it| yes(it.can.binary_keys)),
        ("the broker stamps the append time", |it| yes(it.can.append_time)),
        ("a group that comes late gets what is there", |it| yes(it.can.history)),
        ("receivers of a group divide", |it| it.can.share.word().to_owned()),
        ("a dead receiver's messages come again within", |it| {
            format!("{} s", it.can.death.as_secs())
        }),
        ("what is acknowledged survives `kill -9` of the server", |it| {
            it.crash.map_or("no server".to_owned(), |(_, survives)| yes(survives))
        }),
        ("largest body that was tried", |it| format!("{} bytes", it.can.body_bytes_max)),
        ("most header fields that were tried", |it| it.can.fields_max.to_string()),
        ("fields that it would obey, never appended", |it| fields(it.can.control_fields)),
    ];
    let mut out = String::new();
    let mut line = |first: &str, cell: &dyn Fn(&Tried) -> String| {
        let cells: Vec<String> = ALL.iter().map(cell).collect();
        let _ = writeln!(out, "| {first} | {} |", cells.join(" | "));
    };
    line("", &|it| it.broker.to_owned());
    line("---", &|_| "---".to_owned());
    for (what, cell) in ROWS {
        line(what, &cell);
    }
    out
}

/// Whether what a server has confirmed as acknowledged stays so when it is killed.
pub fn acknowledgements_survive(server: &str) -> bool {
    ALL.iter().any(|tried| tried.crash == Some((server, true)))
}

fn yes(is: bool) -> String {
    (if is { "yes" } else { "no" }).to_owned()
}

fn fields(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}
