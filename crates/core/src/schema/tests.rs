// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threats: a validator that changes what was signed (protocol.md 1, row 25), hostile patterns,
//! error floods, contracts that fetch, contracts judged by the wrong rules, payloads in logs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jsonschema::json::conformance;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json::read;

fn compile(document: &serde_json::Value) -> Schema {
    Schema::compile(document.to_string().as_bytes()).unwrap()
}

fn refusal(document: &serde_json::Value) -> SchemaError {
    Schema::compile(document.to_string().as_bytes()).unwrap_err()
}

fn tree(text: &str) -> Value<'_> {
    read(text.as_bytes(), &Limits::DEFAULT).unwrap()
}

#[track_caller]
fn violations(contract: &serde_json::Value, instance: &str) -> Vec<String> {
    let found = compile(contract).validate(&tree(instance)).unwrap_err();
    found.iter().map(ToString::to_string).collect()
}

fn holds(contract: &serde_json::Value, instance: &str) -> bool {
    compile(contract).validate(&tree(instance)).is_ok()
}

// The draft's own cases.

fn suite() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../vectors/third_party/json_schema_test_suite")
}

/// `FILE | GROUP | why`, one line each.
fn refused_on_purpose() -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(suite().join("refused_on_purpose.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let entry = |line: &str| {
        let parts: Vec<&str> = line.split(" | ").collect();
        let [file, group, why] = parts[..] else { panic!("not three parts: {line}") };
        assert!(!why.is_empty(), "{line}");
        (file.to_owned(), group.to_owned())
    };
    lines.map(entry).collect()
}

/// The suite's bytes as they stand, since a number that `serde_json` has been through may be
/// another number.
const SUITE_LIMITS: Limits = Limits { tokens_max: 100_000, ..Limits::DEFAULT };

/// What a group of the suite comes to: why it is refused, or the cases that disagree.
fn judge(bytes: &[u8], group: &crate::json::Object<'_>) -> Result<Vec<String>, String> {
    let contract = &bytes[group.member("schema").unwrap().span.clone()];
    let contract = Schema::compile(contract).map_err(|error| error.to_string())?;
    let mut wrong = Vec::new();
    for case in group.get("tests").unwrap().as_array().unwrap() {
        let case = case.as_object().unwrap();
        let data = &bytes[case.member("data").unwrap().span.clone()];
        let instance = read(data, &Limits::DEFAULT).map_err(|error| error.to_string())?;
        let verdict = contract.validate(&instance);
        if verdict.is_ok() != case.get("valid").unwrap().as_bool().unwrap() {
            wrong.push(case.get("description").unwrap().as_str().unwrap().to_owned());
        }
        assert!(verdict.err().is_none_or(|told| (1..=VIOLATIONS_MAX).contains(&told.len())));
    }
    Ok(wrong)
}

#[test]
fn json_schema_test_suite_agrees() {
    let mut on_purpose = refused_on_purpose();
    let (mut groups, mut surprises) = (0, Vec::new());
    for entry in std::fs::read_dir(suite().join("tests/draft2020-12")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let content = read(&bytes, &SUITE_LIMITS).unwrap();
        for group in content.as_array().unwrap().iter().map(|group| group.as_object().unwrap()) {
            let name = group.get("description").unwrap().as_str().unwrap().to_owned();
            let listed = on_purpose.remove(&(file.clone(), name.clone()));
            groups += 1;
            match (judge(&bytes, group), listed) {
                (Ok(wrong), false) if wrong.is_empty() => {}
                (Err(_), true) => {}
                other => surprises.push(format!("{file} | {name} | {other:?}")),
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(on_purpose.is_empty(), "listed, but no longer refused or gone: {on_purpose:#?}");
    assert!(groups > 350, "the suite has shrunk to {groups} groups");
}

#[test]
fn our_tree_keeps_the_validators_contract() {
    let document = conformance::document().to_string();
    conformance::assert_conformance::<Ours>(&View::of(&tree(&document)));
}

// What is no contract.

#[test]
fn a_contract_is_one_self_contained_document() {
    for (reference, pointer) in [
        (json!({"$ref": "https://schemas.example/order.json"}), "/$ref"),
        (json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}), "/properties/a/$ref"),
        (json!({"items": {"anyOf": [{"$ref": "other.json#/x"}]}}), "/items/anyOf/0/$ref"),
        (json!({"$id": "https://a.example/b/", "$dynamicRef": "c#d"}), "/$dynamicRef"),
        (json!({"properties": {"a/b~": {"$ref": "//host/x"}}}), "/properties/a~1b~0/$ref"),
        (json!({"$ref": DIALECT}), "/$ref"),
    ] {
        let pointer = pointer.to_owned();
        assert_eq!(refusal(&reference), SchemaError::ForeignReference { pointer });
    }
    // Hidden where no schema stands, and reached by reference: refused all the same, nothing is
    // fetched.
    let hidden = json!({"x-lib": {"$ref": "file:///etc/passwd"}, "$ref": "#/x-lib"});
    assert!(matches!(refusal(&hidden), SchemaError::Invalid { .. }));
    // Data is data.
    assert!(holds(
        &json!({"const": {"$ref": "https://a.example"}}),
        r#"{"$ref":"https://a.example"}"#
    ));
}

#[test]
fn references_within_the_document_are_followed() {
    let contract = json!({
        "$id": "https://a.example/order.json",
        "properties": {
            "a": {"$ref": "#/$defs/short"}, "b": {"$ref": "https://a.example/order.json#/$defs/short"},
            "c": {"$ref": "part.json"}, "d": {"$ref": "#named"}, "e": {"$ref": "#"},
        },
        "$defs": {
            "short": {"maxLength": 1}, "part": {"$id": "part.json", "maxLength": 1},
            "named": {"$anchor": "named", "maxLength": 1},
        },
    });
    assert!(holds(&contract, r#"{"a":"x","b":"x","c":"x","d":"x","e":{"a":"x"}}"#));
    for name in ["a", "b", "c", "d"] {
        assert!(!holds(&contract, &format!(r#"{{"{name}":"xx"}}"#)), "{name}");
    }
    assert!(!holds(&contract, r#"{"e":{"e":{"a":"xx"}}}"#));
}

#[test]
fn another_draft_is_refused_wherever_it_hides() {
    for (document, pointer) in [
        (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "/$schema"),
        (json!({"$schema": "https://json-schema.org/draft/2019-09/schema"}), "/$schema"),
        (json!({"$schema": "https://my.example/dialect"}), "/$schema"),
        (json!({"$schema": 7}), "/$schema"),
        (
            json!({"$defs": {"old": {"$id": "o", "$schema": "http://json-schema.org/draft-04/schema#"}}}),
            "/$defs/old/$schema",
        ),
    ] {
        assert_eq!(refusal(&document), SchemaError::Dialect { pointer: pointer.to_owned() });
    }
    assert!(holds(&json!({"$schema": DIALECT, "type": "null"}), "null"));
}

#[test]
fn patterns_run_in_linear_time_or_not_at_all() {
    for (pattern, pointer) in [
        (json!({"pattern": "(?=a)b"}), "/pattern"),
        (json!({"properties": {"a": {"pattern": "(?<!a)b"}}}), "/properties/a/pattern"),
        (json!({"pattern": r"(a)\1"}), "/pattern"),
        (json!({"patternProperties": {"(?!x)": {}}}), "/patternProperties/(?!x)"),
        (json!({"pattern": "(a{1000}){1000}"}), "/pattern"),
        (json!({"pattern": r"(\p{L}|\p{N}x){60}"}), "/pattern"),
        (json!({"pattern": "("}), "/pattern"),
    ] {
        assert_eq!(refusal(&pattern), SchemaError::Pattern { pointer: pointer.to_owned() });
    }
    assert!(holds(&json!({"pattern": r"^\p{L}{1,64}$"}), "\"\u{e9}\""));
}

/// Exponential in a backtracking engine: at 10 000 letters the sun would go out first.
#[test]
fn a_hostile_pattern_and_subject_end() {
    let contract = compile(&json!({"pattern": "^(a+)+$"}));
    let hostile = format!("\"{}!\"", "a".repeat(10_000));
    assert!(contract.validate(&tree(&hostile)).is_err());
    let honest = format!("\"{}\"", "a".repeat(10_000));
    assert!(contract.validate(&tree(&honest)).is_ok());
}

#[test]
fn documents_are_read_strictly_and_within_limits() {
    use crate::json::ReadErrorKind as Kind;
    let unreadable = |document: &str| match Schema::compile(document.as_bytes()).unwrap_err() {
        SchemaError::Unreadable(error) => error.kind,
        other => panic!("{other}"),
    };
    // The last one would win, in silence.
    assert_eq!(unreadable(r#"{"type":"object","type":"string"}"#), Kind::DuplicateName);
    assert_eq!(unreadable(&format!("{{\"title\":\"{}\"}}", "x".repeat(256 << 10))), Kind::Bytes);
    let deep = format!("{}true{}", "{\"not\":".repeat(65), "}".repeat(65));
    assert_eq!(unreadable(&deep), Kind::Depth);
    assert_eq!(unreadable(&format!("{{\"enum\":[{}1]}}", "0,".repeat(20_000))), Kind::Tokens);
    for no_schema in ["1", "[]", "\"object\"", "null"] {
        let error = Schema::compile(no_schema.as_bytes()).unwrap_err();
        assert!(matches!(error, SchemaError::Invalid { .. }), "{no_schema}: {error}");
    }
    let error = refusal(&json!({"properties": {"a": {"type": "strin"}}}));
    assert!(error.to_string().starts_with("at `#/properties/a/type`: "), "{error}");
}

// Numbers.

#[test]
fn integers_too_wide_to_compare_are_refused_in_contracts() {
    let wide = r#"{"properties":{"a":{"maximum":18446744073709551616}}}"#;
    let pointer = "/properties/a/maximum".to_owned();
    assert_eq!(Schema::compile(wide.as_bytes()).unwrap_err(), SchemaError::WideInteger { pointer });
    assert!(Schema::compile(br#"{"maximum":18446744073709551615}"#).is_ok());
    assert!(Schema::compile(br#"{"maximum":1e300}"#).is_ok());
}

/// 2^53 and its neighbour are one and the same to a reader that holds doubles.
#[test]
fn neighbouring_integers_are_told_apart() {
    assert!(!holds(&json!({"const": 9_007_199_254_740_993_u64}), "9007199254740992"));
    assert!(!holds(&json!({"enum": [u64::MAX]}), "18446744073709551616"));
    assert!(!holds(&json!({"maximum": u64::MAX}), "18446744073709551616"));
    assert!(holds(&json!({"maximum": u64::MAX}), "18446744073709551615"));
    assert!(!holds(&json!({"const": [u64::MAX]}), "[18446744073709551614]"));
    assert!(!holds(
        &json!({"const": {"a": 9_007_199_254_740_993_u64}}),
        r#"{"a":9007199254740992.0}"#
    ));
    assert!(holds(&json!({"const": {"a": 1e20}}), r#"{"a":100000000000000000000}"#));
    assert!(holds(&json!({"uniqueItems": true}), "[18446744073709551616,18446744073709551617]"));
    assert!(!holds(&json!({"uniqueItems": true}), r#"[{"a":1,"b":[1.0]},{"b":[10e-1],"a":1.00}]"#));
    assert!(holds(&json!({"type": "integer"}), "[1.0]".trim_matches(['[', ']'])));
    assert!(!holds(&json!({"type": "integer"}), "1e-400"));
}

/// A comparison of each with each would take minutes in a debug build.
#[test]
fn many_elements_are_compared_without_a_square() {
    let elements: Vec<String> = (0..19_000).map(|n| format!("{n}.5")).collect();
    let mut text = format!("[{}]", elements.join(","));
    let contract = compile(&json!({"uniqueItems": true}));
    assert!(contract.validate(&tree(&text)).is_ok());
    text = text.replace("[0.5", "[18999.50");
    assert!(contract.validate(&tree(&text)).is_err());
}

// What a violation says.

#[test]
fn violations_are_told_from_the_contracts_side() {
    let contract = json!({
        "type": "object", "required": ["id"], "additionalProperties": false,
        "properties": {
            "id": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4},
            "n": {"type": ["integer", "null"], "maximum": 10},
            "kind": {"enum": ["a", "b"]}, "only": {"const": {"x": 1}},
            "list": {"type": "array", "items": {"anyOf": [{"type": "null"}, {"minimum": 5}]}, "uniqueItems": true},
            "never": false,
        },
    });
    let mut told = violations(
        &contract,
        r#"{"id":"UPPER","n":10.5,"kind":"c","only":{"x":2},"list":[1,1],"never":0,"extra":1,"more":2}"#,
    );
    told.sort();
    assert_eq!(
        told,
        [
            "#/id: maxLength: expected at most 4 characters",
            "#/id: pattern: expected a match of ^[a-z]+$",
            "#/kind: enum: expected one of [\"a\",\"b\"]",
            "#/list/0: anyOf: expected at least one of 2 alternatives to hold",
            "#/list/1: anyOf: expected at least one of 2 alternatives to hold",
            "#/list: uniqueItems: expected no two equal elements",
            "#/n: maximum: expected at most 10",
            "#/n: type: expected type null or integer",
            "#/never: false: expected no value at all",
            "#/only: const: expected exactly {\"x\":1}",
            "#: additionalProperties: expected no other members than the contract names, not 2 more",
        ]
    );
    assert_eq!(violations(&contract, "{}"), [r##"#: required: expected a member "id""##]);
}

/// Payloads must not reach logs: neither values nor the names that only the sender chose.
#[test]
fn violations_never_quote_the_instance() {
    let secrets = r#"{"secret":"secret-1","secret/2~":{"secret-3":["secret-4",{"4111111111111111":"secret-5"}]},"known":"secret-6"}"#;
    let never = [
        json!({"additionalProperties": false}),
        json!({"unevaluatedProperties": false}),
        json!({"propertyNames": {"maxLength": 2}}),
        json!({"propertyNames": {"enum": ["known"]}}),
        json!({"additionalProperties": {"type": "null"}}),
        json!({"patternProperties": {"^s": {"type": "integer"}}}),
        json!({"const": 1}),
        json!({"enum": [1]}),
        json!({"not": {}}),
        json!({"maxProperties": 1}),
        json!({"anyOf": [{"type": "null"}, {"properties": {"known": {"type": "null"}}}]}),
        json!({"oneOf": [{}, {"type": "object"}]}),
        json!({"minProperties": 9}),
        json!(false),
        json!({"dependentSchemas": {"known": {"properties": {"secretive": false}, "required": ["x"]}}}),
        json!({"additionalProperties": {"additionalProperties": {"prefixItems": [{"pattern": "^$"}], "items": {"additionalProperties": {"maxLength": 1}}}}}),
        json!({"additionalProperties": {"additionalProperties": {"unevaluatedItems": false, "contains": {"const": 0}}}}),
    ];
    for contract in never {
        let told = compile(&contract).validate(&tree(secrets)).unwrap_err();
        let text = format!("{told} {told:?}").replace("secretive", "");
        assert!(!text.contains("secret") && !text.contains("4111"), "{contract}: {text}");
    }
    let nested = json!({"additionalProperties": {"additionalProperties": {"items": {"additionalProperties": {"const": 0}}}}});
    let told = violations(&nested, r#"{"a":{"b":[{"12":1}]}}"#);
    assert_eq!(told, ["#/*/*/0/*: const: expected exactly 0"]);
}

#[test]
fn ten_thousand_violations_are_told_as_twenty_and_not_even_built() {
    let text = format!("[{}0]", "0,".repeat(9_999));
    let instance = tree(&text);
    let branches = json!([{"type": "string"}, {"type": "null"}, {"minimum": 1, "multipleOf": 7}]);
    for contract in [
        json!({"items": {"type": "string"}}),
        json!({"items": {"anyOf": branches}}),
        json!({"items": false}),
    ] {
        let contract = compile(&contract);
        let report = Report::default();
        let told = contract.explain(&instance, &report);
        assert_eq!((told.len(), told.is_cut()), (VIOLATIONS_MAX, true));
        assert!(told.to_string().len() <= VIOLATIONS_TEXT_BYTES_MAX);
        assert_eq!(told.iter().last().unwrap().pointer, "/19");
        let built = report.built.get();
        assert!(built <= view::ERRORS_BUILT_MAX + 8, "{built} errors were built");
    }
    let members: Vec<String> = (0..9_000).map(|n| format!("\"m{n}\":0")).collect();
    let text = format!("{{{}}}", members.join(","));
    for contract in [
        json!({"propertyNames": {"minLength": 9}}),
        json!({"additionalProperties": {"type": "null"}}),
    ] {
        let report = Report::default();
        assert_eq!(compile(&contract).explain(&tree(&text), &report).len(), VIOLATIONS_MAX);
        assert!(report.built.get() <= view::ERRORS_BUILT_MAX + 8);
    }
    let few = violations(&json!({"items": {"type": "string"}}), "[0,\"a\",1]");
    assert_eq!(few.len(), 2);
}

/// The walk was ended early by making arrays look empty; what follows from that must not be told.
#[test]
fn what_is_told_is_true_even_past_the_end() {
    let contract = json!({
        "properties": {
            "a": {"items": {"type": "string"}},
            "b": {"contains": {"const": 1}}, "c": {"type": "array", "contains": true},
        },
    });
    let text = format!(r#"{{"a":[{}0],"b":[1],"c":[1]}}"#, "0,".repeat(5_000));
    let told = violations(&contract, &text);
    assert_eq!(told.len(), VIOLATIONS_MAX);
    assert!(told.iter().all(|one| one.starts_with("#/a/")), "{told:#?}");
    // All that may be built goes into the branches of one error: that one is told, and no more.
    let either = json!({"anyOf": [{"items": {"type": "string"}}, {"items": {"type": "null"}}]});
    let told = violations(&either, &format!("[{}0]", "0,".repeat(5_000)));
    assert_eq!(told, ["#: anyOf: expected at least one of 2 alternatives to hold"]);
    // The array holds a 0, and looks empty by the time it is asked for one.
    let contract = json!({"allOf": [either, {"contains": {"const": 0}}]});
    let told = violations(&contract, &format!("[{}0]", "0,".repeat(5_000)));
    assert_eq!(told, ["#: anyOf: expected at least one of 2 alternatives to hold"]);
}

/// An error holds a stand-in for the value; what is compared must still be the value.
#[test]
fn values_are_compared_themselves_while_a_report_is_made() {
    let contract = json!({"properties": {
        "a": {"const": {"x": [1, "y"]}}, "b": {"enum": [{"x": 1}, [2]]}, "c": {"uniqueItems": true},
        "d": {"type": "string"},
    }});
    let told =
        violations(&contract, r#"{"a":{"x":[1.0,"y"]},"b":[2],"c":[{"x":1},{"x":2}],"d":0}"#);
    assert_eq!(told, ["#/d: type: expected type string"]);
}

#[test]
fn only_names_of_the_contract_are_spelled_out() {
    let names = BTreeSet::from(["a/b~".to_owned(), "0".to_owned()]);
    let instance = tree(r#"{"a/b~":[{"0":{"1":0}}],"b":{"a/b~":0}}"#);
    for (pointer, told) in [
        ("", ""),
        ("/a~1b~0/0/0", "/a~1b~0/0/0"),
        ("/a~1b~0/0/0/1", "/a~1b~0/0/0/*"),
        ("/b/a~1b~0", "/*/a~1b~0"),
        ("/a~1b~0/x", "/a~1b~0/*"),
        ("/gone/0/1", "/*/*/*"),
    ] {
        assert_eq!(violations::spelled_out(pointer, &instance, &names), told);
    }
}

#[test]
fn violations_fit_their_bytes() {
    let name = "n".repeat(1000);
    let contract = json!({"properties": {&name: {"items": {"enum": ["\u{e9}".repeat(5_000)]}}}});
    let text = format!(r#"{{"{name}":[{}0]}}"#, "0,".repeat(50));
    let told = compile(&contract).validate(&tree(&text)).unwrap_err();
    assert!(told.is_cut() && told.len() == 3, "{}", told.len());
    assert!(told.to_string().len() <= VIOLATIONS_TEXT_BYTES_MAX);
    // One alone that does not fit: still invalid, still a reason.
    let name = "n".repeat(5_000);
    let told = violations(&json!({"properties": {&name: false}}), &format!("{{\"{name}\":1}}"));
    assert_eq!(told, ["#: schema: expected an instance that satisfies the contract"]);
}

// The rest.

#[test]
fn the_digest_is_of_the_exact_bytes() {
    let hex = |document: &[u8]| -> String {
        let digest = Schema::compile(document).unwrap().digest();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    // printf '{}' | sha256sum
    assert_eq!(hex(b"{}"), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    assert_ne!(hex(b"{}"), hex(b"{ }"));
}

/// Validators elsewhere fill in defaults, coerce or remove; this one leaves every byte as it was
/// signed.
#[test]
fn an_instance_is_never_changed() {
    let contract = compile(&json!({
        "properties": {"a": {"default": 1}, "n": {"type": "string"}}, "additionalProperties": false,
    }));
    let text = r#"{ "n" : 1.0, "extra": "\u0041" }"#;
    let (bytes, instance) = (text.to_owned(), tree(text));
    let copy = instance.clone();
    assert!(contract.validate(&instance).is_err());
    assert_eq!((text, &instance), (bytes.as_str(), &copy));
}

#[test]
fn a_schema_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Schema>();
    shared::<Violations>();
    assert_eq!(format!("{:?}", compile(&json!({"const": "x"}))), "Schema { names: 0, .. }");
}

fn rules(document: &serde_json::Value) -> Vec<String> {
    let found = lint(document.to_string().as_bytes());
    assert!(found.iter().all(|lint| !lint.why.is_empty() && !lint.write.is_empty()));
    found.iter().map(|lint| format!("{} {}", lint.rule, lint.pointer)).collect()
}

#[test]
fn lint_finds_what_lets_through_more_than_meant() {
    assert_eq!(rules(&json!({"type": "strin"})), ["not-a-contract "]);
    assert_eq!(rules(&json!(true)), ["root-type "]);
    assert_eq!(rules(&json!({"minimum": 1})), ["root-type "]);
    assert_eq!(rules(&json!({"type": "object"})), ["open-object "]);
    assert_eq!(rules(&json!({"type": ["string", "null"]})), ["unbounded-string "]);
    assert_eq!(rules(&json!({"type": "array"})), ["unbounded-array "]);
    assert_eq!(rules(&json!({"type": "null", "maximun": 3})), ["unknown-keyword /maximun"]);
    assert_eq!(
        rules(&json!({"type": "string", "maxLength": 9, "format": "date"})),
        ["format-not-asserted /format"]
    );
    let nested = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"a/b": {"properties": {}}, "free": {"pattern": "[a-z]+"}},
        "allOf": [{"properties": {"a": {"type": "string", "enum": ["x"]}}, "required": ["a"]}],
    });
    assert_eq!(
        rules(&nested),
        ["open-object /properties/a~1b", "unanchored-pattern /properties/free/pattern"]
    );
    // Data that looks like a schema is none.
    let data = json!({"const": {"type": "string"}, "examples": [{"type": "array"}]});
    assert_eq!(rules(&data), Vec::<String>::new());
}

#[test]
fn anchors_are_looked_for_in_every_alternative() {
    let finds = |pattern: &str| !rules(&json!({"type": "null", "pattern": pattern})).is_empty();
    for anchored in ["^a$", "^(a|b)$", "^a$|^b$", r"^a\|b$", "^[|(]$", "^[^|]*$", r"^\\$"] {
        assert!(!finds(anchored), "{anchored}");
    }
    for loose in ["", "a", "^a", "a$", "^a|b$", "^a$|", "|^a$", r"^a\$", "^[$]", "^a$|b"] {
        assert!(finds(loose), "{loose}");
    }
    assert!(!rules(&json!({"type": "null", "patternProperties": {"x": {}}})).is_empty());
}

#[test]
fn a_starter_is_strict_and_reads_well() {
    let example = r#"{"id":"ord_1","total":12.5,"lines":[{"sku":"a","n":1},{"sku":"b","n":2.5,"gift":true}],"note":null,"mixed":[1,"x"]}"#;
    let text = starter(&tree(example));
    assert!(text.starts_with("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n  \"type\": \"object\",\n"));
    assert!(!text.contains("ord_1") && text.ends_with("}\n"));
    let contract: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(contract["properties"]["lines"]["items"]["required"], json!(["sku", "n"]));
    assert_eq!(
        contract["properties"]["lines"]["items"]["properties"]["n"],
        json!({"type": "number"})
    );
    assert_eq!(contract["properties"]["id"], json!({"type": "string", "maxLength": 64}));
    assert_eq!(contract["properties"]["mixed"]["items"]["anyOf"].as_array().unwrap().len(), 2);
    assert!(holds(&contract, example));
    assert!(!holds(&contract, &example.replace("\"note\"", "\"nope\"")));
}

fn instance() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-e]{0,3}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 48, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map("[a-e]{0,2}", inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_starter_accepts_its_example_and_lints_clean(example in instance()) {
        let example = example.to_string();
        let text = starter(&tree(&example));
        prop_assert_eq!(lint(text.as_bytes()), vec![]);
        prop_assert!(Schema::compile(text.as_bytes()).unwrap().validate(&tree(&example)).is_ok());
    }

    /// Equality and uniqueness against the library's own, which copies.
    #[test]
    fn equality_is_the_drafts(elements in prop::collection::vec(instance(), 0..5)) {
        let text = serde_json::Value::from(elements.clone()).to_string();
        let ours = tree(&text);
        let ours = ours.as_array().unwrap();
        prop_assert_eq!(equal::is_unique(ours), jsonschema::json::unique::is_unique(&elements));
        for (a, one) in ours.iter().zip(&elements) {
            prop_assert!(equal::equal(a, one));
            for other in &elements {
                prop_assert_eq!(equal::equal(a, other), jsonschema::json::cmp::equal(one, other));
            }
        }
    }

    #[test]
    fn arbitrary_documents_never_panic(
        text in r#"\{("(type|items|\$ref|\$id|\$anchor|pattern|enum|properties|not|allOf|required)":("object"|"\#"|"\#/a"|"[a(]*"|[0-9]|true|\{\}|\[\]|\["a"\]|\{"a":\{"\$ref":"\#"\}\}),?){0,4}\}"#
    ) {
        let _ = lint(text.as_bytes());
        if let Ok(contract) = Schema::compile(text.as_bytes()) {
            let _ = contract.validate(&tree(r#"{"a":[1,{"a":null}]}"#));
        }
    }
}
