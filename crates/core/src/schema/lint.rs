// SPDX-License-Identifier: MIT OR Apache-2.0
//! Contracts that compile and still let through more than their author means.

use serde_json::{Map, Value};

use super::walk::{Place, Subschema, join, walk};
use super::{Schema, gate};

/// One thing in a contract that deserves a second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The rule, a stable name in kebab case.
    pub rule: &'static str,
    /// JSON Pointer into the document.
    pub pointer: String,
    /// What can go wrong.
    pub why: String,
    /// What to write instead.
    pub write: String,
}

/// Looks a contract over, in the order of its document's schemas. One that does not compile gives a
/// single finding, `not-a-contract`, with the [`SchemaError`](super::SchemaError) as its reason.
#[must_use]
pub fn lint(document: &[u8]) -> Vec<Lint> {
    let contract = match Schema::compile(document).and_then(|_| gate::admit(document)) {
        Ok(contract) => contract,
        Err(error) => {
            let write = "a draft 2020-12 schema in one self-contained document";
            return vec![finding("not-a-contract", "", &error.to_string(), write)];
        }
    };
    let mut lints = Vec::new();
    if contract.is_boolean() {
        lints.push(root_type());
    }
    walk(&contract, &mut |at| {
        for rule in RULES {
            rule(at, &mut lints);
        }
    });
    lints
}

type Rule = fn(&Subschema<'_, '_>, &mut Vec<Lint>);

const RULES: [Rule; 7] =
    [rootless, open_object, unbounded_string, unbounded_array, silent_format, unanchored, ignored];

fn rootless(at: &Subschema<'_, '_>, lints: &mut Vec<Lint>) {
    if at.place == Place::Root && !has_any(at.members, &["type", "$ref", "const", "enum"]) {
        lints.push(root_type());
    }
}

fn root_type() -> Lint {
    let why =
        "without a `type` the contract accepts values of any kind, `null` and numbers among them";
    finding("root-type", "", why, r#""type": "object""#)
}

fn open_object(at: &Subschema<'_, '_>, lints: &mut Vec<Lint>) {
    let judged_whole = matches!(at.place, Place::Root | Place::Value);
    let object = accepts(at.members, "object") || at.members.contains_key("properties");
    let decided = has_any(at.members, &["additionalProperties", "unevaluatedProperties"]);
    if judged_whole && object && !decided {
        let why = "members that nobody described pass unseen, whatever they hold";
        let write = r#""additionalProperties": false (or `true`, if that is meant; beside `$ref` or `allOf`, `unevaluatedProperties`)"#;
        lints.push(finding("open-object", at.pointer, why, write));
    }
}

fn unbounded_string(at: &Subschema<'_, '_>, lints: &mut Vec<Lint>) {
    if accepts(at.members, "string") && !has_any(at.members, &["maxLength", "enum", "const"]) {
        let why = "only the message's own size limits this string";
        lints.push(finding("unbounded-string", at.pointer, why, r#""maxLength": 256"#));
    }
}

fn unbounded_array(at: &Subschema<'_, '_>, lints: &mut Vec<Lint>) {
    let closed = at.members.get("items") == Some(&Value::Bool(false));
    if accepts(at.members, "array")
        && !closed
        && !has_any(at.members, &["maxItems", "enum", "const"])
    {
        let why = "only the message's own size limits this array";
        lints.push(finding("unbounded-array", at.pointer, why, r#""maxItems": 100"#));
    }
}

fn silent_format(at: &Subschema<'_, '_>, lints: &mut Vec<Lint>) {
    if at.members.contains_key("format") && !has_any(at.members, &["pattern", "enum", "const"]) {
        let why = "`format` is an annotation in draft 2020-12 and refuses nothing";
        let write = r#"a "pattern" beside it, such as "^\\d{4}-\\d{2}-\\d{2}$" for a date"#;
        lints.push(finding("format-not-asserted", &join(at.pointer, "format"), why, write));
    }
}

fn unanchored(at: &Subschema<'_, '_>, lints: &mut Vec<Lint>) {
    let why = "a pattern matches anywhere in the text unless it is anchored at both ends";
    if let Some(pattern) = at.members.get("pattern").and_then(Value::as_str)
        && !is_anchored(pattern)
    {
        let write = format!("\"^(?:{pattern})$\"");
        lints.push(finding("unanchored-pattern", &join(at.pointer, "pattern"), why, &write));
    }
    let names = at.members.get("patternProperties").and_then(Value::as_object);
    for pattern in names.into_iter().flat_map(Map::keys).filter(|pattern| !is_anchored(pattern)) {
        let pointer = join(&join(at.pointer, "patternProperties"), pattern);
        lints.push(finding("unanchored-pattern", &pointer, why, &format!("\"^(?:{pattern})$\"")));
    }
}

fn ignored(at: &Subschema<'_, '_>, lints: &mut Vec<Lint>) {
    let unknown = |name: &&String| !name.starts_with("x-") && !KEYWORDS.contains(&name.as_str());
    for name in at.members.keys().filter(unknown) {
        let why =
            "no keyword of draft 2020-12: it is ignored, so a slip of the pen accepts everything";
        let write = "the keyword that is meant, or a name that begins with `x-`";
        lints.push(finding("unknown-keyword", &join(at.pointer, name), why, write));
    }
}

fn finding(rule: &'static str, pointer: &str, why: &str, write: &str) -> Lint {
    Lint { rule, pointer: pointer.to_owned(), why: why.to_owned(), write: write.to_owned() }
}

fn has_any(members: &Map<String, Value>, keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| members.contains_key(*keyword))
}

/// Whether `type` names this type, alone or among others.
fn accepts(members: &Map<String, Value>, named: &str) -> bool {
    match members.get("type") {
        Some(Value::String(one)) => one == named,
        Some(Value::Array(several)) => several.iter().any(|one| one == named),
        _ => false,
    }
}

/// Whether every alternative at the outermost level is held at both ends: `^a|b$` is not.
fn is_anchored(pattern: &str) -> bool {
    let (mut depth, mut in_class, mut escaped) = (0_usize, false, false);
    let (mut previous, mut at_start, mut anchored) = (None, true, true);
    for c in pattern.chars() {
        let plain = !escaped && !in_class;
        if at_start {
            anchored &= c == '^';
        }
        at_start = plain && depth == 0 && c == '|';
        if at_start {
            anchored &= previous == Some('$');
        }
        match c {
            '(' if plain => depth += 1,
            ')' if plain => depth = depth.saturating_sub(1),
            '[' if plain => in_class = true,
            ']' if !escaped => in_class = false,
            _ => {}
        }
        previous = plain.then_some(c);
        escaped = !escaped && c == '\\';
    }
    anchored && !at_start && previous == Some('$')
}

/// Every keyword of the draft: core 8 to 11, validation 6 to 9.
const KEYWORDS: [&str; 58] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$ref",
    "$schema",
    "$vocabulary",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "writeOnly",
];
