// SPDX-License-Identifier: MIT OR Apache-2.0
//! How `jsonschema` sees our tree: in place, and in a way that neither copies an instance into an
//! error nor goes on looking once enough is wrong.

use std::borrow::Cow;
use std::cell::Cell;

use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value as Theirs;

use super::equal;
use crate::json::{self, Member, Number, Value};

/// Our tree, as one of the representations that `jsonschema` can be compiled for.
pub(super) struct Ours;

/// One value, and the report if a report is being made.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    value: &'a Value<'a>,
    report: Option<&'a Report>,
}

/// How many errors were built. `jsonschema` collects all there are before it gives the first; once
/// there are [`ERRORS_BUILT_MAX`], arrays and objects look empty to it and the walk ends. What it
/// says from then on is marked, for it may be untrue.
#[derive(Default)]
pub(super) struct Report {
    pub(super) built: Cell<usize>,
}

/// More than are ever told, since those within the branches of an `anyOf` count too.
pub(super) const ERRORS_BUILT_MAX: usize = 128;

static WITHHELD: Theirs = Theirs::Null;
static PAST_END: Theirs = Theirs::Bool(true);

impl Report {
    /// Whether this error was built after the report was full.
    pub(super) fn is_past_end(error: &ValidationError<'_>) -> bool {
        **error.instance() == PAST_END
    }

    fn is_full(&self) -> bool {
        self.built.get() >= ERRORS_BUILT_MAX
    }

    /// What an error gets in place of the value it is about.
    fn stand_in(&self) -> &'static Theirs {
        let past_end = self.is_full();
        self.built.set(self.built.get().saturating_add(1));
        if past_end { &PAST_END } else { &WITHHELD }
    }
}

impl<'a> View<'a> {
    pub(super) fn of(value: &'a Value<'a>) -> Self {
        Self { value, report: None }
    }

    pub(super) fn reporting(value: &'a Value<'a>, report: &'a Report) -> Self {
        Self { value, report: Some(report) }
    }
}

/// A value as `serde_json` has it: for a contract's own document, and for nothing that a message
/// brought.
pub(super) fn to_serde(value: &Value<'_>) -> Theirs {
    match value {
        Value::Null => Theirs::Null,
        Value::Bool(truth) => Theirs::Bool(*truth),
        Value::Number(number) => Theirs::Number(to_serde_number(number)),
        Value::String(text) => Theirs::String(text.clone().into_owned()),
        Value::Array(elements) => Theirs::Array(elements.iter().map(to_serde).collect()),
        Value::Object(object) => Theirs::Object(
            object.iter().map(|m| (m.name.clone().into_owned(), to_serde(&m.value))).collect(),
        ),
    }
}

fn to_serde_number(number: &Number<'_>) -> serde_json::Number {
    let integer = number.as_i64().map(Into::into).or_else(|| number.as_u64().map(Into::into));
    // The reader admits finite numbers only, so the last resort is out of reach.
    integer.or_else(|| serde_json::Number::from_f64(number.as_f64())).unwrap_or_else(|| 0.into())
}

impl Json for Ours {
    type Node<'a> = View<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = ();

    const KEYS_PER_LOOKUP: usize = 2;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(View<'_>) -> T) -> T {
        f(View::of(&Value::String(Cow::Borrowed(string))))
    }
}

impl<'a> Node<'a, Ours> for View<'a> {
    type Object = Members<'a>;
    type Array = Elements<'a>;
    type Number = Number<'a>;

    fn as_object(&self) -> Option<Members<'a>> {
        let object = self.value.as_object()?;
        Some(Members { object, report: self.report })
    }

    fn as_array(&self) -> Option<Elements<'a>> {
        let elements = self.value.as_array()?;
        Some(Elements { elements, report: self.report })
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.value.as_str().map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<Number<'a>> {
        self.value.as_number()
    }

    fn as_boolean(&self) -> Option<bool> {
        self.value.as_bool()
    }

    fn is_null(&self) -> bool {
        self.value.is_null()
    }

    fn json_type(&self) -> JsonType {
        match self.value {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Theirs) -> bool {
        equal::equal(self.value, expected)
    }

    /// Asked for when an error is built, and then answered with a stand-in.
    fn to_value(&self) -> Cow<'a, Theirs> {
        match self.report {
            Some(report) => Cow::Borrowed(report.stand_in()),
            None => Cow::Owned(to_serde(self.value)),
        }
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.value).addr()))
    }
}

/// An object as `jsonschema` sees it.
#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    object: &'a json::Object<'a>,
    report: Option<&'a Report>,
}

impl<'a> Object<'a, Ours> for Members<'a> {
    type Node = View<'a>;
    type MemberName = &'a str;
    type MembersIter = UntilFull<'a, Member<'a>, (&'a str, View<'a>)>;

    fn len(&self) -> usize {
        self.object.len()
    }

    fn get(&self, key: &Box<str>) -> Option<View<'a>> {
        let value = self.object.get(key)?;
        Some(View { value, report: self.report })
    }

    fn members(&self) -> Self::MembersIter {
        let show =
            |member: &'a Member<'a>, report| (&*member.name, View { value: &member.value, report });
        UntilFull { rest: self.object.iter(), report: self.report, show }
    }
}

/// An array as `jsonschema` sees it.
#[derive(Clone, Copy)]
pub(super) struct Elements<'a> {
    elements: &'a [Value<'a>],
    report: Option<&'a Report>,
}

impl<'a> Array<'a, Ours> for Elements<'a> {
    type Node = View<'a>;
    type ElementsIter = UntilFull<'a, Value<'a>, View<'a>>;

    fn len(&self) -> usize {
        self.elements.len()
    }

    fn elements(&self) -> Self::ElementsIter {
        let show = |value, report| View { value, report };
        UntilFull { rest: self.elements.iter(), report: self.report, show }
    }

    fn is_unique(&self) -> bool {
        equal::is_unique(self.elements)
    }
}

/// The parts of an array or object, until the report is full.
pub(super) struct UntilFull<'a, P, V> {
    rest: std::slice::Iter<'a, P>,
    report: Option<&'a Report>,
    show: fn(&'a P, Option<&'a Report>) -> V,
}

impl<P, V> Iterator for UntilFull<'_, P, V> {
    type Item = V;

    fn next(&mut self) -> Option<V> {
        if self.report.is_some_and(Report::is_full) {
            return None;
        }
        self.rest.next().map(|part| (self.show)(part, self.report))
    }
}

impl JsonNumber for Number<'_> {
    fn as_u64(&self) -> Option<u64> {
        Number::as_u64(self)
    }

    fn as_i64(&self) -> Option<i64> {
        Number::as_i64(self)
    }

    fn as_f64(&self) -> Option<f64> {
        Some(Number::as_f64(self))
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.text())
    }

    fn to_number(&self) -> Cow<'_, serde_json::Number> {
        Cow::Owned(to_serde_number(self))
    }

    fn is_integer(&self) -> bool {
        Number::is_integer(self)
    }
}
