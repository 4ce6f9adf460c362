// SPDX-License-Identifier: MIT OR Apache-2.0
//! The unavoidable parts of a decision, each called directly and none checked against another: one
//! signature (a batch's once for its whole batch), every hash that the format demands, the header,
//! the body read strictly, the schema. Whoever decides less has left out a part of the format.

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chancery_core::delivery::Delivery;
use chancery_core::evidence::proof::root_from_inclusion;
use chancery_core::evidence::{Hash, leaf_hash};
use chancery_core::header::{self, HEADER, SIGNATURE};
use chancery_core::json;
use chancery_core::keys::{BATCH_TYPE, HEADER_TYPE, Kid, Verifier, body_digest, message_id, pae};
use chancery_core::schema::Schema;

use crate::world::{Signing, World};

/// One message, taken apart beforehand.
pub(crate) struct Parts<'w> {
    h: String,
    body: Bytes,
    schema: &'w Schema,
    limits: json::Limits,
    verifier: &'w Verifier,
    signature: Vec<u8>,
    batch: Option<Place>,
}

/// Where a header is in its batch.
struct Place {
    size: u64,
    index: u64,
    proof: Vec<Hash>,
}

impl<'w> Parts<'w> {
    pub(crate) fn of(world: &'w World, signing: Signing, delivery: &Delivery) -> Option<Parts<'w>> {
        let field = |name| {
            let field = delivery.fields.iter().find(|field| field.name == name)?;
            std::str::from_utf8(&field.value).ok()
        };
        let mut block = field(SIGNATURE)?.split(';').skip(1);
        let (kid, signature) = block.next()?.split_once(':')?;
        let batch = match signing {
            Signing::Batch => Some(Place::read(&mut block)?),
            Signing::Ed25519 | Signing::Hmac => None,
        };
        Some(Parts {
            h: field(HEADER)?.to_owned(),
            body: delivery.body.clone()?,
            schema: world.snapshot.schema(&delivery.stream, 1)?,
            limits: world.snapshot.json,
            verifier: world.snapshot.keys.get(&Kid::parse(kid)?)?.verifier.as_ref()?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            batch,
        })
    }

    /// Does all of it; false if any of it fails.
    pub(crate) fn work(&self) -> bool {
        black_box(message_id(self.h.as_bytes()));
        black_box(body_digest(Some(&self.body), None));
        self.signature() && header::parse(&self.h).is_ok() && self.contract()
    }

    fn contract(&self) -> bool {
        let Ok(document) = json::read(&self.body, &self.limits) else { return false };
        let payload = document.as_object().and_then(|object| object.get("payload"));
        payload.is_some_and(|payload| self.schema.validate(payload).is_ok())
    }

    fn signature(&self) -> bool {
        let h = self.h.as_bytes();
        match &self.batch {
            None => self.verifier.verify(&pae(HEADER_TYPE, h), &self.signature),
            Some(Place { size, index, proof }) => {
                let Ok(root) = root_from_inclusion(&leaf_hash(h), *index, *size, proof) else {
                    return false;
                };
                let signed = [&size.to_be_bytes()[..], &root].concat();
                black_box(&signed);
                *index > 0 || self.verifier.verify(&pae(BATCH_TYPE, &signed), &self.signature)
            }
        }
    }
}

impl Place {
    fn read<'t>(texts: &mut impl Iterator<Item = &'t str>) -> Option<Place> {
        let (size, index) = (texts.next()?.parse().ok()?, texts.next()?.parse().ok()?);
        let hashes = URL_SAFE_NO_PAD.decode(texts.next()?).ok()?;
        Some(Place { size, index, proof: hashes.as_chunks().0.to_vec() })
    }
}
