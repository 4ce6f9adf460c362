// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into a queue comes out as it was, and what is not ours stays as it is.

use super::*;

const H: &str = r#"{"id":"a~b","act":"}~","x":1}"#;
const SIG: &str = "1;AAAAAAAAAAAAAAAAAAAAAA:bbbb";
const SALT_TEXT: &str = "cccccccccccccccccccccc";

fn sealed(fields: &[(&str, &[u8])], key: Option<&[u8]>, body: &[u8]) -> Sealed {
    let field = |(name, value): &(&str, &[u8])| Field::new(*name, value.to_vec());
    Sealed {
        stream: "orders.created".into(),
        event_id: "event-0001".into(),
        message_id: [7; 32],
        fields: fields.iter().map(field).collect(),
        key: key.map(Bytes::copy_from_slice),
        body: Bytes::copy_from_slice(body),
    }
}

fn signed<'f>(more: &[(&'f str, &'f [u8])]) -> Vec<(&'f str, &'f [u8])> {
    [&[(HEADER, H.as_bytes()), (SIGNATURE, SIG.as_bytes())], more].concat()
}

/// What a queue would hand over.
fn message(group: &str, attributes: &[(String, MessageAttributeValue)], body: &str) -> Message {
    let mut message = Message::builder()
        .message_id("11-22")
        .receipt_handle("handle")
        .body(body)
        .attributes(System::MessageGroupId, group)
        .attributes(System::SentTimestamp, "1790000000123")
        .attributes(System::ApproximateReceiveCount, "3");
    for (name, value) in attributes {
        message = message.message_attributes(name, value.clone());
    }
    message.build()
}

fn arrive(outgoing: &Outgoing) -> Delivery {
    let entry = outgoing.entry(0, true).unwrap();
    let attributes: Vec<_> = outgoing.attributes.clone().into_iter().collect();
    let group = entry.message_group_id().unwrap();
    let message = message(group, &attributes, entry.message_body());
    delivery("orders.created", "q.fifo", Via::Direct, &BTreeMap::new(), message).unwrap().0
}

fn fields(delivery: &Delivery) -> Vec<(&str, &[u8])> {
    delivery.fields.iter().map(|field| (&*field.name, &*field.value)).collect()
}

#[test]
fn header_signature_and_salt_travel_in_one_attribute() {
    let salted = signed(&[(SALT, SALT_TEXT.as_bytes())]);
    for given in [signed(&[]), salted, signed(&[("traceparent", b"00-1"), ("y", b"")])] {
        let outgoing = Outgoing::of(&sealed(&given, Some(b"k"), b"{}")).unwrap();
        assert!(!outgoing.attributes.contains_key(SIGNATURE));
        let delivery = arrive(&outgoing);
        let mut expected = given.clone();
        expected.sort();
        assert_eq!(fields(&delivery), expected);
        assert_eq!(delivery.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(delivery.position, "q.fifo/11-22");
        assert_eq!(delivery.appended, AppendTime::Broker(Timestamp(1_790_000_000_123)));
        assert_eq!(delivery.deliveries, 3);
    }
}

// Threat: a header that is cut at the wrong place verifies nowhere, and the event is lost.
#[test]
fn what_cannot_be_taken_apart_again_is_not_joined() {
    for odd in [
        vec![(HEADER, &b"no brace"[..]), (SIGNATURE, b"s")],
        vec![(HEADER, &b"{}"[..]), (SIGNATURE, b"s~t")],
        vec![(HEADER, &b"{}"[..]), (SIGNATURE, b"a}~b")],
        vec![(HEADER, &b"{}"[..]), (SIGNATURE, b"")],
        vec![(HEADER, &b"{}"[..]), (SIGNATURE, b"s"), (SALT, b"a~b")],
        vec![(HEADER, &b"{\xff}"[..]), (SIGNATURE, b"s")],
        vec![(HEADER, &b"{}"[..])],
        vec![(SIGNATURE, &b"s"[..])],
    ] {
        let outgoing = Outgoing::of(&sealed(&odd, None, b"{}")).unwrap();
        let mut expected = odd.clone();
        expected.sort();
        assert_eq!(fields(&arrive(&outgoing)), expected);
    }
}

// Threat: one consumer reads the signature of the attribute, another the one in the header.
#[test]
fn a_second_signature_beside_a_whole_header_stays_a_second_one() {
    let forged = [
        (HEADER.to_owned(), text("String", &format!("{H}~{SIG}"))),
        (SIGNATURE.to_owned(), text("String", "1;forged")),
    ];
    let (delivery, _) =
        delivery("s", "q", Via::Direct, &BTreeMap::new(), message("k", &forged, "{}")).unwrap();
    let names: Vec<&str> = delivery.fields.iter().map(|field| &*field.name).collect();
    assert_eq!(names, [HEADER, SIGNATURE, SIGNATURE]);
}

#[test]
fn an_attribute_that_does_not_split_is_left_as_it_is() {
    for value in ["{}", "{}~", "~", "{}~a~b~c", "{}~~salt", "", "{} ~s"] {
        let raw = [(HEADER.to_owned(), attribute(value.as_bytes()))];
        let (delivery, _) =
            delivery("s", "q", Via::Direct, &BTreeMap::new(), message("k", &raw, "{}")).unwrap();
        assert_eq!(fields(&delivery), [(HEADER, value.as_bytes())], "{value}");
    }
}

#[test]
fn any_body_comes_back_as_it_was() {
    for body in [
        &b"{\"a\": 1}"[..],
        b"",
        b"-",
        b"\0\x01\x02",
        b"\xff\xfe",
        b"tab\there\r\n",
        b"bell\x07",
        "\u{fffe}".as_bytes(),
        "caf\u{e9} \u{1f600}".as_bytes(),
    ] {
        let outgoing = Outgoing::of(&sealed(&signed(&[]), None, body)).unwrap();
        let entry = outgoing.entry(0, true).unwrap();
        assert!(is_text(entry.message_body()) && !entry.message_body().is_empty());
        let delivery = arrive(&outgoing);
        assert_eq!(delivery.body.as_deref(), Some(body));
        assert_eq!(delivery.fields.len(), 2);
    }
}

// Threat: a body that is read as something else than what arrived.
#[test]
fn a_mark_that_is_no_encoding_stays_with_its_body() {
    for (mark, body) in [("b64", "not base64!"), ("b64", "QQ"), ("empty", "full"), ("gzip", "QQ==")]
    {
        let raw = [(ENCODING.to_owned(), text("String", mark))];
        let (delivery, _) =
            delivery("s", "q", Via::Direct, &BTreeMap::new(), message("k", &raw, body)).unwrap();
        assert_eq!(fields(&delivery), [(ENCODING, mark.as_bytes())]);
        assert_eq!(delivery.body.as_deref(), Some(body.as_bytes()));
    }
}

#[test]
fn any_key_comes_back_as_it_was_and_two_keys_are_two_groups() {
    let mut groups = BTreeSet::new();
    for first in 0..=255u8 {
        for key in [vec![first], vec![first, b'%'], vec![b'%', first], vec![b'2', first, b'5']] {
            let group = escape(&key).unwrap();
            assert!(group.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{group}");
            assert_eq!(unescape(&group).as_deref(), Some(&key[..]), "{group}");
            groups.insert((group, key));
        }
    }
    let distinct: BTreeSet<&String> = groups.iter().map(|(group, _)| group).collect();
    assert_eq!(distinct.len(), groups.len());
    assert_eq!(escape("order-17/a".as_bytes()).unwrap(), "order-17/a");
}

// Threat: a signed message again under another spelling of its group, with another receiver.
#[test]
fn a_group_that_nobody_of_us_wrote_is_nobodys_key() {
    for group in ["50%", "%zz", "%2", "%2f", "%\u{e9}", "%41", "order%2D17"] {
        let key = unescape(group).unwrap();
        assert_eq!(key.first(), Some(&0), "{group} is a key that can be signed");
    }
}

// Threat: an unkeyed message that blocks, or is blocked by, whatever somebody else calls so.
#[test]
fn no_key_is_nobodys_group() {
    let message = |more: &[u8]| {
        let fields = signed(&[("n", more)]);
        Outgoing::of(&sealed(&fields, None, b"{}")).unwrap()
    };
    let group = |outgoing: &Outgoing| outgoing.entry(0, true).unwrap().message_group_id;
    let (one, other) = (message(b"1"), message(b"2"));
    assert_ne!(group(&one), group(&other));
    assert_eq!(group(&one), group(&message(b"1")), "a copy has another group");
    assert_eq!(arrive(&one).key, None);
    let ours = group(&one).unwrap();
    assert_eq!(unescape(&escape(ours.as_bytes()).unwrap()).as_deref(), Some(ours.as_bytes()));
    assert_eq!(one.entry(0, false).unwrap().message_group_id, None);
}

// Threat: whoever knows the id first sends something under it, and SQS drops the real message.
#[test]
fn the_deduplication_id_is_of_the_signature_and_no_other() {
    let id = |fields: &[(&str, &[u8])]| {
        let outgoing = Outgoing::of(&sealed(fields, Some(b"k"), b"{}")).unwrap();
        outgoing.entry(0, true).unwrap().message_deduplication_id.unwrap()
    };
    let first = id(&signed(&[]));
    assert_eq!(first, id(&signed(&[])), "a copy is another message");
    assert_ne!(first, id(&[(HEADER, H.as_bytes()), (SIGNATURE, b"1;other")]));
    assert_ne!(first, id(&[(HEADER, b"{}"), (SIGNATURE, SIG.as_bytes())]));
    assert_eq!(first.len(), 22);
    assert_ne!(id(&[("x", b"1")]), id(&[("x", b"1")]), "unsigned messages are not one");
}

#[test]
fn what_sqs_cannot_carry_is_refused_before_it_is_sent() {
    let eleven: Vec<String> = (0..11).map(|n| format!("f{n}")).collect();
    let eleven: Vec<(&str, &[u8])> = eleven.iter().map(|name| (&**name, &b"v"[..])).collect();
    let long = [b'k'; 129];
    let short = [b' '; 43];
    for (fields, key, word) in [
        (eleven, None, "header fields"),
        (vec![("a", &b"1"[..]), ("a", b"1")], None, "twice"),
        (vec![("te", b"b64")], None, "encoded"),
        (vec![("AWS.trace", b"1")], None, "name"),
        (vec![("amazon.x", b"1")], None, "name"),
        (vec![("", b"1")], None, "name"),
        (vec![(".a", b"1")], None, "name"),
        (vec![("a..b", b"1")], None, "name"),
        (vec![("a b", b"1")], None, "name"),
        (vec![], Some(&long[..]), "129 characters"),
        (vec![], Some(&short[..]), "129 characters"),
        (vec![], Some(b""), "0 characters"),
    ] {
        let fault = Outgoing::of(&sealed(&fields, key, b"{}")).unwrap_err();
        assert!(fault.detail.contains(word) && fault.detail.contains("event-0001"), "{fault}");
    }
}

#[test]
fn too_large_is_told_with_both_numbers_and_no_payload() {
    let large = sealed(&signed(&[]), None, &vec![b'x'; 300_000]);
    let outgoing = Outgoing::of(&large).unwrap();
    let size = 300_000 + HEADER.len() + "String".len() + H.len() + 1 + SIG.len();
    assert_eq!(outgoing.bytes, size);
    assert!(outgoing.fits(size, &large).is_ok());
    let fault = outgoing.fits(size - 1, &large).unwrap_err();
    assert!(fault.detail.contains(&size.to_string()) && fault.detail.len() < 200, "{fault}");
}

// Threat: the first of a key fails alone, and is sent again behind the second.
#[test]
fn no_two_of_a_group_are_in_one_batch_and_none_goes_before_an_earlier_one() {
    let of = |group: Option<&str>, bytes| Outgoing {
        group: group.map(str::to_owned),
        bytes,
        dedup: String::new(),
        body: String::new(),
        attributes: BTreeMap::new(),
    };
    let all = [
        of(Some("a"), 10),
        of(Some("a"), 10),
        of(Some("b"), 95),
        of(Some("b"), 1),
        of(None, 10),
        of(None, 10),
        of(Some("c"), 10),
    ];
    assert_eq!(next_batch(&[0, 1, 2, 3, 4, 5, 6], &all, 100), [0, 4, 5, 6]);
    assert_eq!(next_batch(&[1, 2, 3], &all, 100), [1]);
    assert_eq!(next_batch(&[2, 3], &all, 10), [2], "one alone may be larger than a batch");
    let many: Vec<Outgoing> = (0..25).map(|_| of(None, 1)).collect();
    assert_eq!(next_batch(&(0..25).collect::<Vec<_>>(), &many, 100).len(), 10);
}

#[test]
fn what_sns_wrapped_is_unwrapped_and_nothing_else() {
    let wrapped = serde_json::json!({
        "Type": "Notification", "MessageId": "m", "TopicArn": "arn:x", "Message": "AAH/",
        "Timestamp": "2026-11-28T00:00:00.000Z",
        "MessageAttributes": {
            HEADER: {"Type": "String", "Value": format!("{H}~{SIG}")},
            "te": {"Type": "String", "Value": "b64"},
            "b": {"Type": "Binary", "Value": "AAE="},
        },
    });
    let arrive = |via, body: &str| {
        delivery("s", "q", via, &BTreeMap::new(), message("k", &[], body)).unwrap().0
    };
    let got = arrive(Via::Sns, &wrapped.to_string());
    let expected = [("b", &b"\0\x01"[..]), (HEADER, H.as_bytes()), (SIGNATURE, SIG.as_bytes())];
    assert_eq!(fields(&got), expected);
    assert_eq!(got.body.as_deref(), Some(&b"\0\x01\xff"[..]));
    // Threat: a document that is meant as it is, read as another's.
    let as_it_is = arrive(Via::Direct, &wrapped.to_string());
    assert_eq!(as_it_is.body.as_deref(), Some(wrapped.to_string().as_bytes()));
    for other in ["{}", "[]", "text", r#"{"Type":"Other","Message":"x"}"#, "{\"Type\":1}"] {
        assert_eq!(arrive(Via::Sns, other).body.as_deref(), Some(other.as_bytes()));
    }
}

// Threat: a stolen key, used with another login; a client that vouches for itself.
#[test]
fn the_sender_is_whom_aws_vouches_for_and_nobody_else() {
    let users = BTreeMap::from([("AIDAORDERS".to_owned(), "orders".to_owned())]);
    let forged = ["chancery-sender", "Chancery-Sender"]
        .map(|name| (name.to_owned(), text("String", "orders")));
    for (id, producer) in [("AIDAORDERS", "orders"), ("AIDAMALLORY", ""), ("", "")] {
        let mut message = message("k", &forged, "{}");
        let system = message.attributes.get_or_insert_default();
        system.insert(System::SenderId, id.to_owned());
        let (told, _) = delivery("s", "q", Via::Direct, &users, message).unwrap();
        assert_eq!(fields(&told), [(SENDER, producer.as_bytes())], "{id}");
    }
}

#[test]
fn a_message_without_id_or_handle_is_none() {
    let nameless = Message::builder().receipt_handle("h").body("b").build();
    assert!(delivery("s", "q", Via::Direct, &BTreeMap::new(), nameless).is_none());
    let held = Message::builder().message_id("m").body("b").build();
    assert!(delivery("s", "q", Via::Direct, &BTreeMap::new(), held).is_none());
}

#[test]
fn without_a_time_of_the_broker_there_is_none() {
    let bare = Message::builder().message_id("m").receipt_handle("h").body("b");
    let lies = bare.attributes(System::SentTimestamp, "yesterday").build();
    let (delivery, _) = delivery("s", "q", Via::Direct, &BTreeMap::new(), lies).unwrap();
    assert_eq!((delivery.appended, delivery.deliveries), (AppendTime::Unknown, 1));
}
