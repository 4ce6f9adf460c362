// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real server, and who connects to it how.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::{Broker, Source};
use chancery_core::Fault;
use chancery_kafka::{Address, Config, KafkaBroker};
use chancery_testkit::conformance::Raw;
use chancery_testkit::servers::Server;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tempfile::TempDir;

/// Long enough for any answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Which listener, with which of a service's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Scram,
    Oauth,
    Mtls,
    MtlsPkcs12,
    MtlsJks,
    /// SCRAM through the port that a proxy stands at.
    Proxy,
}

impl At {
    fn endpoint(self) -> &'static str {
        match self {
            At::Scram => "scram",
            At::Oauth => "oauth",
            At::Mtls | At::MtlsPkcs12 | At::MtlsJks => "mtls",
            At::Proxy => "proxy",
        }
    }

    pub(crate) fn file(self) -> &'static str {
        match self {
            At::Scram | At::Proxy => "scram.properties",
            At::Oauth => "oauth.properties",
            At::Mtls => "mtls.properties",
            At::MtlsPkcs12 => "mtls-pkcs12.properties",
            At::MtlsJks => "mtls-jks.properties",
        }
    }
}

/// Where the server is, by whose file one connects, where the streams are.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) at: At,
    pub(crate) streams: BTreeMap<String, Address>,
    pub(crate) edited: Option<(PathBuf, Arc<TempDir>)>,
}

impl World {
    pub(crate) fn new(at: At) -> World {
        let url = Server::hardened("kafka").endpoint(at.endpoint());
        let url = if url.contains("://") { url } else { format!("kafka://{url}") };
        World { url, at, streams: BTreeMap::new(), edited: None }
    }

    /// A stream that is another topic, with groups of its own.
    pub(crate) fn with_topic(mut self, stream: &str, topic: &str) -> World {
        let address = Address {
            topic: Some(topic.to_owned()),
            group: Some(format!("{topic}.{{group}}")),
            ..Address::default()
        };
        self.streams.insert(stream.to_owned(), address);
        self
    }

    /// The same with a service's file changed.
    pub(crate) fn edited(&self, service: &str, edit: impl FnOnce(String) -> String) -> World {
        let text = Server::hardened("kafka").read(&format!("clients/{service}/{}", self.at.file()));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.properties");
        fs::write(&path, edit(text + "\n")).unwrap();
        World { edited: Some((path, Arc::new(dir))), ..self.clone() }
    }

    pub(crate) fn config(&self, service: &str) -> Config {
        let file = || Server::hardened("kafka").client(service).join(self.at.file());
        let path = self.edited.as_ref().map_or_else(file, |(path, _)| path.clone());
        Config {
            url: self.url.clone(),
            properties: Some(path),
            insecure: false,
            streams: self.streams.clone(),
        }
    }

    pub(crate) async fn connect(&self, service: &str) -> Result<KafkaBroker, Fault> {
        let settings = self.config(service).read(std::path::Path::new("/")).unwrap();
        KafkaBroker::connect(settings).await
    }
}

/// A file with a setting of its own.
pub(crate) fn put(text: String, key: &str, value: &str) -> String {
    let others = text.lines().filter(|line| !line.starts_with(&format!("{key}=")));
    let others: String = others.map(|line| format!("{line}\n")).collect();
    format!("{key}={value}\n{others}")
}

/// How receiving fails, at the start or at the first look.
pub(crate) async fn first_fault(broker: &KafkaBroker, stream: &str, group: &str) -> Option<Fault> {
    let mut source = match broker.subscribe(stream, group).await {
        Ok(source) => source,
        Err(fault) => return Some(fault),
    };
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match source.receive(10, Duration::from_millis(200)).await {
            Ok(batch) if batch.is_empty() => {}
            Ok(_) => return None,
            Err(fault) => return Some(fault),
        }
    }
    None
}

/// What a client of the library needs, without this product: the administrator's password.
pub(crate) fn plain_client() -> ClientConfig {
    let server = Server::hardened("kafka");
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", server.endpoint("scram").trim_start_matches("kafka://"))
        .set("security.protocol", "sasl_ssl")
        .set("ssl.ca.location", server.client("admin").join("ca.pem").display().to_string())
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", "admin")
        .set("sasl.password", server.read("clients/admin/password"));
    config
}

/// A topic of a test; it goes when this is dropped.
pub(crate) struct Topic {
    pub(crate) name: String,
}

impl Topic {
    /// Makes it, its times stamped by the broker unless the settings say otherwise.
    pub(crate) fn make(name: &str, partitions: i32, settings: &[(&str, &str)]) -> Topic {
        let (owned, topic) = (name.to_owned(), name.to_owned());
        let settings: Vec<(String, String)> =
            settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        administer(async move |admin| {
            let mut new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1))
                .set("message.timestamp.type", "LogAppendTime");
            for (key, value) in &settings {
                new = new.set(key, value);
            }
            let made = admin.create_topics(&[new], &AdminOptions::new()).await.unwrap();
            made.into_iter().for_each(|it| drop(it.unwrap()));
        });
        Topic { name: owned }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        delete(vec![self.name.clone()]);
    }
}

/// Deletes topics; those that are not there stay so.
pub(crate) fn delete(names: Vec<String>) {
    administer(async move |admin| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _ = admin.delete_topics(&names, &AdminOptions::new()).await;
    });
}

/// Runs on a thread of its own: whoever asks may be in a runtime already.
fn administer(work: impl AsyncFnOnce(AdminClient<DefaultClientContext>) + Send + 'static) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work(plain_client().create().unwrap()));
    };
    std::thread::spawn(run).join().unwrap();
}

/// Says where a group is in the first partition of a topic, whether that is true or not.
pub(crate) fn commit(topic: &str, group: &str, offset: i64) {
    let consumer: BaseConsumer = plain_client().set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// Appends as any client may.
pub(crate) async fn append_raw(topic: &str, message: Raw) {
    let producer: FutureProducer = plain_client().create().unwrap();
    let mut headers = OwnedHeaders::new();
    for field in &message.fields {
        headers = headers.insert(Header { key: &field.name, value: Some(&field.value[..]) });
    }
    let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
    if let Some(key) = &message.key {
        record = record.key(key);
    }
    if let Some(body) = &message.body {
        record = record.payload(body);
    }
    producer.send(record, PATIENCE).await.unwrap();
}
