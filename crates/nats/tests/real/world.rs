// SPDX-License-Identifier: MIT OR Apache-2.0
//! A corner of the server for one test: a stream and its consumers, under names that nobody has.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chancery_core::Fault;
use chancery_nats::{Config, NatsBroker, Settings};
use chancery_testkit::conformance::{GROUPS, STREAM};
use chancery_testkit::servers::Server;
use serde_json::{Value, json};
use tempfile::TempDir;
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
        if std::thread::panicking() {
            return; // one panic says enough
        }
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

/// A program of somebody else's that `cargo xtask brokers up nats` has installed.
pub(crate) fn tool(name: &str) -> Command {
    let folder = server().client("admin").ancestors().nth(2).unwrap().join("tools");
    Command::new(folder.join(name))
}

/// A server of this test alone, to be killed: the hardened one's configuration, on other ports.
pub(crate) struct Private {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Private {
    /// Makes and starts it.
    pub(crate) fn start() -> Private {
        let folder = tempfile::tempdir().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = free();
        let config = server().read("nkey.conf");
        let own = |line: &str| match line.split([':', ' ']).next().unwrap_or_default() {
            "listen" => format!("listen: \"127.0.0.1:{port}\""),
            "http" => String::new(),
            "jetstream" => format!(
                "jetstream {{ store_dir: \"{}\", max_file: 1GB, sync_interval: always }}",
                folder.path().display()
            ),
            _ => line.to_owned(),
        };
        let config: Vec<String> = config.lines().map(own).collect();
        std::fs::write(folder.path().join("nats.conf"), config.join("\n")).unwrap();
        let mut private = Private { folder, port, child: None };
        private.again();
        private
    }

    /// Starts it again on its data.
    pub(crate) fn again(&mut self) {
        let start = server().read("processes/server/start");
        let program = start.split("exec '").nth(1).unwrap().split('\'').next().unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(self.folder.path().join("nats.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As a crash would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A service's configuration for it, through a proxy if there is one.
    pub(crate) fn config(&self, service: &str, through: Option<u16>) -> Value {
        let mut config = config(service);
        let port = through.unwrap_or(self.port);
        config["url"] = format!("tls://localhost:{port}").into();
        placed(config, ID)
    }

    /// Takes a user out, while it runs.
    pub(crate) fn forget(&self, nkey: &str) {
        let path = self.folder.path().join("nats.conf");
        let config = std::fs::read_to_string(&path).unwrap();
        let rest: Vec<&str> = config.lines().filter(|line| !line.contains(nkey)).collect();
        assert_eq!(rest.len() + 1, config.lines().count());
        std::fs::write(&path, rest.join("\n")).unwrap();
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Makes the stream and a consumer for this group.
    pub(crate) async fn furnish(&self, group: &str) {
        let admin = connect(&self.config("admin", None)).await.unwrap();
        for (subject, body) in [stream(ID), consumer(ID, group)] {
            let answer = admin.request(&subject, b"", body.to_string().as_bytes()).await.unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert!(answer.get("error").is_none(), "{subject}: {answer}");
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// The corner of a private server.
const ID: &str = "own";
