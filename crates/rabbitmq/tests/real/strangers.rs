// SPDX-License-Identifier: MIT OR Apache-2.0
//! What other clients send, and what comes back from a dead-letter queue or over a shovel.

use std::time::Duration;

use chancery::{Broker, Promise, Sink, Source, TimeSource, Windowed};
use chancery_core::Field;
use chancery_core::header::{HEADER, SENDER, SIGNATURE};
use chancery_rabbitmq::RabbitWire;
use chancery_testkit::conformance::{Received, STREAM, message, take};
use chancery_testkit::servers::Server;
use serde_json::{Value, json};

use crate::world::{SERVERS, admin, at, base64, config, connect, publish, queue, stock, unique};

/// Deep enough to end a process that reads tables by recursion.
const LEVELS: usize = 5_000;
/// With 28 octets round it, a header that the server takes and that fits no frame of ours.
const FILLED: usize = (128 << 10) - 28;

/// An exchange and one queue that a test has to itself.
struct Corner {
    server: Server,
    name: String,
}

impl Corner {
    fn new(server: &str, arguments: Value) -> Corner {
        let corner = Corner { server: Server::hardened(server), name: unique() };
        let mut share = queue(&corner.name);
        for (name, value) in arguments.as_object().unwrap() {
            share["arguments"][name] = value.clone();
        }
        let Corner { server, name } = &corner;
        admin(
            server,
            vec![
                json!({"do": "exchange", "exchange": name, "exchange_type": "topic"}),
                share,
                json!({"do": "bind", "queue": name, "exchange": name, "routing_key": "#"}),
            ],
        );
        corner
    }

    fn config(&self) -> Value {
        let mut config = config(&self.server, "admin");
        let at = json!({"exchange": self.name, "queues": {"g": self.name}});
        config["streams"] = json!({STREAM: at});
        config
    }

    fn stock(&self, step: Value) {
        admin(&self.server, vec![step]);
    }
}

impl Drop for Corner {
    fn drop(&mut self) {
        let steps = vec![
            json!({"do": "delete-queue", "queue": self.name}),
            json!({"do": "delete-exchange", "exchange": self.name}),
        ];
        let _ = stock(&self.server, at(&self.server, "admin"), steps);
    }
}

async fn received<S: Source>(source: &mut S, n: usize) -> Vec<Received<S>> {
    take(source, n).await
}

// Threat: one message that ends the connection, or the process, of whoever must read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_library_cannot_read_stops_nobody() {
    for name in SERVERS {
        let corner = Corner::new(name, json!({}));
        let with = |properties: Value| {
            json!({
                "do": "publish",
                "exchange": corner.name,
                "routing_key": "k",
                "body": base64(b"bad"),
                "properties": properties,
            })
        };
        corner.stock(publish(&corner.name, b"k", &[], b"before"));
        corner.stock(with(json!({"headers": {"deep": {"nested": LEVELS}}})));
        corner.stock(publish(&corner.name, b"\xff\xfe", &[], b"key"));
        corner.stock(with(json!({"raw_headers": [[base64(b"\xff\xfe"), 1]]})));
        corner.stock(with(json!({"headers": {"fill": {"filled": FILLED}}})));
        corner.stock(publish(&corner.name, b"k", &[], b"after"));
        let broker = connect(corner.config()).await.unwrap();
        let mut source = broker.subscribe(STREAM, "g").await.unwrap();
        let all = received(&mut source, 6).await;
        let bodies: Vec<_> = all.iter().map(|(it, _)| it.body.clone().unwrap()).collect();
        assert_eq!(bodies, ["before", "bad", "key", "bad", "bad", "after"]);
        for bad in [1, 3, 4] {
            let fields = &all[bad].0.fields;
            let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(names, ["unreadable-properties"], "{name}");
        }
        assert!(all[1].0.fields[0].value.len() > 5 * LEVELS, "its bytes are not there");
        let key = all[2].0.key.clone().unwrap();
        assert_eq!(key, "\u{fffd}\u{fffd}".as_bytes());
        let receipts = all.into_iter().map(|(_, receipt)| receipt).collect();
        source.acknowledge(receipts).await.unwrap();
    }
}

// Threat: an acknowledgement that was never sent is told as done the second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_was_dropped_is_sent_again() {
    for name in SERVERS {
        let corner = Corner::new(name, json!({}));
        let broker = connect(corner.config()).await.unwrap();
        let texts: Vec<String> = (1..=40).map(|n| n.to_string()).collect();
        let all: Vec<_> = texts.iter().map(|text| message(Some(text), text)).collect();
        broker.append(&all).await.unwrap();
        let mut source = broker.subscribe(STREAM, "g").await.unwrap();
        let taken = received(&mut source, 40).await;
        // Each of these is told alone: this is dropped before the last of them is sent.
        let even: Vec<_> = texts.iter().skip(1).step_by(2).map(String::as_str).collect();
        let even = source.acknowledge(named::<Windowed<RabbitWire>>(taken, &even));
        assert!(tokio::time::timeout(Duration::ZERO, even).await.is_err(), "{name}");
        let again = received(&mut source, 40).await;
        // If it was sent all the same, the broker closes the channel at a tag that it knows no more:
        // a fault, and what counts is what is left.
        let _ = source.acknowledge(named::<Windowed<RabbitWire>>(again, &["40"])).await;
        drop(source);
        broker.append(&[message(Some("k"), "last")]).await.unwrap();
        let mut source = broker.subscribe(STREAM, "g").await.unwrap();
        let (mut left, mut in_hand) = (Vec::new(), Vec::new());
        while left.last().is_none_or(|body| body != "last") {
            let (delivery, receipt) = received(&mut source, 1).await.remove(0);
            left.push(delivery.body.unwrap());
            in_hand.push(receipt);
        }
        assert!(left.iter().all(|body| body != "40"), "{name}: {left:?}");
        for body in ["1", "3"] {
            assert!(left.iter().any(|it| it == body), "{name}: {left:?}");
        }
    }
}

fn named<S: Source>(all: Vec<Received<S>>, bodies: &[&str]) -> Vec<S::Receipt> {
    let is = |body: &[u8]| bodies.iter().any(|it| it.as_bytes() == body);
    let all = all.into_iter().filter(|(it, _)| it.body.as_deref().is_some_and(is));
    all.map(|(_, receipt)| receipt).collect()
}

// Threat: a key that was stolen, used with another login; a login used under another's name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_appends_in_another_users_name() {
    for name in SERVERS {
        let server = Server::hardened(name);
        let forged = json!({
            "do": "publish",
            "exchange": "orders.created",
            "routing_key": "k",
            "body": "",
            "properties": {"user_id": "billing"},
        });
        let error = stock(&server, at(&server, "orders"), vec![forged]).unwrap_err();
        assert!(error.contains("user_id"), "{name}: {error}");
        let mut other = config(&server, "orders");
        other["user_id"] = json!("billing");
        let fault = connect(other).await.unwrap().append(&[message(None, "a")]).await.unwrap_err();
        assert!(fault.detail.contains("user_id"), "{name}: {fault}");

        let corner = Corner::new(name, json!({}));
        let mut config = corner.config();
        config["users"] = json!({"admin": "svc-orders"});
        config["user_id"] = json!("admin");
        let broker = connect(config).await.unwrap();
        broker.append(&[message(Some("k"), "vouched")]).await.unwrap();
        let forged = [Field::new(SENDER, "svc-orders")];
        corner.stock(publish(&corner.name, b"k", &forged, b"not"));
        let mut source = broker.subscribe(STREAM, "g").await.unwrap();
        let senders = received(&mut source, 2).await.into_iter().map(|(delivery, _)| {
            let fields = delivery.fields.into_iter().filter(|field| field.name == SENDER);
            fields.map(|field| field.value).collect::<Vec<_>>()
        });
        let senders: Vec<Vec<_>> = senders.collect();
        assert_eq!(senders, [["svc-orders"], [""]], "{name}");
    }
}

fn signed() -> Vec<Field> {
    vec![
        Field::new(HEADER, "{\"a\":\"\u{e9}\\u0000 spaces \"}"),
        Field::new(SIGNATURE, "1;kid:signature"),
        Field::new("binary", vec![0, 0xff, b'\n', 0xfe]),
    ]
}

// Threat: a redrive or a bridge that re-writes a byte and so breaks every signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_comes_back_with_its_bytes() {
    for name in SERVERS {
        let dead = Corner::new(name, json!({}));
        let limited = json!({"x-delivery-limit": 2, "x-dead-letter-exchange": dead.name});
        let corner = Corner::new(name, limited);
        let mut sealed = message(Some("order=1"), "body \u{e9}");
        sealed.fields = signed();
        let broker = connect(corner.config()).await.unwrap();
        let position = broker.append(std::slice::from_ref(&sealed)).await.unwrap().remove(0);
        let reject = json!({"do": "reject", "queue": corner.name});
        let back = json!({"do": "move", "queue": dead.name, "exchange": corner.name});
        let answers = admin(&corner.server, vec![reject, back]);
        assert_eq!(answers[0], json!(3), "{name}: two returns are allowed");
        let mut source = broker.subscribe(STREAM, "g").await.unwrap();
        let (delivery, _) = received(&mut source, 1).await.remove(0);
        for field in signed() {
            let found = delivery.fields.iter().find(|it| it.name == field.name);
            assert_eq!(found.map(|it| &it.value), Some(&field.value), "{name}: {}", field.name);
        }
        assert_eq!(delivery.key.as_deref(), Some(&b"order=1"[..]));
        assert_eq!(delivery.body.as_ref(), Some(&sealed.body));
        assert_eq!(delivery.position, position, "it is the same message");
        let death = delivery.fields.iter().find(|field| field.name == "x-death").unwrap();
        let death = String::from_utf8(death.value.to_vec()).unwrap();
        assert!(death.contains("delivery_limit"), "{name}: {death}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shovel_keeps_every_byte() {
    for name in SERVERS {
        let (from, to) = (Corner::new(name, json!({})), Corner::new(name, json!({})));
        let mut sealed = message(Some("order=1"), "body");
        sealed.fields = signed();
        let broker = connect(from.config()).await.unwrap();
        broker.append(std::slice::from_ref(&sealed)).await.unwrap();
        let shovel = json!({"value": {
            "src-uri": "amqp:///shop",
            "src-queue": from.name,
            "dest-uri": "amqp:///shop",
            "dest-exchange": to.name,
            "src-delete-after": "queue-length",
        }});
        let path = format!("/api/parameters/shovel/shop/{}", from.name);
        let make = json!({
            "do": "http",
            "management": from.server.client("admin").join("management"),
            "ca": chancery_testkit::servers::pki("ca.pem"),
            "method": "PUT",
            "path": path,
            "body": shovel,
        });
        from.stock(make);
        let mut source = connect(to.config()).await.unwrap().subscribe(STREAM, "g").await.unwrap();
        let (delivery, _) = received(&mut source, 1).await.remove(0);
        for field in signed() {
            let found = delivery.fields.iter().find(|it| it.name == field.name);
            assert_eq!(found.map(|it| &it.value), Some(&field.value), "{name}: {}", field.name);
        }
        assert_eq!(delivery.key.as_deref(), Some(&b"order=1"[..]));
        assert_eq!(delivery.body.as_ref(), Some(&sealed.body));
    }
}

// Threat: a consistent-hash exchange hashes on what nobody has signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_a_header_is_what_a_hash_exchange_divides_by() {
    for name in SERVERS {
        let (one, two) = (Corner::new(name, json!({})), Corner::new(name, json!({})));
        let hash = unique();
        let mut steps = vec![json!({
            "do": "exchange",
            "exchange": hash,
            "exchange_type": "x-consistent-hash",
            "arguments": {"hash-header": "ordering-key"},
        })];
        for corner in [&one, &two] {
            let bind = json!({
                "do": "bind", "queue": corner.name, "exchange": hash, "routing_key": "50",
            });
            steps.push(bind);
        }
        admin(&one.server, steps);
        let mut config = config(&one.server, "admin");
        let queues = json!({"g": one.name, "h": two.name});
        config["streams"] =
            json!({STREAM: {"exchange": hash, "routing_key": "any", "queues": queues}});
        let broker = connect(config).await.unwrap();
        let texts: Vec<String> = (0..60).map(|n| (n % 12).to_string()).collect();
        let all: Vec<_> = texts.iter().map(|text| message(Some(text), text)).collect();
        broker.append(&all).await.unwrap();
        let mut keys = [Vec::new(), Vec::new()];
        for (keys, group) in keys.iter_mut().zip(["g", "h"]) {
            let mut source = broker.subscribe(STREAM, group).await.unwrap();
            loop {
                let batch = source.receive(60, Duration::from_secs(1)).await.unwrap();
                if batch.is_empty() {
                    break;
                }
                for (delivery, receipt) in batch {
                    assert_eq!(delivery.key, delivery.body, "the key is not the record's");
                    keys.push(delivery.key.unwrap());
                    source.acknowledge(vec![receipt]).await.unwrap();
                }
            }
        }
        let [g, h] = keys;
        assert_eq!(g.len() + h.len(), 60, "{name}");
        assert!(!g.is_empty() && !h.is_empty(), "{name}: one queue has all");
        assert!(g.iter().all(|key| !h.contains(key)), "{name}: a key is in both queues");
        admin(&one.server, vec![json!({"do": "delete-exchange", "exchange": hash})]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_live_queue_cannot_promise_is_found() {
    for name in SERVERS {
        let server = Server::hardened(name);
        let mut config = config(&server, "auditor");
        config["append_time"] = json!("broker");
        let blind = connect(config.clone()).await.unwrap();
        let live = blind.inspect("orders.created", Some("billing")).await.unwrap();
        assert!(live.server.starts_with("RabbitMQ "), "{}", live.server);
        assert_eq!(live.append_time, TimeSource::Broker);
        assert!(live.findings.iter().all(|finding| !finding.certain), "{:?}", live.findings);
        let promises = [Promise::Freshness, Promise::NothingLost, Promise::Order];
        for promise in promises {
            assert!(live.findings.iter().any(|f| f.promise == promise), "{promise:?} passed");
        }

        config["management"] = json!({"file": server.client("auditor").join("management")});
        let sees = connect(config.clone()).await.unwrap();
        let live = sees.inspect("orders.created", Some("billing")).await.unwrap();
        let left: Vec<Promise> = live.findings.iter().map(|finding| finding.promise).collect();
        assert_eq!(left, [Promise::Freshness], "{name}: {:?}", live.findings);
        assert!(sees.lag("orders.created", "billing").await.unwrap().messages.is_some());

        let bad = Corner::new(name, json!({"x-single-active-consumer": false, "x-max-length": 9}));
        let at = json!({"exchange": bad.name, "queues": {"g": bad.name}});
        config["streams"] = json!({STREAM: at});
        let sees = connect(config).await.unwrap();
        let live = sees.inspect(STREAM, Some("g")).await.unwrap();
        let certain: Vec<Promise> =
            live.findings.iter().filter(|f| f.certain).map(|finding| finding.promise).collect();
        assert!(certain.contains(&Promise::Order), "{name}: {:?}", live.findings);
        assert!(certain.contains(&Promise::NothingLost), "{name}: {:?}", live.findings);
        assert!(live.findings.iter().any(|f| f.fix.contains(&bad.name)), "{:?}", live.findings);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_no_queue_takes_is_a_fault() {
    for name in SERVERS {
        let corner = Corner::new(name, json!({}));
        let unbound = unique();
        let step = json!({"do": "exchange", "exchange": unbound, "exchange_type": "topic"});
        corner.stock(step);
        let mut config = corner.config();
        config["streams"][STREAM]["exchange"] = json!(unbound);
        let broker = connect(config).await.unwrap();
        let fault = broker.append(&[message(Some("k"), "a")]).await.unwrap_err();
        for word in ["no queue takes", unbound.as_str(), "declare binding"] {
            assert!(fault.detail.contains(word), "{name}: {fault}");
        }
        corner.stock(json!({"do": "delete-exchange", "exchange": unbound}));

        let limits = json!({"x-max-length": 1, "x-overflow": "reject-publish"});
        let full = Corner::new(name, limits);
        let broker = connect(full.config()).await.unwrap();
        let mut refused = None;
        // The limit is soft: a few more may be taken.
        for n in 0..50 {
            match broker.append(&[message(Some("k"), &n.to_string())]).await {
                Ok(_) => {}
                Err(fault) => {
                    refused = Some(fault);
                    break;
                }
            }
        }
        let fault = refused.expect("a full queue takes everything");
        assert!(fault.detail.contains("it is full"), "{name}: {fault}");
    }
}
