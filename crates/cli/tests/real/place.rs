// SPDX-License-Identifier: MIT OR Apache-2.0
//! A project on a real server, in streams of its own that a stock client makes and removes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use chancery_testkit::servers::Server;
use serde_json::{Value, json};

use crate::shop::Shop;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Kafka,
    RabbitMq,
    Nats,
    Sqs,
}

/// What the tests use.
const STREAM: &str = "orders.created";

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Kafka => "kafka",
            Kind::RabbitMq => "rabbitmq",
            Kind::Nats => "nats",
            Kind::Sqs => "sqs",
        }
    }

    /// RabbitMQ stamps a time only from 4.0 on.
    pub(crate) fn server(self) -> Server {
        Server::hardened(if self == Kind::RabbitMq { "rabbitmq4" } else { self.name() })
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Kind::Kafka => &["confluent-kafka==2.16.1"],
            Kind::RabbitMq => &["pika==1.4.4"],
            Kind::Nats => &["nats-py==2.16.0", "nkeys==0.2.1"],
            Kind::Sqs => &["boto3==1.43.106"],
        }
    }

    /// The seconds after which a dead consumer's messages come to another.
    pub(crate) fn death_s(self) -> u64 {
        match self {
            Kind::Kafka => 15,
            Kind::RabbitMq => 3,
            Kind::Nats | Kind::Sqs => 9,
        }
    }
}

/// A project whose broker is the server, every service with the admin's credentials.
pub(crate) struct Place {
    pub(crate) shop: Shop,
    pub(crate) kind: Kind,
    server: Server,
    prefix: String,
    stock: Mutex<Stock>,
}

struct Stock {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Place {
        let server = kind.server();
        let shop = Shop::new();
        let random: u32 = std::process::id() ^ shop.dir().as_os_str().len() as u32;
        let unique = shop.dir().parent().unwrap().file_name().unwrap().to_owned();
        let unique: String =
            unique.to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect();
        let prefix = format!("test-{random:x}-{unique}");
        let home = server.client("admin").ancestors().nth(2).unwrap().to_owned();
        let stock = Mutex::new(Stock::start(kind, &home, &prefix));
        let place = Place { shop, kind, server, prefix, stock };
        let streams = json!({STREAM: ["billing"], "orders.created.dlq": [],
                             "payout.approve": ["payouts"], "payout.approve.dlq": []});
        place.ask(json!({"do": "make", "streams": streams}));
        place.configure(place.mapping("admin"));
        place
    }

    /// Puts this under `broker:`.
    pub(crate) fn configure(&self, mapping: Value) {
        let config = self.shop.read("chancery.yaml");
        let lines = config.lines().map(|line| match line.starts_with("broker:") {
            true => format!("broker: {mapping}\n"),
            false => format!("{line}\n"),
        });
        self.shop.write("chancery.yaml", &lines.collect::<String>());
    }

    /// Writes down what no service can read of these servers, though it is so.
    pub(crate) fn assume(&self) {
        if matches!(self.kind, Kind::Nats | Kind::RabbitMq) {
            let config = self.shop.read("chancery.yaml");
            let all = "[freshness, order, nothing-lost]";
            let assume = format!("assume: {{orders.created: {all}, payout.approve: {all}}}\n");
            self.shop.write("chancery.yaml", &(config + &assume));
        }
    }

    /// A file of what a service has in hand.
    pub(crate) fn in_hand(&self, service: &str, file: &str) -> PathBuf {
        self.server.client(service).join(file)
    }

    /// The mapping with a service's credentials.
    pub(crate) fn mapping(&self, service: &str) -> Value {
        let prefix = &self.prefix;
        let file = |name: &str| self.in_hand(service, name);
        let both = |address: &dyn Fn(&str, &str) -> Value| {
            json!({STREAM: address(STREAM, "billing"),
                   "payout.approve": address("payout.approve", "payouts")})
        };
        match self.kind {
            Kind::Kafka => json!({
                "url": self.server.endpoint("scram"), "properties": file("scram.properties"),
                "streams": both(&|stream, _| json!({
                    "topic": format!("{prefix}.{stream}"),
                    "group": format!("{prefix}.{{group}}"),
                })),
            }),
            Kind::RabbitMq => json!({
                "url": self.server.endpoint("amqp"), "ca": file("ca.pem"),
                "uri": {"file": file("uri")}, "append_time": "broker",
                "streams": both(&|stream, group| json!({
                    "exchange": format!("{prefix}.{stream}"),
                    "queues": {group: format!("{prefix}.{stream}.{group}")},
                })),
            }),
            Kind::Nats => json!({
                "url": self.server.endpoint("client"), "ca": file("ca.pem"),
                "nkey": {"file": file("user.nk")}, "inbox": format!("_INBOX.{service}"),
                "streams": both(&|stream, _| json!({
                    "stream": format!("{prefix}_{stream}").replace('.', "_"),
                    "subject": format!("{prefix}.{stream}"),
                })),
            }),
            Kind::Sqs => json!({
                "url": "sqs://us-east-1", "endpoint": self.server.endpoint("sqs"),
                "ca": file("ca.pem"), "config": file("config"),
                "credentials": file("credentials"), "visibility_s": 5,
                "streams": both(&|stream, group| json!({
                    "queues": {group: format!("{prefix}-{}-{group}.fifo", stream.replace('.', "_"))},
                })),
            }),
        }
    }

    /// Has the stock client do something.
    pub(crate) fn ask(&self, question: Value) -> Value {
        let mut stock = self.stock.lock().unwrap();
        let stdin = stock.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{question}").unwrap();
        let mut answer = String::new();
        stock.answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer.get("error").is_none(), "{question}: {answer}");
        answer["ok"].clone()
    }
}

impl Stock {
    fn start(kind: Kind, home: &Path, prefix: &str) -> Stock {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/stock");
        let script = |name: &str| std::fs::read_to_string(scripts.join(name)).unwrap();
        let text = format!("{}\n\n{}", script(&format!("{}.py", kind.name())), script("main.py"));
        let file = std::env::temp_dir().join(format!("{prefix}.py"));
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(python(kind, home));
        command.arg(&file).arg(home).arg(prefix);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Stock { child, answers }
    }
}

impl Drop for Stock {
    /// It removes what it has made.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The folder with all servers.
pub(crate) fn servers(server: &Server) -> PathBuf {
    server.client("admin").ancestors().nth(4).unwrap().to_owned()
}

/// The same environment that the demo makes.
pub(crate) fn python(kind: Kind, home: &Path) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let packages = kind.packages();
    let cache = home.ancestors().nth(2).unwrap().join("cache");
    let folder = cache.join(format!("python-{}", packages.join("-").replace("==", "-")));
    let python = folder.join("bin/python");
    if !folder.join("ready").exists() {
        let run = |command: &mut Command| assert!(command.status().unwrap().success());
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages));
        std::fs::write(folder.join("ready"), "").unwrap();
    }
    python
}
