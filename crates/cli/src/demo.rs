// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery demo`: a shop under attack, in one process and in front of your eyes.
//!
//! Honest services publish and handle; attackers append raw bytes to the broker by its ordinary
//! append; consumers are killed. What happened is then read back from the evidence and from the
//! shop's own tables.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::core::snapshot::Sources;
use chancery::{Clock, Fault, Publisher, Settings, Signals, Snapshot, Snapshots, SystemClock};
use chancery_stores::sqlite::{Database, relay};
use ed25519_dalek::SigningKey;
use tokio::sync::watch;

use crate::exit::{Failure, Result};

mod attacks;
mod audit;
mod faults;
mod forge;
mod honest;
mod services;
mod shop;
mod stage;
mod stock;
mod tap;
mod verdict;

use attacks::Spoils;
use audit::Watch;
use honest::Plan;
use services::{ACCESS, BILLING, GROUPS, Group, PAYOUT, REPORT, Shop};
use shop::Keys;
use stage::Stage;
use tap::Tap;

pub(crate) use services::Trap;
pub(crate) use stage::On;
pub(crate) use stock::Kind;
pub(crate) use verdict::Verdict;

/// How long the shop may take for any one thing before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs the demo in an empty folder and tells what happened. `tell` gets a line for each act.
pub(crate) async fn run(dir: &Path, on: &On, tell: &dyn Fn(&str)) -> Result<Verdict> {
    let plan = Plan { orders: 2_000, users: 100 };
    let now = SystemClock.now();
    let keys = Keys::random().map_err(Failure::bug)?;
    let sources = keys.sources(now)?;
    let stage = Stage::build(dir, on, tell).await?;
    let shop = open(dir, &sources).await?;
    let publishers = Publishers::new(&shop, &keys)?;

    tell(&format!("{} honest events, four services, and attackers among them", plan.events()));
    let (stop, stopped) = watch::channel(false);
    let services = start(&shop, &publishers, &stopped);
    let half = Plan { orders: plan.orders / 2, ..plan };
    honest::orders(&publishers.orders, 0, half.orders).await?;
    honest::roles(&publishers.iam, plan.users).await?;
    drained(&shop, half).await?;

    let spoils = spoils(&publishers.tap, &keys)?;
    let attacks = attacks::all(&spoils);
    tell(&format!("{} attacks, appended as raw bytes between honest events", attacks.len()));
    let (mut landed, mut watch) = (Vec::new(), Watch::begin(&shop.dir)?);
    let batch = (plan.orders - half.orders).div_ceil(attacks.len() as u64);
    let step = usize::try_from(batch).unwrap_or(1);
    for (at, attack) in (half.orders..).step_by(step).zip(&attacks) {
        stage.append(attack.stream, &attack.raw).await?;
        honest::orders(&publishers.orders, at, (at + batch).min(plan.orders)).await?;
        landed.push(watch.landed(attack.stream).await?);
    }
    drained(&shop, plan).await?;
    let _ = stop.send(true);
    services.end().await?;

    let with_faults = Plan { orders: plan.orders + faults::ORDERS, ..plan };
    let more = with_faults.events() - plan.events();
    tell(&format!("consumers killed, a dead-letter queue driven again, under {more} more events"));
    let (faults, added) = faults::all(&shop, &stage, &publishers, plan.orders).await?;
    finish(&shop, &publishers).await?;

    tell("evidence sealed and verified, effects counted");
    let log = audit::seal_and_read(&shop.dir)?;
    Ok(Verdict {
        honest: audit::honest(&shop.dir, plan, &added)?,
        attacks: attacks.iter().zip(&landed).map(|(a, at)| log.attack(a, at)).collect(),
        faults: log.faults(faults, &added),
        evidence: log.evidence(),
    })
}

/// A consumer of the report service, in a process that may be killed.
pub(crate) async fn work(dir: &Path, trap: Option<Trap>) -> Result<()> {
    let (bundle, root) = faults::bundle_path(dir);
    let read = |path: &Path| std::fs::read(path).map_err(|error| Failure::io(path, &error));
    let root = read(&root)?.try_into().map_err(|_| Failure::bug("not a root key"))?;
    let shop = open(dir, &shop::sources(read(&bundle)?, root)).await?;
    REPORT.run(&shop, shop.until_quiet(), trap, std::future::pending()).await?;
    Ok(())
}

async fn open(dir: &Path, sources: &Sources) -> Result<Shop> {
    let (bundle, root) = faults::bundle_path(dir);
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|error| Failure::io(path, &error))
    };
    if !bundle.exists() {
        write(&bundle, &sources.bundle)?;
        write(&root, &sources.root)?;
    }
    let (broker, quiet) = stage::meet(dir).await?;
    Ok(Shop {
        dir: dir.to_owned(),
        broker,
        quiet,
        snapshots: Snapshots::new(Snapshot::build(sources)?),
        signals: Signals::default(),
    })
}

type Voice = Publisher<Tap>;

/// The services that publish by themselves; billing publishes through its outbox.
struct Publishers {
    tap: Tap,
    orders: Voice,
    iam: Voice,
    billing: Arc<Voice>,
    outbox: Database,
}

impl Publishers {
    fn new(shop: &Shop, keys: &Keys) -> Result<Publishers> {
        let tap = Tap::on(shop.broker.clone());
        let voice = |service: &str| -> Result<Voice> {
            let lane = shop::random().map_err(Failure::bug)?;
            let (sink, snapshots) = (tap.clone(), shop.snapshots.clone());
            Ok(Publisher::new(sink, snapshots, service, keys.secret(service), lane)?)
        };
        Ok(Publishers {
            tap: tap.clone(),
            orders: voice("svc-orders")?,
            iam: voice("svc-iam")?,
            billing: Arc::new(voice("svc-billing")?),
            outbox: BILLING.open(&shop.dir)?,
        })
    }
}

/// The running services.
struct Services(Vec<tokio::task::JoinHandle<Result<(), Fault>>>);

impl Services {
    async fn end(self) -> Result<(), Fault> {
        for service in self.0 {
            service.await.map_err(|error| Fault::broker(error.to_string()))??;
        }
        Ok(())
    }
}

fn start(shop: &Shop, publishers: &Publishers, stopped: &watch::Receiver<bool>) -> Services {
    let mut running = Vec::new();
    for group in GROUPS {
        let (shop, mut stopped) = (shop.clone(), stopped.clone());
        running.push(tokio::spawn(async move {
            let stop = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            group.run(&shop, Settings::default(), None, stop).await.map(|_| ())
        }));
    }
    let (outbox, billing) = (publishers.outbox.clone(), publishers.billing.clone());
    let stopped = stopped.clone();
    running.push(tokio::spawn(async move {
        while !*stopped.borrow() {
            if relay(&outbox, &billing).await? == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }));
    Services(running)
}

/// Waits until every effect that is owed by now is there.
async fn drained(shop: &Shop, plan: Plan) -> Result<(), Fault> {
    let until = Instant::now() + PATIENCE;
    for group in GROUPS {
        let owed = plan.owed_to(group.table);
        loop {
            let there = audit::count(&shop.dir, &group)?;
            if there >= owed {
                break;
            }
            if Instant::now() > until {
                let name = group.name;
                return Err(Fault::broker(format!("{name}: {there} of {owed} effects in time")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// After the faults: what is still with the broker is handled, and billing's outbox emptied.
async fn finish(shop: &Shop, publishers: &Publishers) -> Result<(), Fault> {
    let run = |group: Group| async move {
        group.run(shop, shop.until_quiet(), None, std::future::pending()).await
    };
    tokio::try_join!(run(BILLING), run(REPORT), run(ACCESS))?;
    while relay(&publishers.outbox, &publishers.billing).await? > 0 {}
    run(PAYOUT).await.map(|_| ())
}

fn spoils(tap: &Tap, keys: &Keys) -> Result<Spoils, Fault> {
    let first = |stream: &str| {
        let mut page = tap.first(stream, 1);
        page.pop().ok_or_else(|| Fault::broker(format!("{stream} is empty")))
    };
    let key = |service: &str| SigningKey::from_bytes(&keys.seed(service));
    let stranger = shop::random().map_err(|error| Fault::broker(error.to_string()))?;
    Ok(Spoils {
        stranger: SigningKey::from_bytes(&stranger),
        orders: key("svc-orders"),
        partner: key("svc-partner"),
        billing: key("svc-billing"),
        iam: key("svc-iam"),
        order: first("orders.created")?,
        payout: first("payout.approve")?,
        now: SystemClock.now().0,
        realm: shop::REALM.to_owned(),
    })
}
