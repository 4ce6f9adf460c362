// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker as the suites of the testkit ask for it.

use chancery::{Broker, Windowed};
use chancery_core::Fault;
use chancery_nats::{NatsBroker, NatsWire};
use chancery_testkit::conformance::features::{Features, NATS};
use chancery_testkit::conformance::{Fixture, NOWHERE, Place, Raw, STREAM, Wrong, message};
use chancery_testkit::proxy::Proxy;
use chancery_testkit::servers;
use serde_json::{Value, json};

use crate::world::{self, Corner, config, connect, placed, server, subject};

/// The hardened server.
pub(crate) struct Nats;

/// `ID`, or `ID@PORT` through a proxy.
fn of(place: &str, service: &str) -> Value {
    let (id, port) = place.split_once('@').map_or((place, None), |(id, port)| (id, Some(port)));
    let mut config = placed(config(service), id);
    if let Some(port) = port {
        config["url"] = format!("tls://localhost:{port}").into();
    }
    config
}

pub(crate) fn port() -> u16 {
    server().endpoint("client").rsplit(':').next().unwrap().parse().unwrap()
}

impl Fixture for Nats {
    type Sink = NatsBroker;
    type Source = Windowed<NatsWire>;
    const FEATURES: Features = NATS;

    fn fresh() -> Place {
        let corner = Corner::new();
        Place { name: corner.id.clone(), guard: Box::new(corner) }
    }

    async fn sink(place: &str) -> NatsBroker {
        connect(&of(place, "admin")).await.unwrap()
    }

    async fn source(place: &str, stream: &str, group: &str) -> Windowed<NatsWire> {
        let broker = connect(&of(place, "admin")).await.unwrap();
        broker.subscribe(stream, group).await.unwrap()
    }

    async fn raw(place: &str, _: &str, raw: Raw) {
        let mut head = b"NATS/1.0\r\n".to_vec();
        for field in &raw.fields {
            head.extend([field.name.as_bytes(), b": ", &field.value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        let key = raw.key.as_deref().map_or("_".to_owned(), |key| {
            key.iter()
                .map(|byte| match byte {
                    b'0'..=b'9' | b'a'..=b'z' => char::from(*byte).to_string(),
                    other => format!("={other:02X}"),
                })
                .collect()
        });
        let on = format!("{}.{key}", subject(place));
        let admin = connect(&config("admin")).await.unwrap();
        let body = raw.body.unwrap_or_default();
        let answer = admin.request(&on, &head, &body).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["seq"].is_u64(), "{answer}");
    }

    async fn proxied(place: &str) -> Option<(Proxy, String)> {
        let proxy = Proxy::to(port()).await;
        let name = format!("{place}@{}", proxy.port());
        Some((proxy, name))
    }

    async fn wrong(place: &str, wrong: Wrong) -> Option<Fault> {
        let of = |service: &str| of(place, service);
        match wrong {
            Wrong::Credential => {
                let mut config = of("orders");
                let stranger = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(stranger.path(), world::STRANGER).unwrap();
                config["nkey"] = json!({"file": stranger.path()});
                connect(&config).await.err()
            }
            Wrong::Certificate => {
                let mut config = of("orders");
                config["ca"] = json!(servers::pki("unknown-ca.pem"));
                connect(&config).await.err()
            }
            Wrong::Host => {
                let mut config = of("orders");
                config["url"] = "tls://localhost:9".into();
                connect(&config).await.err()
            }
            Wrong::Append => {
                let billing = connect(&of("billing")).await.unwrap();
                chancery::Sink::append(&billing, &[message(Some("k"), "a")]).await.err()
            }
            Wrong::Receive => {
                let orders = connect(&of("orders")).await.unwrap();
                orders.subscribe(STREAM, "g").await.err()
            }
            Wrong::Stream => {
                let admin = connect(&of("admin")).await.unwrap();
                admin.subscribe(NOWHERE, "g").await.err()
            }
        }
    }
}
