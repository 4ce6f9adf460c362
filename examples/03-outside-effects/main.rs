// SPDX-License-Identifier: MIT OR Apache-2.0
//! An effect outside your database: the handler is lent a lease with an idempotency key, the same
//! each time this event is handled. Whoever does the effect must honour the key.
//!
//! `cargo run -p chancery-examples --example 03-outside-effects`

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use chancery::core::Reader;
use chancery::{Admitted, Consumer, Handler, Outcome};
use chancery_examples::{Order, Shop, Trouble, event, until_idle};
use chancery_stores::sqlite::{Database, Lease, Leased};

/// A payment provider that remembers idempotency keys, as real ones do.
#[derive(Default)]
struct Provider {
    charged: Mutex<BTreeSet<String>>,
    connection_was_lost: AtomicBool,
}

impl Handler<Order, Lease> for Provider {
    async fn handle(&self, _order: &Admitted<Order>, lease: &mut Lease) -> Outcome {
        let Ok(mut charged) = self.charged.lock() else {
            return Outcome::Retry("poisoned".into());
        };
        charged.insert(lease.key.clone());
        // The charge went through and its answer was lost: the event comes again, with its key.
        if !self.connection_was_lost.swap(true, Ordering::SeqCst) {
            return Outcome::Retry("connection lost".into());
        }
        Outcome::Done
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Trouble> {
    let shop = Shop::new()?;
    let payload = r#"{"order_id":"o_1","amount":10}"#;
    shop.orders()?.publish(&event("orders.created", "order-0001", payload)).await?;

    let database = Database::open(shop.dir.path().join("billing.db"))?;
    let source = shop.broker.subscribe("orders.created", "billing")?;
    let ledger = Leased::new(&database)?;
    let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
    let mut consumer =
        Consumer::new(source, ledger, shop.snapshots.clone(), "orders.created", reader)?
            .settings(until_idle());
    let provider = Provider::default();
    let summary = consumer.run::<Order, _>(&provider, std::future::pending()).await?;
    let charges = provider.charged.lock().map(|charged| charged.len()).unwrap_or_default();
    println!("handled {}, tried twice, charged {charges}", summary.handled);
    assert_eq!((summary.handled, charges), (1, 1));
    Ok(())
}
