// SPDX-License-Identifier: MIT OR Apache-2.0
//! Appending.

use std::sync::Arc;
use std::time::Duration;

use chancery::Sink;
use chancery_core::Fault;
use chancery_core::seal::Sealed;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Settings;
use crate::connect::{Link, Outgoing, Publisher, Trouble};
use crate::convert::{fault, outgoing};

/// How long a broker that is gone is waited for.
const WAIT: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(200);

/// RabbitMQ, as one service meets it. Clones share the connection.
#[derive(Clone)]
pub struct RabbitBroker {
    pub(crate) shared: Arc<Shared>,
}

/// One service's connection for appending and asking; each receiver has another of its own, for
/// a broker that takes no messages stops reading from whoever publishes.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    line: Mutex<Option<Line>>,
}

struct Line {
    link: Link,
    publisher: Option<Publisher>,
}

impl RabbitBroker {
    /// Connects.
    ///
    /// # Errors
    /// A fault that says what is wrong, within ten seconds: the broker cannot be reached, is not
    /// the one that we believe, or does not take us.
    pub async fn connect(settings: Settings) -> Result<RabbitBroker, Fault> {
        let link = Link::open(&settings).await.map_err(fault)?;
        let line = Mutex::new(Some(Line { link, publisher: None }));
        Ok(RabbitBroker { shared: Arc::new(Shared { settings, line }) })
    }

    /// Runs what asks the broker something, on the connection that there is or a new one.
    pub(crate) async fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(&Link) -> Result<T, Trouble>,
    ) -> Result<T, Fault> {
        let mut line = self.shared.line.lock().await;
        let taken = self.shared.line(line.take()).await.map_err(fault)?;
        let answer = ask(&taken.link).await;
        *line = Some(taken);
        answer.map_err(fault)
    }
}

impl Shared {
    /// The line if it is up, or a new one, for which a broker that restarts is waited for.
    async fn line(&self, line: Option<Line>) -> Result<Line, Trouble> {
        if let Some(line) = line.filter(|line| line.link.is_up()) {
            return Ok(line);
        }
        let started = Instant::now();
        loop {
            match Link::open(&self.settings).await {
                Ok(link) => return Ok(Line { link, publisher: None }),
                Err(Trouble::Down(_)) if started.elapsed() < WAIT => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// What goes wrong ends the line: its channel has answers outstanding. Nothing is sent twice
    /// here: whoever is told of the fault appends again.
    async fn publish(&self, line: Option<Line>, all: &[Outgoing]) -> Result<Line, Trouble> {
        let Line { link, publisher } = self.line(line).await?;
        let publisher = match publisher {
            Some(publisher) => publisher,
            None => link.publisher().await?,
        };
        publisher.publish(&link, all).await?;
        Ok(Line { link, publisher: Some(publisher) })
    }
}

impl Sink for RabbitBroker {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        let all = messages.iter().map(|sealed| outgoing(sealed, &self.shared.settings));
        let (positions, all): (Vec<String>, Vec<Outgoing>) =
            all.collect::<Result<Vec<_>, Fault>>()?.into_iter().unzip();
        let mut line = self.shared.line.lock().await;
        // Taken, so that an append that is dropped on its way leaves no half-used channel.
        let used = self.shared.publish(line.take(), &all).await.map_err(fault)?;
        *line = Some(used);
        Ok(positions)
    }
}

impl std::fmt::Debug for RabbitBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitBroker").field("at", &self.shared.settings.server).finish()
    }
}
