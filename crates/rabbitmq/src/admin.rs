// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the live broker is really set to, and how far a group is behind.

use chancery::{Broker, Lag, Live, TimeSource, Windowed};
use chancery_core::Fault;

use crate::config::{Identity, Settings};
use crate::consume::RabbitWire;
use crate::produce::RabbitBroker;

impl Broker for RabbitBroker {
    type Source = Windowed<RabbitWire>;

    async fn subscribe(&self, stream: &str, group: &str) -> Result<Windowed<RabbitWire>, Fault> {
        let wire = RabbitWire::open(self.shared.clone(), stream, group).await?;
        Ok(Windowed::new(wire, usize::from(self.shared.settings.window)))
    }

    async fn lag(&self, stream: &str, group: &str) -> Result<Lag, Fault> {
        let queue = self.shared.settings.queue(stream, group);
        let (ready, receivers) = self.ask(async |link| link.queue(&queue).await).await?;
        // What a receiver has in its hands is not counted here.
        let messages = (receivers == 0).then_some(u64::from(ready));
        Ok(Lag { messages, oldest_ms: None })
    }

    async fn inspect(&self, stream: &str, group: Option<&str>) -> Result<Live, Fault> {
        let settings = &self.shared.settings;
        let exchange = settings.exchange(stream);
        let queue = group.map(|group| settings.queue(stream, group));
        let server = self.ask(async |link| {
            link.exchange(&exchange).await?;
            if let Some(queue) = &queue {
                link.queue(queue).await?;
            }
            Ok(link.server.clone())
        });
        Ok(Live {
            server: server.await?,
            identity: identity(settings),
            append_time: TimeSource::Unknown,
            findings: Vec::new(),
        })
    }
}

fn identity(settings: &Settings) -> Option<String> {
    match &settings.identity {
        Identity::Password { user, .. } => Some(user.clone()),
        Identity::Token(_) | Identity::Certificate => settings.user_id.clone(),
    }
}
