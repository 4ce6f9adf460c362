// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between the protocol's words and ours: subjects and keys, header blocks and fields, the subject
//! of an acknowledgement and what it says of a message.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chancery_core::seal::Sealed;
use chancery_core::{AppendTime, Delivery, Field, Timestamp};
use sha2::{Digest, Sha256};

use crate::connect::Message;

/// Most fields that are read: one more than a message may have, so that it is refused.
const FIELDS_MAX: usize = 129;
/// Longest record key that has a subject, in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// What stands for no record key.
const NO_KEY: &str = "_";
/// The field that a server adds for a pinned receiver, last of all.
const PIN: &[u8] = b"Nats-Pin-Id: ";

/// The subject's last token for a record key: letters, digits and `-_:@+/` as they are, any other
/// byte as `=` and two hexadecimal digits. No two keys share one.
pub(crate) fn token(key: Option<&[u8]>) -> String {
    let Some(key) = key else { return NO_KEY.into() };
    match key {
        b"" => "=".into(),
        b"_" => "=5F".into(),
        _ => key.iter().fold(String::with_capacity(key.len()), |mut token, byte| {
            match is_plain(*byte) {
                true => token.push(char::from(*byte)),
                false => token.push_str(&format!("={byte:02X}")),
            }
            token
        }),
    }
}

/// The record key of a token. One that [`token`] never writes is a key by its own bytes: it is
/// nobody's signed key by mistake.
pub(crate) fn key(of: &str) -> Option<Bytes> {
    let read = unescape(of.as_bytes()).filter(|key| token(key.as_deref()) == of);
    match read {
        Some(key) => key.map(Bytes::from),
        None => Some(Bytes::copy_from_slice(of.as_bytes())),
    }
}

fn unescape(token: &[u8]) -> Option<Option<Vec<u8>>> {
    match token {
        b"_" => return Some(None),
        b"=" => return Some(Some(Vec::new())),
        _ => {}
    }
    let (mut key, mut rest) = (Vec::with_capacity(token.len()), token);
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'=' {
            key.push(*first);
            continue;
        }
        let (digits, more) = rest.split_first_chunk::<2>()?;
        let digits = std::str::from_utf8(digits).ok()?;
        key.push(u8::from_str_radix(digits, 16).ok()?);
        rest = more;
    }
    Some(Some(key))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_:@+/".contains(&byte)
}

/// A message to publish.
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
    /// What the server knows a copy by; nobody can say it before the message is there.
    pub(crate) id: Option<String>,
}

/// Turns a sealed message into one to publish on `subject`, into that stream alone.
///
/// # Errors
/// What of it NATS cannot carry. Nothing is changed or left out silently, but control fields of
/// the broker: those would be orders, and they are not ours to pass on.
pub(crate) fn outgoing(sealed: &Sealed, subject: &str, stream: &str) -> Result<Outgoing, String> {
    let key = sealed.key.as_deref();
    if let Some(long) = key.filter(|key| key.len() > KEY_BYTES_MAX) {
        return Err(format!("a record key of {} bytes; {KEY_BYTES_MAX} fit", long.len()));
    }
    let header = sealed.fields.iter().find(|field| field.name == "chancery");
    let id = header.map(|header| id(&header.value));
    let mut head = b"NATS/1.0\r\n".to_vec();
    for Field { name, value } in sealed.fields.iter().filter(|field| !is_control(&field.name)) {
        let breaks = |bytes: &[u8]| bytes.iter().any(|byte| b"\r\n\0".contains(byte));
        if name.is_empty() || name.contains(':') || breaks(name.as_bytes()) || breaks(value) {
            let name = name.escape_default();
            return Err(format!("the field `{name}` has what a NATS header cannot hold"));
        }
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend(format!("Nats-Expected-Stream: {stream}\r\n").bytes());
    if let Some(id) = &id {
        head.extend(format!("Nats-Msg-Id: {id}\r\n").bytes());
    }
    head.extend(b"\r\n");
    let subject = format!("{subject}.{}", token(key));
    Ok(Outgoing { subject, head, body: sealed.body.clone(), id })
}

fn id(header: &[u8]) -> String {
    let digest = Sha256::new().chain_update("chancery/dd/1").chain_update(header).finalize();
    URL_SAFE_NO_PAD.encode(digest.first_chunk::<16>().unwrap_or(&[0; 16]))
}

/// Orders to the broker: roll up, expire, schedule, expect. The server reads `Nats-` exactly; no
/// other case of it is worth the risk.
fn is_control(name: &str) -> bool {
    name.as_bytes().get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"nats-"))
}

/// Takes the server's own last field off; gives the pin that it says. The server writes it over
/// the stored block's last two bytes, which it takes for a line's end: they may be anything.
pub(crate) fn take_pin(message: &mut Message) -> Option<String> {
    let block = message.head.strip_suffix(b"\r\n\r\n")?;
    let at = block.windows(PIN.len()).rposition(|bytes| bytes == PIN)?;
    let (rest, field) = block.split_at_checked(at)?;
    let pin = field.strip_prefix(PIN).filter(|pin| !pin.contains(&b'\r'))?;
    let pin = String::from_utf8(pin.to_vec()).ok()?;
    message.head = Bytes::from([rest, b"\r\n"].concat());
    Some(pin)
}

/// The fields of a header block, in order, whatever they hold. A line that is no field is one
/// with an empty value: whatever somebody else may take it for, it is seen.
pub(crate) fn fields(head: &Bytes) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut rest = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let mut lines = std::iter::from_fn(|| {
        let (line, after) = match rest.windows(2).position(|two| two == b"\r\n") {
            Some(end) => (rest.get(..end)?, rest.get(end + 2..)?),
            None if rest.is_empty() => return None,
            None => (rest, &[][..]),
        };
        rest = after;
        Some(line)
    });
    lines.next();
    for line in lines.take(FIELDS_MAX) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        // One space is how everybody writes it; more are the value's.
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let name = String::from_utf8_lossy(name).into_owned();
        fields.push(Field { name, value: head.slice_ref(value) });
    }
    fields
}

/// What the subject of an acknowledgement says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) stream: String,
    pub(crate) consumer: String,
    pub(crate) deliveries: u32,
    pub(crate) sequence: u64,
    pub(crate) appended: Timestamp,
}

/// Reads `$JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERIES.SEQUENCE.DELIVERY.TIME.PENDING[…]`.
pub(crate) fn placed(reply: &str) -> Option<Placed> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let rest = if tokens.len() == 7 { tokens.as_slice() } else { tokens.get(2..)? };
    let [stream, consumer, deliveries, sequence, _, nanos, _, ..] = rest else { return None };
    let nanos: i64 = nanos.parse().ok()?;
    Some(Placed {
        stream: (*stream).to_owned(),
        consumer: (*consumer).to_owned(),
        deliveries: deliveries.parse().unwrap_or(u32::MAX),
        sequence: sequence.parse().ok()?,
        appended: Timestamp(nanos.div_euclid(1_000_000)),
    })
}

/// A message of the stream as the path takes it. `subject` is the stream's, without the key.
pub(crate) fn delivery(
    message: &Message,
    placed: &Placed,
    stream: &str,
    subject: &str,
) -> Delivery {
    let last = message.subject.strip_prefix(subject).and_then(|rest| rest.strip_prefix('.'));
    let key = match last.filter(|token| !token.contains('.')) {
        Some(token) => key(token),
        // Not one of this stream's subjects: it has no key that a producer of the stream signs.
        None => Some(Bytes::copy_from_slice(message.subject.as_bytes())),
    };
    Delivery {
        stream: stream.to_owned(),
        position: position(&placed.stream, placed.sequence),
        fields: fields(&message.head),
        key,
        body: Some(message.payload.clone()),
        appended: AppendTime::Broker(placed.appended),
        deliveries: placed.deliveries.max(1),
    }
}

/// Where a message is, in NATS's own words.
pub(crate) fn position(stream: &str, sequence: u64) -> String {
    format!("{stream}/{sequence}")
}

#[cfg(test)]
mod tests;
