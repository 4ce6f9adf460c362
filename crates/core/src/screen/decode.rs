// SPDX-License-Identifier: MIT OR Apache-2.0
//! Step 1: sizes, reserved names, framing. Nothing is parsed.

use crate::delivery::Delivery;
use crate::failure::{Refusal, require};
use crate::header::{
    HEADER, HEADER_BYTES_MAX, SALT, SENDER, SIGNATURE, SIGNATURE_BYTES_MAX, TICKET,
};
use crate::keys::Kid;
use crate::reason::Reason;
use crate::text::{every, from_b64u};

/// Largest body in bytes; a stream may allow less.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Most header fields of a message.
pub const FIELDS_MAX: usize = 128;
/// Most bytes of all header fields together.
pub const FIELDS_BYTES_MAX: usize = 64 << 10;
/// Most signatures in one block.
pub const SIGNATURES_MAX: usize = 4;
/// Largest Merkle batch.
pub const BATCH_MAX: u64 = 1 << 16;

/// A message whose frame is in order. Nothing in it is believed yet.
#[derive(Debug)]
pub struct Decoded<'d> {
    pub(super) delivery: &'d Delivery,
    /// H and the signature block, or what is missing of them.
    pub(super) signed: Result<Frame<'d>, Missing>,
}

/// What an unsigned message lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It never was signed, as far as one can see.
    Both,
    /// It has the header and not its signature.
    Signature,
    /// It has a signature and nothing that was signed.
    Header,
}

/// The reserved fields of a signed message.
#[derive(Debug)]
pub(super) struct Frame<'d> {
    pub(super) h: &'d str,
    pub(super) signature: SignatureBlock<'d>,
    pub(super) salt: Option<[u8; 16]>,
}

/// What `chancery-sig` holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SignatureBlock<'d> {
    /// `1;<kid>:<signature>[,…]`: one to four signatures over H.
    Plain(Vec<(Kid, &'d str)>),
    /// `m1;<kid>:<signature>;<size>;<index>;<proof>`: one signature over a batch, and H's proof.
    Batch { kid: Kid, signature: &'d str, size: u64, index: u64, proof: &'d str },
}

/// Checks sizes, reserved names and the form of the reserved fields.
///
/// # Errors
/// `E101_TOO_LARGE`, `E102_HEADER_AMBIGUOUS`, `E110_UNSUPPORTED`, `E111_MALFORMED`.
pub fn decode(delivery: &Delivery) -> Result<Decoded<'_>, Refusal> {
    sizes(delivery)?;
    names(delivery)?;
    let [h, signature, salt, ticket] =
        [HEADER, SIGNATURE, SALT, TICKET].map(|name| field(delivery, name));
    require(ticket.is_none(), Reason::Unsupported, || {
        format!("`{TICKET}` is reserved and not supported yet")
    })?;
    let signed = match (h, signature) {
        (None, None) => Err(Missing::Both),
        (Some(_), None) => Err(Missing::Signature),
        (None, Some(_)) => Err(Missing::Header),
        (Some(h), Some(signature)) => {
            Ok(Frame { h: header(h)?, signature: block(signature)?, salt: salt_bytes(salt)? })
        }
    };
    Ok(Decoded { delivery, signed })
}

fn sizes(delivery: &Delivery) -> Result<(), Refusal> {
    let within = |what: &str, size: usize, max: usize| {
        require(size <= max, Reason::TooLarge, || format!("{what}: {size}, at most {max}"))
    };
    within("body bytes", delivery.body.as_ref().map_or(0, bytes::Bytes::len), BODY_BYTES_MAX)?;
    within("record key bytes", delivery.key.as_ref().map_or(0, bytes::Bytes::len), 4096)?;
    within("header fields", delivery.fields.len(), FIELDS_MAX)?;
    let all = delivery.fields.iter().map(|field| field.name.len() + field.value.len()).sum();
    within("header field bytes", all, FIELDS_BYTES_MAX)?;
    for (name, max) in [(HEADER, HEADER_BYTES_MAX), (SIGNATURE, SIGNATURE_BYTES_MAX)] {
        within(name, field(delivery, name).map_or(0, <[u8]>::len), max)?;
    }
    Ok(())
}

// One name in two spellings is two messages: one consumer reads the first, another the last.
fn names(delivery: &Delivery) -> Result<(), Refusal> {
    let prefix = HEADER.as_bytes();
    let mut seen = [false; 5];
    for field in &delivery.fields {
        let start = field.name.as_bytes().get(..prefix.len());
        if !start.is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
            continue;
        }
        let place = [HEADER, SIGNATURE, SALT, TICKET, SENDER]
            .iter()
            .position(|name| field.name.eq_ignore_ascii_case(name));
        let Some(at) = place else {
            return require(false, Reason::Unsupported, || {
                format!("field `{}` is reserved", field.name.escape_default())
            });
        };
        let exact = field.name.bytes().all(|b| !b.is_ascii_uppercase());
        let first = seen.get_mut(at).is_some_and(|seen| !std::mem::replace(seen, true));
        require(exact && first, Reason::HeaderAmbiguous, || {
            format!("field `{}` is doubled or in another case", field.name.escape_default())
        })?;
    }
    Ok(())
}

pub(super) fn field<'d>(delivery: &'d Delivery, name: &str) -> Option<&'d [u8]> {
    delivery.fields.iter().find(|field| field.name == name).map(|field| &*field.value)
}

fn header(bytes: &[u8]) -> Result<&str, Refusal> {
    let printable = every(bytes, |b| (0x20..=0x7e).contains(&b));
    let framed = bytes.first() == Some(&b'{') && bytes.last() == Some(&b'}');
    let text = std::str::from_utf8(bytes).ok().filter(|_| printable && framed);
    text.ok_or_else(|| malformed("H is not one object of printable ASCII"))
}

fn salt_bytes(field: Option<&[u8]>) -> Result<Option<[u8; 16]>, Refusal> {
    let Some(field) = field else { return Ok(None) };
    let salt = std::str::from_utf8(field).ok().and_then(from_b64u);
    salt.map(Some).ok_or_else(|| malformed("the salt is not 16 bytes of base64url"))
}

fn block(bytes: &[u8]) -> Result<SignatureBlock<'_>, Refusal> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| malformed("the signature block is not text"))?;
    let (version, rest) =
        text.split_once(';').ok_or_else(|| malformed("the signature block names no version"))?;
    match version {
        "1" => plain(rest),
        "m1" => batch(rest),
        _ => Err(unknown_version(version)),
    }
}

// A well-formed version that we do not know may be honest and newer than we are.
fn unknown_version(version: &str) -> Refusal {
    let tag = (1..=4).contains(&version.len())
        && version.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if tag {
        Refusal::new(Reason::Unsupported, format!("signature block of version `{version}`"))
    } else {
        malformed("the signature block names no version")
    }
}

fn plain(list: &str) -> Result<SignatureBlock<'_>, Refusal> {
    let mut signatures = Vec::with_capacity(1);
    for entry in list.split(',') {
        require(signatures.len() < SIGNATURES_MAX, Reason::Malformed, || {
            format!("more than {SIGNATURES_MAX} signatures")
        })?;
        signatures.push(kid_and_signature(entry)?);
    }
    Ok(SignatureBlock::Plain(signatures))
}

fn batch(rest: &str) -> Result<SignatureBlock<'_>, Refusal> {
    let bad = || malformed("the batch signature is not `m1;kid:signature;size;index;proof`");
    let mut parts = rest.split(';');
    let (Some(entry), Some(size), Some(index), Some(proof), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad());
    };
    let (kid, signature) = kid_and_signature(entry)?;
    require(is_base64url(proof), Reason::Malformed, || "the proof is not base64url".into())?;
    let (size, index) = (decimal(size).ok_or_else(bad)?, decimal(index).ok_or_else(bad)?);
    require((1..=BATCH_MAX).contains(&size) && index < size, Reason::Malformed, || {
        "the batch's size or index is out of range".into()
    })?;
    Ok(SignatureBlock::Batch { kid, signature, size, index, proof })
}

fn kid_and_signature(entry: &str) -> Result<(Kid, &str), Refusal> {
    let bad = || malformed("a signature is not `kid:base64url`");
    let (kid, signature) = entry.split_once(':').ok_or_else(bad)?;
    let shaped = !signature.is_empty() && is_base64url(signature);
    let kid = Kid::parse(kid).filter(|_| shaped).ok_or_else(bad)?;
    Ok((kid, signature))
}

fn is_base64url(text: &str) -> bool {
    every(text.as_bytes(), |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Decimal without sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    let digits = (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    (plain && digits).then(|| text.parse().ok())?
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(Reason::Malformed, what)
}
