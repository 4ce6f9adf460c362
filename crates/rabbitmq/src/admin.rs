// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the live broker is really set to, and how far a group is behind.
//!
//! AMQP tells only that an exchange or a queue is there. The rest is read from the management
//! interface, where the configuration names one; what was not read is never passed as good.

use chancery::{Broker, Finding, Lag, Live, Promise, TimeSource, Windowed};
use chancery_core::Fault;
use serde_json::Value;

use crate::config::{Identity, Settings, Stamped};
use crate::connect::http;
use crate::consume::RabbitWire;
use crate::convert::fault;
use crate::produce::RabbitBroker;

mod judge;

impl Broker for RabbitBroker {
    type Source = Windowed<RabbitWire>;

    async fn subscribe(&self, stream: &str, group: &str) -> Result<Windowed<RabbitWire>, Fault> {
        let wire = RabbitWire::open(self.shared.clone(), stream, group).await?;
        Ok(Windowed::new(wire, usize::from(self.shared.settings.window)))
    }

    async fn lag(&self, stream: &str, group: &str) -> Result<Lag, Fault> {
        let settings = &self.shared.settings;
        let queue = settings.queue(stream, group);
        let (ready, receivers) = self.ask(async |link| link.queue(&queue).await).await?;
        let messages = match &settings.management {
            Some(management) => {
                let path = ["queues", &settings.server.vhost, &queue];
                let live = http::get(management, &path).await.map_err(fault)?;
                live.get("messages").and_then(Value::as_u64)
            }
            // What a receiver has in its hands is not counted by AMQP.
            None => (receivers == 0).then_some(u64::from(ready)),
        };
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
        let server = server.await?;
        let mut findings = vec![time(settings)];
        findings.extend(plaintext(settings));
        findings.extend(read(settings, "exchanges", &exchange, judge::exchange).await);
        if let Some(queue) = &queue {
            let judge = |vhost: &str, live: &Value| judge::queue(vhost, live, &server);
            findings.extend(read(settings, "queues", queue, judge).await);
        }
        let append_time = match settings.append_time {
            Stamped::None => TimeSource::Nobody,
            Stamped::Broker => TimeSource::Broker,
        };
        Ok(Live { server, identity: identity(settings), append_time, findings })
    }
}

fn identity(settings: &Settings) -> Option<String> {
    match &settings.identity {
        Identity::Password { user, .. } => Some(user.clone()),
        Identity::Token(_) | Identity::Certificate => settings.user_id.clone(),
    }
}

// No interface of the broker tells whether its interceptor is on.
fn time(settings: &Settings) -> Finding {
    let setting = "message_interceptors.incoming.set_header_timestamp.overwrite".to_owned();
    match settings.append_time {
        Stamped::None => Finding {
            promise: Promise::Freshness,
            certain: true,
            what: "messages carry no time of the broker's".into(),
            setting,
            fix:
                "set it to true in rabbitmq.conf (4.0 and later) and write `append_time: broker`, \
                  or write `append_time: none` for the stream in policy.yaml"
                    .into(),
        },
        Stamped::Broker => Finding {
            promise: Promise::Freshness,
            certain: false,
            what: "whether the broker stamps every message can be read on its host alone".into(),
            setting: format!("{setting}=true"),
            fix: "rabbitmqctl eval 'application:get_env(rabbit, incoming_message_interceptors).', \
                  then assume freshness"
                .into(),
        },
    }
}

fn plaintext(settings: &Settings) -> Option<Finding> {
    settings.tls.is_none().then(|| Finding {
        promise: Promise::Identity,
        certain: true,
        what: "passwords and messages travel in the clear".into(),
        setting: "listeners.tcp".into(),
        fix:
            "set listeners.ssl.default = 5671 and listeners.tcp = none in rabbitmq.conf, and write \
              amqps://"
                .into(),
    })
}

/// Judges what the management interface tells of an exchange or a queue.
async fn read(
    settings: &Settings,
    kind: &str,
    name: &str,
    judge: impl Fn(&str, &Value) -> Vec<Finding>,
) -> Vec<Finding> {
    let vhost = &settings.server.vhost;
    let Some(management) = &settings.management else {
        let why = format!("AMQP does not tell how {name} is set up");
        return judge::unread(vhost, kind, &why);
    };
    match http::get(management, &[kind, vhost, name]).await {
        Ok(live) => judge(vhost, &live),
        Err(trouble) => judge::unread(vhost, kind, &trouble.into_text()),
    }
}
