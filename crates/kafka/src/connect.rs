// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client library alone: connections, identity, what goes wrong with them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};

pub(crate) use rdkafka::producer::future_producer::DeliveryFuture as Sent;

use crate::config::{Sasl, Security, Settings, TokenFrom};

pub(crate) mod ask;
pub(crate) mod consumer;
mod describe;
mod token;

/// Longest wait for what a broker is asked.
pub(crate) const ANSWER: Duration = Duration::from_secs(8);
/// How long others may still do better, once a connection was refused for good.
const REFUSED: Duration = Duration::from_millis(700);
/// The same, once no broker could be reached.
const UNREACHED: Duration = Duration::from_secs(4);
/// Longest time until an append is confirmed.
pub(crate) const DELIVERY: Duration = Duration::from_secs(10);

/// What went wrong with a connection, in the library's words.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) reason: String,
}

impl Trouble {
    pub(crate) fn new(code: RDKafkaErrorCode, reason: impl Into<String>) -> Trouble {
        Trouble { code, reason: reason.into() }
    }

    /// From a call's error. What a setting was set to is left out: it may be a secret.
    pub(crate) fn of(error: &KafkaError) -> Trouble {
        match error {
            KafkaError::ClientConfig(_, what, key, _) => {
                Trouble::new(RDKafkaErrorCode::InvalidArgument, format!("{key}: {what}"))
            }
            other => {
                let code = other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                Trouble::new(code, other.to_string())
            }
        }
    }

    /// No answer came in time.
    pub(crate) fn silent(waited: Duration) -> Trouble {
        let reason = format!("no answer in {} s", waited.as_secs());
        Trouble::new(RDKafkaErrorCode::OperationTimedOut, reason)
    }

    /// What was in hand is another's now.
    pub(crate) fn moved() -> Trouble {
        let reason = "a partition has moved to another member, and what was in hand comes again";
        Trouble::new(RDKafkaErrorCode::IllegalGeneration, reason)
    }

    /// Whether it is one of the connection, which may come back by itself.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL
        )
    }

    /// Whether it is only that the group, or who looks after it, is changing.
    pub(crate) fn will_pass(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::WaitingForCoordinator
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::OperationTimedOut
        )
    }

    /// Whether the library tells it again while it lasts. It does not of what a topic or a group
    /// refuses, and of connections one hears when they are there again.
    pub(crate) fn is_repeated(&self) -> bool {
        !self.may_pass()
            && !matches!(
                self.code,
                RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::GroupAuthorizationFailed
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownPartition
            )
    }

    /// Whether a message was thrown away because of another.
    pub(crate) fn is_purge(&self) -> bool {
        self.code == RDKafkaErrorCode::PurgeQueue
    }

    /// Whether a partition gives nothing more, until the group's place in it is set by hand.
    pub(crate) fn is_final(&self) -> bool {
        self.code == RDKafkaErrorCode::AutoOffsetReset
    }

    /// Whether trying again cannot help.
    fn is_refusal(&self) -> bool {
        matches!(self.code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)
    }
}

/// The last trouble of a client's connections. The library tells its context alone of it: a call
/// that waits in vain has only "timed out" to say.
#[derive(Default)]
pub(crate) struct Troubles(Mutex<Option<(Instant, Trouble)>>);

impl Troubles {
    /// The last, unless it is older than that.
    pub(crate) fn last(&self, age_max: Duration) -> Option<Trouble> {
        let last = self.lock().clone();
        last.filter(|(at, _)| at.elapsed() <= age_max).map(|(_, trouble)| trouble)
    }

    /// A refusal stays the answer: "all brokers are down" only follows from it.
    fn note(&self, trouble: Trouble) {
        let mut last = self.lock();
        let follows = last.as_ref().is_some_and(|(at, known)| {
            (known.is_refusal() || trouble.code == RDKafkaErrorCode::AllBrokersDown)
                && !trouble.is_refusal()
                && at.elapsed() < DELIVERY
        });
        if !follows {
            *last = Some((Instant::now(), trouble));
        }
    }

    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, Trouble)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every client is made with: it hears of trouble, and gets tokens.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) troubles: Arc<Troubles>,
    tokens: Option<Arc<TokenFrom>>,
}

impl Context {
    pub(crate) fn new(security: &Security) -> Context {
        let tokens = match &security.sasl {
            Some(Sasl::Token(from)) => Some(Arc::new(from.clone())),
            _ => None,
        };
        Context { troubles: Arc::default(), tokens }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    // Whatever matters is told as an error too.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        self.troubles.note(Trouble::new(code, reason));
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let from = self.tokens.as_ref().ok_or("no issuer is named")?;
        let token = token::get(from)?;
        Ok(OAuthToken {
            token: token.text.to_string(),
            principal_name: token.subject,
            lifetime_ms: token.expires_ms,
        })
    }
}

/// What every client of this connection is told.
pub(crate) fn native(settings: &Settings) -> ClientConfig {
    let security = &settings.security;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.servers);
    config.set("client.id", "chancery");
    config.set("allow.auto.create.topics", "false");
    config.set("socket.timeout.ms", "10000");
    config.set("socket.connection.setup.timeout.ms", "5000");
    config.set("socket.keepalive.enable", "true");
    config.set("reconnect.backoff.max.ms", "1000");
    config.set("retry.backoff.max.ms", "500");
    let protocol = match (&security.tls, &security.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &security.tls {
        config.set("ssl.endpoint.identification.algorithm", "https");
        config.set("enable.ssl.certificate.verification", "true");
        if let Some(ca) = &tls.ca {
            config.set("ssl.ca.pem", ca);
        }
        if let Some((key, chain, password)) = &tls.own {
            config.set("ssl.certificate.pem", chain);
            config.set("ssl.key.pem", key.reveal());
            if let Some(password) = password {
                config.set("ssl.key.password", password.reveal());
            }
        }
    }
    match &security.sasl {
        Some(Sasl::Password { mechanism, user, password }) => {
            config.set("sasl.mechanism", *mechanism);
            config.set("sasl.username", user);
            config.set("sasl.password", password.reveal());
        }
        Some(Sasl::Token(_)) => {
            config.set("sasl.mechanism", "OAUTHBEARER");
        }
        None => {}
    }
    config
}

/// A producer, which is also what a connection is tried with.
#[derive(Clone)]
pub(crate) struct Producer {
    producer: FutureProducer<Context>,
    pub(crate) troubles: Arc<Troubles>,
}

/// One record to append.
pub(crate) struct Record<'r> {
    pub(crate) topic: &'r str,
    pub(crate) partition: i32,
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) body: &'r [u8],
    pub(crate) fields: Vec<(&'r str, &'r [u8])>,
}

/// A topic, as far as one must know it to append to it or read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topic {
    pub(crate) partitions: u32,
    /// Fewest copies that a partition has.
    pub(crate) replicas: usize,
}

impl Producer {
    /// Connects, or says within seconds why not.
    pub(crate) fn connect(settings: &Settings) -> Result<Producer, Trouble> {
        let mut config = native(settings);
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("message.timeout.ms", DELIVERY.as_millis().to_string());
        config.set("linger.ms", "1");
        // The topic's own limit is looked at before; a batch stays below the least of them.
        config.set("message.max.bytes", "104857600");
        config.set("batch.size", "131072");
        let context = Context::new(&settings.security);
        let troubles = Arc::clone(&context.troubles);
        let producer: FutureProducer<Context> =
            config.create_with_context(context).map_err(|error| Trouble::of(&error))?;
        let made = Producer { producer, troubles };
        made.wait_until_known()?;
        Ok(made)
    }

    /// Waits for the first answer of any broker that knows who we are.
    fn wait_until_known(&self) -> Result<(), Trouble> {
        let started = Instant::now();
        let mut since: Option<(Instant, Duration)> = None;
        loop {
            let step = Duration::from_millis(50);
            if self.producer.client().fetch_cluster_id(step).is_some() {
                self.troubles.forget();
                return Ok(());
            }
            let last = self.troubles.last(ANSWER);
            let wait = last.as_ref().map(|it| if it.is_refusal() { REFUSED } else { UNREACHED });
            since = wait.map(|wait| match since {
                Some((at, before)) => (at, before.min(wait)),
                None => (Instant::now(), wait),
            });
            let given_up = since.is_some_and(|(at, wait)| at.elapsed() > wait);
            if given_up || started.elapsed() > ANSWER {
                return Err(last.unwrap_or_else(|| Trouble::silent(ANSWER)));
            }
        }
    }

    /// The cluster's id, once connected.
    pub(crate) fn cluster(&self) -> Option<String> {
        self.producer.client().fetch_cluster_id(Duration::ZERO)
    }

    /// Asks for a topic; waits for the answer.
    pub(crate) fn topic(&self, name: &str) -> Result<Topic, Trouble> {
        let asked = self.producer.client().fetch_metadata(Some(name), ANSWER);
        let metadata = asked.map_err(|error| {
            let trouble = Trouble::of(&error);
            self.troubles.last(ANSWER).unwrap_or(trouble)
        })?;
        let unknown = || Trouble::new(RDKafkaErrorCode::UnknownTopicOrPartition, "unknown");
        let topic = metadata.topics().first().ok_or_else(unknown)?;
        if let Some(error) = topic.error() {
            let code = RDKafkaErrorCode::from(error);
            return Err(Trouble::new(code, code.to_string()));
        }
        let partitions = topic.partitions();
        let replicas = partitions.iter().map(|partition| partition.replicas().len());
        Ok(Topic {
            partitions: u32::try_from(partitions.len()).unwrap_or_default(),
            replicas: replicas.min().unwrap_or_default(),
        })
    }

    /// The oldest and the next offset of a partition.
    pub(crate) fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64), Trouble> {
        let asked = self.producer.client().fetch_watermarks(topic, partition, ANSWER);
        asked.map_err(|error| Trouble::of(&error))
    }

    /// Hands a record to the library; `Ok(None)`: its queue is full, try again.
    pub(crate) fn send(&self, record: &Record<'_>) -> Result<Option<Sent>, Trouble> {
        let mut headers = OwnedHeaders::new_with_capacity(record.fields.len());
        for (name, value) in &record.fields {
            // The library would end the process for it.
            if name.contains('\0') {
                let reason = "a header field has a NUL in its name";
                return Err(Trouble::new(RDKafkaErrorCode::InvalidArgument, reason));
            }
            headers = headers.insert(Header { key: name, value: Some(*value) });
        }
        let mut native = FutureRecord::<[u8], [u8]>::to(record.topic)
            .partition(record.partition)
            .payload(record.body)
            .headers(headers);
        if let Some(key) = record.key {
            native = native.key(key);
        }
        match self.producer.send_result(native) {
            Ok(future) => Ok(Some(future)),
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => Ok(None),
                _ => Err(Trouble::of(&error)),
            },
        }
    }

    /// Waits until a record is durable; gives its offset.
    pub(crate) async fn confirmed(&self, sent: Sent) -> Result<i64, Trouble> {
        match sent.await {
            Ok(Ok(delivery)) => Ok(delivery.offset),
            Ok(Err((error, _))) => {
                let trouble = Trouble::of(&error);
                let timed_out = trouble.code == RDKafkaErrorCode::MessageTimedOut;
                let cause = if timed_out { self.troubles.last(2 * DELIVERY) } else { None };
                Err(cause.unwrap_or(trouble))
            }
            Err(_) => Err(Trouble::new(RDKafkaErrorCode::Fail, "the producer was closed")),
        }
    }

    /// Forgets what waits to be sent: behind a record that failed it would leave a gap.
    pub(crate) fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue());
    }
}
