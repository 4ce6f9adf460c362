// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small grammars that names and identifiers must match (spec/message.md "Grammar").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Unpadded base64url, the only base64 of the format.
pub fn b64u(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes exactly `N` bytes of unpadded base64url; non-canonical trailing bits are refused.
pub fn from_b64u<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |n: u8| DIGITS.get(usize::from(n & 15)).copied().unwrap_or('0');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
}

/// An event id: 10 to 64 of `A-Za-z0-9._:-`.
pub fn is_event_id(text: &str) -> bool {
    (10..=64).contains(&text.len()) && text.bytes().all(|b| is_word(b) || b".:-".contains(&b))
}

/// A service, tenant or group name: 1 to 64 of `A-Za-z0-9._-`, beginning with a letter or digit.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| is_word(b) || b".-".contains(&b))
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

/// A producer name: as [`is_name`], at least 3 long.
pub fn is_producer(text: &str) -> bool {
    text.len() >= 3 && is_name(text)
}

/// Dotted words, at most 128 long: event types and streams.
pub fn is_dotted(text: &str) -> bool {
    text.len() <= 128
        && text
            .split('.')
            .all(|word| !word.is_empty() && word.bytes().all(|b| is_word(b) || b == b'-'))
}

/// A content type: `type/subtype`, lower case, no parameters, at most 128 long.
pub fn is_content_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$&-^_.+".contains(&b))
    };
    text.len() <= 128 && text.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
}

/// W3C traceparent, version 00 exactly; of a later version the four fields that it must keep.
/// All-zero ids, upper case and version `ff` are refused, and what could not stand in an HTTP
/// header, where it may end (W3C Trace Context, section 3.2).
pub fn is_traceparent(text: &str) -> bool {
    if text.len() > 256 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return false;
    }
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let some_bit = |part: &str| part.bytes().any(|b| b != b'0');
    let mut parts = text.split('-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let ids = hex(trace, 32) && some_bit(trace) && hex(parent, 16) && some_bit(parent);
    let versioned = hex(version, 2) && version != "ff";
    versioned && ids && hex(flags, 2) && (version != "00" || parts.next().is_none())
}

/// Whether all bytes are `ok`. It never stops early, so that it runs over whole vectors of bytes.
pub(crate) fn every(bytes: &[u8], ok: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, b| all & ok(*b))
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

#[cfg(test)]
mod tests;
