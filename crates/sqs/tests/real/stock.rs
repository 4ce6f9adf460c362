// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queues of a test's own, and what any client may do with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chancery_core::Fault;
use chancery_sqs::{Address, Config, SqsBroker, Via};
use chancery_testkit::conformance::{Raw, STREAM};
use chancery_testkit::servers::Server;

/// Groups that have a queue in each corner.
pub(crate) const GROUPS: [&str; 3] = ["g", "billing", "audit"];

/// A kind of server.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) tls: bool,
    /// Long enough for a loaded machine, short enough to wait for.
    pub(crate) visibility_s: u32,
}

pub(crate) static MINISTACK: Kind = Kind { name: "sqs", tls: true, visibility_s: 8 };
pub(crate) static ELASTICMQ: Kind = Kind { name: "elasticmq", tls: false, visibility_s: 15 };

/// Queues that nobody else uses.
#[derive(Clone)]
pub(crate) struct Corner {
    kind: &'static Kind,
    prefix: String,
    port: u16,
}

/// What differs from the configuration that is right.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) via: Via,
}

impl Corner {
    pub(crate) fn fresh(kind: &'static Kind) -> Corner {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("t{}-{count}", std::process::id());
        let url = Server::hardened(kind.name).endpoint("sqs");
        let port = url.rsplit_once(':').unwrap().1.parse().unwrap();
        Corner { kind, prefix, port }
    }

    /// Makes its queues; they are removed when what it gives is dropped.
    pub(crate) fn made(self) -> Made {
        block_on(
            |corner| async move {
                for group in GROUPS {
                    corner.make(&corner.queue(group), &[]).await;
                }
            },
            &self,
        );
        Made(self)
    }

    /// What another process finds it by.
    pub(crate) fn name(&self) -> String {
        format!("{} {} {}", self.kind.name, self.prefix, self.port)
    }

    pub(crate) fn of(name: &str) -> Corner {
        let words: Vec<&str> = name.split(' ').collect();
        let kind = [&MINISTACK, &ELASTICMQ].into_iter().find(|kind| kind.name == words[0]);
        Corner { kind: kind.unwrap(), prefix: words[1].into(), port: words[2].parse().unwrap() }
    }

    pub(crate) fn server(&self) -> Server {
        Server::hardened(self.kind.name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The same by another port.
    pub(crate) fn through(&self, port: u16) -> Corner {
        Corner { port, ..self.clone() }
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.kind.tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.port)
    }

    pub(crate) fn queue(&self, group: &str) -> String {
        format!("{}-orders_created-{group}.fifo", self.prefix)
    }

    pub(crate) async fn connect(&self, service: &str) -> Result<SqsBroker, Fault> {
        self.connect_with(service, Change::default()).await
    }

    pub(crate) async fn connect_with(
        &self,
        service: &str,
        change: Change,
    ) -> Result<SqsBroker, Fault> {
        let settings = self.config(service, change).read(Path::new("/")).unwrap();
        SqsBroker::connect(settings).await
    }

    pub(crate) fn config(&self, service: &str, change: Change) -> Config {
        let client = self.server().client(service);
        let queues = GROUPS.map(|group| (group.to_owned(), self.queue(group)));
        let address = Address { queues: BTreeMap::from(queues), via: change.via, groups: vec![] };
        Config {
            url: "sqs://us-east-1".into(),
            endpoint: Some(self.endpoint()),
            insecure: !self.kind.tls,
            ca: Some(change.ca.unwrap_or_else(|| client.join("ca.pem"))),
            profile: None,
            credentials: Some(change.credentials.unwrap_or_else(|| self.credentials(service))),
            config: None,
            visibility_s: self.kind.visibility_s,
            users: BTreeMap::new(),
            streams: BTreeMap::from([(STREAM.to_owned(), address)]),
        }
    }

    /// ElasticMQ asks nobody who he is, but the client library must have something to say.
    fn credentials(&self, service: &str) -> PathBuf {
        let path = self.server().client(service).join("credentials");
        if !self.kind.tls && !path.exists() {
            let text = "[default]\naws_access_key_id = any\naws_secret_access_key = any\n";
            std::fs::write(&path, text).unwrap();
        }
        path
    }

    /// The client library without our adapter, as whoever may do everything.
    pub(crate) async fn admin(&self) -> Client {
        use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
        use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
        use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
        let ca = std::fs::read(self.server().client("admin").join("ca.pem")).unwrap();
        let trust = TrustStore::empty().with_pem_certificate(ca);
        let tls = TlsContext::builder().with_trust_store(trust).build().unwrap();
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls)
            .build_https();
        let files = EnvConfigFiles::builder()
            .with_file(EnvConfigFileKind::Credentials, self.credentials("admin"))
            .build();
        let with = aws_config::provider_config::ProviderConfig::without_region()
            .with_http_client(http.clone());
        let provider = aws_config::profile::ProfileFileCredentialsProvider::builder()
            .configure(&with)
            .profile_files(files)
            .build();
        let config = aws_config::defaults(aws_config::BehaviorVersion::v2026_01_12())
            .region("us-east-1")
            .http_client(http)
            .endpoint_url(self.endpoint())
            .credentials_provider(provider);
        Client::new(&config.load().await)
    }

    /// Makes a queue, FIFO if it is called so; gives its URL.
    pub(crate) async fn make(
        &self,
        name: &str,
        attributes: &[(QueueAttributeName, &str)],
    ) -> String {
        let mut request = self.admin().await.create_queue().queue_name(name);
        if name.ends_with(".fifo") {
            request = request.attributes(QueueAttributeName::FifoQueue, "true");
        }
        for (name, value) in attributes {
            request = request.attributes(name.clone(), *value);
        }
        request.send().await.unwrap().queue_url.unwrap()
    }

    pub(crate) async fn url(&self, name: &str) -> String {
        let request = self.admin().await.get_queue_url().queue_name(name);
        request.send().await.unwrap().queue_url.unwrap()
    }

    /// Sends as any client may: attributes as the library has them, a group, an id.
    pub(crate) async fn send(&self, queue: &str, message: &Raw) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut request = self.admin().await.send_message().queue_url(self.url(queue).await);
        for field in &message.fields {
            request = request.message_attributes(&field.name, attribute(&field.value));
        }
        let body = message.body.as_deref().unwrap_or_default();
        let plain = |text: &&str| text.chars().all(|c| c >= ' ');
        let text = match std::str::from_utf8(body).ok().filter(plain) {
            Some(text) => text.to_owned(),
            None => {
                request = request.message_attributes("te", attribute(b"b64"));
                STANDARD.encode(body)
            }
        };
        let key = message.key.as_deref().map(escaped);
        let group = key.unwrap_or_else(|| format!("%none.{id}"));
        let request = request.message_body(text).message_group_id(group);
        request.message_deduplication_id(id).send().await.unwrap();
    }
}

/// A corner whose queues go when it is dropped.
pub(crate) struct Made(pub(crate) Corner);

impl Drop for Made {
    fn drop(&mut self) {
        block_on(
            |corner| async move {
                let client = corner.admin().await;
                for group in GROUPS {
                    let url = corner.url(&corner.queue(group)).await;
                    let _ = client.delete_queue().queue_url(url).send().await;
                }
            },
            &self.0,
        );
    }
}

fn block_on<F: Future<Output = ()>>(work: impl FnOnce(Corner) -> F + Send, corner: &Corner) {
    let corner = corner.clone();
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(work(corner));
        });
        done.join().unwrap();
    });
}

fn attribute(value: &[u8]) -> MessageAttributeValue {
    let builder = MessageAttributeValue::builder();
    let builder = match std::str::from_utf8(value) {
        Ok("") => builder.data_type("String.empty").string_value("-"),
        Ok(text) if !text.contains('\0') => builder.data_type("String").string_value(text),
        _ => builder.data_type("Binary").binary_value(Blob::new(value)),
    };
    builder.build().unwrap()
}

fn escaped(key: &[u8]) -> String {
    let plain = |b: &u8| (0x21..=0x7e).contains(b) && *b != b'%';
    key.iter().map(|b| if plain(b) { char::from(*b).into() } else { format!("%{b:02X}") }).collect()
}
