// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signed header H: one flat JSON object of printable ASCII (spec/message.md "Header").

use std::borrow::Cow;

use crate::failure::{Refusal, require};
use crate::json::{self, Value};
use crate::reason::Reason;
use crate::text;
use crate::time::Timestamp;

/// Name of the field that carries H.
pub const HEADER: &str = "chancery";
/// Name of the field that carries the signature block.
pub const SIGNATURE: &str = "chancery-sig";
/// Name of the field that carries the body's salt.
pub const SALT: &str = "chancery-salt";
/// Name of the field that is reserved for redrive tickets.
pub const TICKET: &str = "chancery-ticket";
/// The producer whose connection appended the message, in the broker's word. An adapter adds it on
/// arrival, where its broker vouches for senders, and drops what a client sent under this name.
pub const SENDER: &str = "chancery-sender";

/// Longest H in bytes.
pub const HEADER_BYTES_MAX: usize = 4096;
/// Longest signature block in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 1536;
/// Largest integer in H: what every JSON reader keeps exactly.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A fact that has happened.
    Event,
    /// A request to do something, before a deadline.
    Command,
    /// A test message; runs the whole path but for the handler.
    Canary,
    /// A lane's heartbeat, on a control stream.
    Lane,
    /// A lane number that will never be used, on a control stream.
    Void,
}

impl Kind {
    /// The word in H.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Event => "event",
            Kind::Command => "command",
            Kind::Canary => "canary",
            Kind::Lane => "lane",
            Kind::Void => "void",
        }
    }

    fn parse(word: &str) -> Option<Kind> {
        [Kind::Event, Kind::Command, Kind::Canary, Kind::Lane, Kind::Void]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// The members of H. All of version 1 are parsed and bounded, also those that no rule reads yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'h> {
    /// `kind`.
    pub kind: Kind,
    /// `id`: the event id, unique per producer, tenant and stream.
    pub id: Cow<'h, str>,
    /// `typ`: the event type.
    pub typ: Cow<'h, str>,
    /// `sv`: the schema version, 1 to 999.
    pub sv: u32,
    /// `occ`: business time, RFC 3339; never used for freshness.
    pub occ: Cow<'h, str>,
    /// `src`: the producing service.
    pub src: Cow<'h, str>,
    /// `aud`: the destination, `domain/environment/stream`.
    pub aud: Cow<'h, str>,
    /// `iat`: when it was signed.
    pub iat: Timestamp,
    /// `exp`: the deadline; every command has one.
    pub exp: Option<Timestamp>,
    /// `ten`: the tenant.
    pub ten: Option<Cow<'h, str>>,
    /// `act`: a stable id of who acted.
    pub act: Option<Cow<'h, str>>,
    /// `req`: the request id.
    pub req: Option<Cow<'h, str>>,
    /// `tp`: the origin's W3C traceparent.
    pub tp: Option<Cow<'h, str>>,
    /// `lane`: 16 random bytes of the producer's boot.
    pub lane: [u8; 16],
    /// `ep`: the producer's term, for ordered keys.
    pub ep: Option<u64>,
    /// `seq`: 1, 2, 3… per lane and stream.
    pub seq: u64,
    /// `okey`: the ordering key.
    pub okey: Option<Cow<'h, str>>,
    /// `ov`: the ordering key's version, 1, 2, 3….
    pub ov: Option<u64>,
    /// `oph`: first 16 bytes of the message id before this one for this key.
    pub oph: Option<[u8; 16]>,
    /// `ct`: content type.
    pub ct: Cow<'h, str>,
    /// `bl`: body length in bytes; `None` is a null body (`-1`).
    pub bl: Option<u64>,
    /// `bd`: the body's digest.
    pub bd: [u8; 32],
    /// `sd`: SHA-256 of the schema the producer validated against.
    pub sd: Option<[u8; 32]>,
    /// `cause`: message ids of what triggered this, at most 4.
    pub cause: Vec<[u8; 32]>,
}

impl Header<'_> {
    /// The same header, owning its text.
    pub fn into_owned(self) -> Header<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Header {
            kind: self.kind,
            id: own(self.id),
            typ: own(self.typ),
            sv: self.sv,
            occ: own(self.occ),
            src: own(self.src),
            aud: own(self.aud),
            iat: self.iat,
            exp: self.exp,
            ten: self.ten.map(own),
            act: self.act.map(own),
            req: self.req.map(own),
            tp: self.tp.map(own),
            lane: self.lane,
            ep: self.ep,
            seq: self.seq,
            okey: self.okey.map(own),
            ov: self.ov,
            oph: self.oph,
            ct: own(self.ct),
            bl: self.bl,
            bd: self.bd,
            sd: self.sd,
            cause: self.cause,
        }
    }
}

/// Reads H. It must already have verified: nothing an attacker controls is parsed as JSON before
/// its signature has.
///
/// # Errors
/// `E111_MALFORMED` for what no version of the format could mean, `E110_UNSUPPORTED` for what a
/// later version might.
pub fn parse(h: &str) -> Result<Header<'_>, Refusal> {
    let limits = json::Limits { bytes_max: HEADER_BYTES_MAX, depth_max: 1, tokens_max: 256 };
    let value = json::read(h.as_bytes(), &limits)
        .map_err(|error| malformed("header", &format!("is not flat JSON: {error}")))?;
    let Value::Object(object) = value else {
        return Err(malformed("header", "is not a JSON object"));
    };
    let mut members = Members::default();
    for member in object {
        members.take(member.name, member.value)?;
    }
    members.finish()
}

/// Members of version 1 that are text.
const TEXTS: [&str; 21] = [
    "kind", "id", "typ", "occ", "src", "aud", "ten", "act", "req", "tp", "lane", "okey", "oph",
    "ct", "ce", "bd", "sd", "cause", "ref", "rto", "crit",
];
/// Members of version 1 that are integers.
const INTEGERS: [&str; 8] = ["v", "sv", "iat", "exp", "ep", "seq", "ov", "bl"];
/// Members that are reserved and bounded in version 1 and that this release cannot honour.
const NOT_YET: [&str; 4] = ["ce", "ref", "rto", "crit"];

#[derive(Default)]
struct Members<'h> {
    texts: [Option<Cow<'h, str>>; TEXTS.len()],
    integers: [Option<i64>; INTEGERS.len()],
}

impl<'h> Members<'h> {
    fn take(&mut self, name: Cow<'h, str>, value: Value<'h>) -> Result<(), Refusal> {
        let text = TEXTS.iter().position(|known| **known == *name);
        let integer = INTEGERS.iter().position(|known| **known == *name);
        match (text, integer, value) {
            (Some(at), _, Value::String(text)) => put(&mut self.texts, at, text),
            (_, Some(at), Value::Number(number)) => {
                let n = number.as_i64().filter(|n| (-1..=INTEGER_MAX).contains(n));
                let n = n.ok_or_else(|| malformed(&name, "is not an integer from -1 to 2^53-1"))?;
                put(&mut self.integers, at, n);
            }
            (None, None, Value::String(_)) if is_extension(&name) => {}
            (None, None, Value::Number(number)) if is_extension(&name) => {
                let n = number.as_i64().filter(|n| (-INTEGER_MAX..=INTEGER_MAX).contains(n));
                n.ok_or_else(|| malformed(&name, "is not an integer that every reader keeps"))?;
            }
            (None, None, _) if !is_extension(&name) => {
                return require(false, Reason::Unsupported, || {
                    format!("header member `{}` is not of version 1", name.escape_default())
                });
            }
            _ => return Err(malformed(&name, "has the wrong type")),
        }
        Ok(())
    }

    fn text(&mut self, name: &str) -> Option<Cow<'h, str>> {
        let at = TEXTS.iter().position(|known| *known == name)?;
        self.texts.get_mut(at)?.take()
    }

    fn integer(&self, name: &str) -> Option<i64> {
        let at = INTEGERS.iter().position(|known| *known == name)?;
        *self.integers.get(at)?
    }

    fn finish(mut self) -> Result<Header<'h>, Refusal> {
        let version = self.positive("v")?.ok_or_else(|| missing("v"))?;
        require(version == 1, Reason::Unsupported, || "`v` is not 1".into())?;
        for name in NOT_YET {
            let text = self.text(name);
            require(text.is_none(), Reason::Unsupported, || {
                format!("header member `{name}` is reserved and not supported yet")
            })?;
        }
        let kind = self.required("kind", |_| true)?;
        let kind = Kind::parse(&kind)
            .ok_or_else(|| Refusal::new(Reason::Unsupported, "`kind` is not one of version 1"))?;
        let header = Header {
            kind,
            id: self.required("id", text::is_event_id)?,
            typ: self.required("typ", text::is_dotted)?,
            sv: self.schema_version()?,
            occ: self.required("occ", |occ| crate::time::parse_rfc3339(occ).is_some())?,
            src: self.required("src", text::is_producer)?,
            aud: self.required("aud", is_destination)?,
            iat: Timestamp(self.positive("iat")?.ok_or_else(|| missing("iat"))?.cast_signed()),
            exp: self.positive("exp")?.map(|ms| Timestamp(ms.cast_signed())),
            ten: self.optional("ten", text::is_name)?,
            act: self.optional("act", |act| is_printable(act, 128))?,
            req: self.optional("req", |req| is_printable(req, 128))?,
            tp: self.optional("tp", text::is_traceparent)?,
            lane: self.bytes("lane")?.ok_or_else(|| missing("lane"))?,
            ep: self.positive("ep")?,
            seq: self.positive("seq")?.ok_or_else(|| missing("seq"))?,
            okey: self.optional("okey", |okey| is_printable(okey, 256))?,
            ov: self.positive("ov")?,
            oph: self.bytes("oph")?,
            ct: self.required("ct", text::is_content_type)?,
            bl: self.body_length()?,
            bd: self.bytes("bd")?.ok_or_else(|| missing("bd"))?,
            sd: self.bytes("sd")?,
            cause: self.causes()?,
        };
        require(header.kind != Kind::Command || header.exp.is_some(), Reason::Malformed, || {
            "a command needs a deadline (`exp`)".into()
        })?;
        Ok(header)
    }

    fn required(&mut self, name: &str, ok: impl Fn(&str) -> bool) -> Result<Cow<'h, str>, Refusal> {
        self.optional(name, ok)?.ok_or_else(|| missing(name))
    }

    fn optional(
        &mut self,
        name: &str,
        ok: impl Fn(&str) -> bool,
    ) -> Result<Option<Cow<'h, str>>, Refusal> {
        match self.text(name) {
            Some(text) if !ok(&text) => Err(malformed(name, "does not match its grammar")),
            found => Ok(found),
        }
    }

    fn bytes<const N: usize>(&mut self, name: &str) -> Result<Option<[u8; N]>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let bytes = text::from_b64u(&text);
        bytes.map(Some).ok_or_else(|| malformed(name, &format!("is not {N} bytes of base64url")))
    }

    fn positive(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.integer(name) {
            None => Ok(None),
            Some(n) if n >= 1 => Ok(Some(n.cast_unsigned())),
            Some(_) => Err(malformed(name, "is not a positive integer")),
        }
    }

    fn schema_version(&self) -> Result<u32, Refusal> {
        let version = self.integer("sv").ok_or_else(|| missing("sv"))?;
        let small = u32::try_from(version).ok().filter(|n| (1..=999).contains(n));
        small.ok_or_else(|| malformed("sv", "is not from 1 to 999"))
    }

    fn body_length(&self) -> Result<Option<u64>, Refusal> {
        let length = self.integer("bl").ok_or_else(|| missing("bl"))?;
        Ok(u64::try_from(length).ok())
    }

    fn causes(&mut self) -> Result<Vec<[u8; 32]>, Refusal> {
        let Some(list) = self.text("cause") else { return Ok(Vec::new()) };
        let ids: Option<Vec<_>> = list.split(',').take(5).map(text::from_b64u).collect();
        ids.filter(|ids| ids.len() <= 4)
            .ok_or_else(|| malformed("cause", "is not 1 to 4 message ids"))
    }
}

fn put<T>(slots: &mut [Option<T>], at: usize, value: T) {
    if let Some(slot) = slots.get_mut(at) {
        *slot = Some(value);
    }
}

fn is_extension(name: &str) -> bool {
    name.strip_prefix("x_").is_some_and(|rest| {
        (1..=24).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

fn is_destination(aud: &str) -> bool {
    let mut parts = aud.split('/');
    let (domain, environment, stream) = (parts.next(), parts.next(), parts.next());
    parts.next().is_none()
        && aud.len() <= 256
        && domain.is_some_and(text::is_name)
        && environment.is_some_and(text::is_name)
        && stream.is_some_and(text::is_dotted)
}

/// Text without control characters, 1 to `bytes_max` bytes.
fn is_printable(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn missing(name: &str) -> Refusal {
    malformed(name, "is missing")
}

fn malformed(name: &str, what: &str) -> Refusal {
    Refusal::new(Reason::Malformed, format!("`{}` {what}", name.escape_default()))
}

#[cfg(test)]
mod tests;
