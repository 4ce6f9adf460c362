// SPDX-License-Identifier: MIT OR Apache-2.0
//! Equality as JSON Schema means it (draft 2020-12 core, section 4.2.2): numbers by value, members
//! in any order.

use std::cmp::Ordering;

use jsonschema::json::cmp;
use serde_json::Value as Theirs;

use crate::json::{Decimal, Member, Number, Value};

/// Whether an instance equals a value that a contract spells out.
pub(super) fn equal(ours: &Value<'_>, theirs: &Theirs) -> bool {
    match (ours, theirs) {
        (Value::Null, Theirs::Null) => true,
        (Value::Bool(a), Theirs::Bool(b)) => a == b,
        (Value::String(a), Theirs::String(b)) => a == b,
        // As the library does for a number alone, so that one within an object is judged no other
        // way.
        (Value::Number(a), Theirs::Number(b)) => cmp::equal_numbers(a, b),
        (Value::Array(a), Theirs::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Theirs::Object(b)) => {
            a.len() == b.len() && b.iter().all(|(name, b)| a.get(name).is_some_and(|a| equal(a, b)))
        }
        _ => false,
    }
}

/// Whether no two elements are equal. Sorts, so that no input makes it quadratic.
pub(super) fn is_unique(elements: &[Value<'_>]) -> bool {
    let mut sorted: Vec<&Value<'_>> = elements.iter().collect();
    sorted.sort_unstable_by(|a, b| order(a, b));
    sorted.windows(2).all(|pair| match pair {
        [a, b] => order(a, b) != Ordering::Equal,
        _ => true,
    })
}

/// Some total order in which exactly the equal values are equal.
fn order(one: &Value<'_>, other: &Value<'_>) -> Ordering {
    match (one, other) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => order_numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => a.len().cmp(&b.len()).then_with(|| {
            let mut pairs = a.iter().zip(b).map(|(a, b)| order(a, b));
            pairs.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
        }),
        (Value::Object(a), Value::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
            let (a, b) = (by_name(a.iter()), by_name(b.iter()));
            let mut pairs = a.iter().zip(&b).map(|(a, b)| order_members(a, b));
            pairs.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
        }),
        _ => rank(one).cmp(&rank(other)),
    }
}

fn order_members(a: &Member<'_>, b: &Member<'_>) -> Ordering {
    a.name.cmp(&b.name).then_with(|| order(&a.value, &b.value))
}

fn order_numbers(a: &Number<'_>, b: &Number<'_>) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Decimal::of(a.text()).cmp(&Decimal::of(b.text())),
    }
}

fn by_name<'a, 'b>(members: impl Iterator<Item = &'a Member<'b>>) -> Vec<&'a Member<'b>>
where
    'b: 'a,
{
    let mut sorted: Vec<_> = members.collect();
    sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    sorted
}

fn rank(value: &Value<'_>) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}
