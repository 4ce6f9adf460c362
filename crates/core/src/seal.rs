// SPDX-License-Identifier: MIT OR Apache-2.0
//! The outbound mirror of `screen`: build, authorize, validate, sign. What cannot be admitted
//! anywhere is refused here, before it leaves.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::attributes::{self, TRACEPARENT};
use crate::delivery::Field;
use crate::envelope::ENVELOPE_TYPE;
use crate::evidence::proof::{ProofError, inclusion};
use crate::evidence::{Hash, leaf_hash, node_hash, tree};
use crate::failure::{Refusal, require};
use crate::header::{HEADER, HEADER_BYTES_MAX, Kind, SALT, SIGNATURE};
use crate::json;
use crate::keys::{Algorithm, BATCH_TYPE, HEADER_TYPE, Secret, body_digest, message_id, pae};
use crate::policy::Stream;
use crate::reason::Reason;
use crate::screen::{authorize, validate};
use crate::snapshot::Snapshot;
use crate::text::b64u;
use crate::time::Timestamp;

/// What a service wants to say, before it is signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// The stream to publish to.
    pub stream: String,
    /// Event id; unique per producer, tenant and stream. Publishing again with the same id is the
    /// same event.
    pub id: String,
    /// Event type.
    pub event_type: String,
    /// Schema version.
    pub schema_version: u32,
    /// Tenant, on streams that have tenants.
    pub tenant: Option<String>,
    /// The ordering key's version, on ordered streams: 1, 2, 3… per key.
    pub version: Option<u64>,
    /// Business time, RFC 3339.
    pub occurred_at: String,
    /// Request id.
    pub request: Option<String>,
    /// Stable id of who acted.
    pub actor: Option<String>,
    /// W3C traceparent of the origin.
    pub traceparent: Option<String>,
    /// Deadline; a command without one gets the policy's `publish_within`.
    pub deadline: Option<Timestamp>,
    /// Message ids of what triggered this, at most 4.
    pub causes: Vec<[u8; 32]>,
    /// What to say.
    pub content: Content,
}

/// What a draft carries.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A JSON object; the envelope is built round it, its bytes stay as they are.
    Payload(Bytes),
    /// A whole envelope, sent as it is; the draft's members must equal its own.
    Envelope(Bytes),
    /// Bytes of a content type that the stream lists; no envelope, no schema.
    Opaque(String, Bytes),
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft")
            .field("stream", &self.stream)
            .field("id", &self.id)
            .field("type", &self.event_type)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Unsigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unsigned")
            .field("stream", &self.stream)
            .field("event_id", &self.event_id)
            .finish_non_exhaustive()
    }
}

/// Who publishes, and the numbers that only the shell can know.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'s> {
    /// The publishing service.
    pub service: &'s str,
    /// Now: signing happens when the message is sent, not when it is put into an outbox.
    pub now: Timestamp,
    /// 16 random bytes of this boot.
    pub lane: [u8; 16],
    /// 1, 2, 3… on this lane and stream.
    pub sequence: u64,
}

/// A message that was built and checked, and is not signed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Unsigned {
    stream: String,
    tenant: Option<String>,
    event_id: String,
    h: String,
    /// Fields beside the header that nobody signs.
    beside: Vec<Field>,
    key: Option<Bytes>,
    body: Bytes,
}

/// A signed message, ready to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The stream it is for.
    pub stream: String,
    /// Its event id.
    pub event_id: String,
    /// Its universal reference.
    pub message_id: [u8; 32],
    /// Header fields.
    pub fields: Vec<Field>,
    /// Record key.
    pub key: Option<Bytes>,
    /// Body.
    pub body: Bytes,
}

/// Most messages under one signature (spec/message.md, `m1`): each carries a proof of as many
/// hashes as the batch has levels.
pub const SIGNED_TOGETHER_MAX: usize = 64;

/// Builds and checks one message.
///
/// # Errors
/// What `authorize` or `validate` would refuse at the other end, and what cannot be a header.
pub fn build(draft: &Draft, stamp: &Stamp<'_>, snapshot: &Snapshot) -> Result<Unsigned, Refusal> {
    let stream = authorize::granted_stream(&snapshot.policy, &draft.stream)?;
    let (content_type, body) = body(draft, stamp.service)?;
    let key = ordering_key(draft, stream, &body, snapshot)?;
    let h = header(draft, stamp, stream, snapshot, &content_type, &body, key.as_deref());
    require(h.len() <= HEADER_BYTES_MAX, Reason::TooLarge, || "the header is too long".into())?;
    as_a_reader_would(&h, stream, &body, snapshot)?;
    Ok(Unsigned {
        stream: draft.stream.clone(),
        tenant: draft.tenant.clone(),
        event_id: draft.id.clone(),
        h,
        beside: trace(draft),
        key: key.map(Bytes::from),
        body,
    })
}

impl Unsigned {
    /// Signs this message alone.
    pub fn sign(self, secret: &Secret) -> Sealed {
        let signature = secret.sign(&pae(HEADER_TYPE, self.h.as_bytes()));
        let block = format!("1;{}:{}", secret.kid(), b64u(&signature));
        self.sealed(block)
    }

    /// Adds the attributes of CloudEvents 1.0, for consumers that read them and nothing of ours.
    /// They are a copy of what is signed, about 250 bytes, and readers hold them against it.
    pub fn with_cloud_events(mut self) -> Unsigned {
        if let Ok(header) = crate::header::parse(&self.h) {
            self.beside.extend(attributes::fields(&header));
        }
        self
    }

    fn sealed(self, block: String) -> Sealed {
        let mut fields = vec![Field::new(HEADER, self.h.clone()), Field::new(SIGNATURE, block)];
        fields.extend(self.beside);
        Sealed {
            stream: self.stream,
            event_id: self.event_id,
            message_id: message_id(self.h.as_bytes()),
            fields,
            key: self.key,
            body: self.body,
        }
    }
}

/// Signs messages in the order given: those of one stream, tenant and partition under one
/// signature, at most [`SIGNED_TOGETHER_MAX`] of them. `partition` gives a stream and record key's
/// partition, where the broker has them: one reader then verifies whole batches. A batch of one is
/// a plain signature, and so is a shared key's, which costs no more than the proof that would save
/// it.
pub fn sign_all(
    messages: Vec<Unsigned>,
    secret: &Secret,
    partition: impl Fn(&str, Option<&[u8]>) -> Option<u32>,
) -> Vec<Sealed> {
    let mut together = BTreeMap::<_, Vec<usize>>::new();
    if secret.algorithm() == Algorithm::Ed25519 {
        for (at, message) in messages.iter().enumerate() {
            let partition = partition(&message.stream, message.key.as_deref());
            let one_readers = (&*message.stream, message.tenant.as_deref(), partition);
            together.entry(one_readers).or_default().push(at);
        }
    }
    let mut blocks = BTreeMap::new();
    for batch in together.values().flat_map(|all| all.chunks(SIGNED_TOGETHER_MAX)) {
        let members = batch.iter().filter_map(|at| messages.get(*at));
        let leaves: Vec<Hash> = members.map(|message| leaf_hash(message.h.as_bytes())).collect();
        if leaves.len() > 1 {
            blocks.extend(batch.iter().copied().zip(batch_blocks(&leaves, secret)));
        }
    }
    let signed = messages.into_iter().enumerate().map(|(at, message)| match blocks.remove(&at) {
        Some(block) => message.sealed(block),
        None => message.sign(secret),
    });
    signed.collect()
}

/// The signature block of each leaf of a batch, in order.
fn batch_blocks(leaves: &[Hash], secret: &Secret) -> Vec<String> {
    let size = leaves.len();
    let mut levels = vec![leaves.to_vec()];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let (pairs, _) = below.as_chunks::<2>();
        levels.push(pairs.iter().map(|[left, right]| node_hash(left, right)).collect());
    }
    let node = |level: u8, index: u64| -> Result<Hash, ProofError> {
        let row = levels.get(usize::from(level));
        let hash = row.and_then(|row| row.get(usize::try_from(index).ok()?));
        hash.copied().ok_or(ProofError::IndexOutside)
    };
    let Ok(root) = tree::root(size as u64, node) else { return Vec::new() };
    let signed = [&(size as u64).to_be_bytes()[..], &root].concat();
    let signature = b64u(&secret.sign(&pae(BATCH_TYPE, &signed)));
    let entry = format!("m1;{}:{signature};{size}", secret.kid());
    let proofs = (0..size).map_while(|index| inclusion(index as u64, size as u64, node).ok());
    proofs
        .enumerate()
        .map(|(index, proof)| format!("{entry};{index};{}", b64u(&proof.concat())))
        .collect()
}

// Tracing follows a message by this field; what is believed of it is what H says.
fn trace(draft: &Draft) -> Vec<Field> {
    draft.traceparent.iter().map(|tp| Field::new(TRACEPARENT, tp.clone())).collect()
}

/// Names of the fields that carry signatures, for adapters that must never copy anything else.
pub const RESERVED: [&str; 3] = [HEADER, SIGNATURE, SALT];

fn as_a_reader_would(
    h: &str,
    stream: &Stream,
    body: &[u8],
    snapshot: &Snapshot,
) -> Result<(), Refusal> {
    let header = crate::header::parse(h)?;
    authorize::may_publish(&snapshot.policy, stream, &header)?;
    authorize::content(stream, &header)?;
    authorize::producer_tenant(&snapshot.policy, stream, &header)?;
    authorize::key_present(stream, &header)?;
    if let Some(format) = validate::unsafe_format(body) {
        return Err(Refusal::new(Reason::UnsafeFormat, format!("the body begins like {format}")));
    }
    if *header.ct == *ENVELOPE_TYPE {
        validate::enveloped(body, &header, stream, snapshot)?;
    }
    Ok(())
}

fn body(draft: &Draft, service: &str) -> Result<(String, Bytes), Refusal> {
    match &draft.content {
        Content::Envelope(bytes) => Ok((ENVELOPE_TYPE.to_owned(), bytes.clone())),
        Content::Opaque(content_type, bytes) => Ok((content_type.clone(), bytes.clone())),
        Content::Payload(payload) => {
            envelope(draft, service, payload).map(|body| (ENVELOPE_TYPE.to_owned(), body))
        }
    }
}

/// The source's envelope, in the source's order.
#[derive(serde::Serialize)]
struct EnvelopeOut<'d> {
    event_id: &'d str,
    event_type: &'d str,
    schema_version: u32,
    occurred_at: &'d str,
    producer: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_id: Option<&'d str>,
    payload: &'d RawValue,
}

fn envelope(draft: &Draft, service: &str, payload: &[u8]) -> Result<Bytes, Refusal> {
    let refuse = |_| Refusal::new(Reason::JsonAmbiguous, "the payload is not one JSON document");
    let payload: &RawValue = serde_json::from_slice(payload).map_err(refuse)?;
    let envelope = EnvelopeOut {
        event_id: &draft.id,
        event_type: &draft.event_type,
        schema_version: draft.schema_version,
        occurred_at: &draft.occurred_at,
        producer: service,
        tenant_id: draft.tenant.as_deref(),
        traceparent: draft.traceparent.as_deref(),
        request_id: draft.request.as_deref(),
        actor_id: draft.actor.as_deref(),
        payload,
    };
    serde_json::to_vec(&envelope).map(Bytes::from).map_err(refuse)
}

// The key is what the payload says, so that producer and consumer cannot disagree about it.
fn ordering_key(
    draft: &Draft,
    stream: &Stream,
    body: &[u8],
    snapshot: &Snapshot,
) -> Result<Option<String>, Refusal> {
    let Some(member) = &stream.key else { return Ok(None) };
    if matches!(draft.content, Content::Opaque(..)) {
        return Ok(None);
    }
    let document = json::read(body, &snapshot.json).map_err(|error| {
        let reason = if error.is_limit() { Reason::JsonLimits } else { Reason::JsonAmbiguous };
        Refusal::new(reason, error.to_string())
    })?;
    let payload = document.as_object().and_then(|object| object.get("payload"));
    let key = payload.and_then(|payload| validate::key_text(payload, member));
    let key = key.ok_or_else(|| {
        Refusal::new(Reason::KeyField, format!("the payload has no member `{member}` to order by"))
    })?;
    Ok(Some(key.to_owned()))
}

/// H in the order of spec/message.md; absent members are left out.
#[derive(serde::Serialize)]
struct HeaderOut<'d> {
    v: u32,
    kind: &'d str,
    id: &'d str,
    typ: &'d str,
    sv: u32,
    occ: &'d str,
    src: &'d str,
    aud: &'d str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ten: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    req: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tp: Option<&'d str>,
    lane: String,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    okey: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ov: Option<u64>,
    ct: &'d str,
    bl: usize,
    bd: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sd: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

fn header(
    draft: &Draft,
    stamp: &Stamp<'_>,
    stream: &Stream,
    snapshot: &Snapshot,
    content_type: &str,
    body: &[u8],
    key: Option<&str>,
) -> String {
    let within_ms = snapshot.policy.times.publish_within_ms;
    let deadline = match stream.kind {
        Kind::Command => draft.deadline.or(Some(stamp.now + within_ms)),
        _ => draft.deadline,
    };
    let schema = snapshot.schema(&draft.event_type, draft.schema_version);
    let causes: Vec<String> = draft.causes.iter().map(|id| b64u(id)).collect();
    let header = HeaderOut {
        v: 1,
        kind: stream.kind.word(),
        id: &draft.id,
        typ: &draft.event_type,
        sv: draft.schema_version,
        occ: &draft.occurred_at,
        src: stamp.service,
        aud: &snapshot.policy.destination(&draft.stream),
        iat: stamp.now.0,
        exp: deadline.map(|deadline| deadline.0),
        ten: draft.tenant.as_deref(),
        act: draft.actor.as_deref(),
        req: draft.request.as_deref(),
        tp: draft.traceparent.as_deref(),
        lane: b64u(&stamp.lane),
        seq: stamp.sequence,
        okey: key,
        ov: draft.version,
        ct: content_type,
        bl: body.len(),
        bd: b64u(&body_digest(Some(body), None)),
        sd: schema.map(|schema| b64u(&schema.digest())),
        cause: (!causes.is_empty()).then(|| causes.join(",")),
    };
    ascii(&serde_json::to_string(&header).unwrap_or_default())
}

/// The same JSON in printable ASCII: everything else becomes `\u` escapes.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if (' '..='~').contains(&c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
