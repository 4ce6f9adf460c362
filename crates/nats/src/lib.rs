// SPDX-License-Identifier: MIT OR Apache-2.0
//! NATS JetStream behind the ports of `chancery`.
//!
//! A stream is a JetStream stream with the record key as its subjects' last token; a group's share
//! is a durable pull consumer with pinned clients, so that one receiver at a time has all of it.

use std::sync::Arc;

use bytes::Bytes;
use chancery::{Broker, Lag, Live, Windowed};
use chancery_core::Fault;

mod admin;
mod config;
mod connect;
mod consume;
mod convert;
mod produce;

use connect::{Failed, Link};
use produce::Tried;

pub use config::{Address, Config, Settings};
pub use consume::{NatsWire, Receipt};

/// Most messages that a receiver has in hand.
const WINDOW_MAX: usize = 8_192;

/// A connection to NATS, with one service's credentials.
#[derive(Clone)]
pub struct NatsBroker {
    pub(crate) link: Link,
    pub(crate) tried: Arc<Tried>,
}

impl NatsBroker {
    /// Connects. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// A fault within seconds: what, where, and what to do.
    pub async fn connect(settings: Settings) -> Result<NatsBroker, Fault> {
        let link = Link::open(settings).await.map_err(Fault::broker)?;
        Ok(NatsBroker { link, tried: Arc::default() })
    }

    /// Sends anything and gives the answer, as any client may: an administrator's request to the
    /// JetStream API, or a message under a header block of one's own (`NATS/1.0\r\n…\r\n\r\n`, or
    /// nothing).
    ///
    /// # Errors
    /// A fault if it is denied, or there is no answer in time.
    pub async fn request(
        &self,
        subject: &str,
        head: &[u8],
        payload: &[u8],
    ) -> Result<Bytes, Fault> {
        match self.link.ask(subject, head, payload).answer().await {
            Ok(answer) => Ok(answer.payload),
            Err(Failed::Denied(told)) => Err(produce::denied(&told, subject)),
            Err(Failed::Lost) => Err(Fault::broker(self.link.why())),
            Err(Failed::Late) => Err(Fault::broker(format!("{subject}: no answer in time"))),
        }
    }
}

impl Broker for NatsBroker {
    type Source = Windowed<NatsWire>;

    async fn subscribe(&self, stream: &str, group: &str) -> Result<Windowed<NatsWire>, Fault> {
        let (names, info, priority) = admin::subscription(&self.link, stream, group).await?;
        let window = usize::try_from(info.config.max_ack_pending).unwrap_or(WINDOW_MAX);
        let wire = NatsWire::new(self.link.clone(), (stream, names), &info, priority);
        Ok(Windowed::new(wire, window.clamp(1, WINDOW_MAX)))
    }

    async fn lag(&self, stream: &str, group: &str) -> Result<Lag, Fault> {
        admin::lag(&self.link, stream, group).await
    }

    async fn inspect(&self, stream: &str, group: Option<&str>) -> Result<Live, Fault> {
        admin::inspect(&self.link, stream, group).await
    }
}

impl std::fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBroker").field("settings", self.link.settings()).finish_non_exhaustive()
    }
}
