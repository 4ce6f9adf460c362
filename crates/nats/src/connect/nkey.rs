// SPDX-License-Identifier: MIT OR Apache-2.0
//! nkeys: Ed25519 keys of the NATS world, as text (NATS "NKeys").

use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Prefix bytes: of a seed, and of a user's key.
const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;

/// A user's key pair. `Debug` shows the public half.
#[derive(Clone)]
pub(crate) struct Nkey(SigningKey);

impl Nkey {
    /// Reads a seed (`SU…`); `None` if it is not one of a user.
    pub(crate) fn from_seed(text: &str) -> Option<Nkey> {
        let raw = Zeroizing::new(decode(text.trim())?);
        let (body, sum) = raw.split_last_chunk::<2>()?;
        let (first, rest) = body.split_first()?;
        let (second, secret) = rest.split_first()?;
        let kind = (first & 7) << 5 | second >> 3;
        if crc(body) != u16::from_le_bytes(*sum) || first & 0xf8 != SEED || kind != USER {
            return None;
        }
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(secret.try_into().ok()?);
        Some(Nkey(SigningKey::from_bytes(&secret)))
    }

    /// The public key (`U…`).
    pub(crate) fn public(&self) -> String {
        let mut raw = vec![USER];
        raw.extend(self.0.verifying_key().as_bytes());
        raw.extend(crc(&raw).to_le_bytes());
        encode(&raw)
    }

    pub(crate) fn sign(&self, nonce: &[u8]) -> [u8; 64] {
        self.0.sign(nonce).to_bytes()
    }
}

impl std::fmt::Debug for Nkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.public())
    }
}

/// Base32 without padding (RFC 4648 section 6).
fn encode(raw: &[u8]) -> String {
    let mut out = String::new();
    for chunk in raw.chunks(5) {
        let bits = chunk.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let bits = bits << (8 * (5 - chunk.len()));
        for n in 0..(chunk.len() * 8).div_ceil(5) {
            let index = usize::try_from(bits >> (35 - 5 * n) & 31).unwrap_or_default();
            out.extend(ALPHABET.get(index).copied().map(char::from));
        }
    }
    out
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut count) = (Vec::with_capacity(64), 0u32, 0);
    for byte in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == byte)?;
        bits = (bits & 0xff) << 5 | u32::try_from(value).ok()?;
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

/// CRC-16/XMODEM.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by the nk program of nats-io/nkeys, for this test alone.
    const SEED_TEXT: &str = "SUAD53JZZ3MJU6ZSV5PT67I3KA7AJ67I2GQM7S2HNNHTQVE2PYZVQ2VFT4";
    const PUBLIC: &str = "UC4UQWL53ZDXAQAYRLMQLWCL2TK3WEVQ67NKEAT63IYJ645ATYJJPPGA";

    #[test]
    fn a_seed_of_the_nk_program_has_its_public_key() {
        let key = Nkey::from_seed(SEED_TEXT).unwrap();
        assert_eq!(key.public(), PUBLIC);
        assert_eq!(format!("{key:?}"), PUBLIC);
    }

    // Threat: a typing error, or a key of an account, signs as somebody.
    #[test]
    fn what_is_no_users_seed_is_none() {
        let mut wrong = SEED_TEXT.to_owned().into_bytes();
        wrong[20] = if wrong[20] == b'A' { b'B' } else { b'A' };
        let wrong = String::from_utf8(wrong).unwrap();
        for text in ["", "SU", PUBLIC, &wrong, &SEED_TEXT.to_lowercase()] {
            assert!(Nkey::from_seed(text).is_none(), "{text}");
        }
        let account = "SAAP3TY7EI34K66R5JV7HHNADAIIHWU2NZ6F4VJCD3SDIBX5FPW5KQENOQ";
        assert!(Nkey::from_seed(account).is_none());
    }
}
