// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publish three orders and handle them, each exactly once, in a transaction of your database.
//!
//! `cargo run -p chancery-examples --example 01-publish-and-consume`

use chancery::core::Reader;
use chancery::{Admitted, Consumer, Handler, Outcome};
use chancery_examples::{Order, Shop, Trouble, event, until_idle};
use chancery_stores::sqlite::{Database, Transactional, Tx};

/// Your code. It can be given only an admitted event: signed by the service that it names, for
/// this stream, in time, allowed by the policy, valid by its schema, and not done before.
struct Billing;

impl Handler<Order, Tx> for Billing {
    async fn handle(&self, event: &Admitted<Order>, tx: &mut Tx) -> Outcome {
        let order = event.value();
        let insert = "INSERT INTO invoice(order_id, amount) VALUES (?1, ?2)";
        match tx.execute(insert, (&order.order_id, order.amount)) {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Retry(error.to_string()),
        }
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Trouble> {
    let shop = Shop::new()?;
    let orders = shop.orders()?;
    for number in 1..=3 {
        let payload = format!(r#"{{"order_id":"o_{number}","amount":{number}0}}"#);
        let event = event("orders.created", &format!("order-000{number}"), &payload);
        let published = orders.publish(&event).await?;
        println!("published {} at {}", published.event_id, published.position);
        // Publishing again after a crash is no harm: the same id is the same event.
        orders.publish(&event).await?;
    }

    let database = Database::open(shop.dir.path().join("billing.db"))?;
    let tables = database.connection()?;
    tables.execute_batch("CREATE TABLE invoice(order_id TEXT, amount REAL)")?;

    let source = shop.broker.subscribe("orders.created", "billing")?;
    let ledger = Transactional::new(&database)?;
    let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
    let mut consumer =
        Consumer::new(source, ledger, shop.snapshots.clone(), "orders.created", reader)?
            .settings(until_idle());
    let summary = consumer.run::<Order, _>(&Billing, std::future::pending()).await?;

    let invoices: i64 = tables.query_row("SELECT count(*) FROM invoice", [], |row| row.get(0))?;
    println!("handled {}, skipped {}, invoices {invoices}", summary.handled, summary.refused);
    assert_eq!((summary.handled, summary.refused, invoices), (3, 3, 3));
    Ok(())
}
