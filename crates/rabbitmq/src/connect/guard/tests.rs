// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap();
    [&[kind, 0, 1], &size.to_be_bytes()[..], payload, &[END]].concat()
}

fn short_text(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A content header whose table has these entries.
fn with_table(entries: &[u8]) -> Vec<u8> {
    let fixed = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    frame(HEADER, &[&fixed[..], &HEADERS.to_be_bytes(), &long(entries)].concat())
}

fn delivery(key: &[u8]) -> Vec<u8> {
    let tag = [short_text(b"c"), vec![0, 0, 0, 0, 0, 0, 0, 7, 1]].concat();
    frame(METHOD, &[&DELIVER[..], &tag, &short_text(b"orders"), &short_text(key)].concat())
}

fn nested(levels: usize) -> Vec<u8> {
    let mut value = vec![b'V'];
    for _ in 0..levels {
        value = [&[b'A'][..], &long(&value)].concat();
    }
    [short_text(b"deep"), value].concat()
}

fn passed(bytes: &[u8], chunk: usize) -> Vec<u8> {
    let (mut guard, mut out) = (Guard::default(), Vec::new());
    for part in bytes.chunks(chunk) {
        guard.pass(part, &mut out).unwrap();
    }
    out
}

#[test]
fn what_can_be_read_goes_through_as_it_is_however_it_is_cut() {
    let text = [short_text(b"name"), vec![b'S'], long(b"\xff\0 any bytes")].concat();
    let every_type = b"\x01at\x01\x01bb\x01\x01cs\0\x01\x01dI\0\0\0\x01\x01eD\0\0\0\0\x01\x01fV";
    let good = [
        delivery("größe".as_bytes()),
        with_table(&text),
        frame(3, &[b'x'; 300]),
        frame(HEARTBEAT, b""),
        with_table(every_type),
        with_table(&nested(8)),
        frame(3, b""),
    ]
    .concat();
    for chunk in [1, 2, 7, 64, good.len()] {
        assert!(passed(&good, chunk) == good, "in pieces of {chunk}");
    }
    let greeting = b"AMQP\0\0\x09\x01 and anything after it";
    assert_eq!(passed(greeting, 3), greeting);
}

// Threat: one message whose properties end every connection that is to read it, for ever.
#[test]
fn properties_that_cannot_be_read_arrive_as_one_field() {
    let not_utf8 = [short_text(b"\xff"), vec![b'V']].concat();
    let unknown_type = [short_text(b"a"), vec![b'?']].concat();
    let cut = [short_text(b"a"), vec![b'S', 0, 0, 0, 9, b'x']].concat();
    for entries in [not_utf8, unknown_type, cut, nested(17), nested(20_000)] {
        let bad = with_table(&entries);
        for chunk in [5, bad.len()] {
            let given = passed(&bad, chunk);
            assert!(given != bad);
            let payload = &given[7..given.len() - 1];
            assert_eq!(given[3..7], u32::try_from(payload.len()).unwrap().to_be_bytes());
            assert!(readable(&payload[12..]));
            assert_eq!(payload[..12], bad[7..19]);
            let kept = &payload[payload.len() - (bad.len() - 8 - 12)..];
            assert!(kept == &bad[19..bad.len() - 1], "the bytes are not there whole");
        }
    }
}

#[test]
fn what_replaces_the_largest_header_is_not_too_large() {
    let room = FRAME_BYTES_MAX as usize - 8 - 12 - 2 - 4;
    let entries = [&b"\x01\xff"[..], &vec![b'V'; room - 2]].concat();
    let given = passed(&with_table(&entries), 4096);
    assert!(given.len() <= FRAME_BYTES_MAX as usize);
    assert!(readable(&given[19..given.len() - 1]));
}

#[test]
fn a_routing_key_that_is_not_text_is_shown_as_text() {
    assert_eq!(passed(&delivery(b"a\xff"), 3), delivery("a\u{fffd}".as_bytes()));
    let long = passed(&delivery(&[0xff; 255]), 1000);
    assert_eq!(long, delivery("\u{fffd}".repeat(85).as_bytes()));
}

#[test]
fn a_method_beyond_what_was_agreed_is_an_error_before_it_is_held() {
    let huge = [METHOD, 0, 1, 0x7f, 0xff, 0xff, 0xff];
    assert_eq!(Guard::default().pass(&huge, &mut Vec::new()), Err(TooLarge));
}

fn tune(frame_max: u32) -> Vec<u8> {
    frame(METHOD, &[&TUNE[..], &[7, 255], &frame_max.to_be_bytes(), &[0, 60]].concat())
}

/// A good content header in a frame of `whole` octets.
fn header_of(whole: usize) -> Vec<u8> {
    let fill = whole - with_table(&[short_text(b"a"), vec![b'S'], long(b"")].concat()).len();
    with_table(&[short_text(b"a"), vec![b'S'], long(&vec![b'x'; fill])].concat())
}

// Threat: properties as large as a publisher may send them, to which the server adds some, end
// every connection that is to read them, for ever.
#[test]
fn a_header_that_is_too_large_arrives_as_one_field() {
    for (said, most) in [(0, 131_072), (131_072, 131_072), (1 << 20, 131_072), (8192, 8192)] {
        let agreed = tune(said);
        let fits = header_of(most);
        assert!(passed(&[&*agreed, &fits].concat(), 4096) == [&*agreed, &fits].concat());
        for whole in [most + 1, most + 8, 3 * most] {
            let after = delivery(b"after");
            let all = [&*agreed, &header_of(whole), &after].concat();
            for chunk in [1000, all.len()] {
                let given = passed(&all, chunk);
                let given = given.strip_prefix(&*agreed).unwrap();
                let header = given.strip_suffix(&*after).expect("the rest goes through");
                assert!(header.len() <= most && header.len() > most - 64);
                assert_eq!(header[7..19], all[agreed.len() + 7..][..12]);
                assert!(readable(&header[19..header.len() - 1]));
                assert_eq!(header[26..][..UNREADABLE.len()], *UNREADABLE.as_bytes());
            }
        }
    }
}

// Threat: a stranger's bodies fill the memory of whoever must refuse them.
#[test]
fn a_body_that_is_too_large_is_left_out() {
    let header = |body: u64| {
        let mut header = with_table(&[short_text(b"a"), vec![b'V']].concat());
        header[11..19].copy_from_slice(&body.to_be_bytes());
        header
    };
    let most = BODY_BYTES_MAX as u64;
    let part = frame(BODY, &vec![b'x'; 1 << 16]);
    let body = part.repeat(BODY_BYTES_MAX >> 16);
    let whole = [header(most), body.clone()].concat();
    assert!(passed(&whole, 1 << 16) == whole);
    let other = [&[BODY, 0, 2, 0, 0, 0, 5][..], b"other", &[END]].concat();
    let oversized = [header(most + 1), other.clone(), body, frame(BODY, b"y")].concat();
    let next = [header(4), frame(BODY, b"next")].concat();
    let given = passed(&[&*oversized, &next].concat(), 1 << 16);
    let given = given.strip_suffix(&*next).expect("what follows goes through");
    let first = given.strip_suffix(&*other).expect("other channels go through");
    assert_eq!(first[11..19], [0; 8]);
    assert!(readable(&first[19..first.len() - 1]));
    assert_eq!(first[26..][..OVERSIZED.len()], *OVERSIZED.as_bytes());
}

#[test]
fn the_server_says_who_it_is() {
    let said = [
        [short_text(b"capabilities"), vec![b'F'], long(b"\x01at\x01")].concat(),
        [short_text(b"product"), vec![b'S'], long(b"RabbitMQ")].concat(),
        [short_text(b"version"), vec![b'S'], long(b"4.0.5")].concat(),
    ]
    .concat();
    let (mut guard, mut out) = (Guard::default(), Vec::new());
    let start = frame(METHOD, &[&START[..], &[0, 9], &long(&said)].concat());
    guard.pass(&start, &mut out).unwrap();
    assert_eq!(guard.server.as_deref(), Some("RabbitMQ 4.0.5"));
    assert_eq!(out, start);
}
