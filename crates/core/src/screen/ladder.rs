// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same checks below `enforce`: what breaks a laddered rule goes on, and is told of
//! (spec/pipeline.md "The ladder"). Nothing that comes from here is a proof of the screen's.

use std::ops::Range;

use super::Reader;
use super::authenticate::{Authenticated, authenticate};
use super::authorize::{self, granted_stream, handler, may_publish, own_signer};
use super::decode::decode;
use super::freshness::{self, Lateness, key_valid_then};
use super::validate::{document, key_field, key_text, members, safe_format, schema};
use crate::attributes;
use crate::delivery::Delivery;
use crate::envelope::{self, ENVELOPE_TYPE, Envelope};
use crate::failure::Refusal;
use crate::header::Header;
use crate::policy::{Policy, Stream};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// A message on a stream below `enforce`, and what `enforce` would refuse it for as far as bytes
/// alone can tell.
#[derive(Debug)]
pub struct Assessed<'d> {
    pub(crate) delivery: &'d Delivery,
    pub(crate) stream: &'d Stream,
    pub(crate) group: String,
    /// Verified if there is a proof; otherwise the envelope's claims in the header's form.
    pub(crate) header: Header<'d>,
    pub(crate) proof: Option<Proof>,
    /// The payload's exact bytes in the body.
    pub(crate) payload: Range<usize>,
    pub(crate) findings: Findings,
}

/// That the producer's own key signed it, for this stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    pub(crate) message_id: [u8; 32],
    pub(crate) lateness: Lateness,
}

/// What `enforce` would have refused the message for, first things first.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Refusal>);

impl Findings {
    /// Keeps what a laddered rule says and goes on; any other refusal stays one.
    pub(crate) fn note(&mut self, check: Result<(), Refusal>) -> Result<(), Refusal> {
        match check {
            Err(refusal) if refusal.reason.is_laddered() => {
                self.0.push(refusal);
                Ok(())
            }
            other => other,
        }
    }

    pub(crate) fn first(&self) -> Option<&Refusal> {
        self.0.first()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Refusal> {
        self.0
    }
}

/// Judges one message of a stream below `enforce`.
///
/// # Errors
/// The first rule that it breaks and that is never laddered. A producer that is not proven, and
/// that the stream's `unsigned` does not list, is refused as under `enforce`.
pub fn assess<'d>(
    delivery: &'d Delivery,
    snapshot: &'d Snapshot,
    reader: &Reader,
    now: Timestamp,
) -> Result<Assessed<'d>, Refusal> {
    let decoded = decode(delivery)?;
    let proven = authenticate(decoded, snapshot).and_then(|message| {
        own_signer(&message.header, &message.signers)?;
        authorize::destination(&snapshot.policy, &message.header, &delivery.stream)?;
        Ok(message)
    });
    // The reader's own right is no rule about the message: it climbs no ladder.
    let assessing = granted_stream(&snapshot.policy, &delivery.stream).and_then(|stream| {
        handler(&snapshot.policy, stream, reader)?;
        Ok(Assessing { delivery, snapshot, stream, reader })
    });
    match (proven, assessing) {
        (Ok(message), assessing) => assessing?.signed(message, now),
        (Err(first), Ok(assessing)) if first.reason.is_laddered() => assessing.claimed(first),
        (Err(refusal), _) => Err(refusal),
    }
}

struct Assessing<'d, 'r> {
    delivery: &'d Delivery,
    snapshot: &'d Snapshot,
    stream: &'d Stream,
    reader: &'r Reader,
}

impl<'d> Assessing<'d, '_> {
    fn signed(&self, message: Authenticated<'d>, now: Timestamp) -> Result<Assessed<'d>, Refusal> {
        let mut findings = Findings::default();
        let times = &self.snapshot.policy.times;
        let (header, appended) = (message.header, self.delivery.appended);
        for key in &message.signers {
            findings.note(key_valid_then(key, appended, header.iat, times))?;
        }
        findings.note(freshness::clock(&header, appended, times))?;
        findings.note(freshness::horizon(&header, now, times))?;
        findings.note(freshness::deadline(&header, now))?;
        self.authorized(&header, &mut findings)?;
        findings.note(authorize::key_present(self.stream, &header))?;
        findings.note(authorize::record_key(&header, self.delivery))?;
        let payload = self.validated(&header, &mut findings)?;
        let lateness = freshness::lateness(&header, appended, times);
        let proof = Some(Proof { message_id: message.message_id, lateness });
        Ok(self.assessed(header, proof, payload, findings))
    }

    // What it claims is read only to know who is claimed; what cannot be read claims nobody.
    fn claimed(&self, first: Refusal) -> Result<Assessed<'d>, Refusal> {
        let body = self.delivery.body.as_deref().unwrap_or_default();
        let unreadable = |why: Refusal| {
            let detail = format!("{}; what it claims cannot be read: {why}", first.detail);
            Refusal::new(first.reason, detail)
        };
        safe_format(body).map_err(unreadable)?;
        let document = document(body, self.stream, self.snapshot).map_err(unreadable)?;
        let envelope = envelope::read(&document).map_err(unreadable)?;
        let header = claims(&envelope, self.stream, self.delivery, &self.snapshot.policy);
        if !self.stream.unsigned.iter().any(|producer| *producer == *header.src) {
            return Err(first);
        }
        let mut findings = Findings(vec![first]);
        self.authorized(&header, &mut findings)?;
        findings.note(authorize::record_key(&header, self.delivery))?;
        findings.note(members(self.stream, &envelope))?;
        findings.note(schema(&header, envelope.payload, self.snapshot))?;
        Ok(self.assessed(header, None, envelope.payload_span, findings))
    }

    fn authorized(&self, header: &Header<'_>, findings: &mut Findings) -> Result<(), Refusal> {
        let (policy, stream) = (&self.snapshot.policy, self.stream);
        findings.note(may_publish(policy, stream, header))?;
        findings.note(authorize::sender(header, self.delivery))?;
        findings.note(authorize::carried(stream, header))?;
        findings.note(authorize::content_type(stream, header))?;
        findings.note(authorize::size(stream, header))?;
        findings.note(authorize::tenant(policy, stream, header, self.reader))
    }

    fn validated(
        &self,
        header: &Header<'_>,
        findings: &mut Findings,
    ) -> Result<Range<usize>, Refusal> {
        let body = self.delivery.body.as_deref().unwrap_or_default();
        safe_format(body)?;
        attributes::equal(self.delivery, header)?;
        if *header.ct != *ENVELOPE_TYPE {
            return Ok(0..body.len());
        }
        let document = document(body, self.stream, self.snapshot)?;
        let envelope = envelope::read(&document)?;
        envelope.equals(header)?;
        findings.note(members(self.stream, &envelope))?;
        findings.note(schema(header, envelope.payload, self.snapshot))?;
        findings.note(key_field(header, self.stream, envelope.payload))?;
        Ok(envelope.payload_span)
    }

    fn assessed(
        &self,
        header: Header<'d>,
        proof: Option<Proof>,
        payload: Range<usize>,
        findings: Findings,
    ) -> Assessed<'d> {
        Assessed {
            delivery: self.delivery,
            stream: self.stream,
            group: self.reader.group.clone(),
            header,
            proof,
            payload,
            findings,
        }
    }
}

/// The envelope's claims in the form that the checks read; what only a signed header says is empty.
fn claims(
    envelope: &Envelope<'_, '_>,
    stream: &Stream,
    delivery: &Delivery,
    policy: &Policy,
) -> Header<'static> {
    let text = |member: &str| envelope.text(member).map(|text| text.to_owned().into());
    let key = stream.key.as_deref().and_then(|member| key_text(envelope.payload, member));
    Header {
        kind: stream.kind,
        id: text("event_id").unwrap_or_default(),
        typ: text("event_type").unwrap_or_default(),
        sv: envelope.schema_version,
        occ: text("occurred_at").unwrap_or_default(),
        src: text("producer").unwrap_or_default(),
        aud: policy.destination(&delivery.stream).into(),
        iat: Timestamp(0),
        exp: None,
        ten: text("tenant_id"),
        act: text("actor_id"),
        req: text("request_id"),
        tp: text("traceparent"),
        lane: [0; 16],
        ep: None,
        seq: 0,
        okey: key.map(|key| key.to_owned().into()),
        ov: None,
        oph: None,
        ct: ENVELOPE_TYPE.into(),
        bl: delivery.body.as_ref().map(|body| body.len() as u64),
        bd: [0; 32],
        sd: None,
        cause: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
