// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each identity that a NATS server knows, and each way in which one is not good: told in time, in
//! a sentence of its own.

use std::time::{Duration, Instant};

use chancery::{Broker, Source};
use chancery_testkit::conformance::STREAM;
use chancery_testkit::servers::{Server, pki};
use serde_json::{Value, json};

use crate::world::{
    Corner, Private, STRANGER, administer, config, connect, name, placed, server, tool,
};

/// Longest time until it is told.
const IN_TIME: Duration = Duration::from_secs(10);

fn by_jwt(service: &str, file: &str) -> Value {
    let folder = server().client(service);
    json!({
        "url": server().endpoint("jwt"),
        "ca": folder.join("ca.pem"),
        "creds": folder.join(file),
        "inbox": format!("_INBOX.{service}"),
    })
}

fn by_certificate(service: &str) -> Value {
    let folder = server().client(service);
    json!({
        "url": server().endpoint("mtls"),
        "ca": folder.join("ca.pem"),
        "cert": folder.join("client.pem"),
        "key": {"file": folder.join("client.key")},
        "inbox": format!("_INBOX.{service}"),
    })
}

/// The rights of `billing`: it may read its own stream, and nothing else.
async fn is_billing(config: &Value) {
    let broker = connect(config).await.unwrap();
    broker.lag(STREAM, "billing").await.unwrap();
    let fault = broker.lag("payments.approve", "payout").await.unwrap_err();
    assert!(fault.detail.contains("may not publish to `$JS.API.CONSUMER.INFO"), "{fault}");
}

#[tokio::test]
async fn an_nkey_a_jwt_a_certificate_and_a_context_are_who_they_are() {
    is_billing(&config("billing")).await;
    is_billing(&by_jwt("billing", "user.creds")).await;
    is_billing(&by_certificate("billing")).await;
    let folder = server().client("billing");
    let context = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    let text = json!({
        "description": "as the nats program writes it", "url": server().endpoint("client"),
        "nkey": folder.join("user.nk"), "ca": folder.join("ca.pem"), "creds": "", "user": "",
        "password": "", "token": "", "inbox_prefix": "_INBOX.billing", "color_scheme": "",
    });
    std::fs::write(context.path(), text.to_string()).unwrap();
    is_billing(&json!({"url": "nats:", "context": context.path()})).await;
}

async fn is_refused(config: Value, words: &[&str]) {
    let began = Instant::now();
    let fault = connect(&config).await.unwrap_err();
    let took = began.elapsed();
    assert!(took < IN_TIME, "{fault} after {took:?}");
    for word in words {
        assert!(fault.detail.contains(word), "`{word}` is not in: {fault}");
    }
}

fn with(mut config: Value, member: &str, value: impl Into<Value>) -> Value {
    config[member] = value.into();
    config
}

#[tokio::test]
async fn what_is_not_good_is_told_in_a_sentence_of_its_own() {
    let stranger = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(stranger.path(), STRANGER).unwrap();
    let seed = json!({"file": stranger.path()});
    is_refused(with(config("orders"), "nkey", seed), &["no user there has the nkey U"]).await;
    is_refused(with(config("orders"), "nkey", Value::Null), &["no identity was given"]).await;
    is_refused(by_jwt("orders", "expired.creds"), &["the JWT of U", "expired", "get new"]).await;
    is_refused(by_jwt("orders", "revoked.creds"), &["the JWT of U", "not accepted: revoked"]).await;
    let from = |name: &str| {
        let config = with(by_certificate("orders"), "cert", json!(pki(&format!("{name}.pem"))));
        with(config, "key", json!({"file": pki(&format!("{name}.key"))}))
    };
    is_refused(from("expired"), &["refuses our certificate", "expired"]).await;
    is_refused(from("unknown"), &["refuses our certificate", "CA"]).await;
    let bare = with(with(by_certificate("orders"), "cert", Value::Null), "key", Value::Null);
    is_refused(bare, &["client certificate"]).await;
    let ca = json!(pki("unknown-ca.pem"));
    is_refused(with(config("orders"), "ca", ca), &["certificate is of a CA that is not ours"])
        .await;
    is_refused(with(config("orders"), "ca", Value::Null), &["a CA that is not ours"]).await;
}

#[tokio::test]
async fn another_server_than_was_meant_is_told() {
    let url = |url: &str| with(config("orders"), "url", url);
    is_refused(url("tls://localhost:9"), &["localhost:9", "connection refused"]).await;
    is_refused(url("tls://no-such-host.invalid"), &["cannot be reached"]).await;
    // A packet that is sent there (TEST-NET-1) is never answered.
    is_refused(url("tls://192.0.2.1:4222"), &["192.0.2.1:4222"]).await;
    let monitor = server().endpoint("monitor").replace("http:", "tls:");
    is_refused(url(&monitor), &["nats at localhost"]).await;
    let plain = Server::as_found("nats").endpoint("client");
    is_refused(url(&plain.replace("nats:", "tls:")), &["offers no TLS"]).await;
    let insecure = with(json!({"insecure": true}), "url", plain);
    connect(&insecure).await.unwrap();
    let secure = server().endpoint("client").replace("tls:", "nats:");
    is_refused(with(insecure, "url", secure), &["wants TLS"]).await;
}

/// Threat: who stands in between answers in the server's place, by name or by address.
#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let port = server().endpoint("client").rsplit(':').next().unwrap().to_owned();
    let by_name = with(config("orders"), "url", format!("tls://127.0.0.2:{port}"));
    let proxy = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let here = proxy.local_addr().unwrap();
    std::thread::spawn(move || {
        let Ok((client, _)) = proxy.accept() else { return };
        let server = std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        let (mut a, mut b) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut a, &mut b));
        let (mut a, mut b) = (server, client);
        let _ = std::io::copy(&mut a, &mut b);
    });
    is_refused(with(by_name, "url", format!("tls://{here}")), &["for another name"]).await;
}

#[tokio::test]
async fn what_is_missing_names_the_command_that_makes_it() {
    let admin = connect(&config("admin")).await.unwrap();
    let fault = admin.subscribe("no.such", "g").await.unwrap_err();
    assert!(fault.detail.contains("nats stream add no_such"), "{fault}");
    let fault = admin.subscribe(STREAM, "nobody").await.unwrap_err();
    assert!(fault.detail.contains("nats consumer add orders_created nobody"), "{fault}");
    let nowhere = chancery_core::seal::Sealed {
        stream: "no.such".into(),
        ..chancery_testkit::conformance::message(Some("k"), "a")
    };
    let began = Instant::now();
    let fault = chancery::Sink::append(&admin, &[nowhere]).await.unwrap_err();
    assert!(fault.detail.contains("nats stream add no_such"), "{fault}");
    assert!(began.elapsed() < IN_TIME);
}

/// Credentials that end while they are used: whoever appends is told, by the cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jwt_that_expires_on_the_way_is_told() {
    let operator = server().client("admin").ancestors().nth(2).unwrap().join("operator");
    let folder = tempfile::tempdir().unwrap();
    let creds = folder.path().join("short.creds");
    let mut nats = tool("nats");
    for name in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        nats.env(name, &operator);
    }
    nats.args(["auth", "user", "credential"]).arg(&creds);
    let output = nats.args(["orders", "SHOP", "--expire", "4s"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let broker =
        connect(&with(by_jwt("orders", "user.creds"), "creds", json!(creds))).await.unwrap();
    let message = chancery_testkit::conformance::message(Some("k"), "a");
    let append = async || chancery::Sink::append(&broker, std::slice::from_ref(&message)).await;
    append().await.unwrap();
    let began = Instant::now();
    let fault = loop {
        match append().await {
            Err(fault) if fault.detail.contains("expired") => break fault,
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        assert!(began.elapsed() < 2 * IN_TIME + Duration::from_secs(4), "it was never told");
    };
    assert!(fault.detail.contains("get new"), "{fault}");
}

/// An nkey that is taken out while it is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nkey_that_is_taken_out_is_told() {
    let server = Private::start();
    server.furnish("g").await;
    let broker = connect(&server.config("billing", None)).await.unwrap();
    broker.lag(STREAM, "g").await.unwrap_err();
    server.forget(&broker.inspect(STREAM, None).await.unwrap().identity.unwrap());
    let began = Instant::now();
    loop {
        let fault = broker.lag(STREAM, "g").await.unwrap_err();
        if fault.detail.contains("no user there has the nkey U") {
            break;
        }
        assert!(began.elapsed() < 2 * IN_TIME, "{fault}");
    }
}

/// Threat: good credentials without rights learn something, or hang.
#[tokio::test]
async fn who_has_no_rights_is_told_at_once() {
    let mallory = connect(&config("mallory")).await.unwrap();
    let began = Instant::now();
    let fault = mallory.subscribe(STREAM, "billing").await.unwrap_err();
    assert!(fault.detail.contains("may not"), "{fault}");
    let message = chancery_testkit::conformance::message(Some("k"), "a");
    let fault = chancery::Sink::append(&mallory, &[message]).await.unwrap_err();
    assert!(fault.detail.contains("may not"), "{fault}");
    assert!(mallory.request("$JS.API.STREAM.LIST", b"", b"").await.is_err());
    assert!(began.elapsed() < IN_TIME / 2);
}

/// Threat: a consumer that is removed looks like an empty stream for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_removed_is_told() {
    let corner = Corner::new();
    let broker = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    for (wait, gone) in [(2, "g"), (0, "audit")] {
        let mut source = broker.subscribe(STREAM, gone).await.unwrap();
        assert!(source.receive(1, Duration::from_secs(wait)).await.unwrap().is_empty());
        let delete = format!("$JS.API.CONSUMER.DELETE.{}.{gone}", name(&corner.id));
        administer(vec![(delete, Value::Null)]);
        let began = Instant::now();
        while source.receive(1, Duration::from_secs(1)).await.is_ok() {
            assert!(began.elapsed() < IN_TIME, "nobody was told");
        }
    }
}

/// Threat: a consumer that refuses every pull of ours looks like an empty stream for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_refuses_our_pulls_is_told() {
    let corner = Corner::new();
    let (make, mut small) = crate::world::consumer(&corner.id, "small");
    small["config"]["max_batch"] = 1.into();
    administer(vec![(make, small)]);
    let broker = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    let message = chancery_testkit::conformance::message(Some("k"), "a");
    chancery::Sink::append(&broker, &[message]).await.unwrap();
    let mut source = broker.subscribe(STREAM, "small").await.unwrap();
    let began = Instant::now();
    let fault = loop {
        match source.receive(10, Duration::from_secs(1)).await {
            Err(fault) => break fault,
            Ok(_) => assert!(began.elapsed() < IN_TIME, "nobody was told"),
        }
    };
    assert!(fault.detail.contains("max_batch"), "{fault}");
}
