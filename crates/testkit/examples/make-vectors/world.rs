// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys, policies and schemas that the cases are judged against, and the messages that most
//! of them begin from.

use std::error::Error;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;

use crate::craft::{Half, Key, Message, SIGNED, b64u, hex, pae, quoted, sha256};

pub(crate) const DAY: i64 = 86_400_000;
pub(crate) const MINUTE: i64 = 60_000;

const POLICY: &str = "\
version: 1
domain: example.org
environment: test
services:
  svc-orders: { role: seller, tenants: any }
  svc-shop: { tenants: [t_123] }
  svc-billing: { tenants: any }
  svc-audit: { tenants: [t_456] }
  svc-payments:
  svc-legacy:
streams:
  orders.created:
    kind: event
    owner: svc-orders
    handled_by: { billing: svc-billing, audit: svc-audit }
    types: { orders.created: 2..3 }
    tenants: [t_123, t_456]
    bytes_max: 65536
  orders.mirror:
    kind: event
    owner: [svc-orders, svc-shop]
    handled_by: { billing: svc-billing }
    types: { orders.created: 3 }
    tenants: any
  orders.strict:
    kind: event
    owner: svc-orders
    handled_by: { billing: svc-billing }
    types: { orders.created: 3 }
    tenants: any
    extra_members: false
  orders.changed:
    kind: event
    owner: role:seller
    handled_by: { billing: svc-billing }
    types: { orders.changed: 1 }
    key: order_id
    ordered: true
  payouts.requested:
    kind: command
    owner: svc-payments
    handled_by: { billing: svc-billing }
    sensitive: true
  orders.legacy:
    kind: event
    owner: [svc-legacy, svc-orders]
    handled_by: { billing: svc-billing }
    shared_keys: true
  orders.exclusive:
    kind: event
    owner: [svc-legacy, svc-orders]
    handled_by: { billing: svc-billing }
    types: { orders.legacy: 1 }
  blobs.stored:
    kind: event
    owner: svc-orders
    handled_by: { billing: svc-billing }
    content: application/octet-stream
    bytes_max: 1024
";

const SCHEMAS: [(&str, u32, &str); 4] = [
    ("orders.created", 3, include_str!("schemas/orders.created.3.json")),
    ("orders.changed", 1, include_str!("schemas/orders.changed.1.json")),
    ("payouts.requested", 1, include_str!("schemas/payouts.requested.1.json")),
    ("orders.legacy", 1, include_str!("schemas/orders.legacy.1.json")),
];

/// The source document's own envelope, byte for byte.
pub(crate) const SOURCE: &str = r#"{
  "event_id": "01JH9R7N9YJ0J3Y0A4NQ9Z6K8X",
  "event_type": "orders.created",
  "schema_version": 3,
  "occurred_at": "2026-03-05T10:12:33Z",
  "producer": "svc-orders",
  "tenant_id": "t_123",
  "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  "payload": { "order_id": "o_789", "amount": 129.50, "currency": "USD" }
}
"#;

pub(crate) struct World {
    root: Key,
    pub(crate) orders: Key,
    pub(crate) orders_next: Key,
    pub(crate) shop: Key,
    pub(crate) payments: Key,
    pub(crate) billing: Key,
    pub(crate) legacy: Key,
    pub(crate) legacy_absent: Key,
    pub(crate) retired: Key,
    pub(crate) young: Key,
    pub(crate) compromised: Key,
    pub(crate) late: Key,
    pub(crate) stranger: Key,
}

impl World {
    pub(crate) fn new() -> World {
        let mut retired = ed25519("retired", "svc-orders");
        retired.sign_until = SIGNED - DAY;
        let mut young = ed25519("young", "svc-orders");
        young.not_before = SIGNED + DAY;
        let mut compromised = ed25519("compromised", "svc-orders");
        compromised.compromised_at = Some(SIGNED + MINUTE);
        World {
            root: ed25519("root", "root"),
            orders: ed25519("orders", "svc-orders"),
            orders_next: ed25519("orders-next", "svc-orders"),
            shop: ed25519("shop", "svc-shop"),
            payments: ed25519("payments", "svc-payments"),
            billing: ed25519("billing", "svc-billing"),
            legacy: shared("legacy", "svc-legacy"),
            legacy_absent: shared("legacy-absent", "svc-legacy"),
            retired,
            young,
            compromised,
            late: ed25519("late", "svc-orders"),
            stranger: ed25519("stranger", "svc-orders"),
        }
    }

    fn trusted(&self) -> [&Key; 10] {
        [
            &self.orders,
            &self.orders_next,
            &self.shop,
            &self.payments,
            &self.billing,
            &self.legacy,
            &self.legacy_absent,
            &self.retired,
            &self.young,
            &self.compromised,
        ]
    }

    /// Writes keys and snapshots.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Box<dyn Error>> {
        fs::write(folder.join("keys.txt"), self.keys_page())?;
        let old = folder.join("snapshots");
        if old.exists() {
            fs::remove_dir_all(&old)?;
        }
        let mut newer = self.trusted().to_vec();
        newer.push(&self.late);
        self.snapshot(&folder.join("snapshots/main"), &self.trusted(), 1, POLICY)?;
        self.snapshot(&folder.join("snapshots/newer"), &newer, 2, POLICY)?;
        let below = "\n    kind: event\n    rung: observe\n    unsigned: [svc-orders]\n    owner: svc-orders\n";
        let observed = POLICY.replacen("\n    kind: event\n    owner: svc-orders\n", below, 1);
        self.snapshot(&folder.join("snapshots/observed"), &self.trusted(), 1, &observed)
    }

    fn snapshot(
        &self,
        at: &Path,
        keys: &[&Key],
        version: u64,
        policy: &str,
    ) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(at.join("secrets"))?;
        fs::write(at.join("bundle.json"), self.bundle(keys, version))?;
        fs::write(at.join("root.pub"), b64u(&self.root.public()) + "\n")?;
        fs::write(at.join("policy.yaml"), policy)?;
        fs::write(at.join("secrets/legacy.hex"), hex(&self.legacy.seed()) + "\n")?;
        for (typ, version, document) in SCHEMAS {
            let folder = at.join("schemas").join(typ);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{version}.json")), document)?;
        }
        Ok(())
    }

    fn bundle(&self, keys: &[&Key], version: u64) -> String {
        let entries: Vec<String> = keys.iter().map(|key| entry(key)).collect();
        let payload = format!(
            "{{\"v\":1,\"domain\":\"example.org\",\"environment\":\"test\",\"version\":{version},\
             \"issued\":{},\"expires\":{},\"keys\":[{}]}}",
            SIGNED - 30 * DAY,
            SIGNED + 365 * DAY,
            entries.join(",")
        );
        let kind = "application/vnd.chancery.bundle.v1+json";
        let signature = STANDARD.encode(self.root.sign(&pae(kind, payload.as_bytes())));
        format!(
            "{{\n  \"payloadType\": \"{kind}\",\n  \"payload\": \"{}\",\n  \"signatures\": \
             [{{ \"keyid\": \"{}\", \"sig\": \"{signature}\" }}]\n}}\n",
            STANDARD.encode(payload),
            self.root.kid(),
        )
    }

    fn keys_page(&self) -> String {
        let mut page = String::from(
            "# TEST KEYS. Published on purpose: anyone can sign with them. Never trust one.\n\
             # name algorithm seed-or-secret(hex) public-or-fingerprint(base64url) kid principal\n",
        );
        let mut keys = vec![&self.root];
        keys.extend(self.trusted());
        keys.extend([&self.late, &self.stranger]);
        for key in keys {
            let (seed, public) = (hex(&key.seed()), b64u(&key.public()));
            let (name, alg, kid) = (key.name, key.algorithm(), key.kid());
            page += &format!("{name} {alg} {seed} {public} {kid} {}\n", key.principal);
        }
        page
    }

    /// The source document's order, its header saying the same.
    pub(crate) fn order(&self) -> Message {
        base("orders.created", "orders.created", "svc-orders")
            .set("sv", "3")
            .set("ten", "\"t_123\"")
            .set("tp", "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"")
            .enveloped(r#"{"order_id":"o_789","amount":129.50,"currency":"USD"}"#)
            .body(Some(SOURCE.as_bytes()))
    }

    /// A change of order `key` to its version `version`, on the ordered stream.
    pub(crate) fn change(&self, key: &str, version: u64) -> Message {
        base("orders.changed", "orders.changed", "svc-orders")
            .set("id", &quoted(&format!("change-{key}-{version}")))
            .set("okey", &quoted(key))
            .set("ov", &version.to_string())
            .enveloped(&format!(r#"{{"order_id":"{key}","quantity":{version}}}"#))
    }

    /// A payout, which is a command.
    pub(crate) fn payout(&self) -> Message {
        base("payouts.requested", "payouts.requested", "svc-payments")
            .set("kind", "\"command\"")
            .set("exp", &(SIGNED + MINUTE).to_string())
            .enveloped(r#"{"amount":100}"#)
    }

    /// An event of the stream that accepts shared keys.
    pub(crate) fn legacy_event(&self, stream: &str) -> Message {
        base(stream, "orders.legacy", "svc-legacy").enveloped("{}")
    }

    /// A body that is no envelope.
    pub(crate) fn blob(&self, body: Option<&[u8]>) -> Message {
        base("blobs.stored", "blobs.stored", "svc-orders")
            .set("ct", "\"application/octet-stream\"")
            .body(body)
    }
}

fn base(stream: &str, typ: &str, source: &str) -> Message {
    let lane = quoted(&b64u(&sha256(&[b"lane"])[..16]));
    Message::new(
        &[
            ("v", "1"),
            ("kind", "\"event\""),
            ("id", "\"01JH9R7N9YJ0J3Y0A4NQ9Z6K8X\""),
            ("typ", &quoted(typ)),
            ("sv", "1"),
            ("occ", "\"2026-03-05T10:12:33Z\""),
            ("src", &quoted(source)),
            ("aud", &quoted(&format!("example.org/test/{stream}"))),
            ("iat", &SIGNED.to_string()),
            ("lane", &lane),
            ("seq", "1"),
            ("ct", "\"application/json\""),
        ],
        None,
    )
}

fn entry(key: &Key) -> String {
    let compromised =
        key.compromised_at.map_or(String::new(), |at| format!(",\"compromised_at\":{at}"));
    format!(
        "{{\"kid\":\"{}\",\"alg\":\"{}\",\"public\":\"{}\",\"principal\":\"{}\",\
         \"purpose\":\"message\",\"not_before\":{},\"sign_until\":{}{compromised}}}",
        key.kid(),
        key.algorithm(),
        b64u(&key.public()),
        key.principal,
        key.not_before,
        key.sign_until,
    )
}

fn seed(name: &str) -> [u8; 32] {
    sha256(&[b"chancery test key: ", name.as_bytes()])
}

fn ed25519(name: &'static str, principal: &'static str) -> Key {
    let half = Half::Ed25519(SigningKey::from_bytes(&seed(name)));
    key(name, principal, half)
}

fn shared(name: &'static str, principal: &'static str) -> Key {
    key(name, principal, Half::Hmac(seed(name).to_vec()))
}

fn key(name: &'static str, principal: &'static str, half: Half) -> Key {
    Key {
        name,
        principal,
        half,
        not_before: SIGNED - 30 * DAY,
        sign_until: SIGNED + 60 * DAY,
        compromised_at: None,
    }
}
