// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connecting and appending.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use chancery::Sink;
use chancery_core::Fault;
use chancery_core::seal::Sealed;
use tokio::task::JoinSet;

use crate::config::{FIFO, Settings};
use crate::connect::{Client, Options, Trouble, What};
use crate::convert::{MESSAGE_BYTES_MAX, Outgoing, fault, fault_of_server, next_batch};

/// Sends of one entry that the server fails, by its own fault.
const ATTEMPTS_MAX: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(100);
/// A batch of a queue whose limit we may not see: every server takes this.
const BATCH_BYTES_SAFE: usize = 256 << 10;
/// A queue to ask for when none is named: the answer says whether we are known.
const ANY_QUEUE: &str = "chancery";

/// SQS, as one service meets it. Clones share the connection.
#[derive(Clone)]
pub struct SqsBroker {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    queues: tokio::sync::Mutex<BTreeMap<String, Queue>>,
}

/// A queue that was found.
#[derive(Clone)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) fifo: bool,
    /// `MaximumMessageSize`, if we may see it.
    bytes_max: Option<usize>,
}

impl Queue {
    pub(crate) fn new(name: String, url: String, bytes_max: Option<usize>) -> Queue {
        let fifo = name.ends_with(FIFO);
        Queue { name, url, fifo, bytes_max }
    }
}

impl SqsBroker {
    /// Connects, and makes sure that the server knows who we are.
    ///
    /// # Errors
    /// A fault within seconds that says what is wrong: credentials, certificate, clock, network.
    pub async fn connect(settings: Settings) -> Result<SqsBroker, Fault> {
        let clock = settings.clock.clone();
        let client = Client::new(Options {
            region: settings.region.clone(),
            endpoint: settings.endpoint.clone(),
            insecure: settings.insecure,
            ca: settings.ca.clone(),
            profile: settings.profile.clone(),
            credentials: settings.credentials.clone(),
            config: settings.config.clone(),
            now: clock.map(|clock| -> Arc<dyn Fn() -> std::time::SystemTime + Send + Sync> {
                Arc::new(move || {
                    let ms = u64::try_from(clock.now().0).unwrap_or_default();
                    UNIX_EPOCH + Duration::from_millis(ms)
                })
            }),
        })
        .await;
        match client.url(ANY_QUEUE).await {
            Ok(_) => {}
            // Whoever is told that he may not is known.
            Err(trouble) if matches!(trouble.what, What::NoQueue | What::Denied) => {}
            Err(trouble) => return Err(fault_of_server(&client.server, "connect", &trouble)),
        }
        let shared = Shared { client, settings, queues: tokio::sync::Mutex::default() };
        Ok(SqsBroker { shared: Arc::new(shared) })
    }

    /// A queue by name or URL.
    pub(crate) async fn queue(&self, doing: &str, named: &str) -> Result<Queue, Fault> {
        let mut queues = self.shared.queues.lock().await;
        if let Some(queue) = queues.get(named) {
            return Ok(queue.clone());
        }
        let client = &self.shared.client;
        let told = |trouble: Trouble| fault(&client.server, doing, named, &trouble);
        let (name, url) = match named.rsplit_once('/') {
            Some((_, name)) => (name.to_owned(), named.to_owned()),
            None => (named.to_owned(), client.url(named).await.map_err(told)?),
        };
        let bytes_max = match client.attributes(&url).await {
            Ok(attributes) => {
                let found = attributes.iter().find(|(name, _)| name == "MaximumMessageSize");
                found.and_then(|(_, value)| value.parse().ok())
            }
            Err(trouble) if trouble.what == What::NoQueue => return Err(told(trouble)),
            Err(_) => None,
        };
        let queue = Queue::new(name, url, bytes_max);
        queues.insert(named.to_owned(), queue.clone());
        Ok(queue)
    }

    /// Appends messages of one stream to each of its queues; gives where each message is in each.
    async fn append_to(
        &self,
        stream: &str,
        messages: &[&Sealed],
    ) -> Result<Vec<Vec<String>>, Fault> {
        let sent: Vec<Outgoing> =
            messages.iter().map(|sealed| Outgoing::of(sealed)).collect::<Result<_, _>>()?;
        let mut queues = Vec::new();
        for named in self.shared.settings.queues(stream)? {
            let queue = self.queue("append", &named).await?;
            let max = queue.bytes_max.unwrap_or(MESSAGE_BYTES_MAX);
            for (outgoing, sealed) in sent.iter().zip(messages) {
                outgoing.fits(max, sealed)?;
            }
            queues.push(queue);
        }
        let sent = Arc::new(sent);
        let mut sending = JoinSet::new();
        for (at, queue) in queues.into_iter().enumerate() {
            let (shared, sent) = (Arc::clone(&self.shared), Arc::clone(&sent));
            sending.spawn(async move { (at, send(&shared.client, &queue, &sent).await) });
        }
        let mut told = BTreeMap::new();
        while let Some(ended) = sending.join_next().await {
            let cut = |error| Fault::broker(format!("an append was cut off: {error}"));
            let (at, positions) = ended.map_err(cut)?;
            told.insert(at, positions?);
        }
        let of_message = |n: usize| told.values().filter_map(|all| all.get(n).cloned()).collect();
        Ok((0..messages.len()).map(of_message).collect())
    }
}

impl Sink for SqsBroker {
    /// A copy goes to the queue of every group, so a message has a position in each: they stand in
    /// one text, a space between. On a fault any of the messages may have been appended, but
    /// nothing of a record key that comes later than one that was not.
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        let mut streams = BTreeMap::<&str, Vec<(usize, &Sealed)>>::new();
        for (n, sealed) in messages.iter().enumerate() {
            streams.entry(&sealed.stream).or_default().push((n, sealed));
        }
        let mut positions = vec![String::new(); messages.len()];
        for (stream, of_stream) in streams {
            let sealed: Vec<&Sealed> = of_stream.iter().map(|(_, sealed)| *sealed).collect();
            let told = self.append_to(stream, &sealed).await?;
            for ((n, _), all) in of_stream.iter().zip(told) {
                if let Some(position) = positions.get_mut(*n) {
                    *position = all.join(" ");
                }
            }
        }
        Ok(positions)
    }
}

impl std::fmt::Debug for SqsBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let server = &self.shared.client.server;
        f.debug_struct("SqsBroker").field("server", server).finish_non_exhaustive()
    }
}

/// Sends all of it to one queue; gives each one's position.
async fn send(client: &Client, queue: &Queue, messages: &[Outgoing]) -> Result<Vec<String>, Fault> {
    let bytes_max = queue.bytes_max.unwrap_or(BATCH_BYTES_SAFE).min(MESSAGE_BYTES_MAX);
    let mut waiting: Vec<usize> = (0..messages.len()).collect();
    let mut sent = BTreeMap::new();
    let mut failed = 0;
    while !waiting.is_empty() {
        let batch = next_batch(&waiting, messages, bytes_max);
        let told = send_batch(client, queue, messages, &batch, &mut sent).await;
        waiting.retain(|n| !sent.contains_key(n));
        if let Some(trouble) = told? {
            failed += 1;
            if failed == ATTEMPTS_MAX {
                return Err(fault(&client.server, "append", &queue.name, &trouble));
            }
            tokio::time::sleep(BACKOFF * (1 << failed)).await;
        }
    }
    Ok(sent.into_values().collect())
}

/// Sends one batch and enters what was sent; gives what went wrong with an entry by the server's
/// own fault, which may go well the next time.
async fn send_batch(
    client: &Client,
    queue: &Queue,
    messages: &[Outgoing],
    batch: &[usize],
    sent: &mut BTreeMap<usize, String>,
) -> Result<Option<Trouble>, Fault> {
    let told = |trouble: Trouble| fault(&client.server, "append", &queue.name, &trouble);
    let entries = batch.iter().filter_map(|n| messages.get(*n)?.entry(*n, queue.fifo)).collect();
    let request = client.sqs.send_message_batch().queue_url(&queue.url);
    let answer = request.set_entries(Some(entries)).send().await;
    let answer = answer.map_err(|error| told(error.into()))?;
    for entry in answer.successful() {
        if let Ok(n) = entry.id().parse() {
            sent.insert(n, format!("{}/{}", queue.name, entry.message_id()));
        }
    }
    let mut again = None;
    for entry in answer.failed() {
        let trouble = Trouble::of_code(entry.code(), entry.message().unwrap_or_default());
        if entry.sender_fault() {
            return Err(told(trouble));
        }
        again = Some(trouble);
    }
    let all = batch.iter().all(|n| sent.contains_key(n));
    let unsaid = || Trouble::new(What::Server, "it did not say what became of a message");
    Ok(again.or_else(|| (!all).then(unsaid)))
}
