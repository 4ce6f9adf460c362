// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attacker's own workshop: builds messages by hand from bytes, keys and hashes. Nothing of
//! Chancery's sealing is used here, or an error in it would be on both sides.

use chancery::core::seal::Sealed;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// A message as the attacker appends it.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) body: Vec<u8>,
}

impl Raw {
    /// An exact copy, as anybody who can read the stream can make.
    pub(super) fn of(sealed: &Sealed) -> Raw {
        Raw {
            fields: sealed.fields.iter().map(|f| (f.name.clone(), f.value.to_vec())).collect(),
            key: sealed.key.as_ref().map(|key| key.to_vec()),
            body: sealed.body.to_vec(),
        }
    }

    /// A header field as text.
    pub(super) fn field(&self, name: &str) -> String {
        let field = self.fields.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }
}

/// What the attacker wants the header to say. Members in `with` replace or add.
pub(super) struct Forgery<'f> {
    pub(super) kind: &'f str,
    pub(super) id: String,
    pub(super) typ: &'f str,
    pub(super) src: &'f str,
    pub(super) aud: String,
    pub(super) iat: i64,
    pub(super) ten: Option<&'f str>,
    pub(super) key: Option<(&'f str, String)>,
    pub(super) version: Option<u64>,
    pub(super) deadline: Option<i64>,
    pub(super) payload: String,
}

pub(super) const WHEN: &str = "2026-03-05T10:12:33Z";

impl Forgery<'_> {
    /// The envelope, built by pasting text.
    pub(super) fn envelope(&self) -> Vec<u8> {
        let tenant = self.ten.map(|t| format!(r#""tenant_id":"{t}","#)).unwrap_or_default();
        format!(
            r#"{{"event_id":"{}","event_type":"{}","schema_version":1,"occurred_at":"{WHEN}","producer":"{}",{tenant}"payload":{}}}"#,
            self.id, self.typ, self.src, self.payload
        )
        .into_bytes()
    }

    /// The header for this body, built by pasting text.
    pub(super) fn header(&self, body: &[u8]) -> String {
        let mut members = vec![
            r#""v":1"#.to_owned(),
            format!(r#""kind":"{}""#, self.kind),
            format!(r#""id":"{}""#, self.id),
            format!(r#""typ":"{}""#, self.typ),
            r#""sv":1"#.to_owned(),
            format!(r#""occ":"{WHEN}""#),
            format!(r#""src":"{}""#, self.src),
            format!(r#""aud":"{}""#, self.aud),
            format!(r#""iat":{}"#, self.iat),
        ];
        members.extend(self.deadline.map(|at| format!(r#""exp":{at}"#)));
        members.extend(self.ten.map(|tenant| format!(r#""ten":"{tenant}""#)));
        members.push(format!(r#""lane":"{}""#, b64u(&[7; 16])));
        members.push(r#""seq":1"#.to_owned());
        members.extend(self.key.as_ref().map(|(_, key)| format!(r#""okey":"{key}""#)));
        members.extend(self.version.map(|version| format!(r#""ov":{version}"#)));
        members.push(r#""ct":"application/json""#.to_owned());
        members.push(format!(r#""bl":{}"#, body.len()));
        members.push(format!(r#""bd":"{}""#, b64u(&body_digest(body))));
        format!("{{{}}}", members.join(","))
    }

    /// Signed with this key, under this key's identifier.
    pub(super) fn signed(&self, with: &SigningKey) -> Raw {
        let body = self.envelope();
        self.signed_over(with, body)
    }

    /// Signed with this key over another body.
    pub(super) fn signed_over(&self, with: &SigningKey, body: Vec<u8>) -> Raw {
        let h = self.header(&body);
        let block = format!("1;{}:{}", kid(with), b64u(&sign(with, &h)));
        self.raw(h, Some(block), body)
    }

    /// With this header and signature block, or none.
    pub(super) fn raw(&self, h: String, block: Option<String>, body: Vec<u8>) -> Raw {
        let mut fields = vec![("chancery".to_owned(), h.into_bytes())];
        fields.extend(block.map(|block| ("chancery-sig".to_owned(), block.into_bytes())));
        let key = self.key.as_ref().map(|(_, key)| key.clone().into_bytes());
        Raw { fields, key, body }
    }
}

pub(super) fn sign(with: &SigningKey, h: &str) -> [u8; 64] {
    let kind = "application/vnd.chancery.header.v1+json";
    let encoded = format!("DSSEv1 {} {kind} {} {h}", kind.len(), h.len());
    with.sign(encoded.as_bytes()).to_bytes()
}

pub(super) fn kid(key: &SigningKey) -> String {
    let mut hash = Sha256::new();
    hash.update(b"chancery/kid/1\ned25519\n");
    hash.update(key.verifying_key().as_bytes());
    b64u(hash.finalize().get(..16).unwrap_or_default())
}

fn body_digest(body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"chancery/body/1\n");
    hash.update((body.len() as u64).to_be_bytes());
    hash.update(body);
    hash.finalize().into()
}

pub(super) fn b64u(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, b| (word << 8) | u32::from(*b));
        let word = word << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let at = (word >> (18 - 6 * digit)) & 63;
            out.push(DIGITS.get(at as usize).map_or('A', |b| char::from(*b)));
        }
    }
    out
}
