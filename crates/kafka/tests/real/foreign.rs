// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Kafka's own producer appends arrives as it was, and goes where ours would put it.

use std::fs;
use std::path::Path;
use std::process::Command;

use chancery::{Broker, Clock, Sink, Source, SystemClock};
use chancery_core::{AppendTime, Delivery, Field};
use chancery_testkit::conformance::{Raw, message, take};
use chancery_testkit::servers::{Server, pki};

use crate::world::{At, Topic, World};

/// Appends by the Java client, as `admin`; gives the positions.
fn java(topic: &str, messages: &[Raw]) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hex_or_null = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or("-".to_owned(), hex);
    let lines = messages.iter().map(|it| {
        let fields = it.fields.iter().map(|field| format!(" {}={}", field.name, hex(&field.value)));
        let fields: String = fields.collect();
        format!("{topic} {} {}{fields}\n", hex_or_null(&it.key), hex_or_null(&it.body))
    });
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("messages");
    fs::write(&list, lines.collect::<String>()).unwrap();
    let server = Server::hardened("kafka");
    let jars = pki("../cache/kafka-4.3.1");
    let told = Command::new("java")
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(format!("{}/*", jars.display()))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/Produce.java"))
        .arg(server.client("admin").join("scram.properties"))
        .arg(list)
        .output()
        .unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    let positions: Vec<String> =
        text.lines().filter(|line| line.starts_with(topic)).map(str::to_owned).collect();
    assert_eq!(positions.len(), messages.len(), "{}", String::from_utf8_lossy(&told.stderr));
    positions
}

async fn received(topic: &Topic, n: usize) -> Vec<Delivery> {
    let world = World::new(At::Scram).with_topic("s", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let mut source = broker.subscribe("s", "g").await.unwrap();
    let mut all = Vec::new();
    for (delivery, receipt) in take(&mut source, n).await {
        source.acknowledge(vec![receipt]).await.unwrap();
        all.push(delivery);
    }
    all
}

// Threat: an adapter that trims, merges or sorts hides an attack, or breaks what is honest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_java_client_appends_arrives_byte_for_byte() {
    let topic = Topic::make(&format!("foreign-{}", std::process::id()), 1, &[]);
    let field = |name: &str, value: &'static [u8]| Field::new(name, value);
    let header = br#"{"alg":"none","kid":"orders"}"#;
    let messages = [
        Raw { fields: vec![], key: None, body: Some(b"plain".to_vec()) },
        Raw { fields: vec![], key: Some(vec![]), body: None },
        Raw {
            fields: vec![
                field("chancery", header),
                field("chancery", header),
                field("chancery-sig", b"not a signature\r\n\0\xff"),
                field("CHANCERY", b""),
                field("\u{e4}\u{1f600}", b" "),
            ],
            key: Some(b"\0\xff key".to_vec()),
            body: Some((0..=255).collect()),
        },
    ];
    let before = SystemClock.now();
    let positions = java(&topic.name, &messages);
    let after = SystemClock.now();
    let all = received(&topic, messages.len()).await;
    for ((delivery, sent), position) in all.iter().zip(&messages).zip(&positions) {
        assert_eq!(&delivery.position, position);
        assert!(delivery.fields == sent.fields, "{:?} for {:?}", delivery.fields, sent.fields);
        assert_eq!(delivery.key.as_deref(), sent.key.as_deref());
        assert_eq!(delivery.body.as_deref(), sent.body.as_deref());
        // The client's own time, of the year 2000, is nobody's word.
        let AppendTime::Broker(at) = delivery.appended else { panic!("{:?}", delivery.appended) };
        assert!(before <= at && at <= after, "{before} <= {at} <= {after}");
    }
}

// Threat: two services append to one key, and its order is lost between two partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_where_the_java_client_puts_it() {
    let topic = Topic::make(&format!("keys-{}", std::process::id()), 7, &[]);
    let keys: Vec<String> = (0..60).map(|n| format!("key-{n}-\u{e4}")).collect();
    let raw = |key: &String| Raw { key: Some(key.clone().into()), body: None, fields: vec![] };
    let theirs = java(&topic.name, &keys.iter().map(raw).collect::<Vec<_>>());
    let world = World::new(At::Scram).with_topic("s", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let sealed = keys.iter().map(|key| {
        let mut sealed = message(Some(key), "a");
        sealed.stream = "s".into();
        sealed
    });
    let ours = broker.append(&sealed.collect::<Vec<_>>()).await.unwrap();
    let partition =
        |position: &String| position.rsplit('/').nth(1).unwrap().parse::<u32>().unwrap();
    for ((key, theirs), ours) in keys.iter().zip(&theirs).zip(&ours) {
        assert_eq!(partition(theirs), partition(ours), "{key}");
        assert_eq!(broker.partition("s", Some(key.as_bytes())), Some(partition(ours)), "{key}");
    }
}

// Without bounds a client's own time says nothing; within them it is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_time_is_worth_what_the_topic_says() {
    let name = format!("times-{}", std::process::id());
    let create = ("message.timestamp.type", "CreateTime");
    let free = Topic::make(&format!("{name}-free"), 1, &[create]);
    java(&free.name, &[Raw { body: Some(b"a".to_vec()), ..Raw::default() }]);
    assert_eq!(received(&free, 1).await[0].appended, AppendTime::Unknown);
    let bounds = [
        create,
        ("message.timestamp.before.max.ms", "60000"),
        ("message.timestamp.after.max.ms", "60000"),
    ];
    let bounded = Topic::make(&format!("{name}-bounded"), 1, &bounds);
    let world = World::new(At::Scram).with_topic("s", &bounded.name);
    let mut sealed = message(Some("k"), "a");
    sealed.stream = "s".into();
    world.connect("admin").await.unwrap().append(&[sealed]).await.unwrap();
    let appended = received(&bounded, 1).await[0].appended;
    assert!(matches!(appended, AppendTime::Bounded(_)), "{appended:?}");
}
