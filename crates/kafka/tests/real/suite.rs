// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the suites of all brokers need to judge this one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chancery::{Broker, Sink, Windowed};
use chancery_core::Fault;
use chancery_kafka::{KafkaBroker, KafkaWire};
use chancery_testkit::conformance::{
    Features, Fixture, NOWHERE, Place, Raw, STREAM, Wrong, features, message,
};
use chancery_testkit::proxy::Proxy;
use chancery_testkit::servers::{Server, pki};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::world::{self, At, World};

/// The port of a proxy that refuses is free for the next test's proxy: one test at a time.
static PROXIED: Semaphore = Semaphore::const_new(1);
static TURNS: Mutex<BTreeMap<String, SemaphorePermit<'static>>> = Mutex::new(BTreeMap::new());

/// Ends a place's turn.
struct Turn(String);

impl Drop for Turn {
    fn drop(&mut self) {
        TURNS.lock().unwrap().remove(&self.0);
    }
}

pub(crate) struct Kafka;

impl Fixture for Kafka {
    type Sink = KafkaBroker;
    type Source = Windowed<KafkaWire>;
    const FEATURES: Features = features::KAFKA;

    fn fresh() -> Place {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let topic = world::Topic::make(&format!("suite-{}-{count}", std::process::id()), 3, &[]);
        let name = topic.name.clone();
        Place { name: name.clone(), guard: Box::new((Turn(name), topic)) }
    }

    async fn sink(place: &str) -> KafkaBroker {
        // One connection a place, as a program has it.
        static KNOWN: Mutex<BTreeMap<String, KafkaBroker>> = Mutex::new(BTreeMap::new());
        if let Some(known) = KNOWN.lock().unwrap().get(place) {
            return known.clone();
        }
        let broker = at(place).connect("admin").await.unwrap();
        KNOWN.lock().unwrap().insert(place.to_owned(), broker.clone());
        broker
    }

    async fn source(place: &str, stream: &str, group: &str) -> Windowed<KafkaWire> {
        Kafka::sink(place).await.subscribe(stream, group).await.unwrap()
    }

    async fn raw(place: &str, _: &str, message: Raw) {
        world::append_raw(place, message).await;
    }

    async fn proxied(place: &str) -> Option<(Proxy, String)> {
        let turn = PROXIED.acquire().await.unwrap();
        TURNS.lock().unwrap().insert(place.to_owned(), turn);
        let server = Server::hardened("kafka");
        let port = |text: String| text.rsplit(':').next().unwrap().parse().unwrap();
        let (front, behind) = (port(server.endpoint("proxy")), port(server.endpoint("behind")));
        Some((Proxy::at(front, behind).await, format!("proxy/{place}")))
    }

    async fn wrong(_: &str, wrong: Wrong) -> Option<Fault> {
        let scram = World::new(At::Scram);
        match wrong {
            Wrong::Credential => {
                let world =
                    scram.edited("orders", |text| text.replace("password=\"", "password=\"x"));
                world.connect("orders").await.err()
            }
            Wrong::Certificate => {
                let ca = pki("unknown-ca.pem").display().to_string();
                let world =
                    scram.edited("orders", |text| world::put(text, "ssl.truststore.location", &ca));
                world.connect("orders").await.err()
            }
            Wrong::Host => {
                World { url: "kafka://localhost:1".into(), ..scram }.connect("orders").await.err()
            }
            Wrong::Append => {
                let broker = scram.connect("billing").await.unwrap();
                broker.append(&[message(Some("k"), "a")]).await.err()
            }
            Wrong::Receive => {
                let broker = scram.connect("orders").await.unwrap();
                world::first_fault(&broker, STREAM, "g").await
            }
            Wrong::Stream => {
                let broker = scram.connect("admin").await.unwrap();
                world::first_fault(&broker, NOWHERE, "g").await
            }
        }
    }
}

/// The world in which [`STREAM`] is this place's topic, and groups are its own.
fn at(place: &str) -> World {
    match place.strip_prefix("proxy/") {
        Some(topic) => World::new(At::Proxy).with_topic(STREAM, topic),
        None => World::new(At::Scram).with_topic(STREAM, place),
    }
}
