// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subjects, header blocks and acknowledgements, also those that nobody of ours has written.

use proptest::prelude::*;

use super::*;

fn sealed(fields: Vec<Field>, key: Option<&[u8]>) -> Sealed {
    Sealed {
        stream: "orders.created".into(),
        event_id: "e".into(),
        message_id: [7; 32],
        fields,
        key: key.map(Bytes::copy_from_slice),
        body: Bytes::from_static(b"b"),
    }
}

fn sent(fields: Vec<Field>) -> Result<Outgoing, String> {
    outgoing(&sealed(fields, None), "orders.created", "orders_created")
}

#[test]
fn plain_keys_stay_readable() {
    for (key, of) in [
        (Some(&b"order-42"[..]), "order-42"),
        (Some(b"a@b:c/d+e_f"), "a@b:c/d+e_f"),
        (Some(b"a.b"), "a=2Eb"),
        (Some(b"*"), "=2A"),
        (Some(b">"), "=3E"),
        (Some(b"a=b"), "a=3Db"),
        (Some("Zürich".as_bytes()), "Z=C3=BCrich"),
        (Some(b"_"), "=5F"),
        (Some(b""), "="),
        (None, "_"),
    ] {
        assert_eq!(token(key), of);
        assert_eq!(super::key(of).as_deref(), key);
    }
}

// Threat: a second spelling of a key's subject passes for that key, past what its producer may.
#[test]
fn another_spelling_is_another_key() {
    for other in ["=41", "=2a", "a=3", "a=", "=zz", "=+1", "a b", "=C3=BC=2e"] {
        assert_eq!(super::key(other).as_deref(), Some(other.as_bytes()), "{other}");
    }
}

proptest! {
    #[test]
    fn every_key_has_a_token_of_its_own(
        one in prop::collection::vec(any::<u8>(), 0..256),
        other in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        let of = token(Some(&one));
        prop_assert!(!of.is_empty() && of != NO_KEY);
        prop_assert!(!of.contains(|c: char| !c.is_ascii_graphic() || ".*>".contains(c)));
        let read = super::key(&of);
        prop_assert_eq!(read.as_deref(), Some(&one[..]));
        prop_assert_eq!(token(Some(&other)) == of, other == one);
    }

    #[test]
    fn any_header_block_is_read_or_none(
        block in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        let block = Bytes::from(block);
        let read = fields(&block);
        prop_assert!(read.len() <= FIELDS_MAX);
        let bytes: usize = read.iter().map(|field| field.value.len()).sum();
        prop_assert!(bytes <= block.len());
    }

    #[test]
    fn any_subject_of_an_acknowledgement_is_read_or_none(reply in "[$JSACK0-9a-z.]{0,60}") {
        let _ = placed(&reply);
    }

    #[test]
    fn fields_come_back_as_they_went(
        pairs in prop::collection::vec(("[!-9;-~]{1,20}", "[ -~]{0,40}"), 0..20)
    ) {
        let mut all: Vec<Field> =
            pairs.into_iter().map(|(name, value)| Field::new(name, value)).collect();
        let out = sent(all.clone()).unwrap();
        all.retain(|field| !is_control(&field.name));
        let id = all.iter().any(|field| field.name == "chancery");
        let mut read = fields(&Bytes::from(out.head));
        read.truncate(read.len() - 1 - usize::from(id));
        prop_assert!(read == all);
    }
}

// Threat: signatures are over bytes; what trims, merges, sorts or hides breaks them or hides an
// attack.
#[test]
fn fields_are_read_as_they_stand() {
    let head = Bytes::from_static(
        b"NATS/1.0\r\nChancery: 1\r\nchancery:{}\r\nchancery:  a b \r\nx: a\rb\nc\r\nno colon\r\n\
          \xff: \xfe\r\n: \r\n\r\n",
    );
    let read: Vec<(String, Vec<u8>)> =
        fields(&head).into_iter().map(|field| (field.name, field.value.to_vec())).collect();
    let want: [(&str, &[u8]); 7] = [
        ("Chancery", b"1"),
        ("chancery", b"{}"),
        ("chancery", b" a b "),
        ("x", b"a\rb\nc"),
        ("no colon", b""),
        ("\u{fffd}", b"\xfe"),
        ("", b""),
    ];
    let want: Vec<(String, Vec<u8>)> =
        want.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    assert_eq!(read, want);
    assert!(fields(&Bytes::new()).is_empty());
}

// Threat: a message of a megabyte of empty fields is a hundred times that in memory.
#[test]
fn no_more_fields_are_read_than_are_refused() {
    let head = [&b"NATS/1.0\r\n"[..], &b"a:\r\n".repeat(10_000), b"\r\n"].concat();
    assert_eq!(fields(&Bytes::from(head)).len(), FIELDS_MAX);
}

#[test]
fn what_a_header_cannot_hold_is_refused_and_orders_are_left_out() {
    for (name, value) in
        [("", "v"), ("a:b", "v"), ("a", "v\r\nNats-Rollup: all"), ("a\n", "v"), ("a", "\0")]
    {
        assert!(sent(vec![Field::new(name, value)]).is_err(), "{name:?}: {value:?}");
    }
    let orders = ["Nats-Rollup", "nats-rollup", "NATS-TTL", "Nats-Msg-Id", "Nats-Schedule"];
    let out = sent(orders.iter().map(|name| Field::new(*name, "all")).collect()).unwrap();
    assert_eq!(out.head, b"NATS/1.0\r\nNats-Expected-Stream: orders_created\r\n\r\n");
    let long = [b'k'; KEY_BYTES_MAX + 1];
    assert!(outgoing(&sealed(Vec::new(), Some(&long)), "a", "a").is_err());
}

// Threat: who can say a message's id before it is there makes the server drop it.
#[test]
fn the_id_is_of_the_signed_header() {
    let with = |header: &'static str| sent(vec![Field::new("chancery", header)]).unwrap();
    let (one, other) = (with("{\"a\":1}"), with("{\"a\":2}"));
    // sha256sum of `chancery/dd/1{"a":1}`, its first 16 bytes in base64url.
    assert_eq!(one.id.as_deref(), Some("KeFekIJPSFtqlXJMNzJjlA"));
    assert_ne!(one.id, other.id);
    let line = format!("Nats-Msg-Id: {}\r\n", one.id.unwrap());
    assert!(String::from_utf8(one.head).unwrap().contains(&line));
}

fn message(subject: &str, head: &'static [u8]) -> Message {
    Message {
        subject: subject.into(),
        sid: 2,
        reply: None,
        head: Bytes::from_static(head),
        payload: Bytes::new(),
    }
}

#[test]
fn only_the_servers_own_pin_is_taken_off() {
    let mut both =
        message("s", b"NATS/1.0\r\nNats-Pin-Id: mine\r\na: 1\r\nNats-Pin-Id: its\r\n\r\n");
    assert_eq!(take_pin(&mut both).as_deref(), Some("its"));
    assert_eq!(both.head.as_ref(), b"NATS/1.0\r\nNats-Pin-Id: mine\r\na: 1\r\n\r\n");
    let mut alone = message("s", b"NATS/1.0\r\nNats-Pin-Id: its\r\n\r\n");
    assert_eq!(take_pin(&mut alone).as_deref(), Some("its"));
    assert!(fields(&alone.head).is_empty());
    // Threat: a stored block without a line's end hides the pin, or gives another.
    let mut bare = message("s", b"NATS/1Nats-Pin-Id: its\r\n\r\n");
    assert_eq!(take_pin(&mut bare).as_deref(), Some("its"));
    assert!(fields(&bare.head).is_empty());
    let mut glued = message("s", b"NATS/1.0\r\nNats-Pin-Id: AAAANats-Pin-Id: its\r\n\r\n");
    assert_eq!(take_pin(&mut glued).as_deref(), Some("its"));
    assert_eq!(fields(&glued.head), [Field::new("Nats-Pin-Id", "AAAA")]);
    for head in [&b""[..], b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nNats-Pin-Id: a\r\nb: 1\r\n\r\n"] {
        assert_eq!(take_pin(&mut message("s", head)), None);
    }
}

#[test]
fn an_acknowledgements_subject_says_where_a_message_is() {
    let want = Placed {
        stream: "orders_created".into(),
        consumer: "billing".into(),
        deliveries: 2,
        sequence: 42,
        appended: Timestamp(1_700_000_000_123),
    };
    let short = "$JS.ACK.orders_created.billing.2.42.7.1700000000123456789.0";
    let long = "$JS.ACK._.hash.orders_created.billing.2.42.7.1700000000123456789.0.token";
    assert_eq!(placed(short).as_ref(), Some(&want));
    assert_eq!(placed(long).as_ref(), Some(&want));
    for bad in
        ["", "_INBOX.a", "$JS.ACK.a.b.1.2.3", "$JS.ACK.a.b.1.x.3.4.5", "$JS.ACK.a.b.1.2.3.x.5"]
    {
        assert_eq!(placed(bad), None, "{bad}");
    }
}

// Threat: a message on another subject of the same stream has the key that its sender likes.
#[test]
fn a_key_is_of_the_streams_own_subjects() {
    let at = placed("$JS.ACK.s.c.1.42.7.1700000000123456789.0").unwrap();
    let key = |subject: &str| delivery(&message(subject, b""), &at, "orders.created", "a.b").key;
    assert_eq!(key("a.b.k").as_deref(), Some(&b"k"[..]));
    assert_eq!(key("a.b._"), None);
    for other in ["a.b", "a.b.c.k", "a.bk", "z.k"] {
        assert_eq!(key(other).as_deref(), Some(other.as_bytes()), "{other}");
    }
}
