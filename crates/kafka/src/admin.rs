// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a live topic is set to, and how far a group is behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery::{Broker, Clock, Finding, Lag, Live, Promise, SystemClock, TimeSource, Windowed};
use chancery_core::Fault;

use crate::config::{Sasl, Settings};
use crate::connect::{Topic, Trouble, ask};
use crate::consume::{KafkaWire, WINDOW, settled_above};
use crate::convert::{self, Doing, TimeRule};
use crate::produce::{KafkaBroker, blocking};

/// Longest difference of clocks that a bound may allow and still say anything: a year.
const BOUND_MS_MAX: u64 = 365 * 86_400_000;
/// A group that was down for a day must still find what it has missed.
const RETENTION_MS_MIN: i64 = 86_400_000;

impl Broker for KafkaBroker {
    type Source = Windowed<KafkaWire>;

    async fn subscribe(&self, stream: &str, group: &str) -> Result<Self::Source, Fault> {
        let settings = &self.shared.settings;
        let mut topics = vec![settings.topic(stream)];
        topics.extend(settings.mirrors(stream));
        let group = settings.group(stream, group);
        for topic in &topics {
            let doing = Doing::Receive { topic: topic.clone(), group: group.clone() };
            self.look_up(topic, &doing).await?;
        }
        let wire = KafkaWire::join(settings, stream, &topics, &group).await?;
        Ok(Windowed::new(wire, WINDOW))
    }

    async fn lag(&self, stream: &str, group: &str) -> Result<Lag, Fault> {
        let shared = Arc::clone(&self.shared);
        let (topic, group) = (shared.settings.topic(stream), shared.settings.group(stream, group));
        let doing = Doing::Receive { topic: topic.clone(), group: group.clone() };
        let places = blocking(move || {
            match ask::group(&shared.settings, &shared.producer, &topic, &group) {
                Ok(places) => Ok(Some(places)),
                Err(trouble) if convert::is_denial(&trouble) => Ok(None),
                Err(trouble) => Err(convert::fault(&doing, &trouble)),
            }
        })
        .await?;
        let Some(places) = places else { return Ok(Lag::default()) };
        let behind = places.iter().map(|place| {
            let all = u64::try_from(place.end - place.position).unwrap_or_default();
            all.saturating_sub(settled_above(place.position, &place.note))
        });
        let oldest = places.iter().filter_map(|place| place.oldest_ms).min();
        Ok(Lag {
            messages: Some(behind.sum()),
            oldest_ms: oldest.map(|at| SystemClock.now().0.saturating_sub(at)),
        })
    }

    async fn inspect(&self, stream: &str, group: Option<&str>) -> Result<Live, Fault> {
        let settings = &self.shared.settings;
        let topic = settings.topic(stream);
        let doing = match group {
            Some(group) => {
                Doing::Receive { topic: topic.clone(), group: settings.group(stream, group) }
            }
            None => Doing::Append { topic: topic.clone() },
        };
        let found = self.look_up(&topic, &doing).await?;
        let mut findings = Vec::new();
        let append_time = match ask::topic_settings(settings, &topic).await {
            Ok(known) => judge(&topic, &known, found, &mut findings),
            Err(trouble) if convert::is_denial(&trouble) => {
                findings.extend(unread(&topic));
                TimeSource::Unknown
            }
            Err(trouble) => return Err(convert::fault(&doing, &trouble)),
        };
        let cluster = self.shared.producer.cluster();
        Ok(Live {
            server: cluster.map_or("Kafka".to_owned(), |id| format!("Kafka, cluster {id}")),
            identity: identity(settings),
            append_time,
            findings,
        })
    }
}

impl KafkaBroker {
    async fn look_up(&self, topic: &str, doing: &Doing) -> Result<Topic, Fault> {
        let (shared, topic, doing) = (Arc::clone(&self.shared), topic.to_owned(), doing.clone());
        let asked = move || shared.producer.topic(&topic).map_err(|it| convert::fault(&doing, &it));
        blocking(asked).await
    }
}

/// The largest message that a topic takes, if we may know.
pub(crate) async fn bytes_max(settings: &Settings, topic: &str) -> Option<usize> {
    let known = ask::topic_settings(settings, topic).await.ok()?;
    known.get("max.message.bytes")?.parse().ok()
}

fn identity(settings: &Settings) -> Option<String> {
    match (&settings.security.sasl, &settings.security.tls) {
        (Some(Sasl::Password { user, .. }), _) => Some(format!("User:{user}")),
        (Some(Sasl::Token(_)), _) => None,
        (None, tls) => tls.as_ref()?.subject().map(|(name, _)| format!("certificate {name}")),
    }
}

/// What a client's time is worth on these topics; believed only if each of them bounds it. An
/// error: nobody could be asked.
pub(crate) async fn times(settings: &Settings, topics: &[String]) -> Result<TimeRule, Trouble> {
    let mut rule = None;
    for topic in topics {
        let here = match ask::topic_settings(settings, topic).await {
            Ok(known) => time_rule(&known),
            Err(trouble) if trouble.may_pass() => return Err(trouble),
            Err(_) => TimeRule::Nothing,
        };
        rule = Some(rule.map_or(here, |rule| looser(rule, here)));
    }
    Ok(rule.unwrap_or_default())
}

/// What a client's time is worth under these settings.
fn time_rule(known: &BTreeMap<String, String>) -> TimeRule {
    let bound = |key: &str| known.get(key).and_then(|ms| ms.parse::<u64>().ok());
    let before = bound("message.timestamp.before.max.ms");
    let after = bound("message.timestamp.after.max.ms");
    match (before, after) {
        (Some(before), Some(after)) if before.max(after) <= BOUND_MS_MAX => {
            TimeRule::Within(before.max(after))
        }
        _ => TimeRule::Nothing,
    }
}

fn looser(one: TimeRule, other: TimeRule) -> TimeRule {
    match (one, other) {
        (TimeRule::Within(one), TimeRule::Within(other)) => TimeRule::Within(one.max(other)),
        _ => TimeRule::Nothing,
    }
}

/// The settings that promises hang on.
const JUDGED: [(Promise, &str); 7] = [
    (Promise::Freshness, "message.timestamp.type"),
    (Promise::Order, "cleanup.policy"),
    (Promise::NothingLost, "cleanup.policy"),
    (Promise::NothingLost, "retention.bytes"),
    (Promise::NothingLost, "retention.ms"),
    (Promise::NothingLost, "unclean.leader.election.enable"),
    (Promise::NothingLost, "min.insync.replicas"),
];

/// Enters what the settings cannot promise; gives whose word a time is.
fn judge(
    topic: &str,
    known: &BTreeMap<String, String>,
    found: Topic,
    findings: &mut Vec<Finding>,
) -> TimeSource {
    let setting = |key: &str| known.get(key).map(String::as_str).unwrap_or_default();
    let untold = JUDGED.into_iter().filter(|(_, key)| !known.contains_key(*key));
    findings.extend(untold.map(|(promise, key)| Finding {
        promise,
        certain: false,
        what: "the broker does not tell what the topic is set to".to_owned(),
        setting: key.to_owned(),
        fix: format!("kafka-configs --describe --all --entity-type topics --entity-name {topic}"),
    }));
    let mut find = |promise, what: &str, key: &str, better: &str| {
        findings.push(Finding {
            promise,
            certain: true,
            what: what.to_owned(),
            setting: format!("{key}={}", setting(key)),
            fix: format!(
                "kafka-configs --alter --entity-type topics --entity-name {topic} --add-config \
                 {key}={better}"
            ),
        });
    };
    let source = match setting("message.timestamp.type") {
        "" => TimeSource::Unknown,
        by => convert::time_source(by == "LogAppendTime", time_rule(known)),
    };
    if source == TimeSource::Nobody {
        let what = "the client chooses the time of what it sends, without bounds";
        find(Promise::Freshness, what, "message.timestamp.type", "LogAppendTime");
    }
    if setting("cleanup.policy").contains("compact") {
        let what = "older messages of a key are removed";
        find(Promise::Order, what, "cleanup.policy", "delete");
        find(Promise::NothingLost, what, "cleanup.policy", "delete");
    }
    if setting("retention.bytes").parse::<i64>().is_ok_and(|bytes| bytes >= 0) {
        let what = "whoever sends much pushes out what nobody has read";
        find(Promise::NothingLost, what, "retention.bytes", "-1");
    }
    if setting("retention.ms").parse().is_ok_and(|ms: i64| (0..RETENTION_MS_MIN).contains(&ms)) {
        let what = "a group that is down for a day misses messages";
        find(Promise::NothingLost, what, "retention.ms", "604800000");
    }
    if setting("unclean.leader.election.enable") == "true" {
        let what = "a broker that missed messages may become the leader";
        find(Promise::NothingLost, what, "unclean.leader.election.enable", "false");
    }
    let in_sync = setting("min.insync.replicas").parse();
    if found.replicas > 1 && in_sync.is_ok_and(|in_sync: usize| in_sync < 2) {
        let what = "one broker alone confirms a message, and it is lost with that broker";
        find(Promise::NothingLost, what, "min.insync.replicas", "2");
    }
    source
}

/// What is to be said where the settings may not be read.
fn unread(topic: &str) -> Vec<Finding> {
    let finding = |(promise, setting): (Promise, &str)| Finding {
        promise,
        certain: false,
        what: "we may not read what the topic is set to".to_owned(),
        setting: setting.to_owned(),
        fix: grant(topic, "DescribeConfigs"),
    };
    [
        (Promise::Freshness, "message.timestamp.type"),
        (Promise::Order, "cleanup.policy"),
        (Promise::NothingLost, "retention.bytes, min.insync.replicas"),
    ]
    .map(finding)
    .into()
}

fn grant(topic: &str, operation: &str) -> String {
    format!("kafka-acls --add --allow-principal User:… --operation {operation} --topic {topic}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(settings: &[(&str, &str)], replicas: usize) -> (TimeSource, Vec<(Promise, String)>) {
        let sound = [
            ("message.timestamp.type", "LogAppendTime"),
            ("message.timestamp.before.max.ms", "9223372036854775807"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("cleanup.policy", "delete"),
            ("retention.bytes", "-1"),
            ("retention.ms", "604800000"),
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "false"),
        ];
        let all = sound.iter().chain(settings);
        let known = all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut findings = Vec::new();
        let topic = Topic { partitions: 3, replicas };
        let source = judge("orders.created", &known, topic, &mut findings);
        assert!(findings.iter().all(|it| it.certain && it.fix.starts_with("kafka-configs ")));
        (source, findings.into_iter().map(|it| (it.promise, it.setting)).collect())
    }

    #[test]
    fn a_sound_topic_has_no_findings() {
        assert_eq!(judged(&[], 3), (TimeSource::Broker, vec![]));
        assert_eq!(judged(&[("min.insync.replicas", "1")], 1), (TimeSource::Broker, vec![]));
    }

    // Threat: the client's word for the time, which the whole of freshness hangs on.
    #[test]
    fn a_clients_time_counts_only_within_finite_bounds() {
        let create = ("message.timestamp.type", "CreateTime");
        let (source, findings) = judged(&[create], 3);
        assert_eq!(source, TimeSource::Nobody);
        assert_eq!(findings, [(Promise::Freshness, "message.timestamp.type=CreateTime".into())]);
        let bounded = [create, ("message.timestamp.before.max.ms", "60000")];
        assert_eq!(judged(&bounded, 3), (TimeSource::Bounded { ms: 3_600_000 }, vec![]));
        let odd = [create, ("message.timestamp.before.max.ms", "-1")];
        assert_eq!(judged(&odd, 3).0, TimeSource::Nobody);
        assert_eq!(time_rule(&BTreeMap::new()), TimeRule::Nothing);
    }

    // Threat: what the broker leaves out is taken as good.
    #[test]
    fn what_is_not_told_is_not_certain() {
        let mut findings = Vec::new();
        let topic = Topic { partitions: 3, replicas: 3 };
        let known = BTreeMap::from([("segment.bytes".to_owned(), "1".to_owned())]);
        let source = judge("orders.created", &known, topic, &mut findings);
        assert_eq!(source, TimeSource::Unknown);
        assert!(findings.iter().all(|it| !it.certain));
        let found: Vec<_> = findings.iter().map(|it| (it.promise, it.setting.as_str())).collect();
        assert_eq!(found, JUDGED);
    }

    #[test]
    fn what_loses_messages_or_their_order_is_found() {
        for (setting, replicas, promises) in [
            (("cleanup.policy", "compact"), 3, &[Promise::Order, Promise::NothingLost][..]),
            (("cleanup.policy", "compact,delete"), 3, &[Promise::Order, Promise::NothingLost]),
            (("retention.bytes", "1048576"), 3, &[Promise::NothingLost]),
            (("retention.ms", "3600000"), 3, &[Promise::NothingLost]),
            (("unclean.leader.election.enable", "true"), 3, &[Promise::NothingLost]),
            (("min.insync.replicas", "1"), 3, &[Promise::NothingLost]),
        ] {
            let (_, findings) = judged(&[setting], replicas);
            let found: Vec<Promise> = findings.iter().map(|(promise, _)| *promise).collect();
            assert_eq!(found, promises, "{setting:?}");
        }
    }
}
