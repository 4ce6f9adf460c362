// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets begin from: signed messages, and the text that stands for a delivery.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::core::bundle::BUNDLE_TYPE;
use chancery::core::delivery::{AppendTime, Delivery, Field};
use chancery::core::keys::{Secret, pae};
use chancery::core::seal::{Content, Draft, Sealed, Stamp, build};

use crate::world::{BEGINNING, World, secret};

/// Message ids of everything that was ever signed for these targets.
pub static SIGNED: LazyLock<Vec<[u8; 32]>> =
    LazyLock::new(|| sealed().map(|sealed| sealed.message_id).into_iter().collect());

/// The root key of the bundles here.
pub fn root() -> Secret {
    Secret::ed25519(&[0x52; 32])
}

/// A draft whose envelope members are fixed.
pub fn draft(content: Content) -> Draft {
    Draft {
        stream: "orders.created".to_owned(),
        id: "order-000001".to_owned(),
        event_type: "orders.created".to_owned(),
        schema_version: 1,
        tenant: Some("acme".to_owned()),
        version: None,
        occurred_at: BEGINNING.to_string(),
        request: None,
        actor: None,
        traceparent: None,
        deadline: None,
        causes: Vec::new(),
        content,
    }
}

/// The stamp of every seed.
pub const STAMP: Stamp<'static> =
    Stamp { service: "svc-orders", now: BEGINNING, lane: [3; 16], sequence: 1 };

/// The one honest message.
pub fn sealed() -> Option<Sealed> {
    let content = Content::Payload(Bytes::from_static(br#"{"order_id":"o_1"}"#));
    let secret = secret("svc-orders", 1);
    Some(build(&draft(content), &STAMP, &World::shop().snapshot()).ok()?.sign(&secret))
}

/// A sealed message as the broker hands it over.
pub fn arrived(sealed: Sealed) -> Delivery {
    Delivery {
        stream: sealed.stream,
        position: "orders.created/1".to_owned(),
        fields: sealed.fields,
        key: sealed.key,
        body: Some(sealed.body),
        appended: AppendTime::Broker(BEGINNING),
        deliveries: 1,
    }
}

/// Reads `key`, lines of `name: value`, an empty line and the body, as a delivery.
pub fn delivery(data: &[u8]) -> Delivery {
    let mut rest = data;
    let mut line = || {
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let (line, tail) = rest.split_at_checked(end).unwrap_or_default();
        rest = tail.get(1..).unwrap_or_default();
        line
    };
    let key = Bytes::copy_from_slice(line());
    let mut fields = Vec::new();
    loop {
        let field = line();
        if field.is_empty() {
            break;
        }
        let at = field.windows(2).position(|two| two == b": ").unwrap_or(field.len());
        let (name, value) = field.split_at_checked(at).unwrap_or_default();
        let value = Bytes::copy_from_slice(value.get(2..).unwrap_or_default());
        fields.push(Field::new(String::from_utf8_lossy(name), value));
    }
    Delivery {
        stream: "orders.created".to_owned(),
        position: "orders.created/1".to_owned(),
        fields,
        key: Some(key),
        body: Some(Bytes::copy_from_slice(rest)),
        appended: AppendTime::Broker(BEGINNING),
        deliveries: 1,
    }
}

/// The text that [`delivery`] reads.
pub fn text(delivery: &Delivery) -> Vec<u8> {
    let mut text = delivery.key.as_deref().unwrap_or_default().to_vec();
    for field in &delivery.fields {
        text.extend_from_slice(format!("\n{}: ", field.name).as_bytes());
        text.extend_from_slice(&field.value);
    }
    text.extend_from_slice(b"\n\n");
    text.extend_from_slice(delivery.body.as_deref().unwrap_or_default());
    text
}

/// Any bytes as the payload of a bundle that the root signed.
pub fn signed_bundle(payload: &[u8]) -> String {
    let sig = STANDARD.encode(root().sign(&pae(BUNDLE_TYPE, payload)));
    let payload = STANDARD.encode(payload);
    format!(
        r#"{{"payloadType":"{BUNDLE_TYPE}","payload":"{payload}","signatures":[{{"keyid":"","sig":"{sig}"}}]}}"#
    )
}
