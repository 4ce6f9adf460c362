// SPDX-License-Identifier: MIT OR Apache-2.0
//! Questions to the cluster: what a topic is set to, where a group is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::consumer::unless_unreadable;
use super::{ANSWER, Context, Producer, Trouble, describe, native};
use crate::config::{Sasl, Settings};

/// Longest wait for the oldest messages that a group has not settled.
const OLDEST: Duration = Duration::from_secs(3);

impl ConsumerContext for Context {}

/// What a topic is set to, by Kafka's names. Needs the right DescribeConfigs.
pub(crate) async fn topic_settings(
    settings: &Settings,
    topic: &str,
) -> Result<BTreeMap<String, String>, Trouble> {
    if let Some(Sasl::Token(tokens)) = &settings.security.sasl {
        let (settings, tokens, topic) = (settings.clone(), tokens.clone(), topic.to_owned());
        let asked = move || describe::topic_settings(&settings, &tokens, &topic);
        let told = tokio::task::spawn_blocking(asked).await;
        return told.map_err(|error| Trouble::new(RDKafkaErrorCode::Fail, error.to_string()))?;
    }
    let context = Context::new(&settings.security);
    let admin = AdminClient::from_config_and_context(&native(settings), context)
        .map_err(|error| Trouble::of(&error))?;
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let told = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await;
    let resource = told
        .map_err(|error| Trouble::of(&error))?
        .pop()
        .ok_or_else(|| Trouble::silent(ANSWER))?
        .map_err(|code| Trouble::new(code, code.to_string()))?;
    let known = resource.entries.into_iter();
    let known: BTreeMap<String, String> =
        known.filter_map(|entry| Some((entry.name, entry.value?))).collect();
    // A denial arrives as a topic without settings.
    if known.is_empty() {
        let code = RDKafkaErrorCode::TopicAuthorizationFailed;
        return Err(Trouble::new(code, code.to_string()));
    }
    Ok(known)
}

/// Where a group is in one partition.
pub(crate) struct Place {
    /// Its first offset that is not settled.
    pub(crate) position: i64,
    /// What it wrote beside it.
    pub(crate) note: String,
    /// Behind the last message.
    pub(crate) end: i64,
    /// When its first message that is not settled was appended, in milliseconds since 1970.
    pub(crate) oldest_ms: Option<i64>,
}

/// Where a group is in every partition of a topic; waits for the answers.
pub(crate) fn group(
    settings: &Settings,
    producer: &Producer,
    topic: &str,
    group: &str,
) -> Result<Vec<Place>, Trouble> {
    let partitions = producer.topic(topic)?.partitions;
    let mut config = native(settings);
    config.set("group.id", group);
    config.set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed");
    let context = Context::new(&settings.security);
    let consumer: BaseConsumer<Context> =
        config.create_with_context(context).map_err(|error| Trouble::of(&error))?;
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions).unwrap_or_default() {
        list.add_partition(topic, partition);
    }
    let known = consumer.committed_offsets(list, ANSWER).map_err(|error| Trouble::of(&error))?;
    let mut places = BTreeMap::new();
    for mark in known.elements() {
        mark.error().map_err(|error| Trouble::of(&error))?;
        let (low, end) = producer.ends(topic, mark.partition())?;
        let position = match mark.offset() {
            Offset::Offset(offset) => offset.max(low),
            _ => low,
        };
        let note = unless_unreadable(|| mark.metadata().to_owned()).unwrap_or_default();
        places.insert(mark.partition(), Place { position, note, end, oldest_ms: None });
    }
    oldest(&consumer, topic, &mut places).map_err(|error| Trouble::of(&error))?;
    Ok(places.into_values().collect())
}

/// Looks at the first message of each partition that has any.
fn oldest(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    places: &mut BTreeMap<i32, Place>,
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, place) in places.iter().filter(|(_, place)| place.position < place.end) {
        list.add_partition_offset(topic, *partition, Offset::Offset(place.position))?;
    }
    let mut left = list.count();
    if left == 0 {
        return Ok(());
    }
    consumer.assign(&list)?;
    let until = Instant::now() + OLDEST;
    while left > 0 && Instant::now() < until {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100))
            && let Some(place) = places.get_mut(&message.partition())
            && place.oldest_ms.is_none()
        {
            place.oldest_ms = message.timestamp().to_millis();
            left -= usize::from(place.oldest_ms.is_some());
        }
    }
    consumer.unassign()
}
