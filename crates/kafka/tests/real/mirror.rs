// SPDX-License-Identifier: MIT OR Apache-2.0
//! MirrorMaker 2 copies a topic, and the copy is a second source of the stream.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chancery::{Broker, Sink, Source};
use chancery_core::{Delivery, Field};
use chancery_testkit::conformance::{message, take};
use chancery_testkit::servers::{Server, pki};
use tempfile::TempDir;

use crate::world::{At, PATIENCE, Topic, World, delete};

/// What MirrorMaker keeps for itself; it makes nothing else beside the copy.
const SETTINGS: &str = "\
clusters=a,b
a->b.enabled=true
b->a.enabled=false
emit.heartbeats.enabled=false
emit.checkpoints.enabled=false
sync.topic.acls.enabled=false
replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset-syncs.topic.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
config.storage.replication.factor=1
dedicated.mode.enable.internal.rest=false
b.consumer.auto.offset.reset=earliest
";

/// A MirrorMaker from the server to itself, under the name `a`. Dropping it kills it.
struct Mirror {
    child: Child,
    topic: String,
    _dir: TempDir,
}

impl Mirror {
    fn start(topic: &str) -> Mirror {
        let server = Server::hardened("kafka");
        let mut text = format!("{SETTINGS}a->b.topics={topic}\n");
        for cluster in ["a", "b"] {
            for line in server.read("clients/admin/scram.properties").replace("\\\n", "").lines() {
                text += &format!("{cluster}.{line}\n");
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mirror.properties");
        fs::write(&path, text).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("java")
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp"])
            .arg(format!("{}/*", pki("../cache/kafka-mirror-4.3.1").display()))
            .arg("org.apache.kafka.connect.mirror.MirrorMaker")
            .arg(&path)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Mirror { child, topic: topic.to_owned(), _dir: dir }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let own = ["mm2-configs.a.internal", "mm2-offsets.a.internal", "mm2-status.a.internal"];
        let mut names: Vec<String> = own.map(str::to_owned).into();
        names.extend(["a.heartbeats".into(), "mm2-offset-syncs.b.internal".into()]);
        names.push(format!("a.{}", self.topic));
        delete(names);
    }
}

// Threat: a copy that another program made loses a byte of what was signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirrors_copy_keeps_every_byte_and_is_a_second_source() {
    let topic = Topic::make(&format!("mirrored-{}", std::process::id()), 2, &[]);
    let mut world = World::new(At::Scram).with_topic("s", &topic.name);
    let broker = world.connect("admin").await.unwrap();
    let fields = vec![
        Field::new("chancery", "h".repeat(4_000)),
        Field::new("chancery-sig", "s"),
        Field::new("x", vec![0, 0xff, b'\r', b'\n']),
        Field::new("x", ""),
    ];
    let sealed = (0..6).map(|n| {
        let key = format!("key-{n}");
        let mut sealed = message((n > 0).then_some(key.as_str()), &n.to_string());
        sealed.stream = "s".into();
        sealed.fields.clone_from(&fields);
        sealed
    });
    let positions = broker.append(&sealed.collect::<Vec<_>>()).await.unwrap();
    let mirror = Mirror::start(&topic.name);
    let copy = format!("a.{}", topic.name);
    let started = Instant::now();
    while broker.inspect(&copy, None).await.is_err() {
        assert!(started.elapsed() < 3 * PATIENCE, "there is no copy");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.streams.get_mut("s").unwrap().mirrors = vec![copy.clone()];
    let broker = world.connect("admin").await.unwrap();
    let mut source = broker.subscribe("s", "g").await.unwrap();
    let (mut direct, mut mirrored) = (BTreeMap::new(), BTreeMap::<String, Delivery>::new());
    while direct.len() < 6 || mirrored.len() < 6 {
        for (delivery, receipt) in take(&mut source, 1).await {
            source.acknowledge(vec![receipt]).await.unwrap();
            assert_eq!(delivery.stream, "s");
            let body = String::from_utf8(delivery.body.clone().unwrap().to_vec()).unwrap();
            let of = if delivery.position.starts_with("a.") { &mut mirrored } else { &mut direct };
            assert!(of.insert(body, delivery).is_none(), "it came again");
        }
    }
    for (body, original) in &direct {
        let copied = &mirrored[body];
        assert!(positions.contains(&original.position));
        assert!(copied.position.starts_with(&format!("{copy}/")), "{}", copied.position);
        assert!(copied.fields == original.fields, "{:?}", copied.fields);
        assert_eq!(copied.key, original.key);
        assert_eq!(copied.body, original.body);
    }
    drop((source, mirror));
}
