// SPDX-License-Identifier: MIT OR Apache-2.0
//! Step 4: may this producer say this, here, for this tenant, and may this reader have it?

use super::Reader;
use super::decode::field;
use super::freshness::{Lateness, Timely};
use crate::bundle::Key;
use crate::delivery::Delivery;
use crate::failure::{Refusal, require};
use crate::header::{Header, SENDER};
use crate::policy::{Policy, Stream};
use crate::reason::Reason;
use crate::snapshot::Snapshot;

/// A message that the policy allows. Names the rule by the stream that allowed it.
#[derive(Debug)]
pub struct Authorized<'d> {
    pub(super) delivery: &'d Delivery,
    pub(super) header: Header<'d>,
    pub(super) message_id: [u8; 32],
    pub(super) lateness: Lateness,
    pub(super) signer: &'d Key,
    pub(super) stream: &'d Stream,
    pub(super) group: String,
}

/// Checks destination, producer, reader, kind, type, schema version, tenant, key, content.
///
/// # Errors
/// `E302_WRONG_DESTINATION`, `E301_GRANT`, `E303_TYPE`, `E402_SCHEMA_TOO_OLD`, `E304_TENANT`,
/// `E519_VERSION_MISSING`, `E515_KEY_MISMATCH`, `E113_CONTENT_TYPE`, `E114_STREAM_SIZE`.
pub fn authorize<'d>(
    timely: Timely<'d>,
    snapshot: &'d Snapshot,
    reader: &Reader,
) -> Result<Authorized<'d>, Refusal> {
    let Timely { message, lateness } = timely;
    let (policy, header) = (&snapshot.policy, &message.header);
    let name = &*message.delivery.stream;
    destination(policy, header, name)?;
    let stream = granted_stream(policy, name)?;
    let signer = producer(policy, stream, header, &message.signers)?;
    sender(header, message.delivery)?;
    handler(policy, stream, reader)?;
    content(stream, header)?;
    tenant(policy, stream, header, reader)?;
    key(stream, header, message.delivery)?;
    Ok(Authorized {
        delivery: message.delivery,
        message_id: message.message_id,
        header: message.header,
        lateness,
        signer,
        stream,
        group: reader.group.clone(),
    })
}

/// What was signed for another stream proves nothing on this one.
pub(super) fn destination(
    policy: &Policy,
    header: &Header<'_>,
    stream: &str,
) -> Result<(), Refusal> {
    require(policy.is_destination(&header.aud, stream), Reason::WrongDestination, || {
        format!("signed for `{}`, read from `{}`", header.aud, policy.destination(stream))
    })
}

/// A stream that nobody wrote down does not exist.
pub(crate) fn granted_stream<'p>(policy: &'p Policy, name: &str) -> Result<&'p Stream, Refusal> {
    policy
        .streams
        .get(name)
        .ok_or_else(|| Refusal::new(Reason::Grant, format!("stream `{name}` is not in the policy")))
}

fn producer<'k>(
    policy: &Policy,
    stream: &Stream,
    header: &Header<'_>,
    signers: &[&'k Key],
) -> Result<&'k Key, Refusal> {
    let signer = own_signer(header, signers)?;
    may_publish(policy, stream, header)?;
    Ok(signer)
}

/// The key of the producer that the header names, among those that signed.
pub(super) fn own_signer<'k>(header: &Header<'_>, signers: &[&'k Key]) -> Result<&'k Key, Refusal> {
    let named = signers.iter().find(|key| key.principal == *header.src).copied();
    named.ok_or_else(|| {
        Refusal::new(Reason::Grant, format!("`{}` did not sign this message", header.src))
    })
}

/// Where the broker vouches for who appended, that is who signed: a key that was stolen is no use
/// without the login, nor is a copy of somebody else's message.
pub(super) fn sender(header: &Header<'_>, delivery: &Delivery) -> Result<(), Refusal> {
    let sender = field(delivery, SENDER);
    let signed = header.src.as_bytes();
    require(sender.is_none_or(|sender| sender == signed), Reason::Grant, || {
        format!("the broker does not say that `{}` appended it", header.src)
    })
}

/// The producer's right, the same at publish and at consume.
pub(crate) fn may_publish(
    policy: &Policy,
    stream: &Stream,
    header: &Header<'_>,
) -> Result<(), Refusal> {
    require(policy.may_publish(&header.src, stream), Reason::Grant, || {
        format!("`{}` may not publish to `{}`; its owner may", header.src, header.aud)
    })
}

/// The reader's own right.
pub(super) fn handler(policy: &Policy, stream: &Stream, reader: &Reader) -> Result<(), Refusal> {
    require(policy.may_handle(&reader.service, &reader.group, stream), Reason::Grant, || {
        format!("`{}` may not handle this stream as group `{}`", reader.service, reader.group)
    })
}

/// What the stream carries, the same at publish and at consume.
pub(crate) fn content(stream: &Stream, header: &Header<'_>) -> Result<(), Refusal> {
    carried(stream, header)?;
    content_type(stream, header)?;
    size(stream, header)
}

/// Kind, type and schema version.
pub(super) fn carried(stream: &Stream, header: &Header<'_>) -> Result<(), Refusal> {
    // A canary too: no policy can grant one yet, and here it would reach the real handler.
    require(header.kind == stream.kind, Reason::Type, || {
        format!("a stream of {}s got a {}", stream.kind.word(), header.kind.word())
    })?;
    let versions = stream.types.get(&*header.typ).ok_or_else(|| {
        Refusal::new(Reason::Type, format!("the stream does not carry type `{}`", header.typ))
    })?;
    require(versions.contains(header.sv), Reason::SchemaTooOld, || {
        format!("version {} of `{}`; the stream carries {versions}", header.sv, header.typ)
    })
}

pub(super) fn content_type(stream: &Stream, header: &Header<'_>) -> Result<(), Refusal> {
    let listed = stream.content.iter().any(|content| *content == *header.ct);
    require(listed, Reason::ContentType, || {
        format!("`{}`; the stream carries {}", header.ct, stream.content.join(", "))
    })
}

pub(super) fn size(stream: &Stream, header: &Header<'_>) -> Result<(), Refusal> {
    let bytes = header.bl.unwrap_or(0);
    require(bytes <= stream.bytes_max as u64, Reason::StreamSize, || {
        format!("{bytes} bytes; the stream allows {}", stream.bytes_max)
    })
}

/// Stream, producer and reader against the tenant.
pub(super) fn tenant(
    policy: &Policy,
    stream: &Stream,
    header: &Header<'_>,
    reader: &Reader,
) -> Result<(), Refusal> {
    producer_tenant(policy, stream, header)?;
    let allowed = policy.may_touch_tenant(&reader.service, header.ten.as_deref());
    require(allowed, Reason::Tenant, || {
        format!("`{}` may not handle this tenant's messages", reader.service)
    })
}

/// Stream and producer against the tenant, the same at publish and at consume.
pub(crate) fn producer_tenant(
    policy: &Policy,
    stream: &Stream,
    header: &Header<'_>,
) -> Result<(), Refusal> {
    let tenant = header.ten.as_deref();
    require(stream.carries_tenant(tenant), Reason::Tenant, || match tenant {
        None => "the stream has tenants and the message names none".to_owned(),
        Some(_) => "the stream does not carry this tenant".to_owned(),
    })?;
    require(policy.may_touch_tenant(&header.src, tenant), Reason::Tenant, || {
        format!("`{}` may not speak for this tenant", header.src)
    })
}

fn key(stream: &Stream, header: &Header<'_>, delivery: &Delivery) -> Result<(), Refusal> {
    key_present(stream, header)?;
    record_key(header, delivery)
}

pub(super) fn record_key(header: &Header<'_>, delivery: &Delivery) -> Result<(), Refusal> {
    let record_key = delivery.key.as_deref();
    let signed = header.okey.as_deref().map(str::as_bytes);
    require(record_key == signed, Reason::KeyMismatch, || {
        "the record key is not the signed ordering key".into()
    })
}

/// Ordered streams need a key and a version, the same at publish and at consume.
pub(crate) fn key_present(stream: &Stream, header: &Header<'_>) -> Result<(), Refusal> {
    let complete = header.okey.is_some() && header.ov.is_some();
    require(!stream.ordered || complete, Reason::VersionMissing, || {
        "the stream is ordered; `okey` and `ov` must be signed".into()
    })
}
