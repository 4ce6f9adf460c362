// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the server says of streams and consumers, and what they cannot promise.

use chancery::{Finding, Lag, Live, Promise, TimeSource};
use chancery_core::Fault;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::{Identity, Names};
use crate::connect::{Failed, Link};
use crate::produce::denied;

mod findings;

/// A stream, as far as it concerns us (`$JS.API.STREAM.INFO`).
#[derive(Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: StreamConfig,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamConfig {
    name: String,
    subjects: Vec<String>,
    retention: String,
    max_msgs: i64,
    max_bytes: i64,
    /// Nanoseconds.
    max_age: u64,
    max_msgs_per_subject: i64,
    discard: String,
    storage: String,
    num_replicas: u32,
    allow_rollup_hdrs: bool,
    allow_msg_ttl: bool,
    deny_delete: bool,
    deny_purge: bool,
    no_ack: bool,
    sources: Vec<serde_json::Value>,
}

/// A consumer, as far as it concerns us (`$JS.API.CONSUMER.INFO`).
#[derive(Deserialize)]
pub(crate) struct ConsumerInfo {
    pub(crate) name: String,
    pub(crate) config: ConsumerConfig,
    #[serde(default)]
    pub(crate) num_ack_pending: usize,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    paused: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerConfig {
    deliver_subject: String,
    ack_policy: String,
    /// Nanoseconds.
    pub(crate) ack_wait: u64,
    max_deliver: i64,
    pub(crate) max_ack_pending: i64,
    filter_subject: String,
    filter_subjects: Vec<String>,
    backoff: Vec<u64>,
    inactive_threshold: u64,
    headers_only: bool,
    priority_groups: Vec<String>,
    priority_policy: String,
    /// Nanoseconds.
    pub(crate) priority_timeout: u64,
}

/// Why an API request has no result.
enum Without {
    Denied(String),
    /// The server's error code and words.
    Error(u32, String),
    Fault(Fault),
}

#[derive(Deserialize)]
struct Errors {
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

const NO_STREAM: u32 = 10059;
const NO_CONSUMER: u32 = 10014;

async fn api<T: DeserializeOwned>(link: &Link, subject: &str) -> Result<T, Without> {
    let fault = |what: &str| Without::Fault(Fault::broker(format!("{subject}: {what}")));
    let answer = match link.request(subject, b"").await {
        Ok(answer) => answer,
        Err(Failed::Denied(told)) => return Err(Without::Denied(told)),
        Err(Failed::Lost) => return Err(Without::Fault(Fault::broker(link.why()))),
        Err(Failed::Late) => return Err(fault("JetStream does not answer in time")),
    };
    if answer.status().is_some_and(|(code, _)| code == 503) {
        let what = "JetStream is switched off there; add `jetstream { … }` to the server, and \
                    `jetstream: enabled` to the account";
        return Err(fault(what));
    }
    let bad = |_| fault("the answer is not JetStream's");
    let errors: Errors = serde_json::from_slice(&answer.payload).map_err(bad)?;
    match errors.error {
        Some(error) => Err(Without::Error(error.err_code, error.description)),
        None => serde_json::from_slice(&answer.payload).map_err(bad),
    }
}

fn stream_subject(link: &Link, names: &Names) -> String {
    format!("{}.STREAM.INFO.{}", link.settings().api, names.stream)
}

fn consumer_subject(link: &Link, names: &Names, consumer: &str) -> String {
    format!("{}.CONSUMER.INFO.{}.{consumer}", link.settings().api, names.stream)
}

/// What the server says of a consumer.
pub(crate) async fn consumer_info(
    link: &Link,
    names: &Names,
    consumer: &str,
) -> Result<ConsumerInfo, Fault> {
    let subject = consumer_subject(link, names, consumer);
    let told = match api(link, &subject).await {
        Ok(info) => return Ok(info),
        Err(told) => told,
    };
    let Names { stream, .. } = names;
    Err(match told {
        Without::Fault(fault) => fault,
        Without::Denied(told) => denied(&told, &subject),
        Without::Error(NO_STREAM, _) => no_stream(names),
        Without::Error(NO_CONSUMER, _) => Fault::broker(format!(
            "stream {stream} has no consumer {consumer}; make it: {}",
            make_consumer(names, consumer)
        )),
        Without::Error(code, words) => {
            Fault::broker(format!("the consumer {consumer} of {stream}: {words} ({code})"))
        }
    })
}

fn no_stream(names: &Names) -> Fault {
    let Names { stream, subject } = names;
    Fault::broker(format!(
        "there is no stream {stream}; make it: nats stream add {stream} --subjects '{subject}.*' \
         --storage file --retention limits --discard new --deny-delete --deny-purge --defaults"
    ))
}

fn make_consumer(names: &Names, consumer: &str) -> String {
    let Names { stream, subject } = names;
    format!(
        "nats consumer add {stream} {consumer} --pull --ack explicit --deliver all \
         --max-deliver=-1 --wait 15s --max-pending 10000 --filter '{subject}.*' \
         --pinned-groups chancery --pinned-ttl 15s --defaults"
    )
}

/// A group's consumer, and the priority group to pull with.
///
/// # Errors
/// A fault if it is missing, or cannot keep the order of a key.
pub(crate) async fn subscription(
    link: &Link,
    stream: &str,
    group: &str,
) -> Result<(Names, ConsumerInfo, String), Fault> {
    let names = link.settings().names(stream);
    let consumer = link.settings().consumer(stream, group);
    let info = consumer_info(link, &names, &consumer).await?;
    let config = &info.config;
    let wrong = if !config.deliver_subject.is_empty() {
        Some("it pushes; it must be pulled")
    } else if config.ack_policy != "explicit" {
        Some("its ack policy is not explicit")
    } else if config.headers_only {
        Some("it brings headers only")
    } else if config.priority_policy != "pinned_client" {
        Some(
            "it gives a key to several receivers at once, and not in order: its priority policy \
              is not pinned_client (server 2.11 and later)",
        )
    } else {
        None
    };
    match (wrong, config.priority_groups.first().cloned()) {
        (None, Some(priority)) => Ok((names, info, priority)),
        (wrong, _) => Err(Fault::broker(format!(
            "the consumer {consumer} of {}: {}; remove it and make it anew: {}",
            names.stream,
            wrong.unwrap_or("it has no priority group"),
            make_consumer(&names, &consumer)
        ))),
    }
}

pub(crate) async fn lag(link: &Link, stream: &str, group: &str) -> Result<Lag, Fault> {
    let names = link.settings().names(stream);
    let consumer = link.settings().consumer(stream, group);
    let info = consumer_info(link, &names, &consumer).await?;
    let in_hands = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
    Ok(Lag { messages: Some(info.num_pending.saturating_add(in_hands)), oldest_ms: None })
}

pub(crate) async fn inspect(link: &Link, stream: &str, group: Option<&str>) -> Result<Live, Fault> {
    let settings = link.settings();
    let names = settings.names(stream);
    let mut found = Vec::new();
    let subject = stream_subject(link, &names);
    match api::<StreamInfo>(link, &subject).await {
        Ok(info) => found.extend(findings::of_stream(&info.config)),
        Err(Without::Denied(told)) => found.push(not_shown(&told, &subject)),
        Err(Without::Error(NO_STREAM, _)) => return Err(no_stream(&names)),
        Err(Without::Error(code, words)) => {
            return Err(Fault::broker(format!("stream {}: {words} ({code})", names.stream)));
        }
        Err(Without::Fault(fault)) => return Err(fault),
    }
    if let Some(group) = group {
        let consumer = settings.consumer(stream, group);
        let info = consumer_info(link, &names, &consumer).await?;
        found.extend(findings::of_consumer(&info, &names, &make_consumer(&names, &consumer)));
    }
    if settings.tls.is_none() || matches!(settings.identity, Identity::Nobody) {
        found.push(Finding {
            promise: Promise::Identity,
            certain: true,
            what: "anybody on the network may be the server, or us".into(),
            setting: if settings.tls.is_none() { "broker.url=nats://…" } else { "broker.nkey=" }
                .into(),
            fix: "write `tls://` in broker.url, and give broker.nkey, creds, or cert and key"
                .into(),
        });
    }
    Ok(Live {
        server: format!("nats-server {}", link.info().version),
        identity: settings.identity.name(),
        append_time: TimeSource::Broker,
        findings: found,
    })
}

fn not_shown(told: &str, subject: &str) -> Finding {
    Finding {
        promise: Promise::NothingLost,
        certain: false,
        what: "this service may not see what the stream is set to".into(),
        setting: told.to_owned(),
        fix: format!("let it publish to `{subject}`: it gives nothing but that"),
    }
}
