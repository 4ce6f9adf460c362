// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is promised, computed from the policy and told in words.

use chancery::Snapshot;
use chancery::core::policy::{Rung, Stream, Times};
use chancery::core::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use serde::Serialize;

/// A, and what it is the sum of (spec/pipeline.md "Times").
#[derive(Serialize)]
pub(crate) struct Horizon {
    horizon_ms: i64,
    publish_within_ms: i64,
    retention_ms: i64,
    keep_ms: i64,
    retries_ms: i64,
    skew_ms: i64,
}

impl Horizon {
    /// By these times.
    pub(crate) fn of(times: &Times) -> Horizon {
        Horizon {
            horizon_ms: times.horizon_ms(),
            publish_within_ms: times.publish_within_ms,
            retention_ms: times.retention_ms,
            keep_ms: times.keep_ms,
            retries_ms: times.retries_ms,
            skew_ms: times.skew_ms,
        }
    }

    /// The sum, and what follows from it.
    pub(crate) fn text(&self) -> String {
        format!(
            "Events are remembered for A = {}\n  = {} to publish + {} in the broker + {} set aside \
             + {} of retries + {} of skew.\nAn older message is refused, so that forgetting an \
             event cannot let it run twice.\n",
            span(self.horizon_ms),
            span(self.publish_within_ms),
            span(self.retention_ms),
            span(self.keep_ms),
            span(self.retries_ms),
            span(self.skew_ms),
        )
    }
}

/// What holds for one stream.
#[derive(Serialize)]
pub(crate) struct Promise {
    stream: String,
    promises: Vec<String>,
}

/// Those of every stream.
pub(crate) fn all(snapshot: &Snapshot) -> Vec<Promise> {
    let streams = snapshot.policy.streams.iter();
    streams.map(|(name, stream)| Promise { stream: name.clone(), promises: of(stream) }).collect()
}

fn of(stream: &Stream) -> Vec<String> {
    let owner = stream.owner.join(" or ");
    let who = match stream.rung {
        Rung::Enforce if stream.shared_keys => {
            format!("only holders of a shared key of {owner} can have sent what is handled")
        }
        Rung::Enforce => format!("only {owner} can have sent what is handled"),
        Rung::Mark | Rung::Observe => {
            let listed = match &*stream.unsigned {
                [] => "nobody".to_owned(),
                list => list.join(" or "),
            };
            format!(
                "below enforce: nothing is handled as proven; {listed} may be unsigned, and so \
                 forged, until the first signed message; what {owner} signed is marked as verified"
            )
        }
    };
    let order = match (&stream.key, stream.ordered) {
        (Some(key), true) => format!("versions of one `{key}` are handled 1, 2, 3…, none skipped"),
        (Some(key), false) => format!("messages of one `{key}` come in the order they were sent"),
        (None, _) => "in no particular order".to_owned(),
    };
    vec![
        who,
        "each event is done once in a database of the service's own; in a pipe or a program of \
         yours at least once, always under the same key"
            .to_owned(),
        order,
        "lateness is judged by the embedded broker's append time, which is worth as much as write \
         access to its file"
            .to_owned(),
    ]
}

impl Promise {
    /// A list.
    pub(crate) fn text(&self) -> String {
        let lines: String = self.promises.iter().map(|line| format!("  {line}\n")).collect();
        format!("{}\n{lines}", self.stream)
    }
}

/// `15 d 1 h 16 min`.
fn span(ms: i64) -> String {
    let units = [(DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"), (1, "ms")];
    let (mut left, mut parts) = (ms, Vec::new());
    for (size, name) in units {
        if left >= size {
            parts.push(format!("{} {name}", left / size));
            left %= size;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_for_people() {
        assert_eq!(span(0), "0 s");
        assert_eq!(span(15 * MINUTE_MS), "15 min");
        assert_eq!(span(DAY_MS + 2 * HOUR_MS + 5), "1 d 2 h 5 ms");
    }

    #[test]
    fn the_horizon_is_the_sum_of_its_parts() {
        let text = Horizon::of(&Times::default()).text();
        assert!(text.contains("A = 14 d 1 h 16 min"), "{text}");
    }
}
