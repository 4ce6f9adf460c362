// SPDX-License-Identifier: MIT OR Apache-2.0
//! Step 2: who signed, and is this what was signed? The header is parsed only afterwards.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::decode::{Decoded, Frame, Missing, SignatureBlock};
use crate::bundle::Key;
use crate::delivery::Delivery;
use crate::evidence::leaf_hash;
use crate::evidence::proof::root_from_inclusion;
use crate::failure::{Refusal, require};
use crate::header::{self, Header};
use crate::keys::{Algorithm, BATCH_TYPE, HEADER_TYPE, body_digest, message_id, pae};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::text::from_b64u;

/// A message whose exact bytes one of our keys signed.
#[derive(Debug)]
pub struct Authenticated<'d> {
    pub(super) delivery: &'d Delivery,
    pub(super) header: Header<'d>,
    pub(super) message_id: [u8; 32],
    /// Every known key that signed and counts here; all of them verified.
    pub(super) signers: Vec<&'d Key>,
}

/// Checks the signature over the exact header bytes, parses the header, checks the body's digest.
///
/// # Errors
/// `E201_UNSIGNED`, `E212_SIGNATURE_STRIPPED`, `E202_UNKNOWN_KEY`, `E205_BAD_SIGNATURE`,
/// `E203_PROVENANCE`, `E110_UNSUPPORTED`, `E111_MALFORMED`, `E210_BODY_DIGEST`.
pub fn authenticate<'d>(
    decoded: Decoded<'d>,
    snapshot: &'d Snapshot,
) -> Result<Authenticated<'d>, Refusal> {
    let Decoded { delivery, signed } = decoded;
    let frame = signed.map_err(unsigned)?;
    let signers = provenance(verify(&frame, snapshot)?, delivery, snapshot)?;
    let header = header::parse(frame.h)?;
    body(&header, delivery, frame.salt.as_ref())?;
    Ok(Authenticated { delivery, message_id: message_id(frame.h.as_bytes()), header, signers })
}

fn unsigned(missing: Missing) -> Refusal {
    let (reason, detail) = match missing {
        Missing::Both => (Reason::Unsigned, "there is no signature on this message"),
        Missing::Signature => (Reason::SignatureStripped, "the header has lost its signature"),
        Missing::Header => (Reason::Malformed, "there is a signature and no header"),
    };
    Refusal::new(reason, detail)
}

// Unknown keys are passed over; a known key whose signature fails refuses the message, or an
// attacker could pair a stolen signature with one of his own.
fn verify<'s>(frame: &Frame<'_>, snapshot: &'s Snapshot) -> Result<Vec<&'s Key>, Refusal> {
    let h = frame.h.as_bytes();
    let mut signers = Vec::with_capacity(1);
    match &frame.signature {
        SignatureBlock::Plain(signatures) => {
            let signed = pae(HEADER_TYPE, h);
            for (kid, signature) in signatures {
                let Some(key) = snapshot.keys.get(kid) else { continue };
                check(key, &signed, signature)?;
                signers.push(key);
            }
        }
        SignatureBlock::Batch { kid, signature, size, index, proof } => {
            if let Some(key) = snapshot.keys.get(kid) {
                let mut batch = [0; 40];
                let (size_bytes, root) = batch.split_at_mut(8);
                size_bytes.copy_from_slice(&size.to_be_bytes());
                root.copy_from_slice(&batch_root(h, *size, *index, proof)?);
                check_batch(key, batch, signature, snapshot)?;
                signers.push(key);
            }
        }
    }
    require(!signers.is_empty(), Reason::UnknownKey, || {
        "no key of the trust bundle made a signature on this message".into()
    })?;
    Ok(signers)
}

fn check(key: &Key, signed: &[u8], signature: &str) -> Result<(), Refusal> {
    let Some(verifier) = &key.verifier else {
        let detail = format!("key {} is a shared secret that is not in `keys/` here", key.kid);
        return Err(Refusal::new(Reason::UnknownKey, detail));
    };
    let verified = match key.algorithm {
        Algorithm::Ed25519 => {
            from_b64u::<64>(signature).is_some_and(|bytes| verifier.verify(signed, &bytes))
        }
        Algorithm::HmacSha256 => {
            from_b64u::<32>(signature).is_some_and(|bytes| verifier.verify(signed, &bytes))
        }
    };
    require(verified, Reason::BadSignature, || {
        format!("the signature of key {} ({}) does not verify", key.kid, key.principal)
    })
}

// One signature stands for a whole batch. A shared key's is quicker made again than looked up, and
// comparing it here would not take constant time.
fn check_batch(
    key: &Key,
    batch: [u8; 40],
    signature: &str,
    snapshot: &Snapshot,
) -> Result<(), Refusal> {
    let public = key.algorithm == Algorithm::Ed25519;
    if public && snapshot.batches.know(key.kid, &batch, signature) {
        return Ok(());
    }
    check(key, &pae(BATCH_TYPE, &batch), signature)?;
    if public {
        snapshot.batches.remember(key.kid, batch, signature);
    }
    Ok(())
}

fn batch_root(h: &[u8], size: u64, index: u64, proof: &str) -> Result<[u8; 32], Refusal> {
    let bad = |what: &str| Refusal::new(Reason::BadSignature, format!("the batch proof {what}"));
    let bytes = URL_SAFE_NO_PAD.decode(proof).map_err(|_| bad("is not base64url"))?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    require(rest.is_empty(), Reason::BadSignature, || "the batch proof has half a hash".into())?;
    root_from_inclusion(&leaf_hash(h), index, size, hashes)
        .map_err(|_| bad("does not fit the batch's size"))
}

// Every holder of a shared key can forge; a stream must have said that it accepts that. Elsewhere
// its signature counts for nothing, or a holder could vouch for a forgery with a key of its own.
fn provenance<'s>(
    mut signers: Vec<&'s Key>,
    delivery: &Delivery,
    snapshot: &Snapshot,
) -> Result<Vec<&'s Key>, Refusal> {
    let stream = snapshot.policy.streams.get(&delivery.stream);
    let shared_allowed = stream.is_some_and(|stream| stream.shared_keys);
    signers.retain(|key| shared_allowed || key.algorithm != Algorithm::HmacSha256);
    require(!signers.is_empty(), Reason::Provenance, || {
        "signed with a shared key; the stream wants the producer's own (`shared_keys: true`)".into()
    })?;
    Ok(signers)
}

fn body(header: &Header<'_>, delivery: &Delivery, salt: Option<&[u8; 16]>) -> Result<(), Refusal> {
    let body = delivery.body.as_deref();
    let length = body.map(|body| body.len() as u64);
    require(length == header.bl, Reason::BodyDigest, || {
        let told = |length: Option<u64>| length.map_or("no body".into(), |n| format!("{n} bytes"));
        format!("there is {}, signed was {}", told(length), told(header.bl))
    })?;
    require(body_digest(body, salt) == header.bd, Reason::BodyDigest, || {
        "the body's digest is not the signed one".into()
    })
}
