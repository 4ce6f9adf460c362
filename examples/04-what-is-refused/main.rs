// SPDX-License-Identifier: MIT OR Apache-2.0
//! What somebody who can write to the broker can do: append. What comes of it: nothing.
//!
//! `cargo run -p chancery-examples --example 04-what-is-refused`

use chancery::core::Reader;
use chancery::{Admitted, Consumer, Handler, Outcome};
use chancery_examples::{Order, Shop, Trouble, event, until_idle};
use chancery_stores::sqlite::{Database, KeptFilter, Transactional, Tx};

struct Billing;

impl Handler<Order, Tx> for Billing {
    async fn handle(&self, _order: &Admitted<Order>, _tx: &mut Tx) -> Outcome {
        Outcome::Done
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Trouble> {
    let shop = Shop::new()?;
    let payload = r#"{"order_id":"o_1","amount":10}"#;
    shop.orders()?.publish(&event("orders.created", "order-0001", payload)).await?;

    // Unsigned, with a body of the attacker's own.
    shop.broker.append_raw("orders.created", &[], Some(b"o_2"), Some(b"{\"amount\":1}"))?;
    // An honest message under another amount.
    let honest = shop.broker.browse("orders.created", 1, 1)?.remove(0);
    let body = String::from_utf8_lossy(honest.body.as_deref().unwrap_or_default());
    let altered = body.replace("10", "99");
    let key = honest.key.as_deref();
    shop.broker.append_raw("orders.created", &honest.fields, key, Some(altered.as_bytes()))?;

    let database = Database::open(shop.dir.path().join("billing.db"))?;
    let source = shop.broker.subscribe("orders.created", "billing")?;
    let ledger = Transactional::new(&database)?;
    let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
    let mut consumer =
        Consumer::new(source, ledger, shop.snapshots.clone(), "orders.created", reader)?
            .settings(until_idle());
    let summary = consumer.run::<Order, _>(&Billing, std::future::pending()).await?;
    println!("handled {}, refused {}", summary.handled, summary.refused);
    for kept in database.kept().list(&KeptFilter::default())? {
        println!("{}: {} ({})", kept.position, kept.reason, kept.detail);
    }
    assert_eq!((summary.handled, summary.refused), (1, 2));
    Ok(())
}
