// SPDX-License-Identifier: MIT OR Apache-2.0
//! The strict reader of everything that arrives in a message.
//!
//! Two parsers that read one document differently are a way round every check between them, so what
//! RFC 8259 leaves open is refused here: names that occur twice, lone surrogates, numbers no double
//! can hold, bytes that are not UTF-8. Numbers keep their exact text and each member the exact
//! bytes of its value, because what was signed is the bytes.

mod decimal;
mod error;
mod number;
mod reader;
#[cfg(test)]
mod tests;
mod value;

pub use error::{ReadError, ReadErrorKind};
pub use number::Number;
pub use reader::read;
pub use value::{Member, Object, Value};

pub(crate) use decimal::Decimal;

/// What a document may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the whole document, bytes.
    pub bytes_max: usize,
    /// Arrays and objects open at once; never more than [`Limits::DEPTH_CEILING`], whatever is
    /// written here.
    pub depth_max: usize,
    /// Values and member names together.
    pub tokens_max: usize,
}

impl Limits {
    /// What a message gets: 1 MiB, 32 deep, 20 000 tokens.
    pub const DEFAULT: Self = Self { bytes_max: 1 << 20, depth_max: 32, tokens_max: 20_000 };

    /// The reader calls itself once per level: this bounds its stack even under a careless
    /// configuration.
    pub const DEPTH_CEILING: usize = 128;
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
