// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree that the reader gives: borrowed, ordered, with the exact bytes of each member.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::Number;

/// One JSON value. Its `Debug` names kinds and sizes only: values come out of messages, and logs
/// are no place for those.
#[derive(Clone, PartialEq)]
pub enum Value<'b> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(Number<'b>),
    /// A string, escapes decoded.
    String(Cow<'b, str>),
    /// An array, in order.
    Array(Vec<Value<'b>>),
    /// An object, in the order of the document.
    Object(Object<'b>),
}

impl<'b> Value<'b> {
    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_number(&self) -> Option<Number<'b>> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value<'b>]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The object, if it is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object<'b>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// True for `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(_) => f.write_str("boolean"),
            Self::Number(_) => f.write_str("number"),
            Self::String(text) => write!(f, "string of {} bytes", text.len()),
            Self::Array(elements) => write!(f, "array of {}", elements.len()),
            Self::Object(object) => write!(f, "object of {}", object.len()),
        }
    }
}

/// An object: its members in the order of the document, each name once.
#[derive(Clone)]
pub struct Object<'b> {
    members: Vec<Member<'b>>,
    /// Positions of the members in the order of their names, where there are too many to look
    /// through one by one.
    #[allow(
        clippy::box_collection,
        reason = "one word: a Value stays at four, wide objects are rare"
    )]
    by_name: Option<Box<Vec<usize>>>,
}

/// One member of an object.
#[derive(Clone)]
pub struct Member<'b> {
    /// The name, escapes decoded.
    pub name: Cow<'b, str>,
    /// Its value.
    pub value: Value<'b>,
    /// The exact bytes of the value in the document that was read.
    pub span: Range<usize>,
}

/// Up to here a look at each is quicker than an index. Sorting, not hashing: no input makes it
/// slow.
const FEW: usize = 32;

impl<'b> Object<'b> {
    /// Fails with the offset of a member whose name occurred before.
    pub(super) fn new(members: Vec<Member<'b>>) -> Result<Self, usize> {
        if members.len() <= FEW {
            return match repeated_among_few(&members) {
                Some(at) => Err(at),
                None => Ok(Self { members, by_name: None }),
            };
        }
        let name = |at: usize| members.get(at).map(|member| &*member.name);
        let mut by_name: Vec<usize> = (0..members.len()).collect();
        // Stable: of two equal names the second in the document comes second.
        by_name.sort_by(|a, b| name(*a).cmp(&name(*b)));
        let repeated = by_name.windows(2).find_map(|pair| match pair {
            [first, second] if name(*first) == name(*second) => members.get(*second),
            _ => None,
        });
        match repeated {
            Some(member) => Err(member.span.start),
            None => Ok(Self { members, by_name: Some(Box::new(by_name)) }),
        }
    }

    /// The value of the member with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value<'b>> {
        self.member(name).map(|member| &member.value)
    }

    /// The member with this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member<'b>> {
        let Some(by_name) = &self.by_name else {
            return self.members.iter().find(|member| member.name == name);
        };
        let found = by_name.binary_search_by(|at| {
            self.members.get(*at).map_or("", |member| &*member.name).cmp(name)
        });
        self.members.get(*by_name.get(found.ok()?)?)
    }

    /// The members, in the order of the document.
    pub fn iter(&self) -> std::slice::Iter<'_, Member<'b>> {
        self.members.iter()
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<'a, 'b> IntoIterator for &'a Object<'b> {
    type Item = &'a Member<'b>;
    type IntoIter = std::slice::Iter<'a, Member<'b>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Same members with the same values in the same order; where in a document they stood is no part
/// of it.
impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}

impl PartialEq for Member<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value == other.value
    }
}

impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object of {}", self.len())
    }
}

impl fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member at {:?}: {:?}", self.span, self.value)
    }
}

impl fmt::Debug for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("number")
    }
}

fn repeated_among_few(members: &[Member<'_>]) -> Option<usize> {
    members.iter().enumerate().find_map(|(at, member)| {
        let mut before = members.iter().take(at);
        before.any(|earlier| earlier.name == member.name).then_some(member.span.start)
    })
}

impl<'b> IntoIterator for Object<'b> {
    type Item = Member<'b>;
    type IntoIter = std::vec::IntoIter<Member<'b>>;
    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}
