// SPDX-License-Identifier: MIT OR Apache-2.0
//! Envelope v1: the JSON object that a body is, byte for byte (spec/message.md "Envelope").

use std::ops::Range;

use crate::failure::{Refusal, require};
use crate::header::Header;
use crate::json::{Object, Value};
use crate::reason::Reason;
use crate::text;
use crate::time::parse_rfc3339;

/// Content type of a body that is an envelope.
pub const ENVELOPE_TYPE: &str = "application/json";

/// An envelope that keeps its own rules.
pub(crate) struct Envelope<'v, 'b> {
    object: &'v Object<'b>,
    pub(crate) schema_version: u32,
    pub(crate) payload: &'v Value<'b>,
    pub(crate) payload_span: Range<usize>,
}

/// Reads the envelope's members by its own rules. Other members are left alone and ignored.
pub(crate) fn read<'v, 'b>(document: &'v Value<'b>) -> Result<Envelope<'v, 'b>, Refusal> {
    let object = document.as_object().ok_or_else(|| broken("", "is not an object"))?;
    required(object, "event_id", text::is_event_id)?;
    required(object, "event_type", text::is_dotted)?;
    required(object, "occurred_at", |at| parse_rfc3339(at).is_some())?;
    required(object, "producer", text::is_producer)?;
    optional(object, "tenant_id", text::is_name)?;
    optional(object, "traceparent", text::is_traceparent)?;
    optional(object, "request_id", |id| (1..=128).contains(&id.len()))?;
    optional(object, "actor_id", |id| (1..=128).contains(&id.len()))?;
    let schema_version = object
        .get("schema_version")
        .and_then(Value::as_number)
        .and_then(|number| number.as_u64())
        .and_then(|version| u32::try_from(version).ok())
        .filter(|version| (1..=999).contains(version))
        .ok_or_else(|| broken("schema_version", "is not an integer from 1 to 999"))?;
    let payload = object.iter().find(|member| member.name == "payload");
    let payload = payload.filter(|member| member.value.as_object().is_some());
    let payload = payload.ok_or_else(|| broken("payload", "is not an object"))?;
    Ok(Envelope {
        object,
        schema_version,
        payload: &payload.value,
        payload_span: payload.span.clone(),
    })
}

/// Every member that the format knows.
const MEMBERS: [&str; 10] = [
    "event_id",
    "event_type",
    "schema_version",
    "occurred_at",
    "producer",
    "tenant_id",
    "traceparent",
    "request_id",
    "actor_id",
    "payload",
];

impl Envelope<'_, '_> {
    /// Refuses other members, for streams whose policy takes none.
    pub(crate) fn only_known(&self) -> Result<(), Refusal> {
        let mut names = self.object.iter().map(|member| &*member.name);
        let other = names.find(|name| !MEMBERS.contains(name));
        require(other.is_none(), Reason::EnvelopeMember, || {
            let name: String = other.unwrap_or_default().chars().take(64).collect();
            format!("`{}` is no member of the envelope", name.escape_default())
        })
    }

    /// What a member says, if it is there.
    pub(crate) fn text(&self, member: &str) -> Option<&str> {
        self.object.get(member).and_then(Value::as_str)
    }

    /// A consumer that knows nothing of the header must read the same in the envelope.
    pub(crate) fn equals(&self, header: &Header<'_>) -> Result<(), Refusal> {
        let texts = [
            ("event_id", Some(&*header.id)),
            ("event_type", Some(&*header.typ)),
            ("occurred_at", Some(&*header.occ)),
            ("producer", Some(&*header.src)),
            ("tenant_id", header.ten.as_deref()),
            ("traceparent", header.tp.as_deref()),
            ("request_id", header.req.as_deref()),
            ("actor_id", header.act.as_deref()),
        ];
        for (member, signed) in texts {
            require(self.text(member) == signed, Reason::EnvelopeMismatch, || {
                format!("`{member}` of the envelope is not the header's")
            })?;
        }
        require(self.schema_version == header.sv, Reason::EnvelopeMismatch, || {
            "`schema_version` of the envelope is not the header's".into()
        })
    }
}

fn required(object: &Object<'_>, name: &str, ok: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    require(object.get(name).is_some(), Reason::EnvelopeInvalid, || {
        format!("`{name}` is missing")
    })?;
    optional(object, name, ok)
}

fn optional(object: &Object<'_>, name: &str, ok: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let Some(value) = object.get(name) else { return Ok(()) };
    require(value.as_str().is_some_and(ok), Reason::EnvelopeInvalid, || {
        format!("`{name}` is not text of its form")
    })
}

fn broken(name: &str, what: &str) -> Refusal {
    let name = if name.is_empty() { "the envelope".to_owned() } else { format!("`{name}`") };
    Refusal::new(Reason::EnvelopeInvalid, format!("{name} {what}"))
}
