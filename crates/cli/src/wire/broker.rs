// SPDX-License-Identifier: MIT OR Apache-2.0
//! The five brokers as one type: what runs is chosen once, at start, and nothing is boxed.

use std::time::Duration;

use chancery::core::seal::Sealed;
use chancery::window::Ticket;
use chancery::{Broker, Delivery, Fault, Lag, Live, Sink, Source, Timestamp};
use chancery_local::LocalReceipt;

use crate::exit::{Failure, Result};
use crate::out::warn;
use crate::project::Project;
use crate::project::broker::{BrokerConfig, Scheme};

/// Whichever broker the project has, connected as one service.
#[derive(Clone)]
pub(crate) enum AnyBroker {
    /// In a folder.
    Local(chancery_local::Broker),
    #[cfg(feature = "kafka")]
    Kafka(chancery_kafka::KafkaBroker),
    #[cfg(feature = "rabbitmq")]
    RabbitMq(chancery_rabbitmq::RabbitBroker),
    #[cfg(feature = "nats")]
    Nats(chancery_nats::NatsBroker),
    #[cfg(feature = "sqs")]
    Sqs(chancery_sqs::SqsBroker),
}

/// A subscription of [`AnyBroker`].
pub(crate) enum AnySource {
    /// In a folder.
    Local(chancery_local::LocalSource),
    #[cfg(feature = "kafka")]
    Kafka(<chancery_kafka::KafkaBroker as Broker>::Source),
    #[cfg(feature = "rabbitmq")]
    RabbitMq(<chancery_rabbitmq::RabbitBroker as Broker>::Source),
    #[cfg(feature = "nats")]
    Nats(<chancery_nats::NatsBroker as Broker>::Source),
    #[cfg(feature = "sqs")]
    Sqs(<chancery_sqs::SqsBroker as Broker>::Source),
}

/// What settles a message: the embedded broker's own receipt, or the window's.
pub(crate) enum AnyReceipt {
    /// In a folder.
    Local(LocalReceipt),
    /// All others.
    Window(Ticket),
}

/// The same for whichever it is.
macro_rules! each {
    ($any:ident, $value:expr, $one:ident => $done:expr) => {
        match $value {
            $any::Local($one) => $done,
            #[cfg(feature = "kafka")]
            $any::Kafka($one) => $done,
            #[cfg(feature = "rabbitmq")]
            $any::RabbitMq($one) => $done,
            #[cfg(feature = "nats")]
            $any::Nats($one) => $done,
            #[cfg(feature = "sqs")]
            $any::Sqs($one) => $done,
        }
    };
}

/// Reads what an adapter is told, and connects.
#[allow(unused_macros, reason = "a build without adapters has nothing to connect to")]
macro_rules! connected {
    ($any:ident, $adapter:ident, $broker:ident, $config:expr, $folder:expr) => {{
        let config: $adapter::Config = $config.config()?;
        AnyBroker::$any($adapter::$broker::connect(config.read($folder)?).await?)
    }};
}

impl AnyBroker {
    /// The project's broker, as one service meets it.
    pub(crate) async fn connect(project: &Project, service: &str) -> Result<AnyBroker> {
        AnyBroker::open(project.broker(service), &project.dir).await
    }

    /// The broker of a configuration whose files are relative to `folder`.
    pub(crate) async fn open(config: BrokerConfig, folder: &std::path::Path) -> Result<AnyBroker> {
        if config.is_insecure() {
            warn(
                "chancery: chancery.yaml, broker.insecure: without TLS whoever is on the way reads \
                 and changes messages, and learns what we log in with",
            );
        }
        Ok(match config.scheme {
            Scheme::Local => {
                let dir = folder.join(config.folder().unwrap_or_default());
                AnyBroker::Local(chancery_local::Broker::open(&dir)?)
            }
            #[cfg(feature = "kafka")]
            Scheme::Kafka => connected!(Kafka, chancery_kafka, KafkaBroker, config, folder),
            #[cfg(feature = "rabbitmq")]
            Scheme::RabbitMq => {
                connected!(RabbitMq, chancery_rabbitmq, RabbitBroker, config, folder)
            }
            #[cfg(feature = "nats")]
            Scheme::Nats => connected!(Nats, chancery_nats, NatsBroker, config, folder),
            #[cfg(feature = "sqs")]
            Scheme::Sqs => connected!(Sqs, chancery_sqs, SqsBroker, config, folder),
            #[allow(unreachable_patterns, reason = "a build with every adapter leaves none out")]
            left_out => return Err(not_built(left_out)),
        })
    }
}

/// Refuses a broker that this program was not built for.
pub(crate) fn require_built(scheme: Scheme) -> Result<()> {
    let built = match scheme {
        Scheme::Local => true,
        Scheme::Kafka => cfg!(feature = "kafka"),
        Scheme::RabbitMq => cfg!(feature = "rabbitmq"),
        Scheme::Nats => cfg!(feature = "nats"),
        Scheme::Sqs => cfg!(feature = "sqs"),
    };
    if built { Ok(()) } else { Err(not_built(scheme)) }
}

fn not_built(scheme: Scheme) -> Failure {
    let feature = scheme.feature();
    let fix = format!("cargo install --path crates/cli --features {feature}");
    let what = format!("this program was built without the feature `{feature}`");
    Failure::misuse(what, "chancery.yaml, broker", fix)
}

impl Sink for AnyBroker {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        each!(AnyBroker, self, broker => broker.append(messages).await)
    }

    fn partition(&self, stream: &str, key: Option<&[u8]>) -> Option<u32> {
        each!(AnyBroker, self, broker => broker.partition(stream, key))
    }
}

impl Broker for AnyBroker {
    type Source = AnySource;

    async fn subscribe(&self, stream: &str, group: &str) -> Result<AnySource, Fault> {
        Ok(match self {
            AnyBroker::Local(broker) => AnySource::Local(broker.subscribe(stream, group)?),
            #[cfg(feature = "kafka")]
            AnyBroker::Kafka(broker) => AnySource::Kafka(broker.subscribe(stream, group).await?),
            #[cfg(feature = "rabbitmq")]
            AnyBroker::RabbitMq(broker) => {
                AnySource::RabbitMq(broker.subscribe(stream, group).await?)
            }
            #[cfg(feature = "nats")]
            AnyBroker::Nats(broker) => AnySource::Nats(broker.subscribe(stream, group).await?),
            #[cfg(feature = "sqs")]
            AnyBroker::Sqs(broker) => AnySource::Sqs(broker.subscribe(stream, group).await?),
        })
    }

    async fn lag(&self, stream: &str, group: &str) -> Result<Lag, Fault> {
        each!(AnyBroker, self, broker => Broker::lag(broker, stream, group).await)
    }

    async fn time(&self) -> Result<Option<Timestamp>, Fault> {
        each!(AnyBroker, self, broker => broker.time().await)
    }

    async fn inspect(&self, stream: &str, group: Option<&str>) -> Result<Live, Fault> {
        each!(AnyBroker, self, broker => broker.inspect(stream, group).await)
    }
}

impl AnySource {
    /// How long a silent receiver keeps what it has, where that is ours to say.
    pub(crate) fn with_lease(self, lease: Duration) -> AnySource {
        match self {
            AnySource::Local(source) => AnySource::Local(source.with_lease(lease)),
            #[allow(unreachable_patterns, reason = "a build without adapters has no other")]
            other => other,
        }
    }
}

impl Source for AnySource {
    type Receipt = AnyReceipt;

    async fn receive(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, AnyReceipt)>, Fault> {
        each!(AnySource, self, source => {
            let batch = source.receive(max, wait).await?;
            Ok(batch.into_iter().map(|(delivery, receipt)| (delivery, receipt.into())).collect())
        })
    }

    async fn acknowledge(&mut self, receipts: Vec<AnyReceipt>) -> Result<(), Fault> {
        each!(AnySource, self, source => {
            source.acknowledge(receipts.into_iter().filter_map(own).collect()).await
        })
    }

    async fn give_back(&mut self, receipt: AnyReceipt, delay: Duration) -> Result<(), Fault> {
        each!(AnySource, self, source => match own(receipt) {
            Some(receipt) => source.give_back(receipt, delay).await,
            None => Ok(()),
        })
    }

    async fn pass_over(&mut self, receipts: Vec<(AnyReceipt, Duration)>) -> Result<(), Fault> {
        each!(AnySource, self, source => {
            let own = |(receipt, delay)| Some((own(receipt)?, delay));
            source.pass_over(receipts.into_iter().filter_map(own).collect()).await
        })
    }

    async fn close(self) {
        each!(AnySource, self, source => source.close().await);
    }
}

impl From<LocalReceipt> for AnyReceipt {
    fn from(receipt: LocalReceipt) -> AnyReceipt {
        AnyReceipt::Local(receipt)
    }
}

impl From<Ticket> for AnyReceipt {
    fn from(ticket: Ticket) -> AnyReceipt {
        AnyReceipt::Window(ticket)
    }
}

/// A source is given its own receipts and no others'; what is not is left, and comes again.
fn own<R: TryFrom<AnyReceipt>>(receipt: AnyReceipt) -> Option<R> {
    R::try_from(receipt).ok()
}

impl TryFrom<AnyReceipt> for LocalReceipt {
    type Error = ();

    fn try_from(receipt: AnyReceipt) -> Result<LocalReceipt, ()> {
        match receipt {
            AnyReceipt::Local(receipt) => Ok(receipt),
            AnyReceipt::Window(_) => Err(()),
        }
    }
}

impl TryFrom<AnyReceipt> for Ticket {
    type Error = ();

    fn try_from(receipt: AnyReceipt) -> Result<Ticket, ()> {
        match receipt {
            AnyReceipt::Window(ticket) => Ok(ticket),
            AnyReceipt::Local(_) => Err(()),
        }
    }
}
