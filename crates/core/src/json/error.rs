// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a document was refused, without a byte of it.

use jiter::{JiterError, JiterErrorType, JsonErrorType};

/// Where and why a document was refused. Holds none of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct ReadError {
    /// Offset into the document, bytes.
    pub at: usize,
    /// What is wrong there.
    pub kind: ReadErrorKind,
}

impl ReadError {
    /// True if the document was too costly to read, false if it was malformed or could be read in
    /// two ways.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.kind.is_limit()
    }
}

/// The ways a document can be refused; exhaustive, so that a new one makes every caller decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadErrorKind {
    /// Longer than [`Limits::bytes_max`](super::Limits::bytes_max).
    #[error("more bytes than allowed")]
    Bytes,
    /// Nested deeper than [`Limits::depth_max`](super::Limits::depth_max).
    #[error("nested deeper than allowed")]
    Depth,
    /// More values and names than [`Limits::tokens_max`](super::Limits::tokens_max).
    #[error("more values than allowed")]
    Tokens,
    /// Not the grammar of RFC 8259, or something after the document.
    #[error("not valid JSON")]
    Syntax,
    /// Not UTF-8 (RFC 8259 section 8.1).
    #[error("not valid UTF-8")]
    Utf8,
    /// Two members of one object have the same name once escapes are decoded.
    #[error("a name that occurs twice in its object")]
    DuplicateName,
    /// Half of a surrogate pair, which is no character (RFC 8259 section 8.2).
    #[error("a lone surrogate")]
    LoneSurrogate,
    /// A number that no finite IEEE 754 double comes near.
    #[error("a number out of range")]
    NumberRange,
}

impl ReadErrorKind {
    /// True for the limits, false for what is malformed or ambiguous.
    #[must_use]
    pub fn is_limit(self) -> bool {
        match self {
            Self::Bytes | Self::Depth | Self::Tokens => true,
            Self::Syntax
            | Self::Utf8
            | Self::DuplicateName
            | Self::LoneSurrogate
            | Self::NumberRange => false,
        }
    }
}

impl From<JiterError> for ReadError {
    fn from(error: JiterError) -> Self {
        let kind = match error.error_type {
            JiterErrorType::JsonError(
                JsonErrorType::LoneLeadingSurrogateInHexEscape
                | JsonErrorType::UnexpectedEndOfHexEscape,
            ) => ReadErrorKind::LoneSurrogate,
            JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => {
                ReadErrorKind::NumberRange
            }
            JiterErrorType::JsonError(JsonErrorType::InvalidUnicodeCodePoint) => {
                ReadErrorKind::Utf8
            }
            _ => ReadErrorKind::Syntax,
        };
        Self { at: error.index, kind }
    }
}
