// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream that nobody signs yet climbs from `observe` to `enforce`: what would be refused is
//! counted before it is.
//!
//! `cargo run -p chancery-examples --example 05-rollout`

use chancery::core::Reader;
use chancery::{Admitted, Consumer, Handler, Observer, Outcome, Unproven};
use chancery_examples::{Order, Shop, Trouble, event, until_idle};
use chancery_local::LocalSource;
use chancery_stores::sqlite::{Database, Transactional, Tx};

const STREAM: &str = "orders.created";
/// What an instance of svc-orders sends that does not sign yet: the envelope, and nothing else.
const UNSIGNED: &str = r#"{"event_id":"order-0001","event_type":"orders.created",
    "schema_version":1,"occurred_at":"2026-03-05T10:12:33Z","producer":"svc-orders",
    "payload":{"order_id":"o_1","amount":10}}"#;

struct Billing;

/// Below `enforce`: every message comes here, as [`Unproven`], also one that is signed.
impl Observer<Tx> for Billing {
    async fn observe(&self, event: &Unproven, tx: &mut Tx) -> Outcome {
        // What this is worth is yours to decide: here, to be looked at before money moves.
        let proven = event.verified_producer().is_some();
        invoice(tx, event.claimed_key().unwrap_or_default(), proven)
    }
}

/// At `enforce`: nothing comes here that is not proven.
impl Handler<Order, Tx> for Billing {
    async fn handle(&self, event: &Admitted<Order>, tx: &mut Tx) -> Outcome {
        invoice(tx, &event.value().order_id, true)
    }
}

fn invoice(tx: &mut Tx, order: &str, proven: bool) -> Outcome {
    match tx.execute("INSERT INTO invoice VALUES (?1, ?2)", (order, proven)) {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Retry(error.to_string()),
    }
}

fn consumer(
    shop: &Shop,
    database: &Database,
) -> Result<Consumer<LocalSource, Transactional>, Trouble> {
    let source = shop.broker.subscribe(STREAM, "billing")?;
    let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
    let ledger = Transactional::new(database)?;
    let consumer = Consumer::new(source, ledger, shop.snapshots.clone(), STREAM, reader)?;
    Ok(consumer.settings(until_idle()))
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Trouble> {
    let mut shop = Shop::new()?;
    let database = Database::open(shop.dir.path().join("billing.db"))?;
    let tables = database.connection()?;
    tables.execute_batch("CREATE TABLE invoice(order_id TEXT, proven INTEGER)")?;
    let order = |id: &str| event(STREAM, id, r#"{"order_id":"o_2","amount":20}"#);

    let (key, climbing) = ("key: order_id", "key: order_id\n    rung: observe");
    shop.edit_policy(key, &format!("{climbing}\n    unsigned: [svc-orders]"))?;
    shop.broker.append_raw(STREAM, &[], Some(b"o_1"), Some(UNSIGNED.as_bytes()))?;
    shop.orders()?.publish(&order("order-0002")).await?;
    // It has signed once: from now on nobody can pass for it by leaving the signature out.
    let forged = UNSIGNED.replace("order-0001", "order-0003");
    shop.broker.append_raw(STREAM, &[], Some(b"o_1"), Some(forged.as_bytes()))?;
    let summary =
        consumer(&shop, &database)?.run_unproven(&Billing, std::future::pending()).await?;
    println!("observe: ran {}, refused {}", summary.handled, summary.refused);
    assert_eq!((summary.handled, summary.refused), (2, 1));
    for (reason, (count, _)) in database.stats()?.findings.values().flat_map(|of| &of.reasons) {
        println!("enforce would have refused {count}: {reason}");
    }

    shop.edit_policy("rung: observe", "rung: enforce")?;
    shop.orders()?.publish(&order("order-0004")).await?;
    // The other entry is Misuse by now: nobody observes by mistake what is enforced.
    let mistaken = consumer(&shop, &database)?.run_unproven(&Billing, std::future::pending()).await;
    assert!(mistaken.is_err());
    let summary =
        consumer(&shop, &database)?.run::<Order, _>(&Billing, std::future::pending()).await?;
    println!("enforce: handled {}, refused {}", summary.handled, summary.refused);

    let proven = "SELECT sum(proven), count(*) FROM invoice";
    let counts: (i64, i64) = tables.query_row(proven, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    println!("invoices {}, of them proven {}", counts.1, counts.0);
    assert_eq!((summary.handled, counts), (1, (2, 3)));
    Ok(())
}
