// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subscribing, and what the live queues are set to.

use std::collections::BTreeMap;

use chancery::window::Windowed;
use chancery::{Broker, Finding, Lag, Live, Promise, TimeSource};
use chancery_core::Fault;
use serde_json::Value;

use crate::config::Via;
use crate::connect::What;
use crate::consume::{SqsWire, WINDOW};
use crate::convert::fault;
use crate::produce::{Queue, SqsBroker};

/// Each receive counts, and whoever is restarted receives again what he had.
const RECEIVES_MIN: u32 = 100;
/// SQS's own default: a long weekend.
const RETENTION_S_MIN: u64 = 4 * 24 * 60 * 60;

impl Broker for SqsBroker {
    type Source = Windowed<SqsWire>;

    async fn subscribe(&self, stream: &str, group: &str) -> Result<Windowed<SqsWire>, Fault> {
        let queue = self.group_queue("receive", stream, group).await?;
        let wire = SqsWire::new(&self.shared.client, &self.shared.settings, stream, queue).await?;
        Ok(Windowed::new(wire, WINDOW))
    }

    /// The numbers are SQS's own approximations; how old the oldest message is, it says only to
    /// CloudWatch.
    async fn lag(&self, stream: &str, group: &str) -> Result<Lag, Fault> {
        let queue = self.group_queue("count", stream, group).await?;
        let Some(attributes) = self.attributes("count", &queue).await? else {
            return Ok(Lag::default());
        };
        let count = |name: &str| attributes.get(name).and_then(|n| n.parse::<u64>().ok());
        let visible = count("ApproximateNumberOfMessages");
        let others =
            ["ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"];
        let others: u64 = others.iter().filter_map(|name| count(name)).sum();
        Ok(Lag { messages: visible.map(|visible| visible + others), oldest_ms: None })
    }

    /// SQS stamps a message itself, but stamps it again when it is moved back from a dead-letter
    /// queue (and, on FIFO queues, when it is moved there): it is judged by its first time only
    /// where the ledger has met it before.
    async fn inspect(&self, stream: &str, group: Option<&str>) -> Result<Live, Fault> {
        let named = match group {
            Some(group) => vec![self.shared.settings.queue(stream, group)?],
            None => self.shared.settings.queues(stream)?,
        };
        let mut findings = Vec::new();
        for named in named {
            let queue = self.queue("inspect", &named).await?;
            match self.attributes("inspect", &queue).await? {
                Some(attributes) => findings.extend(judge(&queue, &attributes)),
                None => findings.extend(unseen(&queue)),
            }
        }
        Ok(Live {
            server: self.shared.client.server.clone(),
            identity: self.shared.client.identity().await,
            append_time: match self.shared.settings.via(stream) {
                Via::Direct | Via::Sns => TimeSource::Broker,
            },
            findings,
        })
    }
}

impl SqsBroker {
    async fn group_queue(&self, doing: &str, stream: &str, group: &str) -> Result<Queue, Fault> {
        let named = self.shared.settings.queue(stream, group)?;
        self.queue(doing, &named).await
    }

    /// `None`: we may not see them.
    async fn attributes(
        &self,
        doing: &str,
        queue: &Queue,
    ) -> Result<Option<BTreeMap<String, String>>, Fault> {
        let client = &self.shared.client;
        match client.attributes(&queue.url).await {
            Ok(attributes) => Ok(Some(attributes.into_iter().collect())),
            Err(trouble) if trouble.what == What::Denied => Ok(None),
            Err(trouble) => Err(fault(&client.server, doing, &queue.name, &trouble)),
        }
    }
}

fn unseen(queue: &Queue) -> Vec<Finding> {
    let promises = [Promise::Order, Promise::NothingLost, Promise::Identity];
    let order_is_seen = |promise: &Promise| *promise != Promise::Order || !queue.fifo;
    let finding = |promise| Finding {
        promise,
        certain: false,
        what: format!("we may not see what queue {} is set to", queue.name),
        setting: "sqs:GetQueueAttributes".to_owned(),
        fix: format!("allow sqs:GetQueueAttributes on {} in the service's IAM policy", queue.name),
    };
    promises.into_iter().filter(order_is_seen).map(finding).collect()
}

fn judge(queue: &Queue, attributes: &BTreeMap<String, String>) -> Vec<Finding> {
    let found = Found { queue, attributes };
    let all = [
        found.order(),
        found.dead_letters(),
        found.receives(),
        found.retention(),
        found.content_based_deduplication(),
        found.open_to_all(),
    ];
    all.into_iter().flatten().collect()
}

/// A queue, and what it says of itself.
struct Found<'q> {
    queue: &'q Queue,
    attributes: &'q BTreeMap<String, String>,
}

impl Found<'_> {
    fn setting(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    fn finding(
        &self,
        promise: Promise,
        what: String,
        setting: &str,
        fix: String,
    ) -> Option<Finding> {
        Some(Finding { promise, certain: true, what, setting: setting.to_owned(), fix })
    }

    fn set(&self, attributes: &str) -> String {
        let url = &self.queue.url;
        format!("aws sqs set-queue-attributes --queue-url {url} --attributes '{attributes}'")
    }

    fn order(&self) -> Option<Finding> {
        if self.queue.fifo {
            return None;
        }
        let name = &self.queue.name;
        self.finding(
            Promise::Order,
            format!("queue {name} is a standard queue: messages of a key come in any order"),
            "FifoQueue=false",
            format!("aws sqs create-queue --queue-name {name}.fifo --attributes FifoQueue=true"),
        )
    }

    fn dead_letters(&self) -> Option<Finding> {
        if self.setting("RedrivePolicy").is_some() {
            return None;
        }
        let name = &self.queue.name;
        let arn = self.setting("QueueArn").unwrap_or_default();
        let dead = arn.strip_suffix(crate::config::FIFO).map_or_else(
            || format!("{arn}-dlq"),
            |stem| format!("{stem}-dlq{}", crate::config::FIFO),
        );
        let policy = format!(
            "{{\"RedrivePolicy\": \"{{\\\"deadLetterTargetArn\\\": \\\"{dead}\\\", \
             \\\"maxReceiveCount\\\": \\\"1000\\\"}}\"}}"
        );
        self.finding(
            Promise::NothingLost,
            format!(
                "queue {name} has no dead-letter queue: what nobody can take stops its group until \
                 SQS deletes it"
            ),
            "RedrivePolicy=",
            self.set(&policy),
        )
    }

    fn receives(&self) -> Option<Finding> {
        let policy = self.setting("RedrivePolicy")?;
        let read: Option<Value> = serde_json::from_str(policy).ok();
        let count = read.as_ref().and_then(|policy| match policy.get("maxReceiveCount")? {
            Value::Number(n) => n.as_u64(),
            Value::String(n) => n.parse().ok(),
            _ => None,
        });
        if count.is_some_and(|count| count >= RECEIVES_MIN.into()) {
            return None;
        }
        let name = &self.queue.name;
        let count = count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let dead = read.as_ref().and_then(|policy| policy.get("deadLetterTargetArn")?.as_str());
        let dead = dead.unwrap_or("ARN");
        let policy = format!(
            "{{\"RedrivePolicy\": \"{{\\\"deadLetterTargetArn\\\": \\\"{dead}\\\", \
             \\\"maxReceiveCount\\\": \\\"1000\\\"}}\"}}"
        );
        self.finding(
            Promise::NothingLost,
            format!(
                "queue {name} gives a message up after {count} receives, and each restart of a \
                 receiver is one"
            ),
            &format!("maxReceiveCount={count}"),
            self.set(&policy),
        )
    }

    fn retention(&self) -> Option<Finding> {
        let seconds = self.setting("MessageRetentionPeriod")?;
        if seconds.parse::<u64>().is_ok_and(|seconds| seconds >= RETENTION_S_MIN) {
            return None;
        }
        self.finding(
            Promise::NothingLost,
            format!(
                "queue {} deletes what nobody has taken for {seconds} seconds",
                self.queue.name
            ),
            &format!("MessageRetentionPeriod={seconds}"),
            self.set("{\"MessageRetentionPeriod\": \"1209600\"}"),
        )
    }

    fn content_based_deduplication(&self) -> Option<Finding> {
        if self.setting("ContentBasedDeduplication") != Some("true") {
            return None;
        }
        self.finding(
            Promise::NothingLost,
            format!(
                "queue {} drops a second message with an equal body for five minutes, if its \
                 sender gives it no id of its own",
                self.queue.name
            ),
            "ContentBasedDeduplication=true",
            self.set("{\"ContentBasedDeduplication\": \"false\"}"),
        )
    }

    fn open_to_all(&self) -> Option<Finding> {
        let policy = self.setting("Policy").filter(|policy| !policy.is_empty())?;
        let read: Option<Value> = serde_json::from_str(policy).ok();
        if read.as_ref().is_some_and(|policy| !is_open(policy)) {
            return None;
        }
        self.finding(
            Promise::Identity,
            format!("queue {}'s own policy lets anybody in, without a condition", self.queue.name),
            "Policy={\"Principal\": \"*\"}",
            self.set("{\"Policy\": \"\"}"),
        )
    }
}

/// Whether a policy allows something to everybody, without a condition on who or what they are.
fn is_open(policy: &Value) -> bool {
    let statements = match policy.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    statements.into_iter().any(|statement| {
        let allows = statement.get("Effect").and_then(Value::as_str) == Some("Allow");
        let everybody = |principal: &Value| match principal {
            Value::String(name) => name == "*",
            Value::Object(kinds) => kinds.values().any(|names| match names {
                Value::String(name) => name == "*",
                Value::Array(names) => names.iter().any(|name| name == "*"),
                _ => false,
            }),
            _ => false,
        };
        allows
            && !statement.get("Condition").is_some_and(names_somebody)
            && (statement.get("NotPrincipal").is_some()
                || statement.get("Principal").is_some_and(everybody))
    })
}

/// Whether a condition is about who asks; one of transport or time leaves everybody.
fn names_somebody(condition: &Value) -> bool {
    const WHO: [&str; 8] = [
        "aws:sourcearn",
        "aws:sourceaccount",
        "aws:sourceorgid",
        "aws:principalarn",
        "aws:principalaccount",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:userid",
    ];
    let tests = condition.as_object().into_iter().flat_map(|tests| tests.values());
    let mut keys = tests.filter_map(Value::as_object).flat_map(|keys| keys.keys());
    keys.any(|key| WHO.contains(&key.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests;
