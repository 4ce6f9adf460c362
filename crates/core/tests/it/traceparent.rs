// SPDX-License-Identifier: MIT OR Apache-2.0
//! W3C traceparents, `vectors/traceparent.txt`.

use chancery_core::text::is_traceparent;

use super::files::lines;

#[test]
fn every_traceparent_is_ruled_as_written() {
    let cases = lines("traceparent.txt");
    assert!(cases.len() > 40);
    for line in cases {
        let (verdict, quoted) = line.split_once(' ').unwrap();
        let value = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
        assert_eq!(is_traceparent(value), verdict == "accept", "{line}");
    }
}

/// A tail that a later version may add ends in HTTP headers and logs.
#[test]
fn a_tail_cannot_carry_control_characters_or_be_endless() {
    let head = "cc-12345678901234567890123456789012-1234567890123456-01-";
    for tail in ["\r\nset-cookie: a", "\0", "\u{7f}", "é", "a b", "\t"] {
        assert!(!is_traceparent(&format!("{head}{tail}")), "{tail:?}");
    }
    let room = 256 - head.len();
    assert!(is_traceparent(&format!("{head}{}", "a".repeat(room))));
    assert!(!is_traceparent(&format!("{head}{}", "a".repeat(room + 1))));
}
