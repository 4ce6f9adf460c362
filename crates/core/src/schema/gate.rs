// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a document must be before it is compiled: strict JSON, one dialect, self-contained, exact.

use std::collections::BTreeSet;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Uri, ValidationError, uri};
use serde_json::Value;

use super::walk::{Subschema, join, walk};
use super::{DIALECT, DOCUMENT_LIMITS, SchemaError, view};
use crate::json;

/// Longest part of a foreign message that an error repeats, characters.
const REASON_CHARS_MAX: usize = 400;

/// Reads the document strictly and refuses what would be judged differently than it is written.
pub(super) fn admit(document: &[u8]) -> Result<Value, SchemaError> {
    let read = json::read(document, &DOCUMENT_LIMITS)?;
    exact(&read, "")?;
    let contract = view::to_serde(&read);
    if !contract.is_object() && !contract.is_boolean() {
        let reason = "a schema is an object, `true` or `false`".to_owned();
        return Err(SchemaError::Invalid { pointer: String::new(), reason });
    }
    let embedded = embedded(&contract);
    let mut verdict = Ok(());
    walk(&contract, &mut |at| {
        if verdict.is_ok() {
            verdict = dialect(at).and_then(|()| self_contained(at, &embedded));
        }
    });
    verdict.map(|()| contract)
}

fn exact(value: &json::Value<'_>, pointer: &str) -> Result<(), SchemaError> {
    match value {
        json::Value::Number(number) => {
            let integer = !number.text().contains(['.', 'e', 'E']);
            if integer && number.as_i64().is_none() && number.as_u64().is_none() {
                return Err(SchemaError::WideInteger { pointer: pointer.to_owned() });
            }
            Ok(())
        }
        json::Value::Array(elements) => elements
            .iter()
            .enumerate()
            .try_for_each(|(nth, element)| exact(element, &format!("{pointer}/{nth}"))),
        json::Value::Object(object) => {
            object.iter().try_for_each(|member| exact(&member.value, &join(pointer, &member.name)))
        }
        json::Value::Null | json::Value::Bool(_) | json::Value::String(_) => Ok(()),
    }
}

fn dialect(at: &Subschema<'_, '_>) -> Result<(), SchemaError> {
    let Some(named) = at.members.get("$schema") else { return Ok(()) };
    match named.as_str().map(|text| text.trim_end_matches('#')) {
        Some(DIALECT) => Ok(()),
        _ => Err(SchemaError::Dialect { pointer: join(at.pointer, "$schema") }),
    }
}

/// The addresses under which the document and its parts may be referred to.
fn embedded(contract: &Value) -> BTreeSet<String> {
    let mut addresses = BTreeSet::new();
    walk(contract, &mut |at| {
        addresses.insert(without_fragment(at.base).to_owned());
    });
    addresses
}

fn self_contained(at: &Subschema<'_, '_>, embedded: &BTreeSet<String>) -> Result<(), SchemaError> {
    for keyword in ["$ref", "$dynamicRef"] {
        let Some(reference) = at.members.get(keyword).and_then(Value::as_str) else { continue };
        let target = uri::resolve_against(&at.base.borrow(), reference);
        if !target.is_ok_and(|target| embedded.contains(without_fragment(&target))) {
            return Err(SchemaError::ForeignReference { pointer: join(at.pointer, keyword) });
        }
    }
    Ok(())
}

fn without_fragment(address: &Uri<String>) -> &str {
    address.as_str().split('#').next().unwrap_or_default()
}

impl SchemaError {
    pub(super) fn from_build(error: ValidationError<'_>) -> Self {
        let pointer = error.instance_path().as_str().to_owned();
        match error.kind() {
            ValidationErrorKind::Format { format } if format == "regex" => {
                Self::Pattern { pointer }
            }
            _ => Self::Invalid {
                pointer,
                reason: error.to_string().chars().take(REASON_CHARS_MAX).collect(),
            },
        }
    }
}
