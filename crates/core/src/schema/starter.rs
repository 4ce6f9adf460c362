// SPDX-License-Identifier: MIT OR Apache-2.0
//! A first contract, guessed from one example: strict where an author forgets to be, to be loosened
//! by hand.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::DIALECT;
use crate::json::{Object, Value};

/// A pretty-printed contract that `example` satisfies and [`lint`](super::lint()) has nothing to
/// say about. Names of the example appear in it, values do not; bounds are guessed generously from
/// the sizes seen.
#[must_use]
pub fn starter(example: &Value<'_>) -> String {
    let document = Document(Shape::of(example));
    // Writing strings and maps into memory cannot fail.
    serde_json::to_string_pretty(&document).map_or_else(|_| String::new(), |text| text + "\n")
}

/// A guess at what values look like.
enum Shape {
    Null,
    Boolean,
    Integer,
    Number,
    /// Most characters seen.
    String(usize),
    Array {
        longest: usize,
        elements: Vec<Shape>,
    },
    Object(Vec<Member>),
}

struct Member {
    name: String,
    required: bool,
    /// One for each kind of value seen.
    shapes: Vec<Shape>,
}

impl Shape {
    fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_integer() => Self::Integer,
            Value::Number(_) => Self::Number,
            Value::String(text) => Self::String(text.chars().count()),
            Value::Array(elements) => {
                let shapes = elements.iter().map(Self::of).fold(Vec::new(), add);
                Self::Array { longest: elements.len(), elements: shapes }
            }
            Value::Object(object) => Self::Object(members(object)),
        }
    }

    /// One shape for both, or both back if they are of different kinds.
    fn join(self, other: Self) -> Result<Self, (Self, Self)> {
        Ok(match (self, other) {
            (Self::Null, Self::Null) => Self::Null,
            (Self::Boolean, Self::Boolean) => Self::Boolean,
            (Self::Integer, Self::Integer) => Self::Integer,
            (Self::Integer | Self::Number, Self::Integer | Self::Number) => Self::Number,
            (Self::String(a), Self::String(b)) => Self::String(a.max(b)),
            (
                Self::Array { longest: a, elements },
                Self::Array { longest: b, elements: others },
            ) => {
                Self::Array { longest: a.max(b), elements: others.into_iter().fold(elements, add) }
            }
            (Self::Object(members), Self::Object(others)) => {
                Self::Object(join_members(members, others))
            }
            different => return Err(different),
        })
    }
}

fn members(object: &Object<'_>) -> Vec<Member> {
    let one = |name: &str, value| Member {
        name: name.to_owned(),
        required: true,
        shapes: vec![Shape::of(value)],
    };
    object.iter().map(|member| one(&member.name, &member.value)).collect()
}

/// Adds a shape to those of other kinds.
fn add(mut shapes: Vec<Shape>, mut new: Shape) -> Vec<Shape> {
    let mut apart = Vec::with_capacity(shapes.len() + 1);
    for shape in shapes.drain(..) {
        new = match shape.join(new) {
            Ok(joined) => joined,
            Err((shape, new)) => {
                apart.push(shape);
                new
            }
        };
    }
    apart.push(new);
    apart
}

fn join_members(mut members: Vec<Member>, others: Vec<Member>) -> Vec<Member> {
    for member in &mut members {
        member.required &= others.iter().any(|other| other.required && other.name == member.name);
    }
    for mut other in others {
        match members.iter_mut().find(|member| member.name == other.name) {
            Some(member) => {
                let shapes = std::mem::take(&mut member.shapes);
                member.shapes = other.shapes.into_iter().fold(shapes, add);
            }
            None => {
                other.required = false;
                members.push(other);
            }
        }
    }
    members
}

/// Room to grow: four times what was seen, rounded up to a power of two.
fn roomy(seen: usize, least: usize) -> usize {
    seen.saturating_mul(4).checked_next_power_of_two().unwrap_or(usize::MAX).max(least)
}

struct Document(Shape);

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("$schema", DIALECT)?;
        describe(&self.0, &mut map)?;
        map.end()
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        describe(self, &mut map)?;
        map.end()
    }
}

/// The keywords of one shape, the telling ones first.
fn describe<M: SerializeMap>(shape: &Shape, map: &mut M) -> Result<(), M::Error> {
    match shape {
        Shape::Null => map.serialize_entry("type", "null"),
        Shape::Boolean => map.serialize_entry("type", "boolean"),
        Shape::Integer => map.serialize_entry("type", "integer"),
        Shape::Number => map.serialize_entry("type", "number"),
        Shape::String(longest) => {
            map.serialize_entry("type", "string")?;
            map.serialize_entry("maxLength", &roomy(*longest, 64))
        }
        Shape::Array { longest, elements } => {
            map.serialize_entry("type", "array")?;
            map.serialize_entry("maxItems", &roomy(*longest, 16))?;
            if elements.is_empty() {
                Ok(())
            } else {
                map.serialize_entry("items", &AnyOf(elements))
            }
        }
        Shape::Object(members) => {
            let required: Vec<&str> = members
                .iter()
                .filter(|member| member.required)
                .map(|member| &*member.name)
                .collect();
            map.serialize_entry("type", "object")?;
            map.serialize_entry("required", &required)?;
            map.serialize_entry("additionalProperties", &false)?;
            map.serialize_entry("properties", &Properties(members))
        }
    }
}

struct Properties<'s>(&'s [Member]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|member| (&member.name, AnyOf(&member.shapes))))
    }
}

/// One shape as itself, several as alternatives.
struct AnyOf<'s>(&'s [Shape]);

impl Serialize for AnyOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [one] = self.0 {
            return one.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("anyOf", self.0)?;
        map.end()
    }
}
