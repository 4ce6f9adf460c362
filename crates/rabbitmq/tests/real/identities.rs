// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may connect, and how everybody else is told so.

use std::time::{Duration, Instant};

use chancery::{Broker, Sink, Source};
use chancery_core::Fault;
use chancery_rabbitmq::Config;
use chancery_testkit::conformance::message;
use chancery_testkit::servers::{Server, pki};
use serde_json::{Value, json};

use crate::world::{SERVERS, config, connect, port};

/// Longest time until somebody is told.
const IN_TIME: Duration = Duration::from_secs(10);

async fn told(config: Value) -> Fault {
    let started = Instant::now();
    let fault = connect(config).await.expect_err("it went well");
    assert!(started.elapsed() < IN_TIME, "only after {:?}: {fault}", started.elapsed());
    fault
}

fn by_certificate(server: &Server, service: &str) -> Value {
    let folder = server.client(service);
    with_certificate(server, folder.join("client.pem"), folder.join("client.key"))
}

fn with_certificate(server: &Server, chain: std::path::PathBuf, key: std::path::PathBuf) -> Value {
    json!({
        "url": server.endpoint("amqp"),
        "ca": pki("ca.pem"),
        "certificate": {"chain": chain, "key": {"file": key}},
    })
}

fn by_token(server: &Server, service: &str, seconds: i32) -> Value {
    let program = server.client(service).join("token.sh");
    json!({
        "url": server.endpoint("amqp"),
        "ca": pki("ca.pem"),
        "token": {"command": ["sh", program, seconds.to_string()]},
    })
}

/// Appends as orders and receives as billing; `id` tells whose message it is.
async fn both_ways(orders: Value, billing: Value) {
    let broker = connect(orders).await.unwrap();
    let id = crate::world::unique();
    let position = broker.append(&[message(Some("k"), &id)]).await.unwrap().remove(0);
    let mut source = connect(billing).await.unwrap().subscribe("orders.created", "billing").await;
    let source = source.as_mut().unwrap();
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < 2 * IN_TIME, "it never came");
        for (delivery, receipt) in source.receive(64, Duration::from_secs(1)).await.unwrap() {
            source.acknowledge(vec![receipt]).await.unwrap();
            if delivery.position == position {
                return;
            }
        }
    }
}

// One queue, one reader at a time: these tests share billing's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_identity_appends_and_receives() {
    for name in SERVERS {
        let server = Server::hardened(name);
        both_ways(config(&server, "orders"), config(&server, "billing")).await;
        both_ways(by_certificate(&server, "orders"), by_certificate(&server, "billing")).await;
    }
    let server = Server::hardened("rabbitmq4");
    both_ways(by_token(&server, "orders", 300), by_token(&server, "billing", 300)).await;
}

// Threat: a token that is over keeps its connection; or a long-lived service loses its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_renewed_before_it_is_over() {
    let server = Server::hardened("rabbitmq4");
    let payout = connect(by_token(&server, "payout", 4)).await.unwrap();
    let mut source = payout.subscribe("payments.approve", "payout").await.unwrap();
    let mut renewed = message(Some("k"), "renewed");
    renewed.stream = "payments.approve".into();
    let admin = connect(config(&server, "admin")).await.unwrap();
    admin.append(&[renewed]).await.unwrap();
    // What is in hand is the broker's again as soon as the connection is not the same any more.
    let taken = source.receive(64, IN_TIME).await.unwrap();
    assert!(!taken.is_empty(), "it never came");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(9) {
        let came = source.receive(64, Duration::from_millis(300)).await.unwrap();
        let again = |it: &chancery_core::Delivery| {
            taken.iter().any(|(first, _)| first.position == it.position)
        };
        assert!(!came.iter().any(|(it, _)| again(it)), "the connection was lost");
    }
    let receipts = taken.into_iter().map(|(_, receipt)| receipt).collect();
    source.acknowledge(receipts).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_over_or_of_another_issuer_is_told() {
    let server = Server::hardened("rabbitmq4");
    let over = told(by_token(&server, "orders", -60)).await;
    assert!(over.detail.contains("does not accept the token"), "{over}");
    let mut forged = by_token(&server, "orders", 300);
    let program = server.client("orders").join("token.sh");
    let script = format!("sh {} | sed 's/.\\{{8\\}}$/AAAAAAAA/'", program.display());
    forged["token"] = json!({"command": ["sh", "-c", script]});
    let forged = told(forged).await;
    assert!(forged.detail.contains("does not accept the token"), "{forged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_prove_nothing_are_told_apart() {
    for name in SERVERS {
        let server = Server::hardened(name);
        let expired = told(with_certificate(&server, pki("expired.pem"), pki("expired.key"))).await;
        assert!(expired.detail.contains("our client certificate has expired"), "{name}: {expired}");
        let unknown = told(with_certificate(&server, pki("unknown.pem"), pki("unknown.key"))).await;
        assert!(unknown.detail.contains("does not know who signed our"), "{name}: {unknown}");
        let mut theirs = config(&server, "orders");
        theirs["ca"] = json!(pki("unknown-ca.pem"));
        let theirs = told(theirs).await;
        assert!(theirs.detail.contains("nobody that we believe has signed"), "{name}: {theirs}");
        let mut system = config(&server, "orders");
        system.as_object_mut().unwrap().remove("ca");
        let system: Config = serde_json::from_value(system).unwrap();
        match system.read(std::path::Path::new("/")) {
            // Without certificates of the system there is nobody to believe.
            Err(misuse) => assert_eq!(misuse.at, "broker.ca"),
            Ok(settings) => {
                let fault = chancery_rabbitmq::RabbitBroker::connect(settings).await.unwrap_err();
                assert!(fault.detail.contains("nobody that we believe"), "{name}: {fault}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_why() {
    for name in SERVERS {
        let server = Server::hardened(name);
        let uri = server.client("orders").join("uri");
        let mut wrong = config(&server, "orders");
        wrong["uri"] = json!({"command": ["sed", "s/@localhost/0&/", uri]});
        let fault = told(wrong).await;
        let words = "does not accept user `orders` with this password";
        assert!(fault.detail.contains(words), "{name}: {fault}");
        let mut nowhere = config(&server, "orders");
        let url = server.endpoint("amqp").replace("/shop", "/nowhere");
        nowhere["url"] = json!(url);
        nowhere["uri"] = json!({"command": ["sed", "s/.shop$/\\/nowhere/", uri]});
        let fault = told(nowhere).await;
        assert!(fault.detail.contains("into virtual host `nowhere`"), "{name}: {fault}");
    }
}

/// The server at another address, which its certificate does not have.
async fn forwarded(server: u16) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = tokio::net::TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        }
    });
    port
}

// Threat: a network that drops packets looks like a wrong password, or like nothing at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told() {
    let server = Server::hardened("rabbitmq");
    let uri = server.client("orders").join("uri");
    let real = port(&server, "amqp");
    let at = |host: &str, port: u16, scheme: &str| {
        let script = format!("s#amqps#{scheme}#;s#localhost:{real}#{host}:{port}#");
        json!({
            "url": format!("{scheme}://{host}:{port}/shop"),
            "ca": pki("ca.pem"),
            "insecure": scheme == "amqp",
            "uri": {"command": ["sed", script, uri]},
        })
    };
    let refused = told(at("localhost", 1, "amqps")).await;
    assert!(refused.detail.contains("connection refused"), "{refused}");
    let unknown = told(at("no-such-host.invalid", 5671, "amqps")).await;
    assert!(unknown.detail.contains("cannot be reached"), "{unknown}");
    // An address of documentation (RFC 5737): nothing answers, or the network says so at once.
    let silent = told(at("192.0.2.1", 5671, "amqps")).await;
    let words = ["does not answer", "cannot be reached", "connection refused"];
    assert!(words.iter().any(|word| silent.detail.contains(word)), "{silent}");
    let another = forwarded(real).await;
    let other_name = told(at("127.0.0.2", another, "amqps")).await;
    assert!(other_name.detail.contains("is for another name"), "{other_name}");
    // Plain AMQP to a port of TLS, and TLS to a port that speaks something else.
    let plain = told(at("localhost", real, "amqp")).await;
    assert!(plain.detail.contains("lost") || plain.detail.contains("says nothing"), "{plain}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"220 mail.example.org ESMTP\r\n").await;
        }
    });
    let mail = told(at("localhost", elsewhere, "amqps")).await;
    assert!(mail.detail.contains("does not speak TLS"), "{mail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_names_what_it_is_missing_on() {
    for name in SERVERS {
        let server = Server::hardened(name);
        let orders = connect(config(&server, "orders")).await.unwrap();
        let started = Instant::now();
        let read = orders.subscribe("orders.created", "billing").await.unwrap_err();
        for word in ["orders.created.billing", "does not let us", "set_permissions"] {
            assert!(read.detail.contains(word), "{name}: {read}");
        }
        let billing = connect(config(&server, "billing")).await.unwrap();
        let write = billing.append(&[message(None, "a")]).await.unwrap_err();
        for word in ["orders.created", "does not let us", "ACCESS_REFUSED"] {
            assert!(write.detail.contains(word), "{name}: {write}");
        }
        let queue = orders.subscribe("orders.created", "nobody").await.unwrap_err();
        assert!(queue.detail.contains("orders.created.nobody"), "{name}: {queue}");
        let admin = connect(config(&server, "admin")).await.unwrap();
        let mut unknown = message(None, "a");
        unknown.stream = "no.such.stream".into();
        let exchange = admin.append(&[unknown]).await.unwrap_err();
        for word in ["no.such.stream", "NOT_FOUND", "declare"] {
            assert!(exchange.detail.contains(word), "{name}: {exchange}");
        }
        assert!(started.elapsed() < 2 * IN_TIME, "only after {:?}", started.elapsed());
    }
}
