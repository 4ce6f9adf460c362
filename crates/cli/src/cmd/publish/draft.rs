// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a line to a draft: the payload stays as it is, the rest comes from flags or from members.

use bytes::Bytes;
use chancery::core::json::{self, Limits, Object, Value};
use chancery::core::seal::{Content, Draft};
use chancery::core::text::{hex, is_event_id};
use chancery::{Reason, Refusal, Snapshot};

use super::Args;
use super::lines::Line;
use crate::exit::{Failure, Result};
use crate::project::{self, now};
use crate::suggest;

/// What makes drafts of lines.
pub(crate) struct Drafts {
    stream: String,
    limits: Limits,
    /// Member of the payload that is the ordering version.
    version: Option<String>,
    form: Form,
}

enum Form {
    /// Lines are payloads.
    Payload(Around),
    /// Lines are whole envelopes.
    Envelope,
}

/// What is built round a payload.
struct Around {
    event_type: String,
    schema_version: u32,
    /// Member of the payload that is the event id.
    id: Option<String>,
    tenant: Tenant,
}

enum Tenant {
    None,
    Fixed(String),
    Field(String),
}

impl Drafts {
    /// Settles what is the same for every line.
    pub(crate) fn new(args: &Args, service: &str, snapshot: &Snapshot) -> Result<Drafts> {
        let (stream, limits) = (args.stream.clone(), snapshot.json);
        let version = args.version.clone();
        if project::stream(snapshot, &stream)?.ordered != version.is_some() {
            return Err(ordering(&stream, version.is_some()));
        }
        if args.envelope {
            return Ok(Drafts { stream, limits, version, form: Form::Envelope });
        }
        let event_type = event_type(args, snapshot)?;
        let schema_version = match args.schema_version {
            Some(version) => version,
            None => newest_schema(snapshot, &stream, &event_type)?,
        };
        let tenant = match args.tenant.as_deref() {
            None => Tenant::None,
            Some(text) => match text.strip_prefix('=') {
                Some(fixed) => Tenant::Fixed(may_speak_for(snapshot, service, fixed)?),
                None => Tenant::Field(text.to_owned()),
            },
        };
        let id = args.id.clone();
        let form = Form::Payload(Around { event_type, schema_version, id, tenant });
        Ok(Drafts { stream, limits, version, form })
    }

    /// The draft of one line, or why it cannot be one.
    pub(crate) fn draft(&self, line: &Line) -> Result<Result<Draft, Refusal>> {
        if line.is_too_long() {
            return Ok(Err(Refusal::new(Reason::TooLarge, "the line is longer than any body")));
        }
        let random = hex(&project::random::<16>()?);
        Ok(match &self.form {
            Form::Payload(around) => self.payload(line, around, random),
            Form::Envelope => self.envelope(line),
        })
    }

    fn payload(&self, line: &Line, around: &Around, random: String) -> Result<Draft, Refusal> {
        let Around { event_type, schema_version, id, tenant } = around;
        let (tenant, field) = match tenant {
            Tenant::None => (None, None),
            Tenant::Fixed(tenant) => (Some(tenant.clone()), None),
            Tenant::Field(field) => (None, Some(field)),
        };
        let content = Content::Payload(line.bytes.clone().into());
        let mut draft = Draft {
            id: random,
            event_type: event_type.clone(),
            schema_version: *schema_version,
            tenant,
            ..self.blank(now().to_string(), content)
        };
        if id.is_none() && field.is_none() && self.version.is_none() {
            return Ok(draft);
        }
        let document = read(&line.bytes, &self.limits)?;
        let payload = object(&document, "the line")?;
        if let Some(member) = id {
            draft.id = word(payload, member, "--id")?;
            if !is_event_id(&draft.id) {
                let detail = format!("`{member}`, named by --id, is not 10 to 64 of A-Za-z0-9._:-");
                return Err(Refusal::new(Reason::Malformed, detail));
            }
        }
        if let Some(member) = field {
            draft.tenant = Some(word(payload, member, "--tenant")?);
        }
        draft.version = self.ordering_version(payload)?;
        Ok(draft)
    }

    fn envelope(&self, line: &Line) -> Result<Draft, Refusal> {
        let document = read(&line.bytes, &self.limits)?;
        let envelope = object(&document, "the line")?;
        let text = |member: &str| envelope.get(member).and_then(Value::as_str).map(str::to_owned);
        let need = |member: &str| text(member).ok_or_else(|| missing(member, "--envelope"));
        let mut draft =
            self.blank(need("occurred_at")?, Content::Envelope(Bytes::from(line.bytes.clone())));
        draft.id = need("event_id")?;
        draft.event_type = need("event_type")?;
        let schema_version = envelope.get("schema_version").and_then(Value::as_number);
        let schema_version = schema_version.and_then(|number| number.as_u64());
        let schema_version = schema_version.and_then(|version| u32::try_from(version).ok());
        draft.schema_version =
            schema_version.ok_or_else(|| missing("schema_version", "--envelope"))?;
        draft.tenant = text("tenant_id");
        draft.traceparent = text("traceparent");
        draft.request = text("request_id");
        draft.actor = text("actor_id");
        if self.version.is_some() {
            let payload =
                envelope.get("payload").ok_or_else(|| missing("payload", "--envelope"))?;
            draft.version = self.ordering_version(object(payload, "`payload`")?)?;
        }
        Ok(draft)
    }

    fn ordering_version(&self, payload: &Object<'_>) -> Result<Option<u64>, Refusal> {
        let Some(member) = &self.version else { return Ok(None) };
        let number = payload.get(member).and_then(Value::as_number);
        let version = number.and_then(|number| number.as_u64());
        version.map(Some).ok_or_else(|| missing(member, "--version"))
    }

    fn blank(&self, occurred_at: String, content: Content) -> Draft {
        Draft {
            stream: self.stream.clone(),
            id: String::new(),
            event_type: String::new(),
            schema_version: 1,
            tenant: None,
            version: None,
            occurred_at,
            request: None,
            actor: None,
            traceparent: None,
            deadline: None,
            causes: Vec::new(),
            content,
        }
    }
}

/// Versions are for ordered streams, and there every message has one.
fn ordering(stream: &str, given: bool) -> Failure {
    let (what, fix) = match given {
        true => ("the stream is not ordered", "leave --version out, or write `ordered: true`"),
        false => ("the stream is ordered", "say with --version FIELD what the version is"),
    };
    Failure::misuse(what, format!("policy.yaml, streams.{stream}.ordered"), fix)
}

fn event_type(args: &Args, snapshot: &Snapshot) -> Result<String> {
    let types = &project::stream(snapshot, &args.stream)?.types;
    let at = || format!("policy.yaml, streams.{}.types", args.stream);
    match &args.event_type {
        Some(typ) if types.contains_key(typ) => Ok(typ.clone()),
        Some(typ) => {
            let what = format!("does not carry type `{}`", crate::out::plain(typ));
            let fix = suggest::instead(typ, types.keys().map(String::as_str));
            Err(Failure::misuse(what, at(), fix))
        }
        None => match types.keys().collect::<Vec<_>>().as_slice() {
            [only] => Ok((*only).clone()),
            _ => Err(Failure::misuse("carries several types", at(), "say which with --type TYPE")),
        },
    }
}

fn newest_schema(snapshot: &Snapshot, stream: &str, typ: &str) -> Result<u32> {
    let carried = project::stream(snapshot, stream)?.types.get(typ).copied();
    let known = snapshot.schemas.get(typ).into_iter().flat_map(|versions| versions.keys());
    let newest = known.copied().filter(|v| carried.is_some_and(|range| range.contains(*v))).max();
    newest.ok_or_else(|| {
        let at = format!("schemas/{typ}");
        let fix = format!("make one with `chancery schema new {typ}`, or say --schema-version N");
        Failure::misuse("has no schema in a version that the stream carries", at, fix)
    })
}

fn may_speak_for(snapshot: &Snapshot, service: &str, tenant: &str) -> Result<String> {
    if snapshot.policy.may_touch_tenant(service, Some(tenant)) {
        return Ok(tenant.to_owned());
    }
    let what = format!("`{service}` may not speak for tenant `{}`", crate::out::plain(tenant));
    let at = format!("policy.yaml, services.{service}.tenants");
    Err(Failure::misuse(what, at, "add the tenant there, or correct --tenant"))
}

fn read<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Value<'b>, Refusal> {
    json::read(bytes, limits).map_err(|error| {
        let reason = if error.is_limit() { Reason::JsonLimits } else { Reason::JsonAmbiguous };
        Refusal::new(reason, error.to_string())
    })
}

fn object<'v, 'b>(value: &'v Value<'b>, what: &str) -> Result<&'v Object<'b>, Refusal> {
    value.as_object().ok_or_else(|| {
        Refusal::new(Reason::EnvelopeInvalid, format!("{what} is not a JSON object"))
    })
}

/// A member that is a text or a number, as text.
fn word(payload: &Object<'_>, member: &str, flag: &str) -> Result<String, Refusal> {
    let value = payload.get(member);
    let text = value.and_then(Value::as_str).map(str::to_owned);
    let number = || value.and_then(Value::as_number)?.as_u64().map(|number| number.to_string());
    text.or_else(number).ok_or_else(|| missing(member, flag))
}

fn missing(member: &str, flag: &str) -> Refusal {
    let detail = format!("`{member}`, named by {flag}, is missing or of another type");
    Refusal::new(Reason::EnvelopeInvalid, detail)
}
