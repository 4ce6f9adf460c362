// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kept message in full; its body only when asked for.

use chancery::Delivery;
use chancery::core::text::b64u;
use serde::Serialize;

use super::Item;
use crate::out::{Report, plain};

#[derive(Serialize)]
pub(crate) struct Message {
    #[serde(flatten)]
    item: Item,
    fields: Vec<Field>,
    key: Option<String>,
    body_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Body>,
}

#[derive(Serialize)]
struct Field {
    name: String,
    value: String,
}

/// Text if it is text.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    Text(String),
    Base64url(String),
}

impl Message {
    /// The message behind an item.
    pub(crate) fn new(item: Item, delivery: &Delivery, with_body: bool) -> Message {
        let body = delivery.body.as_deref().filter(|_| with_body);
        Message {
            item,
            fields: delivery.fields.iter().map(Field::of).collect(),
            key: delivery.key.as_deref().filter(|_| with_body).map(shown),
            body_bytes: delivery.body.as_ref().map(bytes::Bytes::len),
            body: body.map(|body| match std::str::from_utf8(body) {
                Ok(text) => Body::Text(text.to_owned()),
                Err(_) => Body::Base64url(b64u(body)),
            }),
        }
    }
}

impl Field {
    /// Our own fields are shown; a foreign one may be anything, and its size is enough.
    fn of(field: &chancery::core::Field) -> Field {
        let ours = chancery::core::seal::RESERVED.contains(&field.name.as_str());
        let value = if ours { shown(&field.value) } else { format!("{} B", field.value.len()) };
        Field { name: plain(&field.name), value }
    }
}

fn shown(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| b64u(bytes), plain)
}

impl Report for Message {
    fn text(&self) -> String {
        let item = &self.item;
        let none = || "-".to_owned();
        let size = self.body_bytes.map_or_else(|| "none".to_owned(), |n| format!("{n} B"));
        let mut lines = vec![
            ("id", item.id.clone()),
            ("state", item.disposition.clone()),
            ("reason", item.reason.clone()),
            ("detail", plain(&item.detail)),
            ("stream", item.stream.clone()),
            ("group", item.group.clone()),
            ("position", plain(&item.position)),
            ("message", item.message.clone().unwrap_or_else(none)),
            ("producer", item.producer.clone().unwrap_or_else(none)),
            ("since", item.since.clone()),
            ("judged", item.updated.clone()),
            ("body", size),
        ];
        for field in &self.fields {
            lines.push(("field", format!("{}: {}", field.name, field.value)));
        }
        match &self.body {
            Some(Body::Text(text)) => lines.push(("text", plain(text))),
            Some(Body::Base64url(text)) => lines.push(("base64url", text.clone())),
            None => {}
        }
        let line = |(name, value): &(&str, String)| format!("{name:9}  {value}\n");
        let mut text: String = lines.iter().map(line).collect();
        text.push_str(&format!("`chancery why {}` says what to do\n", item.reason));
        text
    }
}
