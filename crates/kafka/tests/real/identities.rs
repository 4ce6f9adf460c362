// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every way to say who one is works, and keeps working when a token ends.

use std::time::{Duration, Instant};

use chancery::{Broker, Sink, TimeSource};
use chancery_testkit::conformance::{finish, message};
use chancery_testkit::servers::Server;

use crate::world::{At, PATIENCE, Topic, World, put};

const STREAM: &str = "orders.created";

/// Appends as one service and receives as another, each with its own rights alone.
async fn works(at: At) {
    let orders = World::new(at).connect("orders").await.unwrap();
    let billing = World::new(at).connect("billing").await.unwrap();
    let body = format!("{at:?} {}", std::process::id());
    let sent = message(Some("k"), &body);
    let positions = orders.append(std::slice::from_ref(&sent)).await.unwrap();
    assert!(positions[0].starts_with("orders.created/"), "{positions:?}");
    let mut source = billing.subscribe(STREAM, "billing").await.unwrap();
    let started = Instant::now();
    // Others' messages may lie before it: all of this file share the topic.
    while !finish(&mut source, 1).await.contains(&body) {
        assert!(started.elapsed() < PATIENCE, "it never came");
    }
    let live = billing.inspect(STREAM, Some("billing")).await.unwrap();
    assert_eq!((live.append_time, live.findings), (TimeSource::Broker, vec![]), "{at:?}");
    assert!(live.server.starts_with("Kafka, cluster "), "{}", live.server);
    let known = match at {
        At::Scram | At::Proxy => Some("User:billing".to_owned()),
        At::Mtls | At::MtlsPkcs12 | At::MtlsJks => Some("certificate CN=billing".to_owned()),
        At::Oauth => None,
    };
    assert_eq!(live.identity, known);
}

// One after another: they share the group `billing`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_identity_appends_receives_and_inspects() {
    for at in [At::Scram, At::Oauth, At::Mtls, At::MtlsPkcs12, At::MtlsJks] {
        works(at).await;
    }
}

// Threat: a session that ends with its token, in the middle of the night.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_its_token() {
    let topic = Topic::make(&format!("tokens-{}", std::process::id()), 1, &[]);
    let world = World::new(At::Oauth).with_topic("tokens", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let mut source = broker.subscribe("tokens", "g").await.unwrap();
    let started = Instant::now();
    let mut n = 0;
    // Tokens live for 20 seconds, and the broker ends each session with its token.
    while started.elapsed() < Duration::from_secs(50) {
        let mut sent = message(Some("k"), &n.to_string());
        sent.stream = "tokens".into();
        broker.append(&[sent]).await.unwrap();
        assert_eq!(finish(&mut source, 1).await, [n.to_string()]);
        n += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(n > 30, "only {n} messages in 50 seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_certificates_may_stand_in_the_file_itself() {
    let read = |file: &str| Server::hardened("kafka").read(&format!("clients/orders/{file}"));
    let line = |pem: &str| pem.replace('\n', "\\n\\\n  ");
    let (ca, key, chain) = (read("ca.pem"), read("client.key"), read("client.pem"));
    let world = World::new(At::Mtls).edited("orders", |text| {
        let kept = text.lines().filter(|it| !it.starts_with("ssl."));
        let kept: String = kept.map(|it| format!("{it}\n")).collect();
        let text = put(kept, "ssl.truststore.type", "PEM");
        let text = put(text, "ssl.truststore.certificates", &line(&ca));
        let text = put(text, "ssl.keystore.type", "PEM");
        let text = put(text, "ssl.keystore.key", &line(&key));
        put(text, "ssl.keystore.certificate.chain", &line(&chain))
    });
    let broker = world.connect("orders").await.unwrap();
    broker.append(&[message(Some("inline"), "inline")]).await.unwrap();
}

// A file that somebody else keeps fresh, as Kubernetes does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_may_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let server = Server::hardened("kafka");
    let issuer = server.endpoint("issuer");
    let scope = server.read("clients/orders/scope");
    let data = dir.path().join("form");
    std::fs::write(&data, format!("grant_type=client_credentials&scope={scope}")).unwrap();
    let told = std::process::Command::new("curl")
        .args(["-sf", "--cacert"])
        .arg(server.client("orders").join("ca.pem"))
        .args(["-u", "orders:x", "--data"])
        .arg(format!("@{}", data.display()))
        .arg(format!("{issuer}/token"))
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    std::fs::write(&path, answer["access_token"].as_str().unwrap()).unwrap();
    let world = World::new(At::Oauth).edited("orders", |text| {
        let url = format!("file://{}", path.display());
        put(text, "sasl.oauthbearer.token.endpoint.url", &url)
    });
    let broker = world.connect("orders").await.unwrap();
    broker.append(&[message(Some("file"), "file")]).await.unwrap();
}
