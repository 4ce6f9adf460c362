// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with an instance, told from the contract's side only: payloads must not reach
//! logs.

use std::collections::BTreeSet;
use std::fmt;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};

use crate::json::Value;

/// How many violations are told at most.
pub const VIOLATIONS_MAX: usize = 20;

/// How much text they have at most, all together, bytes.
pub const VIOLATIONS_TEXT_BYTES_MAX: usize = 4096;

/// Longest description of what was expected, bytes.
const EXPECTED_BYTES_MAX: usize = 240;

/// One thing that the contract does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer to the value, in which `*` stands for a member name that the contract does not
    /// spell out: such a name is the sender's, as much as a value is.
    pub pointer: String,
    /// The keyword of the contract that refused it.
    pub keyword: String,
    /// What the keyword would have accepted.
    pub expected: String,
}

/// The first violations found in an instance, at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    list: Vec<Violation>,
    text_bytes: usize,
    cut: bool,
}

impl Violations {
    /// The violations, in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Violation> {
        self.list.iter()
    }

    /// How many are told, 1 to [`VIOLATIONS_MAX`].
    #[allow(clippy::len_without_is_empty, reason = "there is always at least one")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there are more than are told.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    /// False once there is no room; the one that found none is not told.
    pub(super) fn push(&mut self, violation: Violation) -> bool {
        let bytes = self.text_bytes + violation.to_string().len() + 1;
        if self.list.len() == VIOLATIONS_MAX || bytes > VIOLATIONS_TEXT_BYTES_MAX {
            self.cut = true;
            return false;
        }
        self.text_bytes = bytes;
        self.list.push(violation);
        true
    }

    /// An instance judged invalid stays so, even if no reason could be told.
    pub(super) fn at_least_one(mut self) -> Self {
        if self.list.is_empty() {
            self.list.push(Violation {
                pointer: String::new(),
                keyword: "schema".to_owned(),
                expected: "an instance that satisfies the contract".to_owned(),
            });
        }
        self
    }
}

impl<'v> IntoIterator for &'v Violations {
    type Item = &'v Violation;
    type IntoIter = std::slice::Iter<'v, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In the fragment form of RFC 6901 section 6, in which the whole instance is `#` and not
        // nothing.
        write!(f, "#{}: {}: expected {}", self.pointer, self.keyword, self.expected)
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, violation) in self.list.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "\n" };
            write!(f, "{separator}{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

impl Violation {
    pub(super) fn of(
        error: &ValidationError<'_>,
        instance: &Value<'_>,
        names: &BTreeSet<String>,
    ) -> Self {
        let keyword = match error.kind() {
            Kind::FalseSchema => "false",
            other => other.keyword(),
        };
        Self {
            pointer: spelled_out(error.instance_path().as_str(), instance, names),
            keyword: keyword.to_owned(),
            expected: clipped(expected(error.kind())),
        }
    }
}

/// The pointer with every name masked that the contract does not spell out. It is followed through
/// the instance, since nothing else tells an index from a name made of digits, such as a card
/// number.
pub(super) fn spelled_out(pointer: &str, instance: &Value<'_>, names: &BTreeSet<String>) -> String {
    let mut at = Some(instance);
    let mut told = String::new();
    for token in pointer.split('/').skip(1) {
        told.push('/');
        match at {
            Some(Value::Array(elements)) => {
                let index: Option<usize> = token.parse().ok();
                told.push_str(if index.is_some() { token } else { "*" });
                at = index.and_then(|index| elements.get(index));
            }
            Some(Value::Object(object)) => {
                let name = token.replace("~1", "/").replace("~0", "~");
                told.push_str(if names.contains(&name) { token } else { "*" });
                at = object.get(&name);
            }
            _ => told.push('*'),
        }
    }
    told
}

/// Everything here is taken from the contract; counts of what was unexpected are all that is said
/// of the instance.
fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Type { kind: TypeKind::Single(one) } => format!("type {one}"),
        Kind::Type { kind: TypeKind::Multiple(set) } => {
            let names: Vec<&str> = set.iter().map(|one| one.as_str()).collect();
            format!("type {}", names.join(" or "))
        }
        Kind::Required { property } => format!("a member {property}"),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!("no other members than the contract names, not {} more", unexpected.len())
        }
        Kind::UnevaluatedItems { unexpected } => {
            format!("no other elements than the contract describes, not {} more", unexpected.len())
        }
        Kind::PropertyNames { error } => format!("every name to be {}", expected(error.kind())),
        Kind::Constant { expected_value } => format!("exactly {expected_value}"),
        Kind::Enum { options } => format!("one of {options}"),
        Kind::Pattern { pattern } => format!("a match of {pattern}"),
        Kind::Format { format } => format!("format {format}"),
        Kind::AnyOf { context } => {
            format!("at least one of {} alternatives to hold", context.len())
        }
        Kind::OneOfNotValid { context } => format!("one of {} alternatives to hold", context.len()),
        Kind::OneOfMultipleValid { .. } => {
            "exactly one alternative to hold, not several".to_owned()
        }
        Kind::Not { .. } => "what the contract excludes not to hold".to_owned(),
        Kind::FalseSchema => "no value at all".to_owned(),
        Kind::Contains => "the demanded number of matching elements".to_owned(),
        Kind::UniqueItems => "no two equal elements".to_owned(),
        other => expected_size(other),
    }
}

fn expected_size(kind: &Kind) -> String {
    match kind {
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("at least {limit} characters"),
        Kind::MaxLength { limit } => format!("at most {limit} characters"),
        Kind::MinItems { limit } => format!("at least {limit} elements"),
        Kind::MaxItems { limit } => format!("at most {limit} elements"),
        Kind::AdditionalItems { limit } => format!("at most {limit} elements"),
        Kind::MinProperties { limit } => format!("at least {limit} members"),
        Kind::MaxProperties { limit } => format!("at most {limit} members"),
        // A kind unknown here may carry anything of the instance, so it says nothing.
        _ => "what the contract says".to_owned(),
    }
}

fn clipped(mut text: String) -> String {
    if text.len() > EXPECTED_BYTES_MAX {
        let end = (0..=EXPECTED_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}
