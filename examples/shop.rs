// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the examples share: keys, a policy and schemas, made in memory. A real project has them
//! as files: `chancery init` makes them.

use std::sync::Arc;
use std::time::Duration;

use chancery::core::bundle::{Bundle, KeyEntry};
use chancery::core::keys::Secret;
use chancery::core::snapshot::Sources;
use chancery::core::time::DAY_MS;
use chancery::publisher::Content;
use chancery::{Clock, Event, Misuse, Publisher, Settings, Snapshot, Snapshots, SystemClock};
use chancery_local::Broker;
use serde::Deserialize;

/// Any trouble; examples just show it.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

const POLICY: &str = "\
version: 1
domain: shop.example
environment: examples
services:
  svc-orders: {}
  svc-billing: {}
streams:
  orders.created:
    kind: event
    owner: svc-orders
    handled_by: {billing: svc-billing}
    key: order_id
  invoices.sent:
    kind: event
    owner: svc-billing
";

const ORDER: &str = r#"{"type":"object","required":["order_id","amount"],"properties":{
    "order_id":{"type":"string"},"amount":{"type":"number","minimum":0}}}"#;
const INVOICE: &str = r#"{"type":"object","required":["order_id"],"properties":{
    "order_id":{"type":"string"}}}"#;

/// The payload of `orders.created`.
#[derive(Debug, Deserialize)]
pub struct Order {
    /// Which order.
    pub order_id: String,
    /// How much.
    pub amount: f64,
}

/// A broker in a folder of its own, two services' keys, and the snapshot that trusts them.
pub struct Shop {
    /// The folder; it goes when the shop does.
    pub dir: tempfile::TempDir,
    /// The embedded broker.
    pub broker: Arc<Broker>,
    /// Keys, policy and schemas in force.
    pub snapshots: Snapshots,
    sources: Sources,
    orders: [u8; 32],
    billing: [u8; 32],
}

impl Shop {
    /// A new shop with new keys.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new() -> Result<Shop, Trouble> {
        let dir = tempfile::tempdir()?;
        let (root, orders, billing) = (random()?, random()?, random()?);
        let sources = sources(&root, &[("svc-orders", orders), ("svc-billing", billing)])?;
        Ok(Shop {
            broker: Arc::new(Broker::open(&dir.path().join("broker"))?),
            snapshots: Snapshots::new(Snapshot::build(&sources)?),
            sources,
            dir,
            orders,
            billing,
        })
    }

    /// Puts the policy in force with `to` in the place of `from`.
    ///
    /// # Errors
    /// If it is not a good policy any more.
    pub fn edit_policy(&mut self, from: &str, to: &str) -> Result<(), Trouble> {
        self.sources.policy = self.sources.policy.replace(from, to);
        self.snapshots.replace(&self.sources)?;
        Ok(())
    }

    /// The publisher of svc-orders.
    ///
    /// # Errors
    /// If the trust bundle does not know its key.
    pub fn orders(&self) -> Result<Publisher<Arc<Broker>>, Trouble> {
        self.publisher("svc-orders", &self.orders)
    }

    /// The publisher of svc-billing.
    ///
    /// # Errors
    /// If the trust bundle does not know its key.
    pub fn billing(&self) -> Result<Publisher<Arc<Broker>>, Trouble> {
        self.publisher("svc-billing", &self.billing)
    }

    fn publisher(&self, service: &str, seed: &[u8; 32]) -> Result<Publisher<Arc<Broker>>, Trouble> {
        let (sink, snapshots) = (self.broker.clone(), self.snapshots.clone());
        Ok(Publisher::new(sink, snapshots, service, Secret::ed25519(seed), random()?)?)
    }
}

/// An event with this id and payload; everything optional left out.
pub fn event(stream: &str, id: &str, payload: &str) -> Event {
    Event {
        stream: stream.to_owned(),
        id: id.to_owned(),
        event_type: stream.to_owned(),
        schema_version: 1,
        tenant: None,
        version: None,
        occurred_at: SystemClock.now().to_string(),
        request: None,
        actor: None,
        traceparent: None,
        deadline: None,
        causes: Vec::new(),
        content: Content::Payload(payload.as_bytes().to_vec().into()),
    }
}

/// A consumer that ends when there is nothing more to do.
pub fn until_idle() -> Settings {
    let poll = Duration::from_millis(50);
    Settings { poll, idle_exit: Some(Duration::from_millis(200)), ..Settings::default() }
}

/// Random bytes from the operating system.
///
/// # Errors
/// If it has none.
pub fn random<const N: usize>() -> Result<[u8; N], Trouble> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

fn sources(root: &[u8; 32], keys: &[(&str, [u8; 32])]) -> Result<Sources, Misuse> {
    let root = Secret::ed25519(root);
    let now = SystemClock.now();
    let (from, until) = (now + -DAY_MS, now + 365 * DAY_MS);
    let keys = keys
        .iter()
        .map(|(service, seed)| KeyEntry::new(&Secret::ed25519(seed), service, from, until));
    let bundle = Bundle {
        v: 1,
        domain: "shop.example".into(),
        environment: "examples".into(),
        version: 1,
        issued: from.0,
        expires: until.0,
        keys: keys.collect(),
    };
    let schemas = [("orders.created", ORDER), ("invoices.sent", INVOICE)];
    let schemas = schemas.map(|(typ, text)| ((typ.to_owned(), 1), text.as_bytes().to_vec()));
    Ok(Sources {
        bundle: bundle.seal(&root)?.into_bytes(),
        root: root.public(),
        policy: POLICY.to_owned(),
        schemas: schemas.into_iter().collect(),
        secrets: Vec::new(),
    })
}
