// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threats: parsers that disagree (protocol.md 1, row 20), and documents made to be dear (row 21).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn strict(bytes: &[u8]) -> Result<Value<'_>, ReadError> {
    read(bytes, &Limits::DEFAULT)
}

#[track_caller]
fn refused(document: &str, kind: ReadErrorKind, at: usize) {
    assert_eq!(strict(document.as_bytes()).unwrap_err(), ReadError { at, kind }, "{document}");
}

fn suite() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/third_party/json_test_suite")
}

/// `verdicts.txt`: `name verdict why`, one line each.
fn verdicts() -> BTreeMap<String, bool> {
    let text = std::fs::read_to_string(suite().join("verdicts.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let verdict = |line: &str| {
        let mut words = line.splitn(3, ' ').map(str::trim);
        let (name, verdict) = (words.next().unwrap(), words.next().unwrap());
        assert!(!words.next().unwrap().is_empty(), "{name}: no reason given");
        assert!(matches!(verdict, "accept" | "refuse"), "{name}: {verdict}");
        (name.to_owned(), verdict == "accept")
    };
    lines.map(verdict).collect()
}

#[test]
fn json_test_suite_agrees() {
    let mut verdicts = verdicts();
    let mut seen = BTreeMap::<char, usize>::new();
    for entry in std::fs::read_dir(suite().join("test_parsing")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        let expected = match name.split_once('_').unwrap().0 {
            "y" => !name.starts_with("y_object_duplicated_key"),
            "n" => false,
            _ => verdicts.remove(&name).unwrap_or_else(|| panic!("{name}: no verdict written")),
        };
        assert_eq!(strict(&bytes).is_ok(), expected, "{name}: {:?}", strict(&bytes).err());
        *seen.entry(name.chars().next().unwrap()).or_default() += 1;
    }
    assert!(verdicts.is_empty(), "verdicts about no file: {verdicts:?}");
    assert_eq!(seen, BTreeMap::from([('i', 35), ('n', 188), ('y', 95)]));
}

#[test]
fn names_are_compared_decoded_at_any_depth() {
    refused(r#"{"a":1,"a":2}"#, ReadErrorKind::DuplicateName, 11);
    refused(r#"{"a":1,"\u0061":2}"#, ReadErrorKind::DuplicateName, 16);
    refused(r#"[{"x":{"a":1,"b":0,"a":1}}]"#, ReadErrorKind::DuplicateName, 23);
    refused(r#"{"":1,"":1}"#, ReadErrorKind::DuplicateName, 9);
    // One looks like the other; they are different names, composed and decomposed.
    assert!(strict("{\"\u{e9}\":1,\"e\u{301}\":2}".as_bytes()).is_ok());
}

#[test]
fn a_name_repeated_in_a_wide_object_is_found() {
    for width in [2_usize, 31, 32, 33, 34, 1000] {
        let mut members: Vec<String> = (0..width).map(|n| format!("\"name{n}\":0")).collect();
        let honest = format!("{{{}}}", members.join(","));
        let tree = strict(honest.as_bytes()).unwrap();
        let object = tree.as_object().unwrap();
        assert!((0..width).all(|n| object.get(&format!("name{n}")).is_some()));
        assert!(object.get("name").is_none() && object.get("zzz").is_none());
        members[width - 1] = r#""\u006eame0":0"#.to_owned();
        let forged = format!("{{{}}}", members.join(","));
        let error = strict(forged.as_bytes()).unwrap_err();
        let at = forged.len() - 2;
        assert_eq!(error, ReadError { at, kind: ReadErrorKind::DuplicateName }, "{width}");
    }
}

#[test]
fn half_characters_and_broken_bytes_are_refused() {
    for lone in
        [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#"{"\udfff":1}"#, r#""\ud83dx""#]
    {
        let error = strict(lone.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ReadErrorKind::LoneSurrogate, "{lone}");
    }
    assert_eq!(strict(br#""\ud83d\ude00""#).unwrap().as_str(), Some("\u{1f600}"));
    let error = strict(b"\"a\xff\"").unwrap_err();
    assert_eq!(error, ReadError { at: 2, kind: ReadErrorKind::Utf8 });
    refused("\u{feff}{}", ReadErrorKind::Syntax, 0);
}

#[test]
fn the_whole_document_is_one_value() {
    for bad in ["", " ", "1 2", "{} {}", "[1,]", "{\"a\":1,}", "nul", "'a'", "[1]//", "\u{a0}1"] {
        let error = strict(bad.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ReadErrorKind::Syntax, "{bad}");
    }
    for bad in ["NaN", "Infinity", "-Infinity", "[NaN]", "01", "1.", ".5", "+1", "1e", "0x1"] {
        assert!(strict(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn numbers_are_finite_and_keep_their_text() {
    let nines = "9".repeat(309);
    for wide in ["1e309", "-1e309", "1e99999999999999999999", nines.as_str(), "[1E+400]"] {
        assert_eq!(strict(wide.as_bytes()).unwrap_err().kind, ReadErrorKind::NumberRange, "{wide}");
    }
    let digits = "9".repeat(308);
    for kept in ["18446744073709551617", "-0", "1.0", "1E5", "0.10", "1e-999999999999", &digits] {
        assert_eq!(strict(kept.as_bytes()).unwrap().as_number().unwrap().text(), kept);
    }
}

#[test]
fn integers_are_exact_and_unsafe_ones_told() {
    let number = |text: &'static str| strict(text.as_bytes()).unwrap().as_number().unwrap();
    assert_eq!(number("18446744073709551615").as_u64(), Some(u64::MAX));
    assert_eq!(number("-9223372036854775808").as_i64(), Some(i64::MIN));
    assert_eq!(number("18446744073709551616").as_u64(), None);
    assert_eq!((number("1.0").as_i64(), number("1e2").as_u64()), (None, None));
    for safe in ["0", "9007199254740991", "-9007199254740991", "9007199254740991.5", "1.5e10"] {
        assert!(!number(safe).is_unsafe_integer(), "{safe}");
    }
    for unsafe_ in ["9007199254740992", "-9007199254740993", "18446744073709551616", "1e300"] {
        assert!(number(unsafe_).is_unsafe_integer(), "{unsafe_}");
    }
    assert!(["1.0", "10e-1", "-0.0", "1e300"].iter().all(|text| number(text).is_integer()));
    assert!(!["1.5", "1e-1", "1e-999999999999"].iter().any(|text| number(text).is_integer()));
}

#[test]
fn decimals_compare_exactly() {
    let order = [
        "-1e300",
        "-18446744073709551617",
        "-18446744073709551616",
        "-10.5",
        "-10.25",
        "-1",
        "-1e-400",
        "0",
        "1e-99999999999999999999",
        "1e-400",
        "0.05",
        "0.1",
        "0.1000000000000000055",
        "1",
        "9.99",
        "10",
        "10.01",
        "18446744073709551616",
        "18446744073709551617",
        "1e300",
    ];
    assert!(order.windows(2).all(|pair| Decimal::of(pair[0]) < Decimal::of(pair[1])), "{order:?}");
    for (one, other) in
        [("1", "1.0"), ("100", "1e2"), ("0.10", "1E-1"), ("-0", "0e9"), ("12.50", "125e-1")]
    {
        assert_eq!(Decimal::of(one), Decimal::of(other));
    }
}

#[test]
fn limits_hold_at_their_edge() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(strict(nested(32).as_bytes()).is_ok());
    let error = strict(nested(33).as_bytes()).unwrap_err();
    assert_eq!((error.kind, error.is_limit()), (ReadErrorKind::Depth, true));

    let wide = |tokens: usize| format!("[{}0]", "0,".repeat(tokens - 2));
    assert!(strict(wide(20_000).as_bytes()).is_ok());
    assert_eq!(strict(wide(20_001).as_bytes()).unwrap_err().kind, ReadErrorKind::Tokens);
    let few = Limits { tokens_max: 3, ..Limits::DEFAULT };
    assert!(read(br#"{"a":1}"#, &few).is_ok(), "the object, a name, a value");
    assert_eq!(read(br#"{"a":[1]}"#, &few).unwrap_err().kind, ReadErrorKind::Tokens);

    let small = Limits { bytes_max: 4, ..Limits::DEFAULT };
    assert!(read(b"null", &small).is_ok());
    assert_eq!(
        read(b"false", &small).unwrap_err(),
        ReadError { at: 4, kind: ReadErrorKind::Bytes }
    );
}

/// A million brackets abort the process in readers that recurse without asking (sonic-rs does).
#[test]
fn no_configuration_lets_nesting_exhaust_the_stack() {
    let careless = Limits { depth_max: usize::MAX, ..Limits::DEFAULT };
    for hostile in ["[".repeat(1_000_000), "{\"a\":".repeat(200_000)] {
        assert_eq!(read(hostile.as_bytes(), &careless).unwrap_err().kind, ReadErrorKind::Depth);
    }
}

#[test]
fn a_span_is_the_exact_bytes_of_a_value() {
    let document = b"{ \"id\" : \"x\" ,\n\"payload\": { \"n\" : 1.0 } , \"last\":-2}";
    let tree = strict(document).unwrap();
    let object = tree.as_object().unwrap();
    let bytes = |name: &str| &document[object.member(name).unwrap().span.clone()];
    assert_eq!(bytes("id"), b"\"x\"");
    assert_eq!(bytes("payload"), b"{ \"n\" : 1.0 }");
    assert_eq!(bytes("last"), b"-2");
    assert!(object.member("payloa").is_none());
}

#[test]
fn strings_without_escapes_are_borrowed() {
    let tree = strict(br#"["plain","esc\n",""]"#).unwrap();
    let borrowed: Vec<bool> = (tree.as_array().unwrap().iter())
        .map(|value| matches!(value, Value::String(std::borrow::Cow::Borrowed(_))))
        .collect();
    assert_eq!(borrowed, [true, false, true]);
    assert_eq!(size_of::<Value<'_>>(), 32, "a Value is four words");
}

/// Payloads must not reach logs, not even by `{:?}`.
#[test]
fn neither_errors_nor_debug_show_content() {
    let tree = strict(br#"{"secret-name":"secret-value","n":4711}"#).unwrap();
    let object = tree.as_object().unwrap();
    let shown = format!("{tree:?} {object:?} {:?} {:?}", object.member("n"), object.iter());
    assert!(!shown.contains("secret") && !shown.contains("4711"), "{shown}");
    let error = strict(br#"{"secret":1,"secret":2}"#).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(error.to_string(), "a name that occurs twice in its object at byte 21");
}

fn document() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 96, 24, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::vec((".{0,6}", inner), 0..24)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn agree(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as Theirs;
    match (ours, theirs) {
        (Value::Null, Theirs::Null) => true,
        (Value::Bool(a), Theirs::Bool(b)) => a == b,
        (Value::String(a), Theirs::String(b)) => a == b,
        (Value::Number(a), Theirs::Number(b)) => {
            a.text() == b.to_string() && b.as_f64().is_some_and(|b| a.as_f64() == b)
        }
        (Value::Array(a), Theirs::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b))
        }
        (Value::Object(a), Theirs::Object(b)) => {
            let names: BTreeSet<&str> = a.iter().map(|member| &*member.name).collect();
            names.len() == b.len()
                && a.iter().all(|m| b.get(&*m.name).is_some_and(|b| agree(&m.value, b)))
        }
        _ => false,
    }
}

fn spans_reread(bytes: &[u8], value: &Value<'_>) -> bool {
    match value {
        Value::Array(elements) => elements.iter().all(|element| spans_reread(bytes, element)),
        Value::Object(object) => object.iter().all(|member| {
            strict(&bytes[member.span.clone()]).unwrap() == member.value
                && object.get(&member.name) == Some(&member.value)
                && spans_reread(bytes, &member.value)
        }),
        _ => true,
    }
}

proptest! {
    #[test]
    fn agrees_with_serde_json_where_nothing_is_ambiguous(document in document(), pretty: bool) {
        let text = if pretty {
            serde_json::to_string_pretty(&document).unwrap()
        } else {
            document.to_string()
        };
        let ours = strict(text.as_bytes()).unwrap();
        prop_assert!(agree(&ours, &document));
        prop_assert!(spans_reread(text.as_bytes(), &ours));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = strict(&bytes);
    }

    /// What we accept, serde_json accepts too: this reader is never the laxer one.
    #[test]
    fn nearly_json_never_panics_and_is_never_laxer(
        text in r#"([\[\]{},:"\\ ]|\\u[dD][89a-f][0-9]{2}|true|null|-?[0-9.eE+]{1,6}|"[a-c]"|"\\u0061":){0,30}"#
    ) {
        if strict(text.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }

    #[test]
    fn a_repeated_name_is_always_refused(
        names in prop::collection::btree_set("[a-z]{1,4}", 1..40), which: prop::sample::Index, at: prop::sample::Index
    ) {
        let mut names: Vec<&String> = names.iter().collect();
        names.insert(at.index(names.len() + 1), names[which.index(names.len())]);
        let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":null")).collect();
        let text = format!("{{{}}}", members.join(","));
        prop_assert_eq!(strict(text.as_bytes()).unwrap_err().kind, ReadErrorKind::DuplicateName);
    }
}
