// SPDX-License-Identifier: MIT OR Apache-2.0
//! Appending.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery::{Clock, Sink, SystemClock};
use chancery_core::Fault;
use chancery_core::seal::Sealed;
use tokio::sync::RwLock;

use crate::admin;
use crate::config::Settings;
use crate::connect::consumer::Place;
use crate::connect::{DELIVERY, Producer, Record, Sent, Trouble};
use crate::convert::{self, Doing};

mod partition;

/// What a topic takes when we may not read its setting: Kafka's default (`max.message.bytes`).
const BYTES_MAX: usize = 1_048_588;
/// What a record of a batch adds to its parts, at most.
const OVERHEAD: usize = 128;
/// How long what is known of a topic is believed.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// Between two attempts to hand a message to the library, while its queue is full.
const AGAIN: Duration = Duration::from_millis(5);

/// Kafka, connected with one service's credentials. Clones share the connection.
#[derive(Clone)]
pub struct KafkaBroker {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) producer: Producer,
    topics: Mutex<HashMap<String, (Instant, Known)>>,
    /// Where messages without a key go next.
    turn: AtomicU32,
    /// Held by whoever hands messages over; nobody throws away what waits in the middle of that.
    sending: RwLock<()>,
}

/// A message by its number, and where it goes.
type Item<'m> = (usize, &'m Sealed, &'m Place);

#[derive(Clone, Copy)]
struct Known {
    partitions: u32,
    bytes_max: usize,
}

impl KafkaBroker {
    /// Connects.
    ///
    /// # Errors
    /// Within seconds, a fault that names the cause: nobody there, a certificate that is not
    /// trusted or has expired, credentials that are not taken.
    pub async fn connect(settings: Settings) -> Result<KafkaBroker, Fault> {
        let doing = Doing::Connect { servers: settings.servers.clone() };
        blocking(move || {
            let now = SystemClock.now();
            let producer = Producer::connect(&settings)
                .map_err(|it| convert::not_connected(&doing, &it, &settings, now))?;
            let shared = Shared {
                settings,
                producer,
                topics: Mutex::default(),
                turn: AtomicU32::new(std::process::id()),
                sending: RwLock::default(),
            };
            Ok(KafkaBroker { shared: Arc::new(shared) })
        })
        .await
    }

    fn known(&self, topic: &str) -> Option<Known> {
        let topics = self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, known) = topics.get(topic)?;
        (at.elapsed() < KNOWN_FOR).then_some(*known)
    }

    /// What is known of a topic; asks, if it is not.
    async fn topic(&self, topic: &str) -> Result<Known, Fault> {
        if let Some(known) = self.known(topic) {
            return Ok(known);
        }
        let doing = Doing::Append { topic: topic.to_owned() };
        let (shared, name) = (Arc::clone(&self.shared), topic.to_owned());
        let found = blocking(move || {
            shared.producer.topic(&name).map_err(|it| convert::fault(&doing, &it))
        })
        .await?;
        let limit = admin::bytes_max(&self.shared.settings, topic).await;
        let known = Known { partitions: found.partitions, bytes_max: limit.unwrap_or(BYTES_MAX) };
        let mut topics = self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.insert(topic.to_owned(), (Instant::now(), known));
        Ok(known)
    }
}

impl Sink for KafkaBroker {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        let turn = self.shared.turn.load(Ordering::Relaxed);
        let mut targets = Vec::with_capacity(messages.len());
        for message in messages {
            let topic = self.shared.settings.topic(&message.stream);
            let known = self.topic(&topic).await?;
            check_size(message, &topic, known.bytes_max)?;
            let partition = partition_of(message.key.as_deref(), known.partitions, turn);
            targets.push(Place {
                topic: topic.into(),
                partition: i32::try_from(partition).unwrap_or_default(),
            });
        }
        let told = self.send_all(messages, &targets).await;
        if messages.iter().any(|message| message.key.is_none()) {
            self.shared.turn.fetch_add(1, Ordering::Relaxed);
        }
        told.map_err(|(place, trouble)| {
            self.forget(&place.topic);
            let doing = Doing::Append { topic: place.topic.to_string() };
            convert::fault(&doing, &trouble)
        })
    }

    fn partition(&self, stream: &str, key: Option<&[u8]>) -> Option<u32> {
        let known = self.known(&self.shared.settings.topic(stream))?;
        let turn = self.shared.turn.load(Ordering::Relaxed);
        Some(partition_of(key, known.partitions, turn))
    }
}

impl KafkaBroker {
    /// Sends until all are confirmed, or one fails: what waits behind it is thrown away, as it
    /// would come without it. That takes others' messages along: theirs are sent again.
    async fn send_all(
        &self,
        messages: &[Sealed],
        targets: &[Place],
    ) -> Result<Vec<String>, (Place, Trouble)> {
        let until = Instant::now() + 2 * DELIVERY;
        let mut positions = BTreeMap::new();
        let numbered = messages.iter().zip(targets).enumerate();
        let mut left: Vec<Item<'_>> = numbered.map(|(at, (it, place))| (at, it, place)).collect();
        while !left.is_empty() {
            let (mut sent, mut failed) = self.hand_over(std::mem::take(&mut left)).await;
            while let Some((item, future)) = sent.pop_front() {
                let (at, _, place) = item;
                match self.shared.producer.confirmed(future).await {
                    Ok(offset) => drop(positions.insert(at, convert::position(place, offset))),
                    Err(_) if failed.is_some() => {}
                    Err(trouble) if trouble.is_purge() && Instant::now() < until => left.push(item),
                    Err(trouble) => {
                        failed = Some((place.clone(), trouble));
                        if sent.iter().any(|((.., behind), _)| *behind == place) {
                            self.throw_away().await;
                        }
                    }
                }
            }
            if let Some(failed) = failed {
                return Err(failed);
            }
        }
        Ok(positions.into_values().collect())
    }

    /// Hands messages to the library, until one is not taken.
    async fn hand_over<'m>(
        &self,
        items: Vec<Item<'m>>,
    ) -> (VecDeque<(Item<'m>, Sent)>, Option<(Place, Trouble)>) {
        let _sending = self.shared.sending.read().await;
        let mut sent = VecDeque::with_capacity(items.len());
        for item in items {
            let (_, message, place) = item;
            match self.send(message, place).await {
                Ok(future) => sent.push_back((item, future)),
                Err(trouble) => return (sent, Some((place.clone(), trouble))),
            }
        }
        (sent, None)
    }

    async fn throw_away(&self) {
        let _alone = self.shared.sending.write().await;
        self.shared.producer.purge();
    }

    async fn send(&self, message: &Sealed, place: &Place) -> Result<Sent, Trouble> {
        let fields = message.fields.iter().map(|it| (it.name.as_str(), &it.value[..])).collect();
        let record = Record {
            topic: &place.topic,
            partition: place.partition,
            key: message.key.as_deref(),
            body: &message.body,
            fields,
        };
        let until = Instant::now() + DELIVERY;
        loop {
            if let Some(sent) = self.shared.producer.send(&record)? {
                return Ok(sent);
            }
            if Instant::now() > until {
                return Err(Trouble::silent(DELIVERY));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// What went wrong may be that a topic is no longer what it was.
    fn forget(&self, topic: &str) {
        self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }
}

/// Without a key it is the turn's.
fn partition_of(key: Option<&[u8]>, partitions: u32, turn: u32) -> u32 {
    match key {
        Some(key) => partition::of(key, partitions),
        None => turn.checked_rem(partitions).unwrap_or_default(),
    }
}

/// Looked at before anything is sent: a message in the middle that the broker refuses would leave
/// those behind it without it.
fn check_size(message: &Sealed, topic: &str, max: usize) -> Result<(), Fault> {
    let fields: usize = message.fields.iter().map(|it| it.name.len() + it.value.len() + 10).sum();
    let key = message.key.as_ref().map_or(0, bytes::Bytes::len);
    let size = message.body.len() + key + fields + OVERHEAD;
    if size <= max {
        return Ok(());
    }
    Err(Fault::broker(format!(
        "Kafka: a message of {size} bytes is larger than the {max} that topic `{topic}` takes; \
         send less, or raise it: kafka-configs --alter --entity-type topics --entity-name {topic} \
         --add-config max.message.bytes=…"
    )))
}

/// Runs what waits for an answer where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let ended = |error| Fault::broker(format!("Kafka: the work was cut off: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

impl std::fmt::Debug for KafkaBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let servers = &self.shared.settings.servers;
        f.debug_struct("KafkaBroker").field("servers", servers).finish_non_exhaustive()
    }
}
