// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between the client library's words and ours.
//!
//! The broker numbers nothing, so a message's position is its `message-id`: 16 random bytes, drawn
//! at the append and set by our sink. A message of others is known by its own `message-id` if that
//! is a plain word, else by a digest of all of it; it is their word, like everything else of it.

use bytes::Bytes;
use chancery_core::header::SENDER;
use chancery_core::seal::Sealed;
use chancery_core::text::hex;
use chancery_core::{AppendTime, Delivery, Fault, Field, Timestamp};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use sha2::{Digest, Sha256};

use crate::config::{SHORT_BYTES_MAX, Settings, Stamped};
use crate::connect::{Incoming, Outgoing, Trouble};

/// Carries the record key on streams whose routing key is fixed.
const ORDERING_KEY: &str = "ordering-key";
/// Set by the broker's timestamp interceptor, in milliseconds.
const STAMP: &str = "timestamp_in_ms";
/// How often a quorum queue has taken a message back.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// Header fields with their names, in bytes: a message's properties travel in one frame.
const FIELDS_BYTES_MAX: usize = 100 << 10;
/// The most that RabbitMQ 4 takes, as it comes (`max_message_size`).
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;
const PERSISTENT: u8 = 2;

pub(crate) fn fault(trouble: Trouble) -> Fault {
    Fault::broker(trouble.into_text())
}

/// A message to publish, and its position.
pub(crate) fn outgoing(sealed: &Sealed, settings: &Settings) -> Result<(String, Outgoing), Fault> {
    if sealed.body.len() > BODY_BYTES_MAX {
        let size = sealed.body.len();
        return Err(Fault::broker(format!("a body of {size} bytes is more than {BODY_BYTES_MAX}")));
    }
    let key = sealed.key.as_deref().map(record_key).transpose()?;
    let fixed = settings.routing_key(&sealed.stream);
    let mut headers = FieldTable::default();
    let mut size = 0;
    for field in sealed.fields.iter().filter(|field| !is_control(&field.name)) {
        size += field.name.len() + field.value.len();
        if field.name.len() > SHORT_BYTES_MAX || size > FIELDS_BYTES_MAX {
            return Err(Fault::broker(format!(
                "header fields of more than {FIELDS_BYTES_MAX} bytes, or a name of more than \
                 {SHORT_BYTES_MAX}; send less"
            )));
        }
        headers.insert(field.name.as_str().into(), long(&field.value));
    }
    if let (Some(_), Some(key)) = (fixed, key) {
        headers.insert(ORDERING_KEY.into(), long(key.as_bytes()));
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Fault::broker(format!("no random bytes: {error}")))?;
    let id = hex(&id);
    let mut properties = BasicProperties::default()
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
        .with_message_id(id.as_str().into());
    if let Some(content_type) = content_type(sealed) {
        properties = properties.with_content_type(content_type.into());
    }
    if let Some(user) = &settings.user_id {
        properties = properties.with_user_id(user.as_str().into());
    }
    let message = Outgoing {
        exchange: settings.exchange(&sealed.stream),
        routing_key: fixed.or(key).unwrap_or_default().to_owned(),
        properties,
        body: sealed.body.clone(),
    };
    Ok((format!("{}/{id}", sealed.stream), message))
}

/// Consumers that know AMQP and not us look for it among the properties.
fn content_type(sealed: &Sealed) -> Option<&str> {
    let field = sealed.fields.iter().find(|field| field.name == "content-type")?;
    std::str::from_utf8(&field.value).ok().filter(|text| text.len() <= SHORT_BYTES_MAX)
}

/// What makes brokers do something must not be sent because it once arrived.
fn is_control(name: &str) -> bool {
    let has = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    has("x-") || ["cc", "bcc", "expiration"].iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn record_key(key: &[u8]) -> Result<&str, Fault> {
    let told = |what: &str| Fault::broker(format!("{what}; choose another key for this stream"));
    if key.is_empty() {
        return Err(told("an empty record key is none on RabbitMQ"));
    }
    if key.len() > SHORT_BYTES_MAX {
        return Err(told(&format!("a record key of {} bytes is more than 255", key.len())));
    }
    std::str::from_utf8(key).map_err(|_| told("a record key that is not text"))
}

fn long(bytes: &[u8]) -> AMQPValue {
    AMQPValue::LongString(LongString::from(bytes))
}

/// A message as it arrived on `stream`.
pub(crate) fn delivery(message: Incoming, stream: &str, settings: &Settings) -> Delivery {
    let headers = message.properties.headers().clone().unwrap_or_default();
    let integer = |name: &str| headers.inner().get(name).and_then(number);
    let deliveries = match (message.redelivered, integer(DELIVERY_COUNT)) {
        (false, _) => 1,
        (true, None) => 2,
        (true, Some(count)) => u32::try_from(count.saturating_add(1)).unwrap_or(u32::MAX),
    };
    let stamped = settings.append_time == Stamped::Broker;
    let appended = integer(STAMP).filter(|_| stamped);
    let appended = appended.map_or(AppendTime::Unknown, |at| AppendTime::Broker(Timestamp(at)));
    let in_header = settings.routing_key(stream).is_some();
    let key = match in_header {
        true => headers.inner().get(ORDERING_KEY).map(bytes_of),
        false => Some(Bytes::copy_from_slice(message.routing_key.as_str().as_bytes())),
    };
    let ours = |name: &str| {
        name == DELIVERY_COUNT || (stamped && name == STAMP) || (in_header && name == ORDERING_KEY)
    };
    let vouched = sender(&message.properties, settings);
    let vouches = vouched.is_some();
    let told = |name: &str| !vouches || !name.eq_ignore_ascii_case(SENDER);
    let fields = headers.inner().iter().map(|(name, value)| (name.as_str(), value));
    let fields = fields.filter(|(name, _)| !ours(name) && told(name));
    let fields = fields.map(|(name, value)| Field::new(name, bytes_of(value))).chain(vouched);
    let mut delivery = Delivery {
        stream: stream.to_owned(),
        position: String::new(),
        fields: fields.collect(),
        key: key.filter(|key| !key.is_empty()),
        body: Some(Bytes::from(message.data)),
        appended,
        deliveries,
    };
    let id = message.properties.message_id().as_ref();
    let id = id.map(|id| id.as_str()).filter(|id| is_word(id)).map(str::to_owned);
    delivery.position = format!("{stream}/{}", id.unwrap_or_else(|| digest(&delivery)));
    delivery
}

/// Whose connection it came on, where the operator has said which producer each user is: the
/// broker lets nobody set another's `user-id`. Empty, which is no producer, where it says nothing.
fn sender(properties: &BasicProperties, settings: &Settings) -> Option<Field> {
    let user = properties.user_id().as_ref().map(|user| user.as_str());
    let producer = user.and_then(|user| settings.users.get(user)).cloned().unwrap_or_default();
    (!settings.users.is_empty()).then(|| Field::new(SENDER, producer))
}

fn is_word(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

fn digest(delivery: &Delivery) -> String {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    put(delivery.key.as_deref().unwrap_or_default());
    put(delivery.body.as_deref().unwrap_or_default());
    for field in &delivery.fields {
        put(field.name.as_bytes());
        put(&field.value);
    }
    format!("sha256:{}", hex(hash.finalize().get(..16).unwrap_or_default()))
}

fn number(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        AMQPValue::Timestamp(n) => i64::try_from(*n).ok()?,
        _ => return None,
    })
}

/// Text and bytes as they are, anything else as text.
fn bytes_of(value: &AMQPValue) -> Bytes {
    match value {
        AMQPValue::LongString(text) => Bytes::copy_from_slice(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Bytes::copy_from_slice(bytes.as_slice()),
        other => {
            let mut text = String::new();
            write(other, &mut text);
            Bytes::from(text)
        }
    }
}

/// In the manner of JSON. The guard has bounded the depth.
fn write(value: &AMQPValue, out: &mut String) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match value {
        AMQPValue::Boolean(yes) => out.push_str(if *yes { "true" } else { "false" }),
        AMQPValue::Float(n) => out.push_str(&n.to_string()),
        AMQPValue::Double(n) => out.push_str(&n.to_string()),
        AMQPValue::DecimalValue(n) => out.push_str(&format!("{}e-{}", n.value, n.scale)),
        AMQPValue::ShortString(text) => out.push_str(&quoted(text.as_str())),
        AMQPValue::LongString(text) => {
            out.push_str(&quoted(&String::from_utf8_lossy(text.as_bytes())));
        }
        AMQPValue::ByteArray(bytes) => {
            out.push_str(&quoted(&String::from_utf8_lossy(bytes.as_slice())));
        }
        AMQPValue::FieldArray(values) => {
            separated(out, ['[', ']'], values.as_slice(), write);
        }
        AMQPValue::FieldTable(table) => {
            separated(out, ['{', '}'], table.inner(), |(name, value), out| {
                out.push_str(&quoted(name.as_str()));
                out.push(':');
                write(value, out);
            });
        }
        other => match number(other) {
            Some(n) => out.push_str(&n.to_string()),
            None => out.push_str("null"),
        },
    }
}

fn separated<T>(
    out: &mut String,
    [open, close]: [char; 2],
    all: impl IntoIterator<Item = T>,
    one: impl Fn(T, &mut String),
) {
    out.push(open);
    for (at, item) in all.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        one(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests;
