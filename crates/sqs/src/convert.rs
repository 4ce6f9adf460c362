// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between our words and the client library's: fields and attributes, keys and message groups,
//! bodies and text, troubles and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageAttributeValue, MessageSystemAttributeName as System, SendMessageBatchRequestEntry,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery_core::header::{HEADER, SALT, SENDER, SIGNATURE};
use chancery_core::seal::Sealed;
use chancery_core::text::b64u;
use chancery_core::{AppendTime, Delivery, Fault, Field, Timestamp};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::Via;
use crate::connect::{Trouble, What};

/// SQS takes no more attributes, no longer group, and no larger message.
const ATTRIBUTES_MAX: usize = 10;
const GROUP_MAX: usize = 128;
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How a body is to be read that is no text: `b64`, or `empty`, which SQS does not take.
const ENCODING: &str = "te";
/// What stands where SQS wants something and there is nothing.
const NOTHING: &str = "-";
const EMPTY_VALUE: &str = "String.empty";
/// The group of a message without a key. No key is escaped to it: `%` is followed by two digits.
const KEYLESS: &str = "%none.";

/// A message as it is sent, to as many queues as the stream has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outgoing {
    /// Messages of one group are sent one after another.
    pub(crate) group: Option<String>,
    /// What all of it counts against the limits.
    pub(crate) bytes: usize,
    dedup: String,
    body: String,
    attributes: BTreeMap<String, MessageAttributeValue>,
}

impl Outgoing {
    /// A message as SQS can carry it.
    ///
    /// # Errors
    /// A fault that says what of it SQS cannot carry; nothing was sent.
    pub(crate) fn of(sealed: &Sealed) -> Result<Outgoing, Fault> {
        let cannot = |what: String| {
            let event = sealed.event_id.escape_default();
            Fault::broker(format!("SQS cannot carry event `{event}`: {what}"))
        };
        let (encoding, body) = encode_body(&sealed.body);
        let mut attributes = attributes(&sealed.fields).map_err(cannot)?;
        if let Some(encoding) = encoding {
            attributes.insert(ENCODING.to_owned(), text("String", encoding));
        }
        if attributes.len() > ATTRIBUTES_MAX {
            let what = format!("{} header fields, at most {ATTRIBUTES_MAX}", attributes.len());
            return Err(cannot(what));
        }
        let group = sealed.key.as_deref().map(escape).transpose().map_err(cannot)?;
        let of_attribute = |(name, value): (&String, &MessageAttributeValue)| {
            let binary = value.binary_value().map_or(0, |blob| blob.as_ref().len());
            let text = value.string_value().map_or(0, str::len);
            name.len() + value.data_type().len() + text + binary
        };
        let bytes = body.len() + attributes.iter().map(of_attribute).sum::<usize>();
        Ok(Outgoing { group, bytes, dedup: deduplication(sealed)?, body, attributes })
    }

    /// The message for one queue. On a FIFO queue one without a key is a group of its own; a copy
    /// of it is in the same one, so that it is known as a copy whatever `DeduplicationScope` says.
    pub(crate) fn entry(&self, id: usize, fifo: bool) -> Option<SendMessageBatchRequestEntry> {
        let keyless = || fifo.then(|| format!("{KEYLESS}{}", self.dedup));
        let entry = SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_body(&self.body)
            .set_message_attributes(Some(self.attributes.clone().into_iter().collect()))
            .set_message_group_id(self.group.clone().or_else(keyless))
            .set_message_deduplication_id(fifo.then(|| self.dedup.clone()));
        entry.build().ok()
    }

    /// Refuses what is larger than a queue takes.
    pub(crate) fn fits(&self, max: usize, sealed: &Sealed) -> Result<(), Fault> {
        if self.bytes <= max {
            return Ok(());
        }
        Err(Fault::broker(format!(
            "event `{}` of stream {} is too large for SQS: {} bytes with its header, at most {max}",
            sealed.event_id.escape_default(),
            sealed.stream,
            self.bytes
        )))
    }
}

/// What makes two sends one message. Nobody can know it before the message is out: H has random
/// bytes in it, and its signature is taken, too. What is not signed is sent once.
fn deduplication(sealed: &Sealed) -> Result<String, Fault> {
    let mut id = [0; 16];
    if !sealed.fields.iter().any(|field| field.name == HEADER) {
        let why = |error| Fault::broker(format!("this machine has no random numbers: {error}"));
        getrandom::fill(&mut id).map_err(why)?;
        return Ok(b64u(&id));
    }
    let mut hash = Sha256::new_with_prefix("chancery/dd/1");
    for part in sealed.fields.iter().flat_map(|field| [field.name.as_bytes(), &field.value]) {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    id.iter_mut().zip(digest).for_each(|(byte, of_digest)| *byte = of_digest);
    Ok(b64u(&id))
}

fn attributes(fields: &[Field]) -> Result<BTreeMap<String, MessageAttributeValue>, String> {
    let mut attributes = BTreeMap::new();
    let joined = join(fields);
    if let Some(joined) = &joined {
        attributes.insert(HEADER.to_owned(), text("String", joined));
    }
    let ours = [HEADER, SIGNATURE, SALT];
    for field in fields {
        if joined.is_some() && ours.contains(&field.name.as_str()) {
            continue;
        }
        let name = field.name.escape_default();
        if field.name == ENCODING {
            return Err(format!("header field `{name}` says how a body is encoded; name it else"));
        }
        if !is_attribute_name(&field.name) {
            return Err(format!("`{name}` cannot be the name of an attribute"));
        }
        if attributes.insert(field.name.clone(), attribute(&field.value)).is_some() {
            return Err(format!("header field `{name}` is there twice"));
        }
    }
    Ok(attributes)
}

/// `H~signature[~salt]`, where it can be taken apart again.
fn join(fields: &[Field]) -> Option<String> {
    let one = |name: &str| {
        let mut found = fields.iter().filter(|field| field.name == name);
        let value = std::str::from_utf8(&found.next()?.value).ok()?;
        found.next().is_none().then_some(value)
    };
    let (header, signature) = (one(HEADER)?, one(SIGNATURE)?);
    let joined = match fields.iter().any(|field| field.name == SALT) {
        true => format!("{header}~{signature}~{}", one(SALT)?),
        false => format!("{header}~{signature}"),
    };
    let parts = split(&joined)?;
    let same = parts.0 == header && parts.1 == signature && is_text(&joined);
    same.then_some(joined)
}

/// Takes it apart: H ends with a brace, and there is none behind it. What is not of this form is
/// nobody's header, and the caller leaves it as it is.
fn split(joined: &str) -> Option<(&str, &str, Option<&str>)> {
    let end = joined.rfind("}~")?;
    let (header, rest) = (joined.get(..=end)?, joined.get(end + 2..)?);
    let (signature, salt) = match rest.split_once('~') {
        Some((signature, salt)) => (signature, Some(salt)),
        None => (rest, None),
    };
    let plain = !signature.is_empty() && salt.is_none_or(|salt| !salt.contains('~'));
    plain.then_some((header, signature, salt))
}

fn attribute(value: &[u8]) -> MessageAttributeValue {
    match std::str::from_utf8(value) {
        Ok("") => text(EMPTY_VALUE, NOTHING),
        Ok(plain) if is_text(plain) => text("String", plain),
        _ => MessageAttributeValue::builder()
            .data_type("Binary")
            .binary_value(Blob::new(value))
            .build()
            .unwrap_or_else(|_| text(EMPTY_VALUE, NOTHING)),
    }
}

#[expect(clippy::expect_used, reason = "only a missing type can fail, and it is there")]
fn text(data_type: &str, value: &str) -> MessageAttributeValue {
    let attribute = MessageAttributeValue::builder().data_type(data_type).string_value(value);
    attribute.build().expect("it has a type")
}

fn value(attribute: &MessageAttributeValue) -> Bytes {
    match (attribute.string_value(), attribute.binary_value()) {
        (Some(_), None) if attribute.data_type() == EMPTY_VALUE => Bytes::new(),
        (Some(text), _) => Bytes::copy_from_slice(text.as_bytes()),
        (None, Some(blob)) => Bytes::copy_from_slice(blob.as_ref()),
        (None, None) => Bytes::new(),
    }
}

/// The characters that SQS takes: those of XML 1.0.
fn is_text(text: &str) -> bool {
    text.chars().all(|c| match c {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        c => c >= ' ',
    })
}

fn is_attribute_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let lower = name.to_ascii_lowercase();
    (1..=256).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !["aws.", "amazon."].iter().any(|prefix| lower.starts_with(prefix))
}

fn encode_body(body: &[u8]) -> (Option<&'static str>, String) {
    match std::str::from_utf8(body) {
        Ok("") => (Some("empty"), NOTHING.to_owned()),
        Ok(plain) if is_text(plain) => (None, plain.to_owned()),
        _ => (Some("b64"), STANDARD.encode(body)),
    }
}

/// What is marked as encoded and is not stays as it is, mark included: it is nobody's message.
fn decode_body(fields: &mut Vec<Field>, body: String) -> Bytes {
    let marked = fields.iter().position(|field| field.name == ENCODING);
    let decoded = marked.and_then(|at| match fields.get(at).map(|field| &*field.value) {
        Some(b"b64") => STANDARD.decode(&body).ok(),
        Some(b"empty") if body == NOTHING => Some(Vec::new()),
        _ => None,
    });
    match (marked, decoded) {
        (Some(at), Some(decoded)) => {
            fields.remove(at);
            Bytes::from(decoded)
        }
        _ => Bytes::from(body),
    }
}

/// A record key in the alphabet of `MessageGroupId`: what is not in it, and `%`, becomes `%XX`.
fn escape(key: &[u8]) -> Result<String, String> {
    let mut group = String::new();
    for byte in key {
        match byte {
            b'%' => group.push_str("%25"),
            0x21..=0x7e => group.push(char::from(*byte)),
            other => group.push_str(&format!("%{other:02X}")),
        }
    }
    if !(1..=GROUP_MAX).contains(&group.len()) {
        let length = group.len();
        return Err(format!("its key has {length} characters as a group, at most {GROUP_MAX}"));
    }
    Ok(group)
}

/// The key of a group. One that nobody of us has escaped so is a key that nobody can have signed:
/// two groups are never one key, which two receivers would have at once.
fn unescape(group: &str) -> Option<Bytes> {
    if group.starts_with(KEYLESS) {
        return None;
    }
    let key = unescaped(group);
    let canonical = key.as_deref().is_some_and(|key| escape(key).is_ok_and(|it| it == group));
    let nobodys = || Bytes::from([b"\0", group.as_bytes()].concat());
    Some(key.filter(|_| canonical).unwrap_or_else(nobodys))
}

fn unescaped(group: &str) -> Option<Bytes> {
    let mut key = Vec::with_capacity(group.len());
    let mut rest = group;
    while let Some((plain, escaped)) = rest.split_once('%') {
        key.extend(plain.bytes());
        let digits = escaped.get(..2).filter(|digits| digits.bytes().all(is_upper_hex));
        key.push(digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())?);
        rest = escaped.get(2..).unwrap_or_default();
    }
    key.extend(rest.bytes());
    Some(Bytes::from(key))
}

fn is_upper_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)
}

/// What a queue handed over. `None`: without an id or a receipt handle it is nothing.
pub(crate) fn delivery(
    stream: &str,
    queue: &str,
    via: Via,
    users: &BTreeMap<String, String>,
    message: Message,
) -> Option<(Delivery, String)> {
    let id = message.message_id.as_deref()?;
    let position = format!("{queue}/{id}");
    let system = message.attributes.unwrap_or_default();
    let attributes = message.message_attributes.unwrap_or_default();
    let fields: BTreeMap<String, Bytes> =
        attributes.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect();
    let body = message.body.unwrap_or_default();
    let (fields, body) = match via {
        Via::Direct => (fields, body),
        Via::Sns => unwrap(fields, body),
    };
    let mut fields = in_order(fields);
    let body = decode_body(&mut fields, body);
    if !users.is_empty() {
        // Whoever vouches for himself vouches for nobody.
        fields.retain(|field| !field.name.eq_ignore_ascii_case(SENDER));
        let producer = system.get(&System::SenderId).and_then(|id| users.get(id));
        fields.push(Field::new(SENDER, producer.cloned().unwrap_or_default()));
    }
    let sent = system.get(&System::SentTimestamp).and_then(|ms| ms.parse().ok());
    let received = system.get(&System::ApproximateReceiveCount).and_then(|n| n.parse().ok());
    let delivery = Delivery {
        stream: stream.to_owned(),
        position,
        fields,
        key: system.get(&System::MessageGroupId).and_then(|group| unescape(group)),
        body: Some(body),
        appended: sent.map_or(AppendTime::Unknown, |ms| AppendTime::Broker(Timestamp(ms))),
        deliveries: received.unwrap_or(1),
    };
    Some((delivery, message.receipt_handle?))
}

/// Header fields by name, ours taken apart. Whoever sends `chancery-sig` beside a whole header has
/// sent it twice, and it stays twice.
fn in_order(fields: BTreeMap<String, Bytes>) -> Vec<Field> {
    let mut all = Vec::new();
    for (name, value) in fields {
        let joined = std::str::from_utf8(&value).ok().filter(|_| name == HEADER).and_then(split);
        match joined {
            None => all.push(Field { name, value }),
            Some((header, signature, salt)) => {
                let part =
                    |name: &str, part: &str| Field::new(name, value.slice_ref(part.as_bytes()));
                all.push(part(HEADER, header));
                all.extend(salt.map(|salt| part(SALT, salt)));
                all.push(part(SIGNATURE, signature));
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// A message as SNS wraps it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notification {
    r#type: String,
    message: String,
    #[serde(default)]
    message_attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    r#type: String,
    value: String,
}

/// What is not wrapped stays as it is: a topic with raw delivery gives it so.
fn unwrap(fields: BTreeMap<String, Bytes>, body: String) -> (BTreeMap<String, Bytes>, String) {
    let Ok(wrapped) = serde_json::from_str::<Notification>(&body) else { return (fields, body) };
    if wrapped.r#type != "Notification" {
        return (fields, body);
    }
    let value = |attribute: Attribute| match attribute.r#type.as_str() {
        EMPTY_VALUE => Bytes::new(),
        "Binary" => {
            STANDARD.decode(&attribute.value).map_or_else(|_| attribute.value.into(), Bytes::from)
        }
        _ => attribute.value.into(),
    };
    let inner = wrapped.message_attributes.into_iter();
    (inner.map(|(name, attribute)| (name, value(attribute))).collect(), wrapped.message)
}

/// What of the attributes a receiver asks for.
pub(crate) fn asked() -> Vec<System> {
    vec![
        System::SenderId,
        System::SentTimestamp,
        System::ApproximateReceiveCount,
        System::MessageGroupId,
    ]
}

/// One of a batch of acknowledgements.
pub(crate) fn deletion(id: usize, handle: &str) -> Option<DeleteMessageBatchRequestEntry> {
    let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
    entry.receipt_handle(handle).build().ok()
}

/// One of a batch of words on when a message may be shown to others.
pub(crate) fn showing(
    id: usize,
    handle: &str,
    after: Duration,
) -> Option<ChangeMessageVisibilityBatchRequestEntry> {
    let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id.to_string());
    entry.receipt_handle(handle).visibility_timeout(seconds(after)).build().ok()
}

/// Whole seconds, no fewer than that.
pub(crate) fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX)
}

/// Of these messages the next to be sent together: at most ten, of so many bytes, and no two of one
/// group. Of a batch any part may fail; what is later in its group must not be before it then.
pub(crate) fn next_batch(waiting: &[usize], messages: &[Outgoing], bytes_max: usize) -> Vec<usize> {
    const ENTRIES_MAX: usize = 10;
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut groups = BTreeSet::new();
    for index in waiting {
        let Some(message) = messages.get(*index) else { continue };
        let first = message.group.as_ref().is_none_or(|group| groups.insert(group));
        let fits = batch.is_empty() || bytes + message.bytes <= bytes_max;
        if first && fits {
            bytes += message.bytes;
            batch.push(*index);
        }
        if batch.len() == ENTRIES_MAX {
            break;
        }
    }
    batch
}

/// What went wrong, where, and what to do.
pub(crate) fn fault(server: &str, doing: &str, queue: &str, trouble: &Trouble) -> Fault {
    let said = trouble.said.trim_end_matches('.');
    let to_do = match trouble.what {
        What::NoCredentials => format!(
            "there are no usable credentials ({said}); name `credentials` and `profile` under \
             broker, or set AWS_PROFILE"
        ),
        What::Key => format!(
            "the access key, or the session token with it, is not known ({said}); correct the \
             credentials of the AWS profile"
        ),
        What::Secret => format!(
            "the signature is wrong: the secret does not belong to the access key ({said}); \
             correct the credentials of the AWS profile"
        ),
        What::Token => format!(
            "the session token of the credentials is over ({said}); log in again, or let the \
             profile renew it"
        ),
        What::Clock => {
            format!("this machine's clock and the server's disagree ({said}); set the clock")
        }
        What::Denied => format!(
            "permission denied: {said}; allow it in the service's IAM policy or the queue's"
        ),
        What::NoQueue => {
            let name = queue.rsplit('/').next().unwrap_or(queue);
            let fifo = if name.ends_with(crate::config::FIFO) {
                " --attributes FifoQueue=true"
            } else {
                ""
            };
            format!("there is no such queue; aws sqs create-queue --queue-name {name}{fifo}")
        }
        What::Certificate => format!(
            "the server's certificate is not trusted ({said}); name its authority as `ca` under \
             broker"
        ),
        What::Plaintext => {
            format!("{said}; write an https endpoint, or `insecure: true` under broker")
        }
        What::Unreachable => {
            format!("it cannot be reached ({said}); check the endpoint and the network")
        }
        What::Silent => format!("{said}; check the endpoint, the network and the server"),
        What::Throttled => format!("too many requests ({said}); ask for a higher quota"),
        What::Receipt => format!("the delivery is no longer ours ({said}); it comes again"),
        What::TooLarge => format!("a message is too large for the queue: {said}"),
        What::Server => said.to_owned(),
    };
    let at = if queue.is_empty() { String::new() } else { format!(" `{queue}`") };
    Fault::broker(format!("{server}, {doing}{at}: {to_do}"))
}

/// The same of a whole server.
pub(crate) fn fault_of_server(server: &str, doing: &str, trouble: &Trouble) -> Fault {
    fault(server, doing, "", trouble)
}

#[cfg(test)]
mod tests;
