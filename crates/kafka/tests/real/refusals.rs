// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whoever may not, and whatever is wrong, is told by its cause within seconds.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery::{Broker, Promise, Sink, Source, TimeSource};
use chancery_core::Fault;
use chancery_testkit::conformance::{message, take};
use chancery_testkit::servers::{Server, pki};

use crate::world::{self, At, Topic, World, first_fault, put};

const IN_TIME: Duration = Duration::from_secs(10);

/// How connecting fails, and that it does so in time and by these words.
async fn refused(world: World, service: &str, words: &[&str]) -> Fault {
    let started = Instant::now();
    let fault = world.connect(service).await.unwrap_err();
    let took = started.elapsed();
    assert!(took < IN_TIME, "told only after {took:?}: {fault}");
    for word in words {
        assert!(fault.detail.contains(word), "`{word}` is not in: {fault}");
    }
    let secret = Server::hardened("kafka").read(&format!("clients/{service}/password"));
    assert!(!fault.detail.contains(&secret), "a secret is told");
    fault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_credential_has_a_sentence_of_its_own() {
    let scram = World::new(At::Scram);
    let wrong = scram.edited("orders", |text| text.replace("password=\"", "password=\"x"));
    refused(wrong, "orders", &["does not take our credentials", "SCRAM-SHA-512"]).await;
    let nobody = scram.edited("orders", |text| text.replace("\"orders\"", "\"nobody\""));
    refused(nobody, "orders", &["does not take our credentials"]).await;
    let scope = Server::hardened("kafka").read("clients/orders/scope");
    let token = World::new(At::Oauth).edited("orders", |text| text.replace(&scope, "other"));
    refused(token, "orders", &["no token"]).await;
    let plain = World { url: World::new(At::Mtls).url, ..scram.clone() };
    refused(plain, "orders", &["Kafka"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_certificate_has_a_sentence_of_its_own() {
    let ca = pki("unknown-ca.pem").display().to_string();
    let untrusted =
        World::new(At::Scram).edited("orders", |text| put(text, "ssl.truststore.location", &ca));
    refused(untrusted, "orders", &["certificate is not of a CA that we trust"]).await;
    for (name, words) in
        [("expired", "our certificate has expired"), ("unknown", "does not take our certificate")]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.pem");
        let read =
            |ending: &str| std::fs::read_to_string(pki(&format!("{name}.{ending}"))).unwrap();
        std::fs::write(&path, read("key") + &read("pem")).unwrap();
        let world = World::new(At::Mtls).edited("orders", |text| {
            put(text, "ssl.keystore.location", &path.display().to_string())
        });
        refused(world, "orders", &[words]).await;
    }
    let none = World::new(At::Mtls).edited("orders", |text| {
        let kept = text.lines().filter(|line| !line.starts_with("ssl.keystore"));
        kept.map(|line| format!("{line}\n")).collect()
    });
    refused(none, "orders", &["wants a certificate of ours"]).await;
}

// Threat: somebody on the way with a good certificate of another host. The broker's is of
// `localhost` and 127.0.0.1, and is met at another address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_name_is_refused() {
    let scram = World::new(At::Scram);
    scram.connect("orders").await.unwrap();
    let port = scram.url.rsplit(':').next().unwrap().parse().unwrap();
    let address = forwarded(port);
    let other = World { url: format!("kafka://{address}"), ..scram };
    refused(other, "orders", &["certificate verify failed", "is another host's"]).await;
}

/// The server at another address, as long as the test runs.
fn forwarded(port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let ways =
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
            for (mut from, mut to) in ways {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_told_as_that() {
    let scram = World::new(At::Scram);
    let port = World { url: "kafka://localhost:1".into(), ..scram.clone() };
    refused(port, "orders", &["cannot be reached", "refused"]).await;
    let host = World { url: "kafka://no-such-host.invalid:9092".into(), ..scram.clone() };
    refused(host, "orders", &["cannot be reached", "no-such-host.invalid"]).await;
    let issuer = Server::hardened("kafka").endpoint("issuer");
    let down = World::new(At::Oauth)
        .edited("orders", |text| text.replace(&issuer, "https://localhost:1/shop"));
    refused(down, "orders", &["no token", "https://localhost:1/shop/token"]).await;
}

// One host of several is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_down_does_not_hide_one_that_is_up() {
    let scram = World::new(At::Scram);
    let url = scram.url.replace("kafka://", "kafka://localhost:1,");
    World { url, ..scram }.connect("orders").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_missing_right_names_the_command_that_gives_it() {
    let scram = World::new(At::Scram);
    let billing = scram.connect("billing").await.unwrap();
    let sent = message(Some("k"), "a");
    let fault = billing.append(std::slice::from_ref(&sent)).await.unwrap_err();
    assert!(fault.detail.contains("--operation Write --topic orders.created"), "{fault}");
    let fault = first_fault(&billing, "orders.created", "audit").await.unwrap();
    assert!(fault.detail.contains("--operation Read --group audit"), "{fault}");
    // The group is its own, the topic is not.
    let mut world = scram.clone().with_topic("payments", "payments.approve");
    world.streams.get_mut("payments").unwrap().group = None;
    let billing = world.connect("billing").await.unwrap();
    let fault = first_fault(&billing, "payments", "billing").await.unwrap();
    assert!(fault.detail.contains("--operation Read --topic payments.approve"), "{fault}");
    let admin = scram.connect("admin").await.unwrap();
    let mut nowhere = sent;
    nowhere.stream = "no.such.stream".into();
    let fault = admin.append(&[nowhere]).await.unwrap_err();
    assert!(fault.detail.contains("no topic `no.such.stream`"), "{fault}");
    let fault = first_fault(&admin, "no.such.stream", "g").await.unwrap();
    assert!(fault.detail.contains("no topic `no.such.stream`"), "{fault}");
}

// Threat: whoever appends what is refused makes everybody else's appends fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_refused_is_nobody_elses_fault() {
    // `billing` may write to the topic for what fails, and only see the other.
    let billing = World::new(At::Scram).connect("billing").await.unwrap();
    let batch = |stream: &str| -> Vec<_> {
        let sealed = (0..50).map(|n| {
            let mut sealed = message(Some("k"), &n.to_string());
            sealed.stream = stream.into();
            sealed
        });
        sealed.collect()
    };
    let (bad, good) = (batch("orders.created"), batch("orders.created.dlq"));
    let done = AtomicBool::new(false);
    let refused = async {
        for _ in 0..8 {
            billing.append(&bad).await.unwrap_err();
        }
        done.store(true, Ordering::Release);
    };
    let taken = async {
        while !done.load(Ordering::Acquire) {
            let positions = billing.append(&good).await.unwrap();
            let offsets = positions.iter().map(|it| it.rsplit('/').next().unwrap().parse());
            let offsets: Vec<u64> = offsets.map(Result::unwrap).collect();
            assert!(offsets.is_sorted_by(|one, next| one < next), "{offsets:?}");
        }
    };
    tokio::join!(refused, taken);
}

// Threat: good credentials, no rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mallory_can_do_nothing() {
    for at in [At::Scram, At::Oauth, At::Mtls] {
        let mallory = World::new(at).connect("mallory").await.unwrap();
        mallory.append(&[message(Some("k"), "a")]).await.unwrap_err();
        assert!(first_fault(&mallory, "orders.created", "billing").await.is_some());
        mallory.inspect("orders.created", Some("billing")).await.unwrap_err();
        let lag = mallory.lag("orders.created", "billing").await;
        assert!(lag.is_err() || lag.is_ok_and(|lag| lag.messages.is_none()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_judged_as_it_is_set() {
    let name = format!("judged-{}", std::process::id());
    let settings = [
        ("message.timestamp.type", "CreateTime"),
        ("cleanup.policy", "compact"),
        ("retention.bytes", "1000000"),
    ];
    let topic = Topic::make(&name, 1, &settings);
    let admin = World::new(At::Scram).connect("admin").await.unwrap();
    let live = admin.inspect(&topic.name, Some("g")).await.unwrap();
    assert_eq!(live.append_time, TimeSource::Nobody);
    let found: Vec<&str> = live.findings.iter().map(|it| it.setting.as_str()).collect();
    let want = [
        "message.timestamp.type=CreateTime",
        "cleanup.policy=compact",
        "cleanup.policy=compact",
        "retention.bytes=1000000",
    ];
    assert_eq!(found, want);
    assert!(live.findings.iter().all(|it| it.certain));
    let bounded = [
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.before.max.ms", "60000"),
        ("message.timestamp.after.max.ms", "30000"),
    ];
    let topic = Topic::make(&format!("{name}.bounded"), 1, &bounded);
    let live = admin.inspect(&topic.name, None).await.unwrap();
    assert_eq!((live.append_time, live.findings), (TimeSource::Bounded { ms: 60_000 }, vec![]));
}

// Threat: what may not be read is taken as good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_read_is_not_certain() {
    // `billing` may see the topic for what fails, and not what it is set to.
    for at in [At::Scram, At::Oauth] {
        let billing = World::new(at).connect("billing").await.unwrap();
        let live = billing.inspect("orders.created.dlq", None).await.unwrap();
        assert_eq!(live.append_time, TimeSource::Unknown);
        let promises: Vec<Promise> = live.findings.iter().map(|it| it.promise).collect();
        assert_eq!(promises, [Promise::Freshness, Promise::Order, Promise::NothingLost]);
        for finding in &live.findings {
            assert!(!finding.certain, "{finding:?}");
            let grants = "--operation DescribeConfigs --topic orders.created.dlq";
            assert!(finding.fix.contains(grants), "{finding:?}");
        }
    }
}

// Threat: a topic is made anew with fewer messages, and what comes below the group's old place is
// passed over without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_not_in_the_log_is_an_incident() {
    let topic = Topic::make(&format!("cut-{}", std::process::id()), 1, &[]);
    let world = World::new(At::Scram).with_topic("s", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let mut sealed = message(None, "a");
    sealed.stream = "s".into();
    broker.append(&[sealed]).await.unwrap();
    world::commit(&topic.name, &format!("{}.g", topic.name), 100);
    let fault = first_fault(&broker, "s", "g").await.unwrap();
    for word in [&topic.name, "no longer there", "--reset-offsets"] {
        assert!(fault.detail.contains(word), "`{word}` is not in: {fault}");
    }
}

// What a group has not settled: in hand, out of order, or not yet come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_counts_what_is_not_settled() {
    let topic = Topic::make(&format!("lag-{}", std::process::id()), 1, &[]);
    let world = World::new(At::Scram).with_topic("s", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let none = broker.lag("s", "g").await.unwrap();
    assert_eq!((none.messages, none.oldest_ms), (Some(0), None));
    let sealed = (0..10).map(|n| {
        let mut sealed = message(None, &n.to_string());
        sealed.stream = "s".into();
        sealed
    });
    broker.append(&sealed.collect::<Vec<_>>()).await.unwrap();
    let mut source = broker.subscribe("s", "g").await.unwrap();
    let mut batch = take(&mut source, 10).await;
    let settled = batch.drain(3..7).map(|(_, receipt)| receipt).collect();
    source.acknowledge(settled).await.unwrap();
    let lag = broker.lag("s", "g").await.unwrap();
    assert_eq!(lag.messages, Some(6));
    assert!(lag.oldest_ms.is_some_and(|ms| (0..60_000).contains(&ms)), "{lag:?}");
    let rest = batch.into_iter().map(|(_, receipt)| receipt).collect();
    source.acknowledge(rest).await.unwrap();
    let none = broker.lag("s", "g").await.unwrap();
    assert_eq!((none.messages, none.oldest_ms), (Some(0), None));
}
