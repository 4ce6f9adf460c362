// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others do with the same queues: send as they like, guess, take, and move messages about.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use bytes::Bytes;
use chancery::{Broker, Sink, Source};
use chancery_core::seal::Sealed;
use chancery_core::text::b64u;
use chancery_core::{Delivery, Field};
use chancery_sqs::{SqsBroker, Via};
use chancery_testkit::conformance::{Raw, STREAM, finish, message, silent, take};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::boto;
use crate::stock::{Change, Corner, MINISTACK};

const H: &str = r#"{"v":1,"id":"event-0001","act":"a~b}~"}"#;
const SIG: &str = "1;AAAAAAAAAAAAAAAAAAAAAA:bbbb";

fn signed(key: Option<&'static str>, body: &str) -> Sealed {
    let fields = vec![Field::new("chancery", H), Field::new("chancery-sig", SIG)];
    Sealed { fields, ..message(key, body) }
}

fn named(delivery: &Delivery) -> Vec<(&str, &[u8])> {
    delivery.fields.iter().map(|field| (&*field.name, &*field.value)).collect()
}

async fn admin(corner: &Corner) -> SqsBroker {
    corner.connect("admin").await.unwrap()
}

#[tokio::test]
async fn what_boto_sends_arrives_as_it_is() {
    let made = Corner::fresh(&MINISTACK).made();
    let joined = format!("{H}~{SIG}");
    let forged = json!({
        "chancery": ["String", joined], "chancery-sig": ["String", "1;forged"],
        "Chancery-Salt": ["Binary", "AP8="], "n": ["Number", "7"],
    });
    let bare = json!({"chancery": ["String", "{}"]});
    let messages = json!([
        {"group": "k", "id": "1", "body": "plain"},
        {"group": "50%", "id": "2", "body": "{\"a\": 1}", "attributes": bare},
        {"group": "k", "id": "3", "body": "forged", "attributes": forged},
        {"group": "k", "id": "4", "body": "AAECA!", "attributes": {"te": ["String", "b64"]}},
    ]);
    let ask = json!({"queue": made.0.queue("g"), "messages": messages});
    boto::run(&made.0, "admin", &ask);
    let mut source = admin(&made.0).await.subscribe(STREAM, "g").await.unwrap();
    let mut got: Vec<Delivery> =
        take(&mut source, 4).await.into_iter().map(|(delivery, _)| delivery).collect();
    got.sort_by(|a, b| a.body.cmp(&b.body));
    let [marked, forged, plain, other] = &got[..] else { panic!("{got:?}") };
    assert_eq!((plain.body.as_deref(), named(plain)), (Some(&b"plain"[..]), vec![]));
    assert_eq!(plain.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(other.key.as_deref(), Some(&b"\x0050%"[..]), "a key that nobody can have signed");
    assert_eq!(named(other), [("chancery", &b"{}"[..])]);
    assert_eq!(
        named(forged),
        [
            ("Chancery-Salt", &[0, 0xff][..]),
            ("chancery", H.as_bytes()),
            ("chancery-sig", SIG.as_bytes()),
            ("chancery-sig", b"1;forged"),
            ("n", b"7"),
        ],
        "the core must see that the signature is there twice"
    );
    assert_eq!(marked.body.as_deref(), Some(&b"AAECA!"[..]));
    assert_eq!(named(marked), [("te", &b"b64"[..])]);
}

// Threat: somebody who may send to the queue takes the place of a message before it is sent.
#[tokio::test]
async fn nobody_takes_a_messages_place_before_it_is_sent() {
    let made = Corner::fresh(&MINISTACK).made();
    let honest = signed(Some("k"), "honest");
    let hash = |parts: &[&[u8]]| {
        let digest: [u8; 32] = Sha256::digest(parts.concat()).into();
        b64u(&digest[..16])
    };
    let guesses = [
        honest.event_id.clone(),
        b64u(&honest.message_id),
        hash(&[H.as_bytes()]),
        hash(&[b"chancery/dd/1", H.as_bytes()]),
        hash(&[b"chancery/mid/1\n", H.as_bytes()]),
        hash(&[b"honest"]),
    ];
    let guessed = guesses.iter().map(|id| json!({"group": "x", "id": id, "body": "garbage"}));
    let guessed: Vec<_> = guessed.collect();
    boto::run(&made.0, "admin", &json!({"queue": made.0.queue("g"), "messages": guessed}));
    let broker = admin(&made.0).await;
    let first = broker.append(std::slice::from_ref(&honest)).await.unwrap();
    let again = broker.append(std::slice::from_ref(&honest)).await.unwrap();
    assert_eq!(first, again, "a copy of the same bytes is another message");
    let mut source = broker.subscribe(STREAM, "g").await.unwrap();
    let bodies = finish(&mut source, guessed.len() + 1).await;
    assert_eq!(bodies.iter().filter(|body| *body == "honest").count(), 1, "{bodies:?}");
    silent(&mut source).await;
}

#[tokio::test]
async fn what_is_in_hand_stays_in_hand_while_its_holder_lives() {
    let made = Corner::fresh(&MINISTACK).made();
    let broker = admin(&made.0).await;
    broker.append(&[message(Some("k"), "a"), message(Some("k"), "b")]).await.unwrap();
    let mut holder = broker.subscribe(STREAM, "g").await.unwrap();
    let held = take(&mut holder, 1).await;
    let mut other = broker.subscribe(STREAM, "g").await.unwrap();
    let long = Duration::from_secs(u64::from(MINISTACK.visibility_s) * 5 / 2);
    let taken = other.receive(1, long).await.unwrap();
    assert!(taken.is_empty(), "it was given to another");
    for (_, receipt) in held {
        holder.acknowledge(vec![receipt]).await.unwrap();
    }
    assert_eq!(finish(&mut holder, 1).await, ["b"]);
}

#[tokio::test]
async fn a_message_that_was_given_up_keeps_its_header() {
    let made = Corner::fresh(&MINISTACK).made();
    let corner = &made.0;
    let dead = corner.queue("dead");
    let url = corner.make(&dead, &[]).await;
    let sdk = corner.admin().await;
    let arn =
        sdk.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
    let arn = arn.send().await.unwrap().attributes.unwrap()[&QueueAttributeName::QueueArn].clone();
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": "2"}).to_string();
    let live = corner.url(&corner.queue("g")).await;
    sdk.set_queue_attributes()
        .queue_url(&live)
        .attributes(QueueAttributeName::RedrivePolicy, policy)
        .send()
        .await
        .unwrap();
    let broker = admin(corner).await;
    let sealed = Sealed { body: Bytes::from_static(b"\0binary"), ..signed(Some("k"), "") };
    broker.append(&[sealed]).await.unwrap();
    for _ in 0..3 {
        let taken = sdk.receive_message().queue_url(&live).visibility_timeout(0).send();
        taken.await.unwrap();
    }
    let mut config = corner.config("admin", Change::default());
    let address = config.streams.get_mut(STREAM).unwrap();
    address.queues.insert("dead".into(), dead.clone());
    let settings = config.read(std::path::Path::new("/")).unwrap();
    let mut source =
        SqsBroker::connect(settings).await.unwrap().subscribe(STREAM, "dead").await.unwrap();
    let (delivery, receipt) = take(&mut source, 1).await.remove(0);
    assert_eq!(named(&delivery), [("chancery", H.as_bytes()), ("chancery-sig", SIG.as_bytes())]);
    assert_eq!(delivery.body.as_deref(), Some(&b"\0binary"[..]));
    assert_eq!(delivery.key.as_deref(), Some(&b"k"[..]));
    source.acknowledge(vec![receipt]).await.unwrap();
    drop(source);
    sdk.delete_queue().queue_url(url).send().await.unwrap();
}

#[tokio::test]
async fn what_comes_by_a_topic_is_unwrapped() {
    let corner = Corner::fresh(&MINISTACK);
    let id = format!("sns-{}-{:?}", std::process::id(), std::time::Instant::now());
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let message = json!({
        "body": "{\"a\": 1}", "group": "k", "id": id,
        "attributes": {"chancery": ["String", format!("{H}~{SIG}")]},
    });
    boto::run(&corner, "orders", &json!({"topic": "orders_created.fifo", "message": message}));
    let mut config = corner.config("admin", Change { via: Via::Sns, ..Change::default() });
    let address = config.streams.get_mut(STREAM).unwrap();
    address.queues.insert("report".into(), "orders_created-report.fifo".into());
    let settings = config.read(std::path::Path::new("/")).unwrap();
    let mut source =
        SqsBroker::connect(settings).await.unwrap().subscribe(STREAM, "report").await.unwrap();
    let (delivery, receipt) = take(&mut source, 1).await.remove(0);
    assert_eq!(named(&delivery), [("chancery", H.as_bytes()), ("chancery-sig", SIG.as_bytes())]);
    assert_eq!(delivery.body.as_deref(), Some(&b"{\"a\": 1}"[..]));
    assert_eq!(delivery.key.as_deref(), Some(&b"k"[..]));
    source.acknowledge(vec![receipt]).await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_ignores_us_reads_the_body_as_it_is() {
    let made = Corner::fresh(&MINISTACK).made();
    admin(&made.0).await.append(&[signed(Some("k"), "{\"a\": 1}")]).await.unwrap();
    let url = made.0.url(&made.0.queue("g")).await;
    let sdk = made.0.admin().await;
    let taken = sdk.receive_message().queue_url(url).message_attribute_names("All").send();
    let taken = taken.await.unwrap().messages.unwrap();
    assert_eq!(taken[0].body(), Some("{\"a\": 1}"));
    let attributes = taken[0].message_attributes().unwrap();
    let names: Vec<&String> = attributes.keys().collect();
    assert_eq!(names, ["chancery"]);
    let expected = format!("{H}~{SIG}");
    assert_eq!(attributes["chancery"].string_value(), Some(&*expected));
}

#[tokio::test]
async fn a_standard_queue_carries_what_has_no_order() {
    let made = Corner::fresh(&MINISTACK).made();
    let corner = &made.0;
    let name = corner.queue("plain").replace(".fifo", "");
    let url = corner.make(&name, &[]).await;
    let mut config = corner.config("admin", Change::default());
    let address = config.streams.get_mut(STREAM).unwrap();
    address.queues = [("plain".to_owned(), name)].into();
    let settings = config.read(std::path::Path::new("/")).unwrap();
    let broker = SqsBroker::connect(settings).await.unwrap();
    let batch: Vec<Sealed> =
        (0..25).map(|n| message((n % 2 == 0).then_some("k"), &n.to_string())).collect();
    let positions = broker.append(&batch).await.unwrap();
    let mut source = broker.subscribe(STREAM, "plain").await.unwrap();
    let mut got = take(&mut source, 25).await;
    got.sort_by_key(|(delivery, _)| body_number(delivery));
    let found: Vec<String> = got.iter().map(|(delivery, _)| delivery.position.clone()).collect();
    assert_eq!(found, positions);
    assert!(got.iter().all(|(d, _)| d.key.is_some() == body_number(d).is_multiple_of(2)));
    let receipts = got.into_iter().map(|(_, receipt)| receipt).collect();
    source.acknowledge(receipts).await.unwrap();
    silent(&mut source).await;
    drop(source);
    corner.admin().await.delete_queue().queue_url(url).send().await.unwrap();
}

fn body_number(delivery: &Delivery) -> usize {
    std::str::from_utf8(delivery.body.as_deref().unwrap()).unwrap().parse().unwrap()
}

// Threat: a key that is taken for none, and whose order is nobody's.
#[tokio::test]
async fn a_key_that_looks_like_none_is_a_key() {
    let made = Corner::fresh(&MINISTACK).made();
    let raw = |key: &[u8]| Raw { key: Some(key.into()), body: Some(b"x".into()), ..Raw::default() };
    made.0.send(&made.0.queue("g"), &raw(b"%none.?")).await;
    let mut source = admin(&made.0).await.subscribe(STREAM, "g").await.unwrap();
    let (delivery, _) = take(&mut source, 1).await.remove(0);
    assert_eq!(delivery.key.as_deref(), Some(&b"%none.?"[..]));
}
