// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shop: six services, three streams, two tenants, and a key for each service.

use std::collections::BTreeMap;

use chancery::Misuse;
use chancery::Timestamp;
use chancery::core::bundle::{Bundle, KeyEntry};
use chancery::core::keys::Secret;
use chancery::core::snapshot::Sources;
use chancery::core::time::DAY_MS;

pub(super) const REALM: &str = "shop.example/demo";

pub(super) const POLICY: &str = "\
version: 1
domain: shop.example
environment: demo
services:
  svc-orders: {role: seller, tenants: [acme, zen]}
  svc-partner: {role: seller, tenants: [zen]}
  svc-billing: {tenants: [acme, zen]}
  svc-payout: {tenants: [acme, zen]}
  svc-report: {tenants: [acme, zen]}
  svc-iam: {}
streams:
  orders.created:
    kind: event
    owner: role:seller
    handled_by: {billing: svc-billing, report: svc-report}
    key: order_id
    tenants: [acme, zen]
  payout.approve:
    kind: command
    owner: svc-billing
    handled_by: {payout: svc-payout}
    key: order_id
    tenants: [acme, zen]
    sensitive: true
  iam.roles:
    kind: event
    owner: svc-iam
    handled_by: {access: svc-orders}
    types: {iam.role_granted: 1, iam.role_revoked: 1}
    key: user
    ordered: true
    sensitive: true
";

const ORDER: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",
"required":["order_id","amount","currency"],"properties":{
"order_id":{"type":"string","maxLength":64},"amount":{"type":"number","minimum":0},
"currency":{"enum":["USD","EUR"]}}}"#;
const PAYOUT: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",
"required":["order_id","amount"],"properties":{
"order_id":{"type":"string","maxLength":64},"amount":{"type":"number","minimum":0}}}"#;
const ROLE: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",
"required":["user","role"],"properties":{
"user":{"type":"string","maxLength":64},"role":{"type":"string","maxLength":64}}}"#;

/// The services that publish.
pub(super) const PRODUCERS: [&str; 4] = ["svc-orders", "svc-partner", "svc-billing", "svc-iam"];

/// Seeds of the producers' keys; each demo makes its own.
pub(super) struct Keys(BTreeMap<&'static str, [u8; 32]>);

impl Keys {
    /// New keys for every producer.
    pub(super) fn random() -> Result<Keys, getrandom::Error> {
        let seeds = PRODUCERS.into_iter().map(|service| Ok((service, random()?)));
        Ok(Keys(seeds.collect::<Result<_, getrandom::Error>>()?))
    }

    /// The seed of a producer's key.
    pub(super) fn seed(&self, service: &str) -> [u8; 32] {
        self.0.get(service).copied().unwrap_or_default()
    }

    /// A producer's key.
    pub(super) fn secret(&self, service: &str) -> Secret {
        Secret::ed25519(&self.seed(service))
    }

    /// Policy, schemas and a bundle of these keys, signed by a root key that is thrown away.
    pub(super) fn sources(&self, now: Timestamp) -> Result<Sources, Misuse> {
        let root = Secret::ed25519(&random().map_err(|error| {
            Misuse::new(error.to_string(), "random numbers", "run on a system that has them")
        })?);
        let (from, until) = (now + -120 * DAY_MS, now + DAY_MS);
        let key = |service: &&str| KeyEntry::new(&self.secret(service), service, from, until);
        let bundle = Bundle {
            v: 1,
            domain: "shop.example".into(),
            environment: "demo".into(),
            version: 1,
            issued: from.0,
            expires: until.0,
            keys: PRODUCERS.iter().map(key).collect(),
        };
        Ok(sources(bundle.seal(&root)?.into_bytes(), root.public()))
    }
}

/// Everything but the bundle is fixed.
pub(super) fn sources(bundle: Vec<u8>, root: [u8; 32]) -> Sources {
    let schemas = [
        ("orders.created", ORDER),
        ("payout.approve", PAYOUT),
        ("iam.role_granted", ROLE),
        ("iam.role_revoked", ROLE),
    ];
    Sources {
        bundle,
        root,
        policy: POLICY.to_owned(),
        schemas: schemas
            .into_iter()
            .map(|(typ, text)| ((typ.to_owned(), 1), text.as_bytes().to_vec()))
            .collect(),
        secrets: Vec::new(),
    }
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
