// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in a document schemas stand (draft 2020-12 core, section 10, and validation, section 8):
//! everything else, such as an `enum` or an `example`, is data and is not looked at.

use std::collections::BTreeSet;

use jsonschema::{Uri, uri};
use serde_json::{Map, Value};

/// A schema within the document that is an object.
pub(super) struct Subschema<'w, 's> {
    /// JSON Pointer into the document.
    pub(super) pointer: &'w str,
    /// What `$ref` is resolved against here.
    pub(super) base: &'w Uri<String>,
    pub(super) members: &'s Map<String, Value>,
    pub(super) place: Place,
}

/// What role a schema plays for the one around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The document itself.
    Root,
    /// Describes a value on its own: a property, an element, a definition.
    Value,
    /// Describes names or keys, never a value.
    Name,
    /// One of several that judge the same value: a branch of `allOf`, `if`, `not` and their kin.
    Branch,
}

enum Holds {
    One(Place),
    List(Place),
    Map(Place),
}

/// Keywords whose value is a schema or holds some.
fn holds(keyword: &str) -> Option<Holds> {
    Some(match keyword {
        "additionalProperties"
        | "unevaluatedProperties"
        | "items"
        | "unevaluatedItems"
        | "contains"
        | "contentSchema" => Holds::One(Place::Value),
        "propertyNames" => Holds::One(Place::Name),
        "not" | "if" | "then" | "else" => Holds::One(Place::Branch),
        "prefixItems" => Holds::List(Place::Value),
        "allOf" | "anyOf" | "oneOf" => Holds::List(Place::Branch),
        "properties" | "patternProperties" | "$defs" | "definitions" => Holds::Map(Place::Value),
        "dependentSchemas" => Holds::Map(Place::Branch),
        _ => return None,
    })
}

/// Calls `visit` for the root and every schema below it, outer before inner. Depth is bounded by
/// the reader's.
pub(super) fn walk<'s>(root: &'s Value, visit: &mut impl FnMut(&Subschema<'_, 's>)) {
    // The base of a document that gives no `$id`.
    if let Ok(base) = uri::from_str("") {
        descend(root, "", &base, Place::Root, visit);
    }
}

fn descend<'s>(
    schema: &'s Value,
    pointer: &str,
    base: &Uri<String>,
    place: Place,
    visit: &mut impl FnMut(&Subschema<'_, 's>),
) {
    let Value::Object(members) = schema else { return };
    let own_base = members
        .get("$id")
        .and_then(Value::as_str)
        .and_then(|id| uri::resolve_against(&base.borrow(), id).ok());
    let base = own_base.as_ref().unwrap_or(base);
    visit(&Subschema { pointer, base, members, place });
    for (keyword, value) in members {
        let at = join(pointer, keyword);
        match (holds(keyword), value) {
            (Some(Holds::One(place)), inner) => descend(inner, &at, base, place, visit),
            (Some(Holds::List(place)), Value::Array(list)) => {
                for (nth, inner) in list.iter().enumerate() {
                    descend(inner, &format!("{at}/{nth}"), base, place, visit);
                }
            }
            (Some(Holds::Map(place)), Value::Object(map)) => {
                for (name, inner) in map {
                    descend(inner, &join(&at, name), base, place, visit);
                }
            }
            _ => {}
        }
    }
}

/// Appends one token to a JSON Pointer (RFC 6901 section 3).
pub(super) fn join(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// Every member name of an instance that the document spells out.
pub(super) fn member_names(root: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    walk(root, &mut |at| {
        for keyword in ["properties", "dependentSchemas", "dependentRequired"] {
            let map = at.members.get(keyword).and_then(Value::as_object);
            names.extend(map.into_iter().flat_map(Map::keys).cloned());
        }
        let required = at.members.get("required").and_then(Value::as_array);
        names.extend(required.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    });
    names
}
