// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exact value of a number's text, for comparing: no double rounds between `2^64` and `2^64 +
//! 1` here.

use std::cmp::Ordering;

/// A decimal value: `0.DIGITS × 10^exponent`, neither leading nor trailing zeros in DIGITS, none at
/// all for zero.
#[derive(Debug)]
pub(crate) struct Decimal<'t> {
    negative: bool,
    before_point: &'t str,
    after_point: &'t str,
    exponent: i64,
}

impl<'t> Decimal<'t> {
    /// `text` is a number by the grammar of JSON.
    pub(crate) fn of(text: &'t str) -> Self {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let (whole, fraction, shift) = match (whole, fraction) {
            ("", "") => {
                return Self { negative: false, before_point: "", after_point: "", exponent: 0 };
            }
            ("", fraction) => {
                let digits = fraction.trim_start_matches('0');
                ("", digits, -length(fraction) + length(digits))
            }
            (whole, "") => (whole.trim_end_matches('0'), "", length(whole)),
            (whole, fraction) => (whole, fraction, length(whole)),
        };
        let exponent = power_of(power).saturating_add(shift);
        Self { negative, before_point: whole, after_point: fraction, exponent }
    }

    pub(crate) fn is_integer(&self) -> bool {
        length(self.before_point) + length(self.after_point) <= self.exponent.max(0)
    }

    fn is_zero(&self) -> bool {
        self.before_point.is_empty() && self.after_point.is_empty()
    }

    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.before_point.bytes().chain(self.after_point.bytes())
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        self.exponent.cmp(&other.exponent).then_with(|| self.digits().cmp(other.digits()))
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sign().cmp(&other.sign()).then_with(|| match self.negative {
            false => self.cmp_magnitude(other),
            true => other.cmp_magnitude(self),
        })
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal<'_> {}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

/// The written exponent. One too long for 64 bits saturates: beside it, the length of any document
/// is nothing.
fn power_of(text: &str) -> i64 {
    let limit = if text.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    text.parse().unwrap_or(limit).clamp(i64::MIN / 2, i64::MAX / 2)
}
