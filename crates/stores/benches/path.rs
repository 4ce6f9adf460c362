// SPDX-License-Identifier: MIT OR Apache-2.0
//! From publish to handled on the embedded broker, against the disk's own floor: one append and
//! fdatasync per commit (docs/performance.md).
//!
//! `cargo bench -p chancery-stores` prints the table.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use chancery::core::Reader;
use chancery::{Admitted, Consumer, Handler, Outcome, Publisher, Settings};
use chancery_local::Broker;
use chancery_stores::sqlite::{Database, Transactional, Tx};
use chancery_testkit::world::{BEGINNING, TestClock, World, order, secret};
use serde::Deserialize;
use std::sync::Arc;

const STREAM: &str = "orders.created";
const EVENTS: u64 = 1_000;
const BATCH: usize = 64;

type Trouble = Box<dyn std::error::Error>;

#[derive(Deserialize)]
struct Order {
    order_id: String,
}

struct Row;

impl Handler<Order, Tx> for Row {
    async fn handle(&self, event: &Admitted<Order>, tx: &mut Tx) -> Outcome {
        let order = &event.value().order_id;
        match tx.execute("INSERT INTO effect(key) VALUES (?1)", [order]) {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Retry(error.to_string()),
        }
    }
}

/// Seconds for all events: published in batches, handled one commit each, and the floors of both.
struct Figures {
    publish: f64,
    handle: f64,
    publish_floor: f64,
    handle_floor: f64,
}

fn main() -> Result<(), Trouble> {
    let measured = std::env::args().any(|arg| arg == "--bench");
    let (rounds, events) = if measured { (5, EVENTS) } else { (1, 10) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Vec::new();
    for _ in 0..rounds {
        figures.push(runtime.block_on(round(events))?);
    }
    let per_second = |of: fn(&Figures) -> f64| events as f64 / median(&figures, of);
    let ratio =
        |a: fn(&Figures) -> f64, b: fn(&Figures) -> f64| median(&figures, a) / median(&figures, b);
    let mut out = std::io::stdout().lock();
    writeln!(out, "| step | events/s | floor: fdatasync appends/s | time against the floor |")?;
    writeln!(out, "|---|---|---|---|")?;
    writeln!(
        out,
        "| publish, {BATCH} per commit | {:.0} | {:.0} | {:.1} |",
        per_second(|f| f.publish),
        per_second(|f| f.publish_floor),
        ratio(|f| f.publish, |f| f.publish_floor)
    )?;
    writeln!(
        out,
        "| receive, judge, handle, record: one commit each | {:.0} | {:.0} | {:.1} |",
        per_second(|f| f.handle),
        per_second(|f| f.handle_floor),
        ratio(|f| f.handle, |f| f.handle_floor)
    )?;
    Ok(())
}

async fn round(events: u64) -> Result<Figures, Trouble> {
    let dir = tempfile::tempdir()?;
    let clock = Arc::new(TestClock::at(BEGINNING));
    let broker = Broker::open(&dir.path().join("broker"))?.with_clock(clock.clone());
    let snapshots = World::shop().snapshots();
    let (sink, key) = (broker.clone(), secret("svc-orders", 1));
    let publisher =
        Publisher::with_clock(sink, snapshots.clone(), "svc-orders", key, [1; 16], clock.clone())?;
    let drafts: Vec<_> = (0..events).map(|number| order(number, "acme")).collect();

    let publish_floor = floor(dir.path(), events.div_ceil(BATCH as u64), BATCH * 1_000)?;
    let begun = Instant::now();
    for batch in drafts.chunks(BATCH) {
        publisher.publish_all(batch).await?;
    }
    let publish = begun.elapsed().as_secs_f64();

    let database = Database::open(dir.path().join("service.db"))?;
    database.connection()?.execute_batch("CREATE TABLE effect(key TEXT)")?;
    let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
    let source = broker.subscribe(STREAM, "billing")?;
    let ledger = Transactional::new(&database)?;
    let mut consumer = Consumer::new(source, ledger, snapshots, STREAM, reader)?
        .clock(clock)
        .settings(Settings { handled_max: Some(events), ..Settings::default() });
    let handle_floor = floor(dir.path(), events, 2_000)?;
    let begun = Instant::now();
    let summary = consumer.run::<Order, _>(&Row, std::future::pending()).await?;
    let handle = begun.elapsed().as_secs_f64();
    if summary.handled != events {
        return Err(format!("handled {} of {events}", summary.handled).into());
    }
    Ok(Figures { publish, handle, publish_floor, handle_floor })
}

/// Seconds for so many appends of so many bytes, each made durable.
fn floor(dir: &Path, appends: u64, bytes: usize) -> Result<f64, Trouble> {
    let mut file = File::create(dir.join("floor"))?;
    let block = vec![0x5a; bytes];
    let begun = Instant::now();
    for _ in 0..appends {
        file.write_all(&block)?;
        file.sync_data()?;
    }
    Ok(begun.elapsed().max(Duration::from_micros(1)).as_secs_f64())
}

fn median(figures: &[Figures], of: fn(&Figures) -> f64) -> f64 {
    let mut all: Vec<f64> = figures.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}
