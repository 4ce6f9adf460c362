// SPDX-License-Identifier: MIT OR Apache-2.0
//! The features of all brokers as a table.

use std::fmt::Write;

use super::features::{Features, LOCAL, NATS, SQS};

/// A broker that the suite has passed on.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// Its name.
    pub broker: &'static str,
    /// The servers, as they name themselves.
    pub servers: &'static [&'static str],
    /// What it can do.
    pub can: Features,
}

/// Every broker that the suite has passed on.
pub const ALL: &[Tried] = &[
    Tried { broker: "embedded", servers: &["embedded broker"], can: LOCAL },
    Tried { broker: "NATS JetStream", servers: &["nats-server 2.15.2"], can: NATS },
    // It says no version; which stand-in is tried stands in `docs/brokers.md`.
    Tried { broker: "SQS", servers: &["SQS"], can: SQS },
];

/// All of it as a table in Markdown: what `docs/brokers.md` says is what the suite has judged.
pub fn matrix() -> String {
    type Row = (&'static str, fn(&Tried) -> String);
    const ROWS: [Row; 12] = [
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

fn yes(is: bool) -> String {
    (if is { "yes" } else { "no" }).to_owned()
}

fn fields(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}
