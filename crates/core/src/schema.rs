// SPDX-License-Identifier: MIT OR Apache-2.0
//! Contracts: JSON Schema draft 2020-12, compiled once, asked per message, never touching what it
//! judges.
//!
//! A contract is one self-contained document. Nothing is fetched for it, its patterns run in linear
//! time, and what it says about a message never quotes the message. Three readings of the
//! specification are settled here:
//!
//! - `format` is an annotation and is not asserted (the draft's default); [`lint`] says where that
//!   may surprise.
//! - Integers of 64 bits are compared exactly, other numbers with a contract's by their nearest
//!   IEEE 754 double. `uniqueItems`, where both sides are the message's, compares any two numbers
//!   exactly.
//! - A document that names another draft, anywhere, is refused rather than read by the wrong rules.

mod equal;
mod gate;
mod lint;
mod starter;
#[cfg(test)]
mod tests;
mod view;
mod violations;
mod walk;

use std::collections::BTreeSet;
use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator, options_for};
use sha2::{Digest, Sha256};

use crate::json::{Limits, ReadError, Value};
use view::{Ours, Report, View};

pub use lint::{Lint, lint};
pub use starter::starter;
pub use violations::{VIOLATIONS_MAX, VIOLATIONS_TEXT_BYTES_MAX, Violation, Violations};

/// The one dialect a contract may be written in.
pub const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What a contract's own document may cost: 256 KiB, 64 deep, 20 000 tokens.
pub const DOCUMENT_LIMITS: Limits =
    Limits { bytes_max: 256 << 10, depth_max: 64, tokens_max: 20_000 };

/// Compiled size of one pattern, bytes. `^\p{L}{1,64}$` fits; `(a{1000}){1000}` does not.
const PATTERN_BYTES_MAX: usize = 2 << 20;

/// A compiled contract.
pub struct Schema {
    validator: Validator<Ours>,
    digest: [u8; 32],
    /// Every member name that the document spells out; only these may appear in a violation.
    names: BTreeSet<String>,
}

impl Schema {
    /// Compiles a contract from its document.
    ///
    /// # Errors
    /// [`SchemaError`] names the place in the document. Nothing is accepted that would be judged
    /// differently than it is written: see the variants.
    pub fn compile(document: &[u8]) -> Result<Self, SchemaError> {
        let contract = gate::admit(document)?;
        let validator = options_for::<Ours>()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
            .offline()
            .build(&contract)
            .map_err(SchemaError::from_build)?;
        let digest = Sha256::digest(document).into();
        Ok(Self { validator, digest, names: walk::member_names(&contract) })
    }

    /// SHA-256 of the document's exact bytes: the `sd` of a message header.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Judges `instance` where it lies; nothing is copied, coerced, defaulted or removed.
    ///
    /// # Errors
    /// [`Violations`]: the first few, with nothing of the instance's content in them.
    pub fn validate(&self, instance: &Value<'_>) -> Result<(), Violations> {
        if self.validator.is_valid(View::of(instance)) {
            return Ok(());
        }
        Err(self.explain(instance, &Report::default()))
    }

    /// The second pass, for an instance already judged invalid: `report` ends it once enough was
    /// found.
    fn explain(&self, instance: &Value<'_>, report: &Report) -> Violations {
        let found = self.validator.iter_errors(View::reporting(instance, report));
        let mut violations = Violations::default();
        for (nth, error) in found.enumerate() {
            // The first is real however late it was: it stopped nothing before it. Others made past
            // the end are not.
            if nth > 0 && Report::is_past_end(&error) {
                violations.cut();
                continue;
            }
            if !violations.push(Violation::of(&error, instance, &self.names)) {
                break;
            }
        }
        violations.at_least_one()
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("names", &self.names.len()).finish_non_exhaustive()
    }
}

/// Why a document is no contract. Quotes the document, which is configuration, never a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The document is not strict JSON within [`DOCUMENT_LIMITS`].
    #[error("the schema document cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    /// `$schema` names another dialect than [`DIALECT`].
    #[error("at `#{pointer}`: another dialect than draft 2020-12; write \"{DIALECT}\"")]
    Dialect {
        /// JSON Pointer into the document.
        pointer: String,
    },
    /// A reference leads out of the document; contracts are self-contained.
    #[error(
        "at `#{pointer}`: this reference leaves the document, and nothing is fetched; copy its target under `$defs` and write `#/$defs/NAME`"
    )]
    ForeignReference {
        /// JSON Pointer into the document.
        pointer: String,
    },
    /// An integer beyond 64 bits, which would be compared as its neighbour.
    #[error("at `#{pointer}`: an integer beyond 64 bits cannot be compared exactly")]
    WideInteger {
        /// JSON Pointer into the document.
        pointer: String,
    },
    /// A pattern that cannot run in linear time (look-around, back-references) or is too large, or
    /// no pattern at all.
    #[error(
        "at `#{pointer}`: not a pattern that runs in linear time: no look-around, no back-reference, no huge repeat"
    )]
    Pattern {
        /// JSON Pointer into the document.
        pointer: String,
    },
    /// Anything else the draft does not allow.
    #[error("at `#{pointer}`: {reason}")]
    Invalid {
        /// JSON Pointer into the document.
        pointer: String,
        /// What the draft wants there.
        reason: String,
    },
}
