// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trust bundle: which keys speak for which service, signed by the root key
//! (spec/message.md "Trust bundle").

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::failure::Misuse;
use crate::keys::{Algorithm, Kid, Secret, Verifier, pae, secret_fingerprint};
use crate::text::{b64u, from_b64u, is_name, is_producer};
use crate::time::Timestamp;

/// DSSE payload type of a bundle.
pub const BUNDLE_TYPE: &str = "application/vnd.chancery.bundle.v1+json";
/// Largest bundle file in bytes.
pub const BUNDLE_BYTES_MAX: usize = 4 << 20;
/// Most keys in a bundle.
pub const KEYS_MAX: usize = 10_000;

const FIX: &str = "make it with `chancery keys`, never by hand";

/// What the root key signs. Unknown members are refused: a bundle is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Format version, 1.
    pub v: u32,
    /// Trust domain, first part of every destination.
    pub domain: String,
    /// Environment, second part of every destination.
    pub environment: String,
    /// Grows by at least one with each bundle; never goes back.
    pub version: u64,
    /// When it was made, milliseconds.
    pub issued: i64,
    /// Until when it may be used, milliseconds.
    pub expires: i64,
    /// The keys.
    pub keys: Vec<KeyEntry>,
}

/// One key of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Identifier; must be the digest of `alg` and `public`.
    pub kid: String,
    /// `ed25519` or `hmac-sha256`.
    pub alg: String,
    /// base64url of the public key, or of a shared secret's fingerprint.
    pub public: String,
    /// The service that signs with it.
    pub principal: String,
    /// What it is for; only `message` is of version 1.
    pub purpose: String,
    /// First moment of use, milliseconds.
    pub not_before: i64,
    /// Last moment of signing, milliseconds.
    pub sign_until: i64,
    /// From when it is known to be in other hands, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromised_at: Option<i64>,
}

/// A key ready to verify with.
#[derive(Clone, Debug)]
pub struct Key {
    /// Identifier.
    pub kid: Kid,
    /// How it signs.
    pub algorithm: Algorithm,
    /// The service that signs with it.
    pub principal: String,
    /// First moment of use.
    pub not_before: Timestamp,
    /// Last moment of signing.
    pub sign_until: Timestamp,
    /// From when it is known to be in other hands.
    pub compromised_at: Option<Timestamp>,
    /// Checks signatures; `None` for a shared secret that this process was not given.
    pub verifier: Option<Verifier>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

impl Bundle {
    /// Reads a DSSE envelope, checks the root key's signature over the exact payload, then parses.
    ///
    /// # Errors
    /// Misuse: too large, not signed by `root`, or not a bundle of version 1.
    pub fn open(file: &[u8], root: &[u8; 32]) -> Result<Bundle, Misuse> {
        let misuse = |what: &str| Misuse::new(what, "trust bundle", FIX);
        if file.len() > BUNDLE_BYTES_MAX {
            return Err(misuse("is larger than 4 MiB"));
        }
        let envelope: Envelope =
            serde_json::from_slice(file).map_err(|_| misuse("is not a DSSE envelope"))?;
        let payload = STANDARD.decode(&envelope.payload).ok();
        let payload = payload.filter(|_| envelope.payload_type == BUNDLE_TYPE);
        let payload = payload.ok_or_else(|| misuse("is not a bundle of version 1"))?;
        let root = Verifier::ed25519(root)
            .ok_or_else(|| misuse("cannot be checked: the root key is not a valid public key"))?;
        let signed = pae(BUNDLE_TYPE, &payload);
        let by_root = envelope.signatures.iter().take(8).any(|signature| {
            STANDARD.decode(&signature.sig).is_ok_and(|bytes| root.verify(&signed, &bytes))
        });
        if !by_root {
            return Err(misuse("is not signed by the root key of chancery.yaml"));
        }
        let bundle: Bundle = serde_json::from_slice(&payload)
            .map_err(|error| misuse(&format!("does not parse: {error}")))?;
        bundle.check()?;
        Ok(bundle)
    }

    /// Signs with the root key and wraps in a DSSE envelope, ready to be written to a file.
    ///
    /// # Errors
    /// Misuse if the bundle breaks its own rules.
    pub fn seal(&self, root: &Secret) -> Result<String, Misuse> {
        self.check()?;
        let broken = |error: serde_json::Error| Misuse::new(error.to_string(), "trust bundle", FIX);
        let payload = serde_json::to_vec(self).map_err(broken)?;
        let sig = STANDARD.encode(root.sign(&pae(BUNDLE_TYPE, &payload)));
        let envelope = Envelope {
            payload_type: BUNDLE_TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![EnvelopeSignature { keyid: root.kid().to_string(), sig }],
        };
        serde_json::to_string_pretty(&envelope).map(|text| text + "\n").map_err(broken)
    }

    fn check(&self) -> Result<(), Misuse> {
        let misuse = |what: String| Err(Misuse::new(what, "trust bundle", FIX));
        if self.v != 1 {
            return misuse(format!("has format version {}", self.v));
        }
        if !is_name(&self.domain) || !is_name(&self.environment) {
            return misuse("has no valid domain and environment".to_owned());
        }
        if self.expires <= self.issued {
            return misuse("expires before it is issued".to_owned());
        }
        if self.keys.len() > KEYS_MAX {
            return misuse(format!("has more than {KEYS_MAX} keys"));
        }
        Ok(())
    }

    /// The keys by identifier, shared secrets joined to their entries.
    ///
    /// # Errors
    /// Misuse for a key that is not what its identifier says, doubled, or not for messages.
    pub fn keyring(&self, secrets: &[Vec<u8>]) -> Result<BTreeMap<Kid, Key>, Misuse> {
        let mut ring = BTreeMap::new();
        for entry in &self.keys {
            let key = entry.key(secrets)?;
            if let Some(twice) = ring.insert(key.kid, key) {
                return Err(entry.misuse(&format!("is doubled ({})", twice.principal)));
            }
        }
        Ok(ring)
    }
}

impl KeyEntry {
    /// An entry for `secret`, signing from `not_before` to `sign_until`.
    pub fn new(
        secret: &Secret,
        principal: &str,
        not_before: Timestamp,
        sign_until: Timestamp,
    ) -> KeyEntry {
        KeyEntry {
            kid: secret.kid().to_string(),
            alg: secret.algorithm().name().to_owned(),
            public: b64u(&secret.public()),
            principal: principal.to_owned(),
            purpose: "message".to_owned(),
            not_before: not_before.0,
            sign_until: sign_until.0,
            compromised_at: None,
        }
    }

    fn key(&self, secrets: &[Vec<u8>]) -> Result<Key, Misuse> {
        let algorithm = Algorithm::parse(&self.alg)
            .ok_or_else(|| self.misuse("has an algorithm that is not of version 1"))?;
        let public: [u8; 32] =
            from_b64u(&self.public).ok_or_else(|| self.misuse("has no 32-byte public part"))?;
        let kid = Kid::of(algorithm, &public);
        if kid.to_string() != self.kid {
            return Err(self.misuse("is not the digest of its public part"));
        }
        if self.purpose != "message" {
            return Err(self.misuse("is not for messages: one key, one purpose"));
        }
        if !is_producer(&self.principal) || self.sign_until <= self.not_before {
            return Err(self.misuse("has no valid principal or no time of use"));
        }
        let verifier = match algorithm {
            Algorithm::Ed25519 => Some(
                Verifier::ed25519(&public)
                    .ok_or_else(|| self.misuse("is a weak or non-canonical public key"))?,
            ),
            Algorithm::HmacSha256 => match shared(secrets, &public) {
                None => None,
                Some(secret) => Some(
                    Verifier::hmac_sha256(secret)
                        .ok_or_else(|| self.misuse("is a shared secret of fewer than 32 bytes"))?,
                ),
            },
        };
        Ok(Key {
            kid,
            algorithm,
            principal: self.principal.clone(),
            not_before: Timestamp(self.not_before),
            sign_until: Timestamp(self.sign_until),
            compromised_at: self.compromised_at.map(Timestamp),
            verifier,
        })
    }

    fn misuse(&self, what: &str) -> Misuse {
        Misuse::new(what, format!("trust bundle, key {}", self.kid.escape_default()), FIX)
    }
}

fn shared<'s>(secrets: &'s [Vec<u8>], fingerprint: &[u8; 32]) -> Option<&'s Vec<u8>> {
    secrets.iter().find(|secret| secret_fingerprint(secret) == *fingerprint)
}

#[cfg(test)]
mod tests;
