// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guarded against raw on NATS: `cargo bench -p chancery-nats --features real`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a bench is a test, and shares its world with the others"
)]

use std::time::Duration;

use chancery::{Broker, Wire};
use chancery_core::seal::Sealed;
use chancery_testkit::bench::{Bench, run};
use chancery_testkit::conformance::{Fixture, STREAM};
use tokio::task::JoinSet;

#[path = "../tests/real/fixture.rs"]
mod fixture;
#[path = "../tests/real/world.rs"]
mod world;

use fixture::Nats;

impl Bench for Nats {
    async fn raw_append(place: &str, messages: Vec<Sealed>, batch: usize) {
        let sink = Nats::sink(place).await;
        for batch in messages.chunks(batch) {
            let mut sent = JoinSet::new();
            for message in batch {
                let (sink, body) = (sink.clone(), message.body.clone());
                let key = String::from_utf8(message.key.as_deref().unwrap().to_vec()).unwrap();
                let on = format!("{}.{key}", world::subject(place));
                sent.spawn(async move { sink.request(&on, b"", &body).await });
            }
            for answer in sent.join_all().await {
                assert!(answer.unwrap().starts_with(b"{\"stream\""));
            }
        }
    }

    async fn raw_receive(place: &str, group: &str, messages: usize, batch: usize) {
        let broker = Nats::sink(place).await;
        let source = broker.subscribe(STREAM, group).await.unwrap();
        let mut seen = 0;
        while seen < messages {
            let pulled = source.wire().pull(batch, Duration::from_secs(20)).await.unwrap();
            assert!(!pulled.is_empty(), "{seen} of {messages} messages came");
            seen += pulled.len();
            let receipts = pulled.into_iter().map(|(_, receipt)| receipt).collect();
            source.wire().acknowledge(receipts).await.unwrap();
        }
    }
}

fn main() {
    run::<Nats>("NATS JetStream");
}
