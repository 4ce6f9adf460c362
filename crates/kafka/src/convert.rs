// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between the library's words and ours: records, times, what went wrong.

use chancery::TimeSource;
use chancery_core::{AppendTime, Delivery, Fault, Field, Timestamp};
use rdkafka::error::RDKafkaErrorCode as Code;

use crate::config::{Settings, Tls};
use crate::connect::Trouble;
use crate::connect::consumer::{Incoming, Place, Stamp};

/// What was being done when something went wrong.
#[derive(Clone, Debug)]
pub(crate) enum Doing {
    Connect { servers: String },
    Append { topic: String },
    Receive { topic: String, group: String },
}

/// What a client's own time is worth on a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TimeRule {
    /// The broker refuses what is farther from its clock than so many milliseconds.
    Within(u64),
    /// Nothing, or it is not known.
    #[default]
    Nothing,
}

/// A record as the path takes it.
pub(crate) fn delivery(stream: &str, incoming: Incoming, times: TimeRule) -> Delivery {
    let appended = match (incoming.stamp, times) {
        (Stamp::Broker(at), _) => AppendTime::Broker(Timestamp(at)),
        (Stamp::Client(at), TimeRule::Within(_)) => AppendTime::Bounded(Timestamp(at)),
        (Stamp::Client(_) | Stamp::None, _) => AppendTime::Unknown,
    };
    let fields = incoming.fields.into_iter();
    Delivery {
        stream: stream.to_owned(),
        position: position(&incoming.place, incoming.offset),
        fields: fields.map(|(name, value)| Field { name, value }).collect(),
        key: incoming.key,
        body: incoming.body,
        appended,
        // Kafka keeps no count.
        deliveries: 1,
    }
}

/// `topic/partition/offset`.
pub(crate) fn position(place: &Place, offset: i64) -> String {
    format!("{}/{}/{offset}", place.topic, place.partition)
}

/// Bytes of a delivery in memory, about.
pub(crate) fn size(delivery: &Delivery) -> usize {
    let fields: usize = delivery.fields.iter().map(|it| it.name.len() + it.value.len() + 64).sum();
    let key = delivery.key.as_ref().map_or(0, bytes::Bytes::len);
    256 + fields + key + delivery.body.as_ref().map_or(0, bytes::Bytes::len)
}

/// What a topic's times are worth, for whoever looks at the topic.
pub(crate) fn time_source(stamped_by_broker: bool, times: TimeRule) -> TimeSource {
    match (stamped_by_broker, times) {
        (true, _) => TimeSource::Broker,
        (false, TimeRule::Within(ms)) => TimeSource::Bounded { ms },
        (false, TimeRule::Nothing) => TimeSource::Nobody,
    }
}

/// Whether it says that a right is missing.
pub(crate) fn is_denial(trouble: &Trouble) -> bool {
    matches!(
        trouble.code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

/// What went wrong, where, and what to do.
pub(crate) fn fault(doing: &Doing, trouble: &Trouble) -> Fault {
    let reason = &trouble.reason;
    Fault::broker(match trouble.code {
        Code::Authentication => authentication(reason),
        Code::SSL => tls(reason),
        Code::Resolve | Code::BrokerTransportFailure | Code::AllBrokersDown => unreachable(reason),
        Code::TopicAuthorizationFailed => topic_right(doing),
        Code::GroupAuthorizationFailed => group_right(doing),
        Code::ClusterAuthorizationFailed => {
            "Kafka: we may not write with idempotence; the right to write to the topic gives it \
             since Kafka 3.0, before: kafka-acls --add --allow-principal User:… --operation \
             IdempotentWrite --cluster"
                .to_owned()
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            let topic = topic(doing);
            format!(
                "Kafka has no topic `{topic}`, or does not let us see it; make it: kafka-topics \
                 --create --topic {topic} --config message.timestamp.type=LogAppendTime"
            )
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => format!(
            "Kafka: topic `{0}` takes no message of this size ({reason}); send less, or raise it: \
             kafka-configs --alter --entity-type topics --entity-name {0} --add-config \
             max.message.bytes=…",
            topic(doing)
        ),
        Code::InconsistentGroupProtocol => format!(
            "Kafka: {} has members that divide it another way; all must be of this program, or \
             have partition.assignment.strategy=cooperative-sticky",
            group(doing)
        ),
        Code::AutoOffsetReset => moved_log(doing),
        Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut => format!(
            "Kafka has not answered in time ({reason}); check that the brokers run and that \
             their advertised addresses can be reached from here"
        ),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => format!(
            "Kafka: topic `{}` has fewer replicas in sync than its min.insync.replicas; start the \
             brokers that are missing",
            topic(doing)
        ),
        _ => format!("Kafka, {}: {reason}", words(doing)),
    })
}

/// The same at the start. A broker only says that it does not take a certificate; what is wrong with
/// it can be seen here.
pub(crate) fn not_connected(
    doing: &Doing,
    trouble: &Trouble,
    settings: &Settings,
    now: Timestamp,
) -> Fault {
    let reason = &trouble.reason;
    if !reason.contains("alert") || !reason.contains("certificate") {
        return fault(doing, trouble);
    }
    let why = match settings.security.tls.as_ref().and_then(Tls::subject) {
        None => "the broker wants a certificate of ours: name a key store".to_owned(),
        Some((name, ends)) if ends <= now.0 / 1_000 => {
            format!("our certificate has expired, that of {name}: get a new one")
        }
        Some((name, _)) => format!(
            "the broker does not take our certificate, that of {name}: get one of a CA that the \
             broker knows"
        ),
    };
    Fault::broker(format!("Kafka: TLS failed ({reason}); {why}"))
}

fn authentication(reason: &str) -> String {
    if reason.contains("OAUTHBEARER") && reason.contains("the issuer at") {
        return format!("Kafka: no token ({reason}); check the issuer and the client's secret");
    }
    format!(
        "Kafka does not take our credentials ({reason}); check the user and the password, key or \
         token in the file that `properties` names, and that the listener is of that kind"
    )
}

fn tls(reason: &str) -> String {
    let has = |words: &str| reason.to_lowercase().contains(words);
    let advice = if has("certificate has expired") {
        "the broker's certificate has expired: get a new one"
    } else if has("certificate verify failed") || has("could not be verified") {
        "the broker's certificate is not of a CA that we trust, or is another host's: put its \
         CA's into the trust store, and the host into `url` as the certificate names it"
    } else if has("alert") && has("certificate") || has("unknown ca") {
        "the broker does not take our certificate, or wants one: get one of a CA that it knows"
    } else {
        "check that the listener speaks TLS, and its certificate and ours"
    };
    format!("Kafka: TLS failed ({reason}); {advice}")
}

/// The group's place is not in the log: whatever is there now was never seen, or is lost.
fn moved_log(doing: &Doing) -> String {
    let (topic, name) = match doing {
        Doing::Receive { topic, group } => (topic.as_str(), group.as_str()),
        _ => ("…", "…"),
    };
    format!(
        "Kafka: where {} is in `{topic}` is no longer there: the topic was made anew or cut off, or \
         messages were removed before the group has read them; find out what is missing, stop \
         every receiver of the group, then: kafka-consumer-groups --group {name} --topic {topic} \
         --reset-offsets --to-earliest --execute",
        group(doing)
    )
}

fn unreachable(reason: &str) -> String {
    if reason.contains("SSL") || reason.contains("ssl/tls alert") {
        return tls(reason);
    }
    format!(
        "Kafka cannot be reached ({reason}); check host and port, that the broker runs, and that \
         the listener speaks TLS if `security.protocol` says so"
    )
}

fn topic_right(doing: &Doing) -> String {
    let (what, operation) = match doing {
        Doing::Append { .. } => ("write to", "Write"),
        Doing::Receive { .. } => ("read", "Read"),
        Doing::Connect { .. } => ("see", "Describe"),
    };
    let topic = topic(doing);
    format!(
        "Kafka: permission denied: we may not {what} the topic `{topic}`; give the right: \
         kafka-acls --add --allow-principal User:… --operation {operation} --topic {topic}"
    )
}

fn group_right(doing: &Doing) -> String {
    let (group, topic) = match doing {
        Doing::Receive { group, topic } => (group.as_str(), topic.as_str()),
        _ => ("…", "…"),
    };
    format!(
        "Kafka: permission denied: we may not read `{topic}` as the group `{group}`; give the \
         right: kafka-acls --add --allow-principal User:… --operation Read --group {group}"
    )
}

fn topic(doing: &Doing) -> &str {
    match doing {
        Doing::Append { topic } | Doing::Receive { topic, .. } => topic,
        Doing::Connect { .. } => "…",
    }
}

fn group(doing: &Doing) -> String {
    match doing {
        Doing::Receive { group, .. } => format!("the group `{group}`"),
        _ => "a group".to_owned(),
    }
}

fn words(doing: &Doing) -> String {
    match doing {
        Doing::Connect { servers } => format!("connecting to {servers}"),
        Doing::Append { topic } => format!("appending to `{topic}`"),
        Doing::Receive { topic, group } => format!("reading `{topic}` as `{group}`"),
    }
}
