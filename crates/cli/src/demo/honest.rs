// SPDX-License-Identifier: MIT OR Apache-2.0
//! Honest traffic, and the producers' own list of it.

use chancery::publisher::Content;
use chancery::{Event, PublishError, Publisher, Sink};

use super::forge::WHEN;

/// How much traffic.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) orders: u64,
    pub(super) users: u64,
}

/// Role changes of each user: granted, granted, granted, revoked.
pub(super) const VERSIONS: u64 = 4;

impl Plan {
    /// Events that producers publish: orders, a payout for every second one, role changes.
    pub(super) fn events(self) -> u64 {
        self.orders + self.payouts() + self.users * VERSIONS
    }

    fn payouts(self) -> u64 {
        self.orders.div_ceil(2)
    }

    /// How many effects a table must have.
    pub(super) fn owed_to(self, table: &str) -> u64 {
        let owed = self.owed().into_iter().flatten();
        owed.filter(|(owing, _)| *owing == table).count() as u64
    }

    /// Each event's effects, by the tables of the services that must handle it.
    pub(super) fn owed(self) -> Vec<Vec<(&'static str, String)>> {
        let orders =
            (0..self.orders).map(|n| vec![("invoice", order_id(n)), ("sale", order_id(n))]);
        let payouts = (0..self.orders).step_by(2).map(|n| vec![("payment", order_id(n))]);
        let roles = (0..self.users).flat_map(|user| {
            (1..=VERSIONS).map(move |version| vec![("role_change", format!("u_{user}/{version}"))])
        });
        orders.chain(payouts).chain(roles).collect()
    }
}

/// Whether an order is paid out at once.
pub(super) fn is_paid_out(order: &str) -> bool {
    order.strip_prefix("o_").and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n % 2 == 0)
}

fn order_id(n: u64) -> String {
    format!("o_{n}")
}

/// Publishes orders `from..to` in batches.
pub(super) async fn orders<K: Sink>(
    publisher: &Publisher<K>,
    from: u64,
    to: u64,
) -> Result<(), PublishError> {
    let events: Vec<Event> = (from..to).map(order).collect();
    for batch in events.chunks(64) {
        publisher.publish_all(batch).await?;
    }
    Ok(())
}

/// Publishes every user's role changes in order.
pub(super) async fn roles<K: Sink>(
    publisher: &Publisher<K>,
    users: u64,
) -> Result<(), PublishError> {
    for version in 1..=VERSIONS {
        let events: Vec<Event> = (0..users).map(|user| role(user, version)).collect();
        for batch in events.chunks(64) {
            publisher.publish_all(batch).await?;
        }
    }
    Ok(())
}

fn order(n: u64) -> Event {
    let tenant = if n.is_multiple_of(3) { "zen" } else { "acme" };
    let id = order_id(n);
    let amount = n % 500 + 1;
    event(
        "orders.created",
        "orders.created",
        format!("order-{n:08}"),
        Some(tenant),
        None,
        format!(r#"{{"order_id":"{id}","amount":{amount}.50,"currency":"USD"}}"#),
    )
}

/// The command that billing sends for an order.
pub(super) fn payout(order: &str, tenant: Option<&str>, amount: f64) -> Event {
    let payload = format!(r#"{{"order_id":"{order}","amount":{amount:.2}}}"#);
    let id = format!("payout-{order:0>8}");
    event("payout.approve", "payout.approve", id, tenant, None, payload)
}

fn role(user: u64, version: u64) -> Event {
    let (typ, role) = match version {
        1 => ("iam.role_granted", "viewer"),
        2 => ("iam.role_granted", "editor"),
        3 => ("iam.role_granted", "admin"),
        _ => ("iam.role_revoked", "admin"),
    };
    let id = format!("role-{user:06}-{version}");
    let payload = format!(r#"{{"user":"u_{user}","role":"{role}"}}"#);
    event("iam.roles", typ, id, None, Some(version), payload)
}

fn event(
    stream: &str,
    typ: &str,
    id: String,
    tenant: Option<&str>,
    version: Option<u64>,
    payload: String,
) -> Event {
    Event {
        stream: stream.to_owned(),
        id,
        event_type: typ.to_owned(),
        schema_version: 1,
        tenant: tenant.map(str::to_owned),
        version,
        occurred_at: WHEN.to_owned(),
        request: None,
        actor: None,
        traceparent: None,
        deadline: None,
        causes: Vec::new(),
        content: Content::Payload(payload.into_bytes().into()),
    }
}
