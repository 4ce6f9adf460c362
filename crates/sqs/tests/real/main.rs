// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adapter against a server that checks signatures and policies (`cargo xtask brokers up sqs`),
//! judged by the suite of all brokers and by its own promises.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

use chancery::Broker;
use chancery::window::Windowed;
use chancery_core::Fault;
use chancery_sqs::{SqsBroker, SqsWire};
use chancery_testkit::conformance::features::SQS;
use chancery_testkit::conformance::{self, Features, Fixture, Place, Raw, Wrong};
use chancery_testkit::proxy::Proxy;
use chancery_testkit::servers;

mod boto;
mod others;
mod refused;
mod stock;

use stock::{Corner, MINISTACK};

struct Sqs;

impl Fixture for Sqs {
    type Sink = SqsBroker;
    type Source = Windowed<SqsWire>;
    const FEATURES: Features = SQS;
    // One request for each: no two of a key are sent together.
    const FLOOD: usize = 300;

    fn fresh() -> Place {
        let corner = Corner::fresh(&MINISTACK);
        Place { name: corner.name(), guard: Box::new(corner.made()) }
    }

    async fn sink(place: &str) -> SqsBroker {
        Corner::of(place).connect("admin").await.unwrap()
    }

    async fn source(place: &str, stream: &str, group: &str) -> Windowed<SqsWire> {
        let broker = Corner::of(place).connect("admin").await.unwrap();
        broker.subscribe(stream, group).await.unwrap()
    }

    async fn raw(place: &str, _: &str, message: Raw) {
        let corner = Corner::of(place);
        for group in stock::GROUPS {
            corner.send(&corner.queue(group), &message).await;
        }
    }

    async fn proxied(place: &str) -> Option<(Proxy, String)> {
        let corner = Corner::of(place);
        let proxy = Proxy::to(corner.port()).await;
        let through = corner.through(proxy.port()).name();
        Some((proxy, through))
    }

    async fn wrong(place: &str, wrong: Wrong) -> Option<Fault> {
        let corner = Corner::of(place);
        let message = [conformance::message(Some("k"), "a")];
        match wrong {
            Wrong::Credential => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("credentials");
                let good = corner.server().read("clients/admin/credentials");
                let (key, _) = good.rsplit_once('=').unwrap();
                std::fs::write(&path, format!("{key}= wrong\n")).unwrap();
                let config = stock::Change { credentials: Some(path), ..stock::Change::default() };
                corner.connect_with("admin", config).await.err()
            }
            Wrong::Certificate => {
                let ca = Some(servers::pki("unknown-ca.pem"));
                let config = stock::Change { ca, ..stock::Change::default() };
                corner.connect_with("admin", config).await.err()
            }
            Wrong::Host => corner.through(1).connect("admin").await.err(),
            Wrong::Append => {
                let broker = corner.connect("mallory").await.unwrap();
                chancery::Sink::append(&broker, &message).await.err()
            }
            Wrong::Receive => {
                let broker = corner.connect("mallory").await.unwrap();
                broker.subscribe(conformance::STREAM, "g").await.err()
            }
            Wrong::Stream => {
                let broker = corner.connect("admin").await.unwrap();
                broker.subscribe(conformance::NOWHERE, "g").await.err()
            }
        }
    }
}

chancery_testkit::conformance!(Sqs);
chancery_testkit::path_suite!(Sqs);
