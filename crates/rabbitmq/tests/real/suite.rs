// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite of all brokers, on both servers.

use std::marker::PhantomData;

use chancery::{Broker, Windowed};
use chancery_core::Fault;
use chancery_rabbitmq::{RabbitBroker, RabbitWire};
use chancery_testkit::conformance::features::{RABBITMQ, RABBITMQ_3};
use chancery_testkit::conformance::{
    Features, Fixture, GROUPS, NOWHERE, Place, Raw, STREAM, Wrong, message,
};
use chancery_testkit::proxy::Proxy;
use chancery_testkit::servers::{Server, pki};
use serde_json::{Value, json};

use crate::world::{self, admin, behind, connect, publish, queue};

/// One of the servers.
struct On<S>(PhantomData<S>);

trait Which: Send + 'static {
    const NAME: &'static str;
    const FEATURES: Features;
}

/// `rabbitmq/UNIQUE`, or `rabbitmq/UNIQUE/PORT` behind a proxy.
struct Corner {
    server: Server,
    name: String,
    proxy: Option<u16>,
}

fn corner(place: &str) -> Corner {
    let mut parts = place.split('/');
    let server = Server::hardened(parts.next().unwrap());
    let name = parts.next().unwrap().to_owned();
    Corner { server, name, proxy: parts.next().map(|port| port.parse().unwrap()) }
}

impl Corner {
    fn exchange(&self) -> String {
        format!("{}.{STREAM}", self.name)
    }

    fn queue(&self, group: &str) -> String {
        format!("{}.{STREAM}.{group}", self.name)
    }

    fn config<S: Which>(&self, service: &str) -> Value {
        let mut config = match self.proxy {
            None => world::config(&self.server, service),
            Some(port) => behind(&self.server, service, port),
        };
        let queues: serde_json::Map<String, Value> =
            GROUPS.iter().map(|group| ((*group).to_owned(), json!(self.queue(group)))).collect();
        config["streams"] = json!({STREAM: {"exchange": self.exchange(), "queues": queues}});
        if S::FEATURES.append_time {
            config["append_time"] = json!("broker");
        }
        config
    }
}

/// Removes what a test has made.
struct Made(Corner);

impl Drop for Made {
    fn drop(&mut self) {
        let corner = &self.0;
        let mut steps = vec![json!({"do": "delete-exchange", "exchange": corner.exchange()})];
        steps.extend(GROUPS.map(|g| json!({"do": "delete-queue", "queue": corner.queue(g)})));
        let _ = world::stock(&corner.server, world::at(&corner.server, "admin"), steps);
    }
}

impl<S: Which> Fixture for On<S> {
    type Sink = RabbitBroker;
    type Source = Windowed<RabbitWire>;
    const FEATURES: Features = S::FEATURES;
    // What waits stays in the window, and a full window takes nothing more.
    const FLOOD: usize = 250;

    fn fresh() -> Place {
        let name = format!("{}/{}", S::NAME, world::unique());
        let made = Made(corner(&name));
        let exchange = made.0.exchange();
        let mut steps =
            vec![json!({"do": "exchange", "exchange": exchange, "exchange_type": "topic"})];
        for group in GROUPS {
            let name = made.0.queue(group);
            steps.push(queue(&name));
            steps.push(json!({
                "do": "bind", "queue": name, "exchange": exchange, "routing_key": "#",
            }));
        }
        admin(&made.0.server, steps);
        Place { name, guard: Box::new(made) }
    }

    fn has(place: &str) -> bool {
        place.starts_with(&format!("{}/", S::NAME))
    }

    async fn sink(place: &str) -> RabbitBroker {
        connect(corner(place).config::<S>("admin")).await.unwrap()
    }

    async fn source(place: &str, stream: &str, group: &str) -> Windowed<RabbitWire> {
        Self::sink(place).await.subscribe(stream, group).await.unwrap()
    }

    async fn raw(place: &str, stream: &str, message: Raw) {
        assert_eq!(stream, STREAM);
        let corner = corner(place);
        let (key, body) = (message.key.unwrap_or_default(), message.body.unwrap_or_default());
        let step = publish(&corner.exchange(), &key, &message.fields, &body);
        admin(&corner.server, vec![step]);
    }

    async fn proxied(place: &str) -> Option<(Proxy, String)> {
        let proxy = Proxy::to(world::port(&corner(place).server, "amqp")).await;
        let through = format!("{place}/{}", proxy.port());
        Some((proxy, through))
    }

    async fn wrong(place: &str, wrong: Wrong) -> Option<Fault> {
        let corner = corner(place);
        let all = |service| corner.config::<S>(service);
        match wrong {
            Wrong::Credential => {
                let mut config = all("orders");
                let uri = corner.server.client("orders").join("uri");
                config["uri"] = json!({"command": ["sed", "s/@localhost/0&/", uri]});
                connect(config).await.err()
            }
            Wrong::Certificate => {
                let mut config = all("orders");
                config["ca"] = json!(pki("unknown-ca.pem"));
                connect(config).await.err()
            }
            Wrong::Host => {
                // Nobody listens at port 1.
                connect(behind(&corner.server, "orders", 1)).await.err()
            }
            Wrong::Append => {
                let broker = connect(all("mallory")).await.unwrap();
                chancery::Sink::append(&broker, &[message(None, "a")]).await.err()
            }
            Wrong::Receive => {
                let broker = connect(all("mallory")).await.unwrap();
                broker.subscribe(STREAM, "g").await.err()
            }
            Wrong::Stream => {
                let broker = connect(all("admin")).await.unwrap();
                broker.subscribe(NOWHERE, "g").await.err()
            }
        }
    }
}

mod three {
    pub(super) struct Three;

    impl super::Which for Three {
        const NAME: &'static str = "rabbitmq";
        const FEATURES: super::Features = super::RABBITMQ_3;
    }

    chancery_testkit::conformance!(super::On<Three>);
    chancery_testkit::path_suite!(super::On<Three>);
}

mod four {
    pub(super) struct Four;

    impl super::Which for Four {
        const NAME: &'static str = "rabbitmq4";
        const FEATURES: super::Features = super::RABBITMQ;
    }

    chancery_testkit::conformance!(super::On<Four>);
    chancery_testkit::path_suite!(super::On<Four>);
}
