// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grammars at their bounds: what slips through here ends in logs, subjects and state keys.

use proptest::prelude::*;

use super::*;

fn judge(is: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(is(text), "{text:?}");
    }
    for text in bad {
        assert!(!is(text), "{text:?}");
    }
}

/// What would break a log line, a path, a subject or a header wherever it lands.
const HOSTILE: [&str; 9] = ["", "a b", "a\nb", "a\0b", "é123456789", "a/b", "../etc", "a*b", "a>b"];

#[test]
fn names_hold_nothing_hostile() {
    let long = "a".repeat(64);
    judge(is_name, &["a", "t_123", "0", "a.b-c_d", &long], &["-a", ".a", "_a", "a:b"]);
    judge(is_producer, &["svc", "a-b"], &["ab", "", "-abc"]);
    judge(is_dotted, &["orders.created", "a", "-", "A_1.b-2"], &[".a", "a.", "a..b", "a:b"]);
    judge(is_event_id, &["0123456789", "a.b_c:d-ef"], &["012345678"]);
    for is in [is_name, is_producer, is_dotted, is_event_id] {
        judge(is, &[], &HOSTILE);
    }
    for (is, max) in [(is_name as fn(&str) -> bool, 64), (is_event_id, 64), (is_dotted, 128)] {
        assert!(is(&"a".repeat(max)) && !is(&"a".repeat(max + 1)));
    }
}

#[test]
fn content_types_have_no_parameters_and_one_case() {
    judge(
        is_content_type,
        &["application/json", "application/vnd.a+json", "a/b"],
        &["json", "a/", "/b", "a/b/c", "a/b;c=d", "A/b", "a/b c", "", "a/\u{e9}"],
    );
    assert!(!is_content_type(&format!("a/{}", "b".repeat(127))));
}

/// Two spellings of one value would be two identities of one key.
#[test]
fn base64url_has_one_spelling() {
    assert_eq!(from_b64u::<1>("_w"), Some([0xff]));
    for text in ["_x", "_w=", "_w==", "/w", " _w", "_w ", "_", "_ww", "", "\u{e9}"] {
        assert_eq!(from_b64u::<1>(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn base64url_and_back(bytes: [u8; 16]) {
        prop_assert_eq!(from_b64u::<16>(&b64u(&bytes)), Some(bytes));
    }

    #[test]
    fn only_the_canonical_spelling_decodes(text in "[A-Za-z0-9_-]{22}") {
        if let Some(bytes) = from_b64u::<16>(&text) {
            prop_assert_eq!(b64u(&bytes), text);
        }
    }

    #[test]
    fn hexadecimal_is_two_digits_a_byte(bytes: Vec<u8>) {
        let expected: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        prop_assert_eq!(hex(&bytes), expected);
    }

    #[test]
    fn no_grammar_panics(text in "\\PC*") {
        for is in [is_name, is_producer, is_dotted, is_event_id, is_content_type, is_traceparent] {
            let _ = is(&text);
        }
    }
}
