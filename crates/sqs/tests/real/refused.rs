// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever is wrong has a sentence of its own, within seconds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use chancery::{Broker, Clock, Promise, Sink, SystemClock};
use chancery_core::{Fault, Timestamp};
use chancery_sqs::{Config, SqsBroker};
use chancery_testkit::conformance::{STREAM, message};
use chancery_testkit::servers::Server;

use crate::boto;
use crate::stock::{Change, Corner, MINISTACK};

const IN_TIME: Duration = Duration::from_secs(10);

/// A file of a test's own, as long as it is wanted.
struct Written(tempfile::TempDir);

impl Written {
    fn new(text: &str) -> Written {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), text).unwrap();
        Written(folder)
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.0.path().join("file"))
    }
}

fn keys(id: &str, secret: &str, token: Option<&str>) -> Written {
    let token = token.map(|token| format!("aws_session_token = {token}\n")).unwrap_or_default();
    let text =
        format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n{token}");
    Written::new(&text)
}

/// The access key and the secret in a service's hand.
fn in_hand(service: &str) -> (String, String) {
    let text = Server::hardened("sqs").read(&format!("clients/{service}/credentials"));
    let values: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(" = ")).map(|kv| kv.1).collect();
    (values[0].to_owned(), values[1].to_owned())
}

async fn connect(config: Config) -> Result<SqsBroker, Fault> {
    SqsBroker::connect(config.read(Path::new("/")).unwrap()).await
}

fn config() -> Config {
    Corner::fresh(&MINISTACK).config("orders", Change::default())
}

async fn is_told<T>(told: impl Future<Output = Result<T, Fault>>, words: &[&str]) {
    let started = Instant::now();
    let told = tokio::time::timeout(3 * IN_TIME, told).await.expect("it hangs");
    let Err(fault) = told else { panic!("it went well; {words:?} was to be told") };
    assert!(started.elapsed() < IN_TIME, "told only after {:?}: {fault}", started.elapsed());
    assert!(words.iter().all(|word| fault.detail.contains(word)), "{words:?} is not in: {fault}");
}

#[tokio::test]
async fn each_wrong_credential_has_its_sentence() {
    let (id, secret) = in_hand("orders");
    let stranger = "AKIAIOSFODNN7EXAMPLE";
    for (written, words) in [
        (keys(&id, "wrong", None), "the secret does not belong to the access key"),
        (keys(stranger, &secret, None), "the access key, or the session token"),
        (keys(&id, &secret, Some("made-up")), "the access key, or the session token"),
        (Written::new(""), "no usable credentials"),
        (Written::new("[default]\naws_access_key_id = a\n"), "no usable credentials"),
        (Written::new("no profile at all"), "no usable credentials"),
    ] {
        let mut config = config();
        config.credentials = written.path();
        is_told(connect(config), &[words, "SQS at https://localhost"]).await;
    }
    let mut config = config();
    config.profile = Some("nobody".into());
    is_told(connect(config), &["no usable credentials", "nobody"]).await;
}

// Threat: a secret in a log.
#[tokio::test]
async fn no_secret_is_told() {
    let (id, secret) = in_hand("orders");
    let mut config = config();
    let written = keys(&id, &format!("{secret}x"), None);
    config.credentials = written.path();
    let settings = config.read(Path::new("/")).unwrap();
    assert!(!format!("{settings:?}").contains(&secret));
    let fault = SqsBroker::connect(settings).await.unwrap_err();
    assert!(!format!("{fault:?} {fault}").contains(&secret));
    let good = connect(crate::refused::config()).await.unwrap();
    assert!(!format!("{good:?}").contains(&secret));
}

#[tokio::test]
async fn a_session_is_over_when_it_is_over_and_is_its_own() {
    let session = |seconds: u32| {
        let corner = Corner::fresh(&MINISTACK);
        let answer = boto::run(&corner, "orders", &serde_json::json!({"session": seconds}));
        let word = |name: &str| answer[name].as_str().unwrap().to_owned();
        (word("AccessKeyId"), word("SecretAccessKey"), word("SessionToken"))
    };
    let (id, secret, token) = session(900);
    let with = |token: &str| {
        let written = keys(&id, &secret, Some(token));
        let mut config = config();
        config.credentials = written.path();
        (config, written)
    };
    let (good, _kept) = with(&token);
    connect(good).await.unwrap();
    let (wrong, _kept) = with(&format!("{token}x"));
    is_told(connect(wrong), &["the access key, or the session token"]).await;
    let (id, secret, token) = session(1);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let written = keys(&id, &secret, Some(&token));
    let mut config = config();
    config.credentials = written.path();
    is_told(connect(config), &["session token", "is over"]).await;
}

/// As far off as it says.
struct Off(i64);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0)
    }
}

// Threat: headers signed by a clock that is wrong, which every reader refuses.
#[tokio::test]
async fn a_wrong_clock_is_told_and_not_signed_around() {
    for minutes in [20, -20] {
        let settings = config().read(Path::new("/")).unwrap();
        let settings = settings.with_clock(std::sync::Arc::new(Off(minutes * 60_000)));
        is_told(SqsBroker::connect(settings), &["clock"]).await;
    }
}

#[tokio::test]
async fn a_missing_action_is_told_with_its_name() {
    let corner = Corner::fresh(&MINISTACK);
    let by = |service: &'static str| {
        let mut config = corner.config(service, Change::default());
        config.streams.clear();
        config.streams.entry(STREAM.into()).or_default().groups = vec!["billing".into()];
        connect(config)
    };
    let orders = by("orders").await.unwrap();
    is_told(
        orders.subscribe(STREAM, "billing"),
        &["permission denied", "sqs:DeleteMessage", "orders_created-billing.fifo"],
    )
    .await;
    let billing = by("billing").await.unwrap();
    let one = [message(Some("k"), "a")];
    is_told(billing.append(&one), &["permission denied", "sqs:SendMessage"]).await;
    let mallory = by("mallory").await.unwrap();
    is_told(mallory.subscribe(STREAM, "billing"), &["permission denied", "mallory"]).await;
}

#[tokio::test]
async fn an_unknown_queue_is_told_with_the_command_that_makes_it() {
    let broker = connect(config()).await.unwrap();
    let mut config = config();
    config.streams.clear();
    config.streams.entry(STREAM.into()).or_default().groups = vec!["nobody".into()];
    let admin = Corner::fresh(&MINISTACK).config("admin", Change::default());
    config.credentials = admin.credentials;
    let admin = connect(config).await.unwrap();
    let words = ["aws sqs create-queue --queue-name orders_created-nobody.fifo", "FifoQueue=true"];
    is_told(admin.subscribe(STREAM, "nobody"), &words).await;
    is_told(admin.append(&[message(None, "a")]), &words).await;
    is_told(admin.lag(STREAM, "nobody"), &words).await;
    let mut other = message(None, "a");
    other.stream = "orders.other".into();
    is_told(broker.append(&[other]), &["`orders.other`", "groups"]).await;
}

#[tokio::test]
async fn what_is_in_the_way_is_told_apart() {
    let mut nobody = config();
    nobody.endpoint = Some("https://localhost:1".into());
    is_told(connect(nobody), &["cannot be reached", "refused"]).await;
    let mut nowhere = config();
    nowhere.endpoint = Some("https://no-such-host.invalid".into());
    is_told(connect(nowhere), &["cannot be reached"]).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dumb = config();
    dumb.endpoint = Some(format!("https://localhost:{}", silent.local_addr().unwrap().port()));
    is_told(connect(dumb), &["in time"]).await;
    let mut unknown = config();
    unknown.ca = Some(chancery_testkit::servers::pki("unknown-ca.pem"));
    is_told(connect(unknown), &["certificate is not trusted"]).await;
}

// Threat: a file or a variable that sends credentials' signatures and messages in plain text.
#[tokio::test]
async fn without_tls_nothing_is_sent_whoever_named_the_endpoint() {
    let plain = Server::hardened("elasticmq").endpoint("sqs");
    let named = Written::new(&format!("[default]\nendpoint_url = {plain}\n"));
    let mut config = config();
    config.endpoint = None;
    config.config = named.path();
    is_told(connect(config.clone()), &["without TLS", "insecure: true"]).await;
    config.insecure = true;
    connect(config).await.unwrap();
}

#[tokio::test]
async fn queues_as_people_leave_them_are_found() {
    let at = |server: &Server, service: &str| {
        let mut config = config();
        let client = server.client(service);
        config.endpoint = Some(server.endpoint("sqs"));
        config.insecure = config.endpoint.as_ref().is_some_and(|url| url.starts_with("http:"));
        config.credentials = Some(client.join("credentials"));
        config.ca = Some(client.join("ca.pem"));
        config.streams.clear();
        connect(config)
    };
    let hardened = Server::hardened("sqs");
    let billing = at(&hardened, "billing").await.unwrap();
    let live = billing.inspect(STREAM, Some("billing")).await.unwrap();
    assert_eq!(live.findings, []);
    assert!(live.identity.is_some_and(|arn| arn.ends_with("user/billing")));
    let lag = billing.lag(STREAM, "billing").await.unwrap();
    assert!(lag.messages.is_some() && lag.oldest_ms.is_none());
    is_told(billing.inspect("payments.approve", Some("nobody")), &["permission denied"]).await;

    let corner = Corner::fresh(&MINISTACK);
    let dump =
        boto::run(&corner, "admin", &serde_json::json!({"blind": "orders_created-billing.fifo"}));
    let blind = keys(
        dump["AccessKeyId"].as_str().unwrap(),
        dump["SecretAccessKey"].as_str().unwrap(),
        None,
    );
    let mut config = config();
    config.credentials = blind.path();
    config.streams.clear();
    let blind = connect(config).await.unwrap();
    let live = blind.inspect(STREAM, Some("billing")).await.unwrap();
    assert!(!live.findings.is_empty() && live.findings.iter().all(|finding| !finding.certain));
    assert_eq!(blind.lag(STREAM, "billing").await.unwrap(), chancery::Lag::default());

    let corner = Corner::fresh(&MINISTACK);
    let (bare, once) = (corner.queue("bare"), corner.queue("once"));
    let anybody = r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:*"}]}"#;
    let dead = "arn:aws:sqs:us-east-1:000000000000:orders_created-billing-dlq.fifo";
    let redrive = serde_json::json!({"deadLetterTargetArn": dead, "maxReceiveCount": "1"});
    let redrive = &*redrive.to_string();
    let own = QueueAttributeName::ContentBasedDeduplication;
    corner.make(&bare, &[(own, "true"), (QueueAttributeName::Policy, anybody)]).await;
    let short = (QueueAttributeName::MessageRetentionPeriod, "3600");
    corner.make(&once, &[(QueueAttributeName::RedrivePolicy, redrive), short]).await;
    let mut config = corner.config("admin", Change::default());
    let queues = &mut config.streams.get_mut(STREAM).unwrap().queues;
    *queues = [("bare".to_owned(), bare.clone()), ("once".to_owned(), once.clone())].into();
    let admin = connect(config).await.unwrap();
    let live = admin.inspect(STREAM, None).await.unwrap();
    let found: Vec<(Promise, &str)> =
        live.findings.iter().map(|it| (it.promise, &*it.setting)).collect();
    let expected = [
        (Promise::NothingLost, "RedrivePolicy="),
        (Promise::NothingLost, "ContentBasedDeduplication=true"),
        (Promise::Identity, "Policy={\"Principal\": \"*\"}"),
        (Promise::NothingLost, "maxReceiveCount=1"),
        (Promise::NothingLost, "MessageRetentionPeriod=3600"),
    ];
    assert_eq!(found, expected);
    for name in [bare, once] {
        let url = corner.url(&name).await;
        corner.admin().await.delete_queue().queue_url(url).send().await.unwrap();
    }
}
