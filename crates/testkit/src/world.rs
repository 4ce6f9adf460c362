// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small world to test in: services with keys, a policy, schemas, and a clock that obeys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chancery::core::bundle::{Bundle, KeyEntry};
use chancery::core::keys::Secret;
use chancery::core::snapshot::Sources;
use chancery::core::time::DAY_MS;
use chancery::publisher::Content;
use chancery::{Clock, Event, Misuse, Snapshot, Snapshots, Timestamp};

/// When a world begins: 2026-03-05T10:12:33Z.
pub const BEGINNING: Timestamp = Timestamp(1_772_705_553_000);

/// Keys, policy and schemas that a test may change, and the snapshot that they make.
#[derive(Clone)]
pub struct World {
    /// policy.yaml.
    pub policy: String,
    /// (event type, version) → schema.
    pub schemas: BTreeMap<(String, u32), String>,
    /// The bundle's keys.
    pub keys: Vec<KeyEntry>,
    /// The bundle's version; raise it with each change of keys.
    pub version: u64,
    /// When the world begins: its keys are good from a month before until a year after.
    pub beginning: Timestamp,
}

const ROOT: [u8; 32] = [0x52; 32];

impl World {
    /// The shop of the source document: orders are created by svc-orders for two tenants and
    /// handled by billing; accounts are ordered.
    pub fn shop() -> World {
        World::shop_at(BEGINNING)
    }

    /// The same, at another time: real brokers stamp with the real one.
    pub fn shop_at(beginning: Timestamp) -> World {
        let schema = r#"{"type":"object","required":["order_id"],
            "properties":{"order_id":{"type":"string"}}}"#;
        let account = r#"{"type":"object","required":["account"],
            "properties":{"account":{"type":"string"}}}"#;
        let world = World {
            policy: POLICY.to_owned(),
            schemas: BTreeMap::from([
                (("orders.created".to_owned(), 1), schema.to_owned()),
                (("accounts.changed".to_owned(), 1), account.to_owned()),
            ]),
            keys: Vec::new(),
            version: 1,
            beginning,
        };
        world.with_key("svc-orders", 1).with_key("svc-accounts", 1)
    }

    /// The same world with one more key for a service, valid from a month before the beginning.
    pub fn with_key(mut self, service: &str, number: u8) -> World {
        let (from, until) = self.lifetime();
        self.keys.push(KeyEntry::new(&secret(service, number), service, from, until));
        self
    }

    fn lifetime(&self) -> (Timestamp, Timestamp) {
        (self.beginning + -30 * DAY_MS, self.beginning + 365 * DAY_MS)
    }

    /// What the world's snapshot is built from.
    ///
    /// # Panics
    /// If the world breaks the bundle's own rules.
    pub fn sources(&self) -> Sources {
        let root = Secret::ed25519(&ROOT);
        let (from, until) = self.lifetime();
        let bundle = Bundle {
            v: 1,
            domain: "shop.example".to_owned(),
            environment: "test".to_owned(),
            version: self.version,
            issued: from.0,
            expires: until.0,
            keys: self.keys.clone(),
        };
        let schemas = self.schemas.iter();
        Sources {
            bundle: sealed(bundle.seal(&root)).into_bytes(),
            root: root.public(),
            policy: self.policy.clone(),
            schemas: schemas.map(|(at, text)| (at.clone(), text.as_bytes().to_vec())).collect(),
            secrets: Vec::new(),
        }
    }

    /// The world's snapshot.
    ///
    /// # Panics
    /// If the world does not make one.
    pub fn snapshot(&self) -> Snapshot {
        sealed(Snapshot::build(&self.sources()))
    }

    /// The world's snapshot, to be replaced later.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.snapshot())
    }
}

/// A service's key; the same each time. For tests only.
pub fn secret(service: &str, number: u8) -> Secret {
    let mut seed = [number; 32];
    for (byte, letter) in seed.iter_mut().zip(service.bytes()) {
        *byte ^= letter;
    }
    Secret::ed25519(&seed)
}

/// An order event of the shop.
pub fn order(number: u64, tenant: &str) -> Event {
    event("orders.created", &format!("order-{number:06}"), Some(tenant), None, {
        format!(r#"{{"order_id":"o_{number}"}}"#)
    })
}

/// An order event with an id and a key of its own.
pub fn order_of(key: &str, id: &str) -> Event {
    event("orders.created", id, Some("acme"), None, format!(r#"{{"order_id":"{key}"}}"#))
}

/// A version of an account, on the ordered stream.
pub fn account(name: &str, version: u64) -> Event {
    let id = format!("account-{name}-{version}");
    event("accounts.changed", &id, None, Some(version), format!(r#"{{"account":"{name}"}}"#))
}

fn event(
    stream: &str,
    id: &str,
    tenant: Option<&str>,
    version: Option<u64>,
    payload: String,
) -> Event {
    Event {
        stream: stream.to_owned(),
        id: id.to_owned(),
        event_type: stream.to_owned(),
        schema_version: 1,
        tenant: tenant.map(str::to_owned),
        version,
        occurred_at: BEGINNING.to_string(),
        request: None,
        actor: None,
        traceparent: None,
        deadline: None,
        causes: Vec::new(),
        content: Content::Payload(payload.into_bytes().into()),
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// Stands at this moment.
    pub fn at(now: Timestamp) -> TestClock {
        TestClock(Arc::new(AtomicI64::new(now.0)))
    }

    /// Moves on by milliseconds.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

fn sealed<T>(made: Result<T, Misuse>) -> T {
    #[allow(clippy::panic, reason = "a test's world that does not hold ends the test")]
    made.unwrap_or_else(|misuse| panic!("{misuse}"))
}

const POLICY: &str = "\
version: 1
domain: shop.example
environment: test
services:
  svc-orders: {tenants: [acme, zen]}
  svc-accounts: {}
  svc-billing: {tenants: any}
streams:
  orders.created:
    kind: event
    owner: svc-orders
    handled_by: {billing: svc-billing}
    types: {orders.created: 1}
    key: order_id
    tenants: [acme, zen]
  accounts.changed:
    kind: event
    owner: svc-accounts
    handled_by: {billing: svc-billing}
    key: account
    ordered: true
";
