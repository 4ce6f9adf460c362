// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the policy promises of a stream, held against what the live stream is set to
//! (spec/policy.md "Append time").

use chancery_core::policy::{Stream, Times};
use chancery_core::{Misuse, MisuseKind};

use crate::broker::{Finding, Live, Promise, TimeSource};

/// What the policy promises of a stream, and so its broker must keep.
pub fn promised(rules: &Stream) -> Vec<Promise> {
    let mut promised = vec![Promise::NothingLost];
    promised.extend(rules.ordered.then_some(Promise::Order));
    promised.extend(rules.append_time.then_some(Promise::Freshness));
    promised
}

/// What the live stream does not keep of that. What could not be read is not kept either, unless
/// an operator has written it down as `assume`d.
pub fn broken(rules: &Stream, times: &Times, live: &Live, assume: &[Promise]) -> Vec<Finding> {
    let promised = promised(rules);
    let found = live.findings.iter().cloned().chain(without_time(live, times));
    let believed = |finding: &Finding| !finding.certain && assume.contains(&finding.promise);
    found.filter(|finding| promised.contains(&finding.promise) && !believed(finding)).collect()
}

/// Refuses a stream whose broker cannot keep what the policy promises of it.
///
/// # Errors
/// Misuse `E901_CAPABILITY` that names each setting and the command that mends it.
pub fn require(
    stream: &str,
    rules: &Stream,
    times: &Times,
    live: &Live,
    assume: &[Promise],
) -> Result<(), Misuse> {
    let broken = broken(rules, times, live, assume);
    if broken.is_empty() {
        return Ok(());
    }
    let what: Vec<String> = broken.iter().map(Finding::told).collect();
    let mut fixes: Vec<&str> = broken.iter().map(|finding| finding.fix.as_str()).collect();
    fixes.dedup();
    let at = format!("stream {stream} on {}", live.server);
    Err(Misuse::new(what.join("; "), at, fixes.join("\n  fix: ")).of(MisuseKind::Capability))
}

impl Finding {
    /// The finding in one sentence, its setting included.
    pub fn told(&self) -> String {
        let Finding { promise, certain, what, setting, .. } = self;
        let doubt = if *certain { "" } else { "could not be made sure of: " };
        let setting = if setting.is_empty() { String::new() } else { format!(" ({setting})") };
        format!("{}: {doubt}{what}{setting}", promise.word())
    }
}

/// An adapter that knows of no time must not pass for want of a finding.
fn without_time(live: &Live, times: &Times) -> Option<Finding> {
    let within = u64::try_from(times.publish_within_ms + times.skew_ms).unwrap_or(0);
    let certain = match live.append_time {
        TimeSource::Broker => return None,
        TimeSource::Bounded { ms } if ms <= within => return None,
        TimeSource::Bounded { ms } => return Some(too_loose(ms)),
        TimeSource::Nobody => true,
        TimeSource::Unknown => false,
    };
    // A doubt can be assumed away; that there is no time cannot.
    let told = live
        .findings
        .iter()
        .any(|finding| finding.promise == Promise::Freshness && (finding.certain || !certain));
    (!told).then(|| Finding {
        promise: Promise::Freshness,
        certain,
        what: "the broker keeps no append time that can be believed".to_owned(),
        setting: String::new(),
        fix: "write `append_time: none` for the stream in policy.yaml".to_owned(),
    })
}

/// A client that may choose its time so freely chooses whether it is fresh.
fn too_loose(ms: u64) -> Finding {
    Finding {
        promise: Promise::Freshness,
        certain: true,
        what: format!("a client chooses the append time, {ms} ms from the broker's clock at most"),
        setting: String::new(),
        fix: "have the broker stamp it, or bound it by `publish_within`; or write `append_time: \
              none` for the stream in policy.yaml"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chancery_core::policy::Policy;

    use super::*;

    fn rules(more: &str) -> Stream {
        let yaml = format!(
            "version: 1\ndomain: d\nenvironment: e\nservices: {{svc: }}\nstreams:\n  a.b:\n    \
             kind: event\n    owner: svc\n    key: id\n{more}"
        );
        Policy::from_yaml(&yaml).unwrap().streams.remove("a.b").unwrap()
    }

    fn live(append_time: TimeSource, findings: &[(Promise, bool)]) -> Live {
        let finding = |(promise, certain): &(Promise, bool)| Finding {
            promise: *promise,
            certain: *certain,
            what: "it is wrong".into(),
            setting: "a.setting=off".into(),
            fix: "turn it on".into(),
        };
        Live {
            server: "Broker 1".into(),
            identity: None,
            append_time,
            findings: findings.iter().map(finding).collect(),
        }
    }

    const ALL: &[Promise] = &[Promise::Freshness, Promise::Order, Promise::NothingLost];

    #[test]
    fn only_what_is_promised_can_be_broken() {
        let order = live(TimeSource::Broker, &[(Promise::Order, true)]);
        assert!(require("a.b", &rules(""), &Times::default(), &order, &[]).is_ok());
        let misuse = require("a.b", &rules("    ordered: true\n"), &Times::default(), &order, &[])
            .unwrap_err();
        assert_eq!(misuse.kind, Some(MisuseKind::Capability));
        assert!(misuse.what.contains("a.setting=off") && misuse.fix == "turn it on", "{misuse}");
        let lost = live(TimeSource::Broker, &[(Promise::NothingLost, true)]);
        assert!(require("a.b", &rules(""), &Times::default(), &lost, &[]).is_err());
        let identity = live(TimeSource::Broker, &[(Promise::Identity, true)]);
        assert!(
            require("a.b", &rules("    ordered: true\n"), &Times::default(), &identity, &[])
                .is_ok()
        );
    }

    // Threat: a stream without a clock passes as fresh.
    #[test]
    fn without_a_time_there_is_no_freshness_unless_the_policy_says_so() {
        for time in [TimeSource::Nobody, TimeSource::Unknown] {
            assert!(
                require("a.b", &rules(""), &Times::default(), &live(time, &[]), &[]).is_err(),
                "{time:?}"
            );
            assert!(
                require(
                    "a.b",
                    &rules("    append_time: none\n"),
                    &Times::default(),
                    &live(time, &[]),
                    &[]
                )
                .is_ok()
            );
        }
        let bounded = |ms| live(TimeSource::Bounded { ms }, &[]);
        let judged = |ms| require("a.b", &rules(""), &Times::default(), &bounded(ms), &[]);
        assert!(judged(60_000).is_ok());
        // Threat: a message that was kept for a month, sent with the time of its signature.
        assert!(judged(30 * 86_400_000).is_err());
    }

    // Threat: a setting that may not be read is taken as good; one that is known to be wrong is
    // waved through.
    #[test]
    fn what_cannot_be_read_is_broken_unless_assumed_and_what_is_known_stays_broken() {
        let rules = rules("    ordered: true\n");
        for promise in ALL {
            let unread = live(TimeSource::Broker, &[(*promise, false)]);
            assert!(
                require("a.b", &rules, &Times::default(), &unread, &[]).is_err(),
                "{promise:?}"
            );
            assert!(
                require("a.b", &rules, &Times::default(), &unread, &[*promise]).is_ok(),
                "{promise:?}"
            );
            let known = live(TimeSource::Broker, &[(*promise, true)]);
            assert!(require("a.b", &rules, &Times::default(), &known, ALL).is_err(), "{promise:?}");
        }
        let unread = &[(Promise::Freshness, false)];
        assert!(
            require("a.b", &rules, &Times::default(), &live(TimeSource::Nobody, &[]), ALL).is_err()
        );
        assert!(
            require("a.b", &rules, &Times::default(), &live(TimeSource::Nobody, unread), ALL)
                .is_err()
        );
    }
}
