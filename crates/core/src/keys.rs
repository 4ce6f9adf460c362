// SPDX-License-Identifier: MIT OR Apache-2.0
//! Message keys: identifiers, what is signed, signing and verifying (spec/message.md "Signatures").

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::failure::Misuse;
use crate::text::{b64u, from_b64u};

/// DSSE payload type of a message header.
pub const HEADER_TYPE: &str = "application/vnd.chancery.header.v1+json";
/// DSSE payload type of a batch of headers.
pub const BATCH_TYPE: &str = "application/vnd.chancery.batch.v1";
/// Fewest bytes of a shared secret; a shorter one is Misuse.
pub const SECRET_BYTES_MIN: usize = 32;

/// How a key signs. A message carries no algorithm: its key has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), verified strictly. Only the producer can sign.
    Ed25519,
    /// HMAC-SHA256 (RFC 2104). Every holder can forge: `provenance: shared`.
    HmacSha256,
}

impl Algorithm {
    /// The name in bundles and key identifiers.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::HmacSha256 => "hmac-sha256",
        }
    }

    /// Finds an algorithm by name.
    pub fn parse(name: &str) -> Option<Algorithm> {
        [Algorithm::Ed25519, Algorithm::HmacSha256].into_iter().find(|alg| alg.name() == name)
    }
}

/// A key identifier: 16 bytes that name, and do not prove, a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(pub [u8; 16]);

impl Kid {
    /// The identifier of a public key. Of a shared secret, pass [`secret_fingerprint`].
    pub fn of(algorithm: Algorithm, public: &[u8]) -> Kid {
        let mut hash = Sha256::new();
        hash.update(b"chancery/kid/1\n");
        hash.update(algorithm.name());
        hash.update(b"\n");
        hash.update(public);
        let mut kid = [0; 16];
        kid.copy_from_slice(hash.finalize().split_at(16).0);
        Kid(kid)
    }

    /// Reads 22 characters of base64url.
    pub fn parse(text: &str) -> Option<Kid> {
        from_b64u(text).map(Kid)
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&b64u(&self.0))
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kid({self})")
    }
}

/// What stands for a shared secret in its key identifier and in the bundle: a digest that cannot
/// be used to sign.
pub fn secret_fingerprint(secret: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"chancery/secret/1\n");
    hash.update(secret);
    hash.finalize().into()
}

/// DSSE pre-authentication encoding: what is really signed
/// (DSSE v1 protocol, "PAE").
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload_type.len() + payload.len() + 32);
    out.extend_from_slice(b"DSSEv1 ");
    out.extend_from_slice(payload_type.len().to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(payload_type.as_bytes());
    out.push(b' ');
    out.extend_from_slice(payload.len().to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(payload);
    out
}

/// The digest of a body, bound to its length and salt
/// (spec/message.md "Body"). `None` is a null body.
pub fn body_digest(body: Option<&[u8]>, salt: Option<&[u8; 16]>) -> [u8; 32] {
    let length = body.map_or(u64::MAX, |body| body.len() as u64);
    let mut hash = Sha256::new();
    hash.update(b"chancery/body/1\n");
    hash.update(length.to_be_bytes());
    hash.update(salt.map_or(&[][..], |salt| &salt[..]));
    hash.update(body.unwrap_or_default());
    hash.finalize().into()
}

/// The universal reference of a message: a digest of its header.
pub fn message_id(h: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"chancery/mid/1\n");
    hash.update(h);
    hash.finalize().into()
}

/// The half of a key that checks signatures.
#[derive(Clone)]
pub enum Verifier {
    /// An Ed25519 public key, already decompressed.
    Ed25519(VerifyingKey),
    /// A shared secret, its HMAC state prepared.
    HmacSha256(Hmac<Sha256>),
}

impl Verifier {
    /// An Ed25519 public key of 32 bytes. Non-canonical and small-order keys are refused: with
    /// one, a signature can verify for every message.
    pub fn ed25519(public: &[u8; 32]) -> Option<Verifier> {
        let key = VerifyingKey::from_bytes(public).ok()?;
        // `as_bytes` would give back what was put in; only compressing the point again tells.
        let canonical = key.to_edwards().compress().as_bytes() == public;
        (canonical && !key.is_weak()).then_some(Verifier::Ed25519(key))
    }

    /// A shared secret of at least [`SECRET_BYTES_MIN`] bytes.
    pub fn hmac_sha256(secret: &[u8]) -> Option<Verifier> {
        let long_enough = secret.len() >= SECRET_BYTES_MIN;
        long_enough.then(|| Hmac::new_from_slice(secret).ok().map(Verifier::HmacSha256))?
    }

    /// Whether `signature` is this key's over `message`. HMAC is compared in constant time.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Ed25519(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Verifier::HmacSha256(mac) => {
                mac.clone().chain_update(message).verify_slice(signature).is_ok()
            }
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verifier::Ed25519(_) => "Verifier(ed25519)",
            Verifier::HmacSha256(_) => "Verifier(hmac-sha256)",
        })
    }
}

/// The half of a key that signs. Never printed; wiped when dropped.
pub struct Secret {
    kid: Kid,
    half: SecretHalf,
}

enum SecretHalf {
    Ed25519(Box<SigningKey>),
    HmacSha256(Zeroizing<Vec<u8>>),
}

impl Secret {
    /// An Ed25519 key from its 32-byte seed (RFC 8032, section 5.1.5).
    pub fn ed25519(seed: &[u8; 32]) -> Secret {
        let key = SigningKey::from_bytes(seed);
        let kid = Kid::of(Algorithm::Ed25519, key.verifying_key().as_bytes());
        Secret { kid, half: SecretHalf::Ed25519(Box::new(key)) }
    }

    /// A shared secret.
    ///
    /// # Errors
    /// Misuse for fewer than [`SECRET_BYTES_MIN`] bytes.
    pub fn hmac_sha256(secret: &[u8]) -> Result<Secret, Misuse> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(Misuse::new(
                format!("the shared secret has {} bytes", secret.len()),
                "keys",
                format!("use at least {SECRET_BYTES_MIN} random bytes"),
            ));
        }
        let kid = Kid::of(Algorithm::HmacSha256, &secret_fingerprint(secret));
        Ok(Secret { kid, half: SecretHalf::HmacSha256(Zeroizing::new(secret.to_vec())) })
    }

    /// The key's identifier.
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.half {
            SecretHalf::Ed25519(_) => Algorithm::Ed25519,
            SecretHalf::HmacSha256(_) => Algorithm::HmacSha256,
        }
    }

    /// What the bundle says of it: the public key, or a secret's fingerprint.
    pub fn public(&self) -> [u8; 32] {
        match &self.half {
            SecretHalf::Ed25519(key) => key.verifying_key().to_bytes(),
            SecretHalf::HmacSha256(secret) => secret_fingerprint(secret),
        }
    }

    /// Signs the exact bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.half {
            SecretHalf::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            SecretHalf::HmacSha256(secret) => Hmac::<Sha256>::new_from_slice(secret)
                .map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
                .unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} {})", self.algorithm().name(), self.kid)
    }
}
