// SPDX-License-Identifier: MIT OR Apache-2.0
//! A corner of the server for one test: a stream and its consumers, under names that nobody has.

use std::path::Path;
use std::sync::OnceLock;

use chancery_core::Fault;
use chancery_nats::{Config, NatsBroker, Settings};
use chancery_testkit::conformance::{GROUPS, STREAM};
use chancery_testkit::servers::Server;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// How long a dead receiver keeps its pin, and how long an unacknowledged message stays away.
const PIN_NANOS: u64 = 3_000_000_000;

/// The server.
pub(crate) fn server() -> Server {
    Server::hardened("nats")
}

/// A service's configuration, by its nkey.
pub(crate) fn config(service: &str) -> Value {
    let folder = server().client(service);
    json!({
        "url": server().endpoint("client"),
        "ca": folder.join("ca.pem"),
        "nkey": {"file": folder.join("user.nk")},
        "inbox": format!("_INBOX.{service}"),
    })
}

/// As the CLI reads it.
pub(crate) fn settings(config: &Value) -> Settings {
    let config: Config = serde_json::from_value(config.clone()).unwrap();
    config.read(Path::new("/")).unwrap()
}

/// Connects.
pub(crate) async fn connect(config: &Value) -> Result<NatsBroker, Fault> {
    NatsBroker::connect(settings(config)).await
}

/// A stream of its own with a consumer for each group; removed when it is dropped.
pub(crate) struct Corner {
    /// Short, and nobody else's.
    pub(crate) id: String,
}

impl Corner {
    /// Makes it.
    pub(crate) fn new() -> Corner {
        let random = std::fs::read("/proc/sys/kernel/random/uuid").unwrap();
        let corner = Corner { id: format!("t{}", std::str::from_utf8(&random[..8]).unwrap()) };
        administer(vec![stream(&corner.id)]);
        administer(GROUPS.iter().map(|group| consumer(&corner.id, group)).collect());
        corner
    }
}

impl Drop for Corner {
    fn drop(&mut self) {
        administer(vec![(format!("$JS.API.STREAM.DELETE.{}", name(&self.id)), Value::Null)]);
    }
}

/// The stream's name on the server.
pub(crate) fn name(id: &str) -> String {
    format!("{id}-orders_created")
}

/// Its subject, without the key.
pub(crate) fn subject(id: &str) -> String {
    format!("{id}.orders.created")
}

/// Where this corner's stream is, for a configuration.
pub(crate) fn placed(mut config: Value, id: &str) -> Value {
    config["streams"] = json!({STREAM: {"stream": name(id), "subject": subject(id)}});
    config
}

fn stream(id: &str) -> (String, Value) {
    let config = json!({
        "name": name(id), "subjects": [format!("{}.*", subject(id))], "storage": "file",
        "retention": "limits", "discard": "new", "deny_delete": true, "deny_purge": true,
        "num_replicas": 1, "duplicate_window": 120_000_000_000_u64,
    });
    (format!("$JS.API.STREAM.CREATE.{}", name(id)), config)
}

/// A group's consumer, as the documentation says it should be, but for its times.
pub(crate) fn consumer(id: &str, group: &str) -> (String, Value) {
    let config = json!({"stream_name": name(id), "config": {
        "durable_name": group, "ack_policy": "explicit", "ack_wait": PIN_NANOS,
        "max_deliver": -1, "max_ack_pending": 10_000, "deliver_policy": "all",
        "replay_policy": "instant", "filter_subject": format!("{}.*", subject(id)),
        "priority_groups": ["chancery"], "priority_policy": "pinned_client",
        "priority_timeout": PIN_NANOS,
    }});
    (format!("$JS.API.CONSUMER.DURABLE.CREATE.{}.{group}", name(id)), config)
}

/// Requests to the JetStream API in the administrator's name; each must go well. It may be called
/// from anywhere.
pub(crate) fn administer(requests: Vec<(String, Value)>) {
    static RUNTIME: OnceLock<(Runtime, NatsBroker)> = OnceLock::new();
    let work = || {
        let (runtime, admin) = RUNTIME.get_or_init(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(1).enable_all().build().unwrap();
            let admin = runtime.block_on(connect(&config("admin"))).unwrap();
            (runtime, admin)
        });
        runtime.block_on(async {
            for (subject, body) in requests {
                let body = if body.is_null() { String::new() } else { body.to_string() };
                let answer = admin.request(&subject, b"", body.as_bytes()).await.unwrap();
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                assert!(answer.get("error").is_none(), "{subject}: {answer}");
            }
        });
    };
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
}

/// The seed of a user whom no server knows; made for this test alone.
pub(crate) const STRANGER: &str = "SUAH5QNN3WRLHIKAVUTOIYF72LCT77CQG4XNXMIFTE557KLG3T7XFAG5PY";
