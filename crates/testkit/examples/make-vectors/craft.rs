// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages made by hand: own JSON assembly, own encodings, own Merkle tree, straight from
//! spec/message.md, RFC 8032, RFC 2104 and RFC 6962.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

pub(crate) type Hash = [u8; 32];

pub(crate) const HEADER_TYPE: &str = "application/vnd.chancery.header.v1+json";
pub(crate) const BATCH_TYPE: &str = "application/vnd.chancery.batch.v1";
/// 2026-03-05T10:12:33.500Z, when messages are signed unless they say otherwise.
pub(crate) const SIGNED: i64 = 1_772_705_553_500;

pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

pub(crate) fn b64u(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A JSON string of text that needs no escapes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

pub(crate) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (t, n) = (payload_type, payload.len());
    let mut out = format!("DSSEv1 {} {t} {n} ", t.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

pub(crate) fn body_digest(body: Option<&[u8]>, salt: Option<&[u8; 16]>) -> Hash {
    let length = body.map_or(u64::MAX, |body| body.len() as u64).to_be_bytes();
    let salt: &[u8] = salt.map_or(&[], |salt| salt);
    sha256(&[b"chancery/body/1\n", &length, salt, body.unwrap_or_default()])
}

#[derive(Clone)]
pub(crate) enum Half {
    Ed25519(SigningKey),
    Hmac(Vec<u8>),
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) principal: &'static str,
    pub(crate) half: Half,
    pub(crate) not_before: i64,
    pub(crate) sign_until: i64,
    pub(crate) compromised_at: Option<i64>,
}

impl Key {
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.half {
            Half::Ed25519(_) => "ed25519",
            Half::Hmac(_) => "hmac-sha256",
        }
    }

    pub(crate) fn seed(&self) -> Vec<u8> {
        match &self.half {
            Half::Ed25519(key) => key.to_bytes().to_vec(),
            Half::Hmac(secret) => secret.clone(),
        }
    }

    pub(crate) fn public(&self) -> Hash {
        match &self.half {
            Half::Ed25519(key) => key.verifying_key().to_bytes(),
            Half::Hmac(secret) => sha256(&[b"chancery/secret/1\n", secret]),
        }
    }

    pub(crate) fn kid(&self) -> String {
        let digest =
            sha256(&[b"chancery/kid/1\n", self.algorithm().as_bytes(), b"\n", &self.public()]);
        b64u(&digest[..16])
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.half {
            Half::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Half::Hmac(secret) => hmac_sha256(secret, message),
        }
    }

    /// One entry of a signature block, over H.
    pub(crate) fn entry(&self, h: &[u8]) -> String {
        format!("{}:{}", self.kid(), b64u(&self.sign(&pae(HEADER_TYPE, h))))
    }
}

pub(crate) fn hmac_sha256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes any length");
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// A message before it is signed. Members of H and of the envelope are raw JSON.
#[derive(Clone)]
pub(crate) struct Message {
    h: Vec<(String, String)>,
    envelope: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    salt: Option<[u8; 16]>,
}

const BOTH: [(&str, &str); 9] = [
    ("id", "event_id"),
    ("typ", "event_type"),
    ("sv", "schema_version"),
    ("occ", "occurred_at"),
    ("src", "producer"),
    ("ten", "tenant_id"),
    ("tp", "traceparent"),
    ("req", "request_id"),
    ("act", "actor_id"),
];
const AUTO: &str = "computed when the header is written";

impl Message {
    /// A header of these members with `bl` and `bd` at its end, and a body.
    pub(crate) fn new(members: &[(&str, &str)], body: Option<&[u8]>) -> Message {
        let mut h: Vec<(String, String)> = Vec::new();
        for (name, raw) in members {
            h.push(((*name).to_owned(), (*raw).to_owned()));
        }
        h.push(("bl".to_owned(), AUTO.to_owned()));
        h.push(("bd".to_owned(), AUTO.to_owned()));
        Message { h, envelope: Vec::new(), body: body.map(<[u8]>::to_vec), salt: None }
    }

    /// The body becomes an envelope that says what the header says.
    pub(crate) fn enveloped(mut self, payload: &str) -> Message {
        for (short, long) in BOTH {
            if let Some((_, raw)) = self.h.iter().find(|(name, _)| name == short) {
                self.envelope.push((long.to_owned(), raw.clone()));
            }
        }
        self.envelope.push(("payload".to_owned(), payload.to_owned()));
        self.written()
    }

    /// The envelope from its members again, for a message whose body was given byte for byte.
    pub(crate) fn enveloped_again(self) -> Message {
        self.written()
    }

    /// A member of H, raw.
    pub(crate) fn set(mut self, name: &str, raw: &str) -> Message {
        put(&mut self.h, name, raw);
        self
    }

    /// A member of the envelope, raw; H stays.
    pub(crate) fn tell(mut self, name: &str, raw: &str) -> Message {
        put(&mut self.envelope, name, raw);
        self.written()
    }

    /// The same in H and envelope.
    pub(crate) fn both(self, short: &str, raw: &str) -> Message {
        let long = BOTH.iter().find(|(name, _)| *name == short).map_or(short, |(_, long)| long);
        self.set(short, raw).tell(long, raw)
    }

    pub(crate) fn without(mut self, name: &str) -> Message {
        self.h.retain(|(member, _)| member != name);
        self
    }

    pub(crate) fn untold(mut self, name: &str) -> Message {
        self.envelope.retain(|(member, _)| member != name);
        self.written()
    }

    pub(crate) fn body(mut self, body: Option<&[u8]>) -> Message {
        self.body = body.map(<[u8]>::to_vec);
        self
    }

    pub(crate) fn salted(mut self, salt: [u8; 16]) -> Message {
        self.salt = Some(salt);
        self
    }

    fn written(mut self) -> Message {
        self.body = Some(object(&self.envelope).into_bytes());
        self
    }

    pub(crate) fn h(&self) -> String {
        let mut members = self.h.clone();
        let length = self.body.as_ref().map_or("-1".to_owned(), |body| body.len().to_string());
        let digest = body_digest(self.body.as_deref(), self.salt.as_ref());
        for (name, raw) in &mut members {
            match (name.as_str(), raw.as_str()) {
                ("bl", AUTO) => *raw = length.clone(),
                ("bd", AUTO) => *raw = quoted(&b64u(&digest)),
                _ => {}
            }
        }
        object(&members)
    }

    /// Signed by each of the keys.
    pub(crate) fn signed(&self, keys: &[&Key]) -> Copy {
        let h = self.h();
        let entries: Vec<String> = keys.iter().map(|key| key.entry(h.as_bytes())).collect();
        self.carrying(&h, &format!("1;{}", entries.join(",")))
    }

    /// With this very header, signed by the key.
    pub(crate) fn raw(&self, h: &str, key: &Key) -> Copy {
        self.carrying(h, &format!("1;{}", key.entry(h.as_bytes())))
    }

    /// With this very header and signature block.
    pub(crate) fn carrying(&self, h: &str, block: &str) -> Copy {
        let copy = Copy { fields: Vec::new(), body: self.body.clone(), key: None };
        let copy = copy.field("chancery", h).field("chancery-sig", block);
        match self.salt {
            None => copy,
            Some(salt) => copy.field("chancery-salt", &b64u(&salt)),
        }
    }

    /// Unsigned.
    pub(crate) fn bare(&self) -> Copy {
        Copy { fields: Vec::new(), body: self.body.clone(), key: None }
    }

    /// In a batch of `size` at `index`, the block's parts as `spoil` leaves them.
    pub(crate) fn batched(
        &self,
        key: &Key,
        size: usize,
        index: usize,
        spoil: fn(&mut Batch),
    ) -> Copy {
        let h = self.h();
        let mut leaves: Vec<Hash> =
            (0..size).map(|n| sha256(&[&[0], format!("neighbour {n}").as_bytes()])).collect();
        leaves[index] = sha256(&[&[0], h.as_bytes()]);
        let signed = [&(size as u64).to_be_bytes()[..], &root(&leaves)].concat();
        let mut batch = Batch {
            kid: key.kid(),
            signature: b64u(&key.sign(&pae(BATCH_TYPE, &signed))),
            size: size.to_string(),
            index: index.to_string(),
            proof: path(index, &leaves),
        };
        spoil(&mut batch);
        self.carrying(&h, &batch.block())
    }
}

/// The parts of an `m1` block.
pub(crate) struct Batch {
    pub(crate) kid: String,
    pub(crate) signature: String,
    pub(crate) size: String,
    pub(crate) index: String,
    pub(crate) proof: Vec<Hash>,
}

impl Batch {
    fn block(&self) -> String {
        let Batch { kid, signature, size, index, proof } = self;
        format!("m1;{kid}:{signature};{size};{index};{}", b64u(proof.as_flattened()))
    }
}

/// The largest power of two below `count`.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn root(leaves: &[Hash]) -> Hash {
    if let [leaf] = leaves {
        return *leaf;
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    sha256(&[&[1], &root(left), &root(right)])
}

fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut inner, sibling) = match index.checked_sub(left.len()) {
        None => (path(index, left), root(right)),
        Some(index) => (path(index, right), root(left)),
    };
    inner.push(sibling);
    inner
}

/// A message as a broker would hold it.
#[derive(Clone)]
pub(crate) struct Copy {
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) key: Option<Vec<u8>>,
}

impl Copy {
    /// One more field.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Copy {
        self.fields.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// Takes a field away.
    pub(crate) fn without(mut self, name: &str) -> Copy {
        self.fields.retain(|(field, _)| field != name);
        self
    }

    /// Changes the value of a field.
    pub(crate) fn with(mut self, name: &str, change: impl Fn(&str) -> Vec<u8>) -> Copy {
        for (field, value) in &mut self.fields {
            if field == name {
                *value = change(std::str::from_utf8(value).expect("made here"));
            }
        }
        self
    }

    /// Gives a field another name.
    pub(crate) fn renamed(mut self, from: &str, to: &str) -> Copy {
        for (field, _) in &mut self.fields {
            if field == from {
                *field = to.to_owned();
            }
        }
        self
    }

    pub(crate) fn body(mut self, body: Option<&[u8]>) -> Copy {
        self.body = body.map(<[u8]>::to_vec);
        self
    }

    pub(crate) fn key(mut self, key: &str) -> Copy {
        self.key = Some(key.as_bytes().to_vec());
        self
    }

    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }
}

fn put(members: &mut Vec<(String, String)>, name: &str, raw: &str) {
    match members.iter_mut().find(|(member, _)| member == name) {
        Some((_, value)) => *value = raw.to_owned(),
        None => members.push((name.to_owned(), raw.to_owned())),
    }
}

pub(crate) fn object(members: &[(String, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, raw)| format!("\"{name}\":{raw}")).collect();
    format!("{{{}}}", members.join(","))
}
