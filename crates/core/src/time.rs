// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moments and RFC 3339 text. Core never asks what time it is; it is told.

use std::fmt;
use std::ops::{Add, Sub};

/// A moment: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// One second, minute, hour, day in milliseconds.
pub const SECOND_MS: i64 = 1_000;
/// Sixty seconds in milliseconds.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// Sixty minutes in milliseconds.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Twenty-four hours in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;

impl Add<i64> for Timestamp {
    type Output = Timestamp;
    fn add(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

impl Sub for Timestamp {
    type Output = i64;
    fn sub(self, other: Timestamp) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-03-05T10:12:33.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.div_euclid(DAY_MS), self.0.rem_euclid(DAY_MS));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute) = (ms / HOUR_MS, ms / MINUTE_MS % 60);
        let (second, milli) = (ms / SECOND_MS % 60, ms % SECOND_MS);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Reads an RFC 3339 date-time with a mandatory offset (`Z` or `±hh:mm`); a leap second (`:60`)
/// counts as the next second; fractions beyond milliseconds are cut. `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits
            .iter()
            .try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let shape = is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":");
    let ranges = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !shape || !ranges {
        return None;
    }
    let (milli, at) = fraction(bytes, 19)?;
    let offset_min = offset(bytes.get(at..)?)?;
    let days = days_from_civil(year, month, day);
    let of_day = hour * HOUR_MS + (minute - offset_min) * MINUTE_MS + second * SECOND_MS + milli;
    let at = days * DAY_MS + of_day;
    // An offset may lead out of the years that four digits can say.
    (YEAR_0_MS..YEAR_10000_MS).contains(&at).then_some(Timestamp(at))
}

const YEAR_0_MS: i64 = -62_167_219_200_000;
const YEAR_10000_MS: i64 = 253_402_300_800_000;

fn fraction(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    if bytes.get(at) != Some(&b'.') {
        return Some((0, at));
    }
    let digits = bytes.get(at + 1..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let first_three = bytes.get(at + 1..at + 1 + digits)?.iter().chain(b"000").take(3);
    let milli = first_three.fold(0, |n, b| n * 10 + i64::from(b - b'0'));
    Some((milli, at + 1 + digits))
}

fn offset(rest: &[u8]) -> Option<i64> {
    let digit = |b: u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
    match *rest {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hour, minute) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
            let total = (hour <= 23 && minute <= 59).then_some(hour * 60 + minute)?;
            Some(if sign == b'-' { -total } else { total })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Proleptic Gregorian calendar by 400-year eras; years begin in March so that the leap day is last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_rfc_3339_allows() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-03-05T10:12:33Z", 1_772_705_553_000),
            ("2026-03-05T12:12:33.129+02:00", 1_772_705_553_129),
            ("2026-03-05t10:12:33.1z", 1_772_705_553_100),
            ("2000-02-29T23:59:60Z", 951_868_800_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(parse_rfc3339(text), Some(Timestamp(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_does_not() {
        for text in [
            "",
            "2026-03-05",
            "2026-03-05T10:12:33",
            "2026-13-05T10:12:33Z",
            "2026-02-29T10:12:33Z",
            "2026-03-05T24:12:33Z",
            "2026-03-05T10:60:33Z",
            "2026-03-05T10:12:61Z",
            "2026-03-05T10:12:33.Z",
            "2026-03-05 10:12:33Z",
            "2026-03-05T10:12:33+0200",
            "2026-03-05T10:12:33Zx",
            "+026-03-05T10:12:33Z",
            "2026-03-05T10:12:33.1234567890Z",
            "1772705553",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2026-03-05T10:12:33+24:00",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for ms in [0, -1, 1_772_705_553_129, 951_782_400_000, 253_402_300_799_999] {
            assert_eq!(parse_rfc3339(&Timestamp(ms).to_string()), Some(Timestamp(ms)));
        }
    }
}
