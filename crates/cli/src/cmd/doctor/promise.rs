// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is promised, computed from the policy and told in words.

use chancery::core::policy::{Rung, Stream, Times};
use chancery::core::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use chancery::{Finding, Promise as Kept, Snapshot, TimeSource, capability};
use serde::Serialize;

use super::broker::Seen;
use crate::project::Project;

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
    findings: Vec<Found>,
}

/// What the live stream does not give to one reader or publisher.
#[derive(Serialize)]
struct Found {
    service: String,
    group: Option<String>,
    /// Whether the policy promises it, so that no consumer starts (E901).
    broken: bool,
    certain: bool,
    says: String,
    fix: String,
}

/// Those of every stream.
pub(super) fn all(project: &Project, snapshot: &Snapshot, seen: &[Seen]) -> Vec<Promise> {
    let streams = snapshot.policy.streams.iter();
    streams
        .map(|(name, stream)| {
            let seen: Vec<&Seen> = seen.iter().filter(|seen| seen.stream == *name).collect();
            let mut promises = of(stream);
            let times = &snapshot.policy.times;
            promises.push(freshness(project, times, (name, stream), &seen));
            let assume = project.assumed(name);
            let findings =
                seen.iter().flat_map(|seen| found(stream, times, seen, assume)).collect();
            Promise { stream: name.clone(), promises, findings }
        })
        .collect()
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
    ]
}

/// How late a message may come and still be handled, by whose clock.
fn freshness(
    project: &Project,
    times: &Times,
    (name, stream): (&str, &Stream),
    seen: &[&Seen],
) -> String {
    let within = span(times.publish_within_ms);
    let horizon = span(times.horizon_ms());
    if project.broker_dir().is_some() {
        return format!(
            "fresh within {within}: lateness is judged by the embedded broker's append time, \
             which is worth as much as write access to its file"
        );
    }
    // What a group reads counts; a publisher may see less.
    let reads = seen.iter().find(|seen| seen.group.is_some()).or(seen.first());
    let assumed = project.assumed(name).contains(&Kept::Freshness);
    match reads.map(|seen| seen.live.append_time) {
        Some(TimeSource::Broker) => {
            format!("fresh within {within}, by the broker's own append time")
        }
        Some(TimeSource::Bounded { ms }) => {
            let bound = span(i64::try_from(ms).unwrap_or(i64::MAX));
            let all = i64::try_from(ms).unwrap_or(i64::MAX).saturating_add(times.publish_within_ms);
            let all = span(all);
            format!("fresh within {all}: the append time is the client's, at most {bound} off")
        }
        Some(TimeSource::Unknown) if assumed => {
            format!(
                "fresh within {within}, if the broker stamps the time, as chancery.yaml assumes"
            )
        }
        Some(TimeSource::Nobody) | None | Some(TimeSource::Unknown) if !stream.append_time => {
            format!("only within {horizon}: the broker keeps no append time")
        }
        Some(TimeSource::Nobody) => {
            format!("only within {horizon}, and so not at all: the policy promises an append time")
        }
        Some(TimeSource::Unknown) => {
            "freshness: nobody here may read who stamps the time".to_owned()
        }
        None => "freshness: the broker could not be asked".to_owned(),
    }
}

fn found(stream: &Stream, times: &Times, seen: &Seen, assume: &[Kept]) -> Vec<Found> {
    let broken = capability::broken(stream, times, &seen.live, assume);
    // A publisher loses nothing by what it may not see of its readers' side.
    let notes = seen.live.findings.iter().filter(|finding| !broken.contains(finding));
    let reads = seen.group.is_some() && stream.rung == Rung::Enforce;
    let told = |finding: &Finding, broken: bool| Found {
        service: seen.service.clone(),
        group: seen.group.clone(),
        broken,
        certain: finding.certain,
        says: finding.told(),
        fix: finding.fix.clone(),
    };
    let mut found: Vec<Found> = broken.iter().map(|finding| told(finding, reads)).collect();
    found.extend(notes.map(|finding| told(finding, false)));
    found
}

impl Found {
    fn text(&self) -> String {
        let word = if self.broken { "BROKEN" } else { "note" };
        let of = match &self.group {
            Some(group) => format!("{} as {group}", self.service),
            None => self.service.clone(),
        };
        format!("  {word} for {of}: {}\n    fix: {}\n", self.says, self.fix)
    }
}

impl Promise {
    /// Whether a consumer of it would not start.
    pub(super) fn is_broken(&self) -> bool {
        self.findings.iter().any(|found| found.broken)
    }

    /// A list.
    pub(crate) fn text(&self) -> String {
        let lines: String = self.promises.iter().map(|line| format!("  {line}\n")).collect();
        let found: String = self.findings.iter().map(Found::text).collect();
        format!("{}\n{lines}{found}", self.stream)
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
