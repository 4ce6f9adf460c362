// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client library: connections, who we are on them, and what its errors mean.
//!
//! It is not asked to recover: after a loss everything is made anew, so that no receipt of an old
//! channel can reach a new one.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_rs::{Runtime, Tokio};
use bytes::Bytes;
use futures_core::Stream;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ChannelFlowOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    ExchangeKind, PublisherConfirm,
};
use rustls::ClientConfig;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Identity, Settings, Uri};

mod guard;
pub(crate) mod http;
mod login;
pub(crate) mod tls;
mod transport;
mod trouble;

pub(crate) use lapin::message::Delivery as Incoming;
pub(crate) use trouble::Trouble;

use login::Login;
use transport::{Kit, Socket, Transport};

/// Longest time for a connection to be made, and for one answer of the broker.
const PATIENCE: Duration = Duration::from_secs(9);
/// Long enough to hear that a certificate is refused.
const LISTEN: Duration = Duration::from_millis(500);
/// Silence of twice as long ends the connection, on both sides.
const HEARTBEAT_SECONDS: u16 = 10;
/// Most messages that are on their way to the broker at once.
const PIPELINE: usize = 128;

/// A connection. Dropping it closes it.
pub(crate) struct Link {
    connection: Arc<Connection>,
    /// Name and version of the server, in its own words.
    pub(crate) server: String,
    place: String,
    refresh: Option<JoinHandle<()>>,
}

impl Link {
    /// Connects and proves who we are.
    pub(crate) async fn open(settings: &Settings) -> Result<Link, Trouble> {
        let place = settings.server.place();
        let until = Instant::now() + PATIENCE;
        let login = Login::new(&settings.identity).await?;
        let lifetime = login.lifetime();
        let socket = socket(&settings.server, settings.tls.as_ref(), until).await?;
        let server = Arc::new(Mutex::new(None));
        let transport = Mutex::new(Some(Transport::new(socket, Arc::clone(&server))));
        let connect = async move |_: AMQPUri, _: Runtime<Kit>| {
            let taken = transport.lock().unwrap_or_else(PoisonError::into_inner).take();
            let lost = || std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
            Ok(AsyncTcpStream::Plain(taken.ok_or_else(lost)?))
        };
        let properties = ConnectionProperties::default()
            .with_connection_name("chancery".into())
            .with_auth_provider(login);
        let mut uri = AMQPUri { vhost: settings.server.vhost.clone(), ..AMQPUri::default() };
        uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
        uri.query.frame_max = Some(guard::FRAME_BYTES_MAX);
        let runtime = Runtime::new(Kit(Tokio::current()));
        let made = Connection::connector(uri, runtime, connect, properties);
        let made = timeout_at(until, made).await.map_err(|_| Trouble::silent(&place))?;
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                let trouble = trouble::connecting(&error, settings);
                return Err(certificate_refused(settings).await.unwrap_or(trouble));
            }
        };
        let connection = Arc::new(made);
        let refresh = match (&settings.identity, lifetime) {
            (Identity::Token(source), Some(lifetime)) => {
                let weak = Arc::downgrade(&connection);
                Some(tokio::spawn(login::keep_fresh(weak, source.clone(), lifetime)))
            }
            _ => None,
        };
        let server = server.lock().unwrap_or_else(PoisonError::into_inner).take();
        let server = server.unwrap_or_else(|| "an AMQP 0-9-1 server".to_owned());
        Ok(Link { connection, server, place, refresh })
    }

    /// Whether there is still a connection.
    pub(crate) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    async fn channel(&self) -> Result<Channel, Trouble> {
        self.answer(self.connection.create_channel(), "").await
    }

    /// Waits for the broker's answer, but not for ever. `doing` says what it is about, and the
    /// command that mends what is missing.
    async fn answer<T>(
        &self,
        asked: impl Future<Output = lapin::Result<T>>,
        doing: &str,
    ) -> Result<T, Trouble> {
        let answered = timeout(PATIENCE, asked).await;
        let blocked = self.connection.status().blocked();
        let answered = answered.map_err(|_| Trouble::unanswered(&self.place, blocked))?;
        answered.map_err(|error| trouble::working(&error, &self.place, doing))
    }

    /// A channel to publish on.
    pub(crate) async fn publisher(&self) -> Result<Publisher, Trouble> {
        let channel = self.channel().await?;
        let confirm = channel.confirm_select(ConfirmSelectOptions::default());
        self.answer(confirm, "ask for confirmations").await?;
        Ok(Publisher { channel })
    }

    /// Messages that are ready in a queue, and who receives from it.
    pub(crate) async fn queue(&self, name: &str) -> Result<(u32, u32), Trouble> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(name.into(), options, FieldTable::default());
        let queue = self.answer(declared, &format!("find queue `{name}`")).await?;
        Ok((queue.message_count(), queue.consumer_count()))
    }

    /// Whether an exchange is there.
    pub(crate) async fn exchange(&self, name: &str) -> Result<(), Trouble> {
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::Topic;
        let declared = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        self.answer(declared, &format!("find exchange `{name}`")).await
    }

    /// Receives from a queue; at most `window` messages are unacknowledged.
    pub(crate) async fn receiver(self, queue: &str, window: u16) -> Result<Receiver, Trouble> {
        let channel = self.channel().await?;
        let prefetch = channel.basic_qos(window, BasicQosOptions::default());
        self.answer(prefetch, "set the prefetch").await?;
        let options = BasicConsumeOptions::default();
        let consume =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let consumer = self.answer(consume, &format!("receive from queue `{queue}`")).await?;
        Ok(Receiver { link: self, channel, consumer, settled: Settled::default() })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(refresh) = &self.refresh {
            refresh.abort();
        }
    }
}

/// Whether the server does not take our certificate. It says so when its part of the handshake is
/// over, and its words are lost when they meet what we have sent meanwhile: so they are listened
/// for on a connection of their own, on which we say nothing.
async fn certificate_refused(settings: &Settings) -> Option<Trouble> {
    let until = Instant::now() + LISTEN;
    let tls = settings.tls.as_ref().filter(|_| settings.certificate)?;
    let mut socket = socket(&settings.server, Some(tls), until).await.ok()?;
    let heard = timeout_at(until, socket.read_u8()).await.ok()?;
    let refused = trouble::shaking(&heard.err()?, &settings.server.place());
    matches!(refused, Trouble::Refused(_)).then_some(refused)
}

async fn socket(
    at: &Uri,
    tls: Option<&Arc<ClientConfig>>,
    until: Instant,
) -> Result<Box<dyn Socket>, Trouble> {
    let (host, place) = (at.host.as_str(), at.place());
    let tcp = tokio::net::TcpStream::connect((host, at.port));
    let tcp = timeout_at(until, tcp).await.map_err(|_| Trouble::unreachable(&place))?;
    let tcp = tcp.map_err(|error| trouble::reaching(&error, &place))?;
    // A confirmation that waits for more to send is time lost on every batch.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let name = rustls::pki_types::ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| Trouble::Refused(format!("`{host}` is no host name")))?;
    let shaken = tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, tcp);
    let shaken = timeout_at(until, shaken).await.map_err(|_| Trouble::silent(&place))?;
    Ok(Box::new(shaken.map_err(|error| trouble::shaking(&error, &place))?))
}

/// A message for the broker.
pub(crate) struct Outgoing {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

/// A channel that publishes and waits until the broker has it.
pub(crate) struct Publisher {
    channel: Channel,
}

impl Publisher {
    /// Publishes in order. After an error, or when the future is dropped, the channel has answers
    /// outstanding and is of no more use.
    pub(crate) async fn publish(&self, link: &Link, all: &[Outgoing]) -> Result<(), Trouble> {
        for some in all.chunks(PIPELINE) {
            let sent = some.iter().map(|message| self.send(message)).collect();
            let confirms = link.answer(in_order(sent), "publish").await?;
            for (confirm, message) in confirms.into_iter().zip(some) {
                let doing = format!("publish to exchange `{}`", message.exchange);
                let confirmed = link.answer(confirm, &doing).await?;
                trouble::confirmed(&confirmed, &message.exchange)?;
            }
        }
        Ok(())
    }

    fn send<'m>(&'m self, message: &'m Outgoing) -> Sending<'m> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        Box::pin(self.channel.basic_publish(
            message.exchange.as_str().into(),
            message.routing_key.as_str().into(),
            options,
            &message.body,
            message.properties.clone(),
        ))
    }
}

type Sending<'m> = Pin<Box<dyn Future<Output = lapin::Result<PublisherConfirm>> + Send + 'm>>;

/// Polls each until it has sent, and the first ones first: frames leave in this order.
async fn in_order(mut sent: Vec<Sending<'_>>) -> lapin::Result<Vec<PublisherConfirm>> {
    let mut confirms: Vec<Option<PublisherConfirm>> = sent.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut waits = false;
        for (sending, confirm) in sent.iter_mut().zip(&mut confirms) {
            if confirm.is_none() {
                match sending.as_mut().poll(cx) {
                    Poll::Ready(Ok(sent)) => *confirm = Some(sent),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => waits = true,
                }
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    Ok(confirms.into_iter().flatten().collect())
}

/// A consumer of one queue on a connection of its own.
pub(crate) struct Receiver {
    link: Link,
    channel: Channel,
    consumer: Consumer,
    settled: Settled,
}

impl Receiver {
    /// Takes what is there, at most `max`, all of it in one poll: there is no moment at which a
    /// message is neither with the library nor in `taken`.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        taken: &mut Vec<Incoming>,
    ) -> Poll<Result<(), Trouble>> {
        while taken.len() < max {
            match Pin::new(&mut self.consumer).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => taken.push(message),
                Poll::Ready(Some(Err(error))) => {
                    let error = trouble::working(&error, &self.link.place, "receive");
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(None) => return Poll::Ready(Err(Trouble::cancelled())),
                Poll::Pending if taken.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether there is still a channel.
    pub(crate) fn is_up(&self) -> bool {
        self.link.is_up() && self.channel.status().connected()
    }

    /// Acknowledges, and waits until the broker has heard it: AMQP answers no acknowledgement,
    /// but it answers what is asked after it on the same channel.
    pub(crate) async fn acknowledge(&mut self, tags: Vec<u64>) -> Result<(), Trouble> {
        // One that is dropped on its way has settled nothing.
        let mut settled = self.settled.clone();
        for (tag, multiple) in settled.enter(tags) {
            let ack = self.channel.basic_ack(tag, BasicAckOptions { multiple });
            self.link.answer(ack, "acknowledge").await?;
        }
        let heard = self.channel.channel_flow(ChannelFlowOptions { active: true });
        self.link.answer(heard, "acknowledge").await?;
        self.settled = settled;
        Ok(())
    }

    /// Closes the connection: the broker takes everything back at once. A consumer that were
    /// cancelled first would let the next one begin before that.
    pub(crate) fn close(self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = self.link.connection.close(200, "done".into()).await;
                drop(self);
            });
        }
    }
}

/// Which delivery tags of a channel are settled: one acknowledgement may settle many, but only
/// where all of them are meant.
#[derive(Clone, Default)]
struct Settled {
    /// Every tag up to here is settled.
    up_to: u64,
    beyond: std::collections::BTreeSet<u64>,
}

impl Settled {
    /// What to acknowledge for these tags: each a tag, and whether all before it are meant too.
    fn enter(&mut self, mut tags: Vec<u64>) -> Vec<(u64, bool)> {
        tags.sort_unstable();
        tags.retain(|tag| *tag > self.up_to && self.beyond.insert(*tag));
        while self.beyond.remove(&(self.up_to + 1)) {
            self.up_to += 1;
        }
        // The broker knows no tag that it was told of before: the last of these stands for all.
        let together = tags.iter().rfind(|tag| **tag <= self.up_to).map(|tag| (*tag, true));
        let alone = tags.iter().filter(|tag| **tag > self.up_to).map(|tag| (*tag, false));
        together.into_iter().chain(alone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Settled;

    // Threat: `multiple` acknowledges a message that nobody has handled.
    #[test]
    fn only_what_was_meant_is_acknowledged_together() {
        let mut settled = Settled::default();
        assert_eq!(settled.enter(vec![2]), [(2, false)]);
        assert_eq!(settled.enter(vec![5, 4]), [(4, false), (5, false)]);
        assert_eq!(settled.enter(vec![1]), [(1, true)]);
        assert_eq!(settled.enter(vec![1, 2]), []);
        assert_eq!(settled.enter(vec![8, 3]), [(3, true), (8, false)]);
        assert_eq!(settled.enter(vec![7, 6, 9, 11]), [(9, true), (11, false)]);
        assert_eq!(settled.enter(Vec::new()), []);
    }
}
