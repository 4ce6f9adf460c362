// SPDX-License-Identifier: MIT OR Apache-2.0

use std::path::Path;

use lapin::types::{DecimalValue, FieldArray};

use super::*;
use crate::config::Config;

fn settings(change: impl FnOnce(&mut Config)) -> Settings {
    let mut config: Config = serde_json::from_value(serde_json::json!({
        "url": "amqp://broker/shop",
        "insecure": true,
        "uri": {"command": ["printf", "amqp://orders:pw@broker/shop"]},
        "streams": {"hashed": {"exchange": "x", "routing_key": "fixed"}},
    }))
    .unwrap();
    change(&mut config);
    config.read(Path::new("/")).unwrap()
}

fn sealed(stream: &str, key: Option<&[u8]>, fields: Vec<Field>) -> Sealed {
    Sealed {
        stream: stream.into(),
        event_id: "event-0001".into(),
        message_id: [7; 32],
        fields,
        key: key.map(Bytes::copy_from_slice),
        body: Bytes::from_static(b"body"),
    }
}

fn arrived(sent: Outgoing, redelivered: bool) -> Incoming {
    let (exchange, key) = (sent.exchange.as_str().into(), sent.routing_key.as_str().into());
    let mut message = Incoming::mock(1, exchange, key, redelivered, sent.body.to_vec());
    message.properties = sent.properties;
    message
}

fn entries(all: Vec<(&str, AMQPValue)>) -> Incoming {
    let mut headers = FieldTable::default();
    for (name, value) in all {
        headers.insert(name.into(), value);
    }
    let mut message = Incoming::mock(1, "x".into(), "k".into(), false, Vec::new());
    message.properties = BasicProperties::default().with_headers(headers);
    message
}

#[test]
fn what_is_sent_is_what_arrives_with_the_position_that_was_told() {
    let settings = settings(|_| {});
    for (stream, key) in
        [("a", Some(&b"k=1"[..])), ("a", None), ("hashed", Some(b"k")), ("hashed", None)]
    {
        let fields = vec![Field::new("a", vec![0, 0xff]), Field::new("b", "")];
        let (position, sent) = outgoing(&sealed(stream, key, fields.clone()), &settings).unwrap();
        let delivery = delivery(arrived(sent, false), stream, &settings);
        assert_eq!(delivery.position, position);
        assert_eq!(delivery.fields, fields);
        assert_eq!(delivery.key.as_deref(), key);
        assert_eq!(delivery.body.as_deref(), Some(&b"body"[..]));
        assert_eq!(delivery.deliveries, 1);
    }
}

// Threat: a header that once arrived makes the broker copy, expire or re-route what we send.
#[test]
fn control_headers_are_never_sent() {
    let names = ["CC", "bcc", "x-death", "X-Match", "expiration", "x-delay", "kept", "x", "xcc"];
    let fields = names.map(|name| Field::new(name, "1")).to_vec();
    let (_, sent) = outgoing(&sealed("a", None, fields), &settings(|_| {})).unwrap();
    let headers = sent.properties.headers().clone().unwrap();
    let left: Vec<&str> = headers.inner().keys().map(|name| name.as_str()).collect();
    assert_eq!(left, ["kept", "x", "xcc"]);
    assert!(sent.properties.expiration().is_none());
}

#[test]
fn what_the_protocol_cannot_carry_is_refused_and_nothing_panics() {
    let settings = settings(|_| {});
    let long_name = vec![Field::new("n".repeat(256), "")];
    let large = vec![Field::new("n", vec![0; FIELDS_BYTES_MAX])];
    for (key, fields) in [
        (Some(&[b'k'; 256][..]), Vec::new()),
        (Some(b"\xff"), Vec::new()),
        (Some(b""), Vec::new()),
        (None, long_name),
        (None, large),
    ] {
        assert!(outgoing(&sealed("a", key, fields), &settings).is_err());
    }
    assert!(outgoing(&sealed("a", Some(&[b'k'; 255]), Vec::new()), &settings).is_ok());
}

#[test]
fn values_of_every_type_arrive_as_text() {
    let mut table = FieldTable::default();
    table.insert("q\"".into(), AMQPValue::LongString("v".into()));
    table.insert("r".into(), AMQPValue::Void);
    let array = FieldArray::from(vec![AMQPValue::Boolean(true), AMQPValue::FieldTable(table)]);
    let all = vec![
        ("a", AMQPValue::LongLongInt(-5)),
        ("b", AMQPValue::Timestamp(7)),
        ("c", AMQPValue::Double(1.5)),
        ("d", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 314 })),
        ("e", AMQPValue::FieldArray(array)),
        ("f", AMQPValue::ByteArray(vec![0, 0xff].into())),
    ];
    let delivery = delivery(entries(all), "a", &settings(|_| {}));
    let values: Vec<&[u8]> = delivery.fields.iter().map(|field| &*field.value).collect();
    let nested = &b"[true,{\"q\\\"\":\"v\",\"r\":null}]"[..];
    assert_eq!(values, [&b"-5"[..], b"7", b"1.5", b"314e-2", nested, b"\0\xff"]);
}

// Threat: a client that stamps its own time where the broker does not.
#[test]
fn the_stamp_counts_only_where_the_operator_says_so() {
    let stamped = || entries(vec![(STAMP, AMQPValue::LongLongInt(1_700_000_000_000))]);
    let unknown = delivery(stamped(), "a", &settings(|_| {}));
    assert_eq!(unknown.appended, AppendTime::Unknown);
    assert_eq!(unknown.fields.len(), 1, "it is the client's field like any other");
    let broker = settings(|config| config.append_time = Stamped::Broker);
    let known = delivery(stamped(), "a", &broker);
    assert_eq!(known.appended, AppendTime::Broker(Timestamp(1_700_000_000_000)));
    assert_eq!(known.fields, []);
    let text = entries(vec![(STAMP, AMQPValue::LongString("1700000000000".into()))]);
    assert_eq!(delivery(text, "a", &broker).appended, AppendTime::Unknown);
}

// Threat: a client that says how often its message was delivered.
#[test]
fn deliveries_are_counted_by_the_broker_alone() {
    let settings = settings(|_| {});
    let counted = |redelivered| {
        let mut message = entries(vec![(DELIVERY_COUNT, AMQPValue::LongLongInt(6))]);
        message.redelivered = redelivered;
        delivery(message, "a", &settings).deliveries
    };
    assert_eq!((counted(false), counted(true)), (1, 7));
    let (_, sent) = outgoing(&sealed("a", None, Vec::new()), &settings).unwrap();
    assert_eq!(delivery(arrived(sent, true), "a", &settings).deliveries, 2);
}

#[test]
fn messages_of_others_have_positions_too() {
    let settings = settings(|_| {});
    let position = |id: Option<&str>, body: &[u8]| {
        let mut message = Incoming::mock(1, "x".into(), "k".into(), false, body.to_vec());
        if let Some(id) = id {
            message.properties = BasicProperties::default().with_message_id(id.into());
        }
        delivery(message, "a", &settings).position
    };
    assert_eq!(position(Some("0b5c-11"), b""), "a/0b5c-11");
    let digest = position(None, b"1");
    assert!(digest.starts_with("a/sha256:"), "{digest}");
    assert_eq!(position(Some("a\n/b"), b"1"), digest);
    assert_ne!(position(None, b"2"), digest);
}

// Threat: a stolen key, used with another login; a client that vouches for itself.
#[test]
fn the_sender_is_whom_the_broker_vouches_for_and_nobody_else() {
    let by = |user: Option<&str>, settings: &Settings| {
        let forged = AMQPValue::LongString("svc-orders".into());
        let mut message =
            entries(vec![("chancery-sender", forged.clone()), ("Chancery-Sender", forged)]);
        if let Some(user) = user {
            message.properties = message.properties.with_user_id(user.into());
        }
        delivery(message, "a", settings).fields
    };
    let known = settings(|config| config.users = [("orders".into(), "svc-orders".into())].into());
    let said = |producer: &'static str| vec![Field::new("chancery-sender", producer)];
    assert_eq!(by(Some("orders"), &known), said("svc-orders"));
    assert_eq!(by(Some("mallory"), &known), said(""));
    assert_eq!(by(None, &known), said(""));
    assert_eq!(by(Some("orders"), &settings(|_| {})).len(), 2, "without `users` nobody vouches");
}
