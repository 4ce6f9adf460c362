// SPDX-License-Identifier: MIT OR Apache-2.0
//! A number as it was written.

use super::Decimal;

/// A JSON number: its exact text, known to have a finite value as an IEEE 754 double.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Number<'b> {
    text: &'b str,
}

/// Integers that every reader holds exactly are at most this far from zero (RFC 7493 section 2.2):
/// 2^53 - 1.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// 10^308 is below the largest double, so as many digits need no closer look.
const FINITE_DIGITS: usize = 308;

impl<'b> Number<'b> {
    /// `text` is a number by the grammar; `None` if its value as a double is not finite.
    pub(super) fn finite(text: &'b str) -> Option<Self> {
        let short = text.len() <= FINITE_DIGITS && !text.bytes().any(|b| matches!(b, b'e' | b'E'));
        let finite = short || text.parse::<f64>().is_ok_and(f64::is_finite);
        finite.then_some(Self { text })
    }

    /// The number exactly as it was written.
    #[must_use]
    pub fn text(&self) -> &'b str {
        self.text
    }

    /// The value, if it is written as an integer (no fraction, no exponent) and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.text.parse().ok()
    }

    /// The value, if it is written as an integer (no fraction, no exponent) and fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.text.parse().ok()
    }

    /// The nearest double, always finite.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        // The grammar of JSON numbers is part of what `f64` parses, so the fallback cannot be
        // reached.
        self.text.parse().unwrap_or(0.0)
    }

    /// True if the value is whole, however it is written: `1`, `1.0` and `10e-1` are.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        self.as_i64().is_some() || Decimal::of(self.text).is_integer()
    }

    /// True for an integer beyond ±(2^53 - 1): a reader that holds numbers as doubles may take it
    /// for its neighbour.
    #[must_use]
    pub fn is_unsafe_integer(&self) -> bool {
        match self.as_i64() {
            Some(value) => value.unsigned_abs() > SAFE_INTEGER_MAX,
            None => self.as_f64().abs() > SAFE_INTEGER_MAX as f64 && self.is_integer(),
        }
    }
}
