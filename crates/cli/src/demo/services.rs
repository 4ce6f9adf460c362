// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shop's services: each has a database of its own, and handles its events in one transaction
//! with the ledger.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery::core::Reader;
use chancery::{
    Admitted, Broker, ConsumeError, Consumer, Fault, Handler, Outcome, Settings, Signals,
    Snapshots, Summary,
};
use chancery_stores::sqlite::{Database, Transactional, Tx};
use serde::Deserialize;

use super::honest::{is_paid_out, payout};
use crate::wire::AnyBroker;

/// A consuming group of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) service: &'static str,
    pub(super) stream: &'static str,
    pub(super) table: &'static str,
}

pub(super) const BILLING: Group =
    Group { name: "billing", service: "svc-billing", stream: "orders.created", table: "invoice" };
pub(super) const REPORT: Group =
    Group { name: "report", service: "svc-report", stream: "orders.created", table: "sale" };
pub(super) const PAYOUT: Group =
    Group { name: "payout", service: "svc-payout", stream: "payout.approve", table: "payment" };
pub(super) const ACCESS: Group =
    Group { name: "access", service: "svc-orders", stream: "iam.roles", table: "role_change" };
pub(super) const GROUPS: [Group; 4] = [BILLING, REPORT, PAYOUT, ACCESS];

impl Group {
    /// The service's own database.
    pub(super) fn database(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.db", self.name))
    }

    /// Opens the service's database and makes its table. No key of the table is unique: were an
    /// event handled twice, it would show.
    pub(super) fn open(&self, dir: &Path) -> Result<Database, Fault> {
        let database = Database::open(self.database(dir))?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {}(key TEXT NOT NULL, event TEXT NOT NULL)",
            self.table
        );
        database.connection()?.execute_batch(&create).map_err(Fault::store)?;
        Ok(database)
    }

    /// Handles the group's share of its stream until `stop`, or for `settings`.
    pub(super) async fn run(
        &self,
        shop: &Shop,
        settings: Settings,
        trap: Option<Trap>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Summary, Fault> {
        let reader = Reader { service: self.service.into(), group: self.name.into() };
        let source = shop.broker.subscribe(self.stream, self.name).await?;
        let ledger = Transactional::new(&self.open(&shop.dir)?)?;
        let consumer = Consumer::new(source, ledger, shop.snapshots.clone(), self.stream, reader);
        let mut consumer = consumer
            .map_err(|misuse| Fault::broker(misuse.to_string()))?
            .signals(shop.signals.clone())
            .settings(Settings { poll: Duration::from_millis(50), ..settings });
        let ended = consumer.run::<Entry, _>(&Clerk { group: *self, trap }, stop).await;
        ended.map_err(|error| match error {
            ConsumeError::Fault(fault) => fault,
            ConsumeError::Misuse(misuse) => Fault::broker(misuse.to_string()),
        })
    }
}

/// What all services share.
#[derive(Clone)]
pub(super) struct Shop {
    pub(super) dir: PathBuf,
    pub(super) broker: AnyBroker,
    /// How long nothing comes before nothing comes any more, not even what a dead consumer had.
    pub(super) quiet: Duration,
    pub(super) snapshots: Snapshots,
    pub(super) signals: Signals,
}

impl Shop {
    /// Until nothing is left.
    pub(super) fn until_quiet(&self) -> Settings {
        Settings { idle_exit: Some(self.quiet), ..Settings::default() }
    }
}

/// Any payload of the shop.
#[derive(Deserialize)]
pub(super) struct Entry {
    order_id: Option<String>,
    user: Option<String>,
    amount: Option<f64>,
}

/// What is done to a consumer in mid-handler.
#[derive(Clone, Debug)]
pub(crate) enum Trap {
    /// The process aborts on this order, each time.
    Abort(String),
    /// The process stands still on this order, its effect written and not committed, and says so
    /// by making this file.
    Pause(String, PathBuf),
}

/// Writes one row for each event: a doubled event is a doubled row.
struct Clerk {
    group: Group,
    trap: Option<Trap>,
}

impl Handler<Entry, Tx> for Clerk {
    async fn handle(&self, event: &Admitted<Entry>, tx: &mut Tx) -> Outcome {
        let entry = event.value();
        let key = match (&entry.order_id, &entry.user, event.header().ov) {
            (Some(order), ..) => order.clone(),
            (None, Some(user), Some(version)) => format!("{user}/{version}"),
            _ => return Outcome::Park("neither an order nor a user".into()),
        };
        match self.write(event, tx, &key) {
            Ok(()) => {}
            Err(why) => return Outcome::Retry(why),
        }
        self.spring(&key).await;
        Outcome::DoneWith(format!("{} {key}", self.group.table))
    }
}

impl Clerk {
    fn write(&self, event: &Admitted<Entry>, tx: &mut Tx, key: &str) -> Result<(), String> {
        let insert = format!("INSERT INTO {}(key, event) VALUES (?1, ?2)", self.group.table);
        tx.execute(&insert, [key, event.id()]).map_err(|error| error.to_string())?;
        if self.group == BILLING && is_paid_out(key) {
            let amount = event.value().amount.unwrap_or(0.0);
            tx.publish(payout(key, event.tenant(), amount)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn spring(&self, key: &str) {
        match &self.trap {
            Some(Trap::Abort(order)) if order == key => std::process::abort(),
            Some(Trap::Pause(order, marker)) if order == key => {
                // The parent waits for the file, then kills this process.
                let _ = std::fs::write(marker, b"mid-handler");
                std::future::pending().await
            }
            _ => {}
        }
    }
}
