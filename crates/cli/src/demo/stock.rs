// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real broker's stock client, another library than ours, in a Python process: what it appends is
//! what any client may, and what it makes on the server goes with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use chancery::Fault;
use chancery::core::text::b64u;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::forge::Raw;
use super::services::GROUPS;
use super::stage::dead_letters;
use crate::exit::{Failure, Result};
use crate::project::broker::Scheme;
use crate::wire;

const MAIN: &str = include_str!("stock/main.py");
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Kafka.
    Kafka,
    /// RabbitMQ.
    #[value(name = "rabbitmq")]
    RabbitMq,
    /// NATS JetStream.
    Nats,
    /// SQS.
    Sqs,
}

impl Kind {
    fn scheme(self) -> Scheme {
        match self {
            Kind::Kafka => Scheme::Kafka,
            Kind::RabbitMq => Scheme::RabbitMq,
            Kind::Nats => Scheme::Nats,
            Kind::Sqs => Scheme::Sqs,
        }
    }

    /// The server's folder. RabbitMQ stamps a time only from 4.0 on.
    fn name(self) -> &'static str {
        match self {
            Kind::RabbitMq => "rabbitmq4",
            other => other.scheme().feature(),
        }
    }

    /// What PyPI calls its stock client.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Kind::Kafka => &["confluent-kafka==2.16.1"],
            Kind::RabbitMq => &["pika==1.4.4"],
            Kind::Nats => &["nats-py==2.16.0", "nkeys==0.2.1"],
            Kind::Sqs => &["boto3==1.43.106"],
        }
    }

    fn script(self) -> &'static str {
        match self {
            Kind::Kafka => include_str!("stock/kafka.py"),
            Kind::RabbitMq => include_str!("stock/rabbitmq.py"),
            Kind::Nats => include_str!("stock/nats.py"),
            Kind::Sqs => include_str!("stock/sqs.py"),
        }
    }

    /// How long nothing comes before nothing comes any more: longer than the server waits before it
    /// gives a dead consumer's messages to another.
    pub(super) fn quiet(self) -> Duration {
        Duration::from_secs(match self {
            Kind::Kafka => 15,
            Kind::RabbitMq => 2,
            Kind::Nats | Kind::Sqs => 9,
        })
    }

    /// `broker:` as the demo's services have it, in the words of chancery.yaml.
    fn mapping(self, home: &Path, prefix: &str) -> Result<Value> {
        let admin = home.join("clients/admin");
        let streams = |address: &dyn Fn(&str) -> Value| {
            let all = GROUPS.iter().map(|group| (group.stream.to_owned(), address(group.stream)));
            Value::Object(all.collect())
        };
        let queues = |name: &dyn Fn(&str) -> String, stream: &str| {
            let all = GROUPS.iter().filter(|group| group.stream == stream);
            Value::Object(all.map(|g| (g.name.to_owned(), name(g.name).into())).collect())
        };
        Ok(match self {
            Kind::Kafka => json!({
                "url": endpoint(home, "scram")?,
                "properties": admin.join("scram.properties"),
                "streams": streams(&|stream| json!({
                    "topic": format!("{prefix}.{stream}"),
                    "group": format!("{prefix}.{{group}}"),
                })),
            }),
            Kind::RabbitMq => json!({
                "url": endpoint(home, "amqp")?,
                "ca": admin.join("ca.pem"),
                "uri": {"file": admin.join("uri")},
                "append_time": "broker",
                "streams": streams(&|stream| json!({
                    "exchange": format!("{prefix}.{stream}"),
                    "queues": queues(&|group| format!("{prefix}.{stream}.{group}"), stream),
                })),
            }),
            Kind::Nats => json!({
                "url": endpoint(home, "client")?,
                "ca": admin.join("ca.pem"),
                "nkey": {"file": admin.join("user.nk")},
                "inbox": "_INBOX.admin",
                "streams": streams(&|stream| json!({
                    "stream": format!("{prefix}_{stream}").replace('.', "_"),
                    "subject": format!("{prefix}.{stream}"),
                })),
            }),
            Kind::Sqs => json!({
                "url": "sqs://us-east-1",
                "endpoint": endpoint(home, "sqs")?,
                "ca": admin.join("ca.pem"),
                "config": admin.join("config"),
                "credentials": admin.join("credentials"),
                "visibility_s": 5,
                "streams": streams(&|stream| {
                    let name = stream.replace('.', "_");
                    let queues = queues(&|group| format!("{prefix}-{name}-{group}.fifo"), stream);
                    json!({"queues": queues})
                }),
            }),
        })
    }
}

/// The process, and what our own side is to be told of the place.
pub(super) struct Stock {
    mapping: Value,
    talk: Mutex<Talk>,
}

struct Talk {
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    // Ends when its standard input is closed, after it has removed what it made.
    _process: Child,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Value),
    Error(String),
}

impl Stock {
    /// Makes the demo's streams on the server in `brokers`, under a name of their own.
    pub(super) async fn start(
        kind: Kind,
        brokers: &Path,
        dir: &Path,
        tell: &dyn Fn(&str),
    ) -> Result<Stock> {
        wire::require_built(kind.scheme())?;
        let home = brokers.join("hardened").join(kind.name());
        let [a, b, c] = super::shop::random::<3>().map_err(Failure::bug)?;
        let prefix = format!("demo-{a:02x}{b:02x}{c:02x}");
        let mapping = kind.mapping(&home, &prefix)?;
        let python = python(kind, &brokers.join("cache"), tell).await?;
        let script = dir.join("stock.py");
        std::fs::write(&script, format!("{}\n\n{MAIN}", kind.script()))
            .map_err(|error| Failure::io(&script, &error))?;
        let mut command = Command::new(&python);
        command.arg(&script).arg(&home).arg(&prefix);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = child.map_err(|error| Failure::io(&python, &error))?;
        let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Failure::bug("a child without pipes"));
        };
        let answers = BufReader::new(answers).lines();
        let talk = Mutex::new(Talk { questions, answers, _process: process });
        let stock = Stock { mapping, talk };
        stock.make().await?;
        Ok(stock)
    }

    /// See [`Kind::mapping`].
    pub(super) fn mapping(&self) -> Value {
        self.mapping.clone()
    }

    pub(super) async fn append(&self, stream: &str, raw: &Raw) -> Result<(), Fault> {
        let fields: Vec<Value> =
            raw.fields.iter().map(|(name, value)| json!([name, b64u(value)])).collect();
        let key = raw.key.as_deref().map(b64u);
        let (stream, body) = (stream.to_owned(), b64u(&raw.body));
        let ask =
            json!({"do": "append", "stream": stream, "fields": fields, "key": key, "body": body});
        self.ask(ask).await.map(drop)
    }

    pub(super) async fn dead_letter(
        &self,
        stream: &str,
        group: &str,
        max: usize,
    ) -> Result<u64, Fault> {
        let ask = json!({"do": "dead_letter", "stream": stream, "group": group, "max": max});
        self.ask(ask).await.map(|moved| moved.as_u64().unwrap_or(0))
    }

    pub(super) async fn redrive(&self, stream: &str) -> Result<u64, Fault> {
        let moved = self.ask(json!({"do": "redrive", "stream": stream})).await?;
        Ok(moved.as_u64().unwrap_or(0))
    }

    async fn make(&self) -> Result<(), Fault> {
        let mut streams = serde_json::Map::new();
        for group in GROUPS {
            let groups = streams.entry(group.stream).or_insert_with(|| json!([]));
            if let Some(groups) = groups.as_array_mut() {
                groups.push(group.name.into());
            }
            streams.insert(dead_letters(group.stream), json!([]));
        }
        self.ask(json!({"do": "make", "streams": streams})).await.map(drop)
    }

    async fn ask(&self, question: Value) -> Result<Value, Fault> {
        let mut talk = self.talk.lock().await;
        let gone = |why: &dyn std::fmt::Display| Fault::broker(format!("the stock client: {why}"));
        let line = format!("{question}\n");
        talk.questions.write_all(line.as_bytes()).await.map_err(|error| gone(&error))?;
        let answer = timeout(PATIENCE, talk.answers.next_line()).await;
        let answer = answer.map_err(|_| gone(&"no answer in a minute"))?;
        let answer = answer.map_err(|error| gone(&error))?;
        let answer = answer.ok_or_else(|| gone(&"it has ended"))?;
        match serde_json::from_str(&answer).map_err(|error| gone(&error))? {
            Answer::Ok(value) => Ok(value),
            Answer::Error(error) => Err(gone(&error)),
        }
    }
}

/// Where a server listens.
fn endpoint(home: &Path, listener: &str) -> Result<String> {
    let path = home.join("endpoints");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(listener)?.strip_prefix('='));
    found.map(str::to_owned).ok_or_else(|| {
        let name = home.file_name().unwrap_or_default().to_string_lossy();
        let fix = format!("cargo xtask brokers up {name}");
        Failure::misuse("there is no such server", path.display().to_string(), fix)
    })
}

/// A Python with the stock client, made once in the servers' cache.
async fn python(kind: Kind, cache: &Path, tell: &dyn Fn(&str)) -> Result<PathBuf> {
    let packages = kind.packages();
    let folder = cache.join(format!("python-{}", packages.join("-").replace("==", "-")));
    let python = folder.join("bin/python");
    if folder.join("ready").exists() {
        return Ok(python);
    }
    tell(&format!("installing {} into {} (once)", packages.join(", "), folder.display()));
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(&python).args(pip).args(packages)).await?;
    std::fs::write(folder.join("ready"), "").map_err(|error| Failure::io(&folder, &error))?;
    Ok(python)
}

async fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().await;
    let told = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        Err(error) => error.to_string(),
    };
    let fix = "install python3 with venv and pip (Debian: python3-venv), and reach PyPI";
    Err(Failure::misuse(format!("{told} "), format!("{:?}", command.as_std().get_program()), fix))
}
