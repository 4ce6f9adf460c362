// SPDX-License-Identifier: MIT OR Apache-2.0
//! A handler that publishes: the new event is a row in the same commit, and a relay signs and
//! appends it afterwards. Either both happened or neither.
//!
//! `cargo run -p chancery-examples --example 02-transaction-and-outbox`

use chancery::core::Reader;
use chancery::{Admitted, Consumer, Handler, Outcome};
use chancery_examples::{Order, Shop, Trouble, event, until_idle};
use chancery_stores::sqlite::{Database, Transactional, Tx, relay};

struct Billing;

impl Handler<Order, Tx> for Billing {
    async fn handle(&self, order: &Admitted<Order>, tx: &mut Tx) -> Outcome {
        let payload = format!(r#"{{"order_id":"{}"}}"#, order.value().order_id);
        // Without an id the outbox gives one that is the same each time this order is handled.
        match tx.publish(event("invoices.sent", "", &payload)) {
            Ok(id) => Outcome::DoneWith(format!("invoice {id}")),
            Err(error) => Outcome::Retry(error.to_string()),
        }
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
    let ledger = Transactional::new(&database)?;
    let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
    let mut consumer =
        Consumer::new(source, ledger, shop.snapshots.clone(), "orders.created", reader)?
            .settings(until_idle());
    consumer.run::<Order, _>(&Billing, std::future::pending()).await?;
    println!("handled; on invoices.sent: {}", shop.broker.browse("invoices.sent", 1, 10)?.len());

    let relayed = relay(&database, &shop.billing()?).await?;
    let sent = shop.broker.browse("invoices.sent", 1, 10)?.len();
    println!("relayed {relayed}; on invoices.sent: {sent}");
    assert_eq!((relayed, sent), (1, 1));
    Ok(())
}
