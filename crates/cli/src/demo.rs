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
use chancery::{
    Clock, Delivery, Fault, Misuse, Publisher, Settings, Signals, Snapshot, Snapshots, SystemClock,
};
use chancery_local::Broker;
use chancery_stores::sqlite::{Database, relay};
use ed25519_dalek::SigningKey;
use tokio::sync::watch;

mod attacks;
mod audit;
mod faults;
mod forge;
mod honest;
mod services;
mod shop;
mod verdict;

use attacks::{Attack, Spoils};
use honest::Plan;
use services::{ACCESS, BILLING, GROUPS, PAYOUT, REPORT, Shop};

use shop::Keys;

pub(crate) use services::Trap;
pub(crate) use verdict::Verdict;

/// How long the shop may take for any one thing before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs the demo in an empty folder and tells what happened. `tell` gets a line for each act.
pub(crate) async fn run(dir: &Path, tell: &dyn Fn(&str)) -> Result<Verdict, Trouble> {
    let plan = Plan { orders: 2_000, users: 100 };
    let now = SystemClock.now();
    let keys = Keys::random().map_err(|error| Fault::broker(error.to_string()))?;
    let sources = keys.sources(now)?;
    let shop = open(dir, &sources)?;
    let publishers = Publishers::new(&shop, &keys)?;

    tell(&format!("{} honest events, four services, and attackers among them", plan.events()));
    let (stop, stopped) = watch::channel(false);
    let services = start(&shop, &publishers, &stopped);
    let half = plan.orders / 2;
    honest::orders(&publishers.orders, 0, half).await?;
    honest::roles(&publishers.iam, plan.users).await?;
    drained(&shop).await?;

    let spoils = spoils(&shop, &keys)?;
    let attacks = attacks::all(&spoils);
    tell(&format!("{} attacks, appended as raw bytes between honest events", attacks.len()));
    let mut landed = Vec::new();
    let batch = (plan.orders - half).div_ceil(attacks.len() as u64);
    for (at, attack) in (half..).step_by(usize::try_from(batch).unwrap_or(1)).zip(&attacks) {
        landed.push(append(&shop.broker, attack)?);
        honest::orders(&publishers.orders, at, (at + batch).min(plan.orders)).await?;
    }
    drained(&shop).await?;
    let _ = stop.send(true);
    services.end().await?;

    let with_faults = Plan { orders: plan.orders + faults::ORDERS, ..plan };
    let more = with_faults.events() - plan.events();
    tell(&format!("consumers killed, a dead-letter queue driven again, under {more} more events"));
    let (faults, added) = faults::all(&shop, &publishers.orders, plan.orders).await?;
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
pub(crate) async fn work(dir: &Path, trap: Option<Trap>) -> Result<(), Trouble> {
    let (bundle, root) = faults::bundle_path(dir);
    let read = |path: &Path| std::fs::read(path).map_err(Fault::broker);
    let root = read(&root)?.try_into().map_err(|_| Fault::broker("not a root key"))?;
    let shop = open(dir, &shop::sources(read(&bundle)?, root))?;
    let settings = Settings { idle_exit: Some(Duration::from_millis(300)), ..Settings::default() };
    REPORT.run(&shop, settings, trap, std::future::pending()).await?;
    Ok(())
}

/// Why a demo could not be played to its end.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Something of ours failed.
    Fault(Fault),
    /// Something was set up wrongly.
    Misuse(Misuse),
}

fn open(dir: &Path, sources: &Sources) -> Result<Shop, Trouble> {
    let (bundle, root) = faults::bundle_path(dir);
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).map_err(Fault::broker);
    if !bundle.exists() {
        write(&bundle, &sources.bundle)?;
        write(&root, &sources.root)?;
    }
    Ok(Shop {
        dir: dir.to_owned(),
        broker: Arc::new(Broker::open(&dir.join("broker"))?),
        snapshots: Snapshots::new(Snapshot::build(sources)?),
        signals: Signals::default(),
    })
}

type Voice = Publisher<Arc<Broker>>;

/// The services that publish by themselves; billing publishes through its outbox.
struct Publishers {
    orders: Voice,
    iam: Voice,
    billing: Arc<Voice>,
    outbox: Database,
}

impl Publishers {
    fn new(shop: &Shop, keys: &Keys) -> Result<Publishers, Trouble> {
        let voice = |service: &str| -> Result<Voice, Trouble> {
            let lane = shop::random().map_err(|error| Fault::broker(error.to_string()))?;
            let (sink, snapshots) = (shop.broker.clone(), shop.snapshots.clone());
            Ok(Publisher::new(sink, snapshots, service, keys.secret(service), lane)?)
        };
        Ok(Publishers {
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

/// Waits until every group has nothing left to do.
async fn drained(shop: &Shop) -> Result<(), Fault> {
    let until = Instant::now() + PATIENCE;
    let mut quiet = 0;
    while quiet < 5 {
        let mut left = 0;
        for group in GROUPS {
            left += shop.broker.lag(group.stream, group.name)?.messages;
        }
        quiet = if left == 0 { quiet + 1 } else { 0 };
        if Instant::now() > until {
            return Err(Fault::broker(format!("{left} messages were not handled in time")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// After the faults: what is still with the broker is handled, and billing's outbox emptied.
async fn finish(shop: &Shop, publishers: &Publishers) -> Result<(), Fault> {
    let settings = Settings { idle_exit: Some(Duration::from_millis(300)), ..Settings::default() };
    for group in [BILLING, REPORT, ACCESS] {
        group.run(shop, settings.clone(), None, std::future::pending()).await?;
    }
    while relay(&publishers.outbox, &publishers.billing).await? > 0 {}
    PAYOUT.run(shop, settings, None, std::future::pending()).await.map(|_| ())
}

fn append(broker: &Broker, attack: &Attack) -> Result<String, Fault> {
    let fields: Vec<chancery::core::Field> = attack
        .raw
        .fields
        .iter()
        .map(|(name, value)| chancery::core::Field::new(name.clone(), value.clone()))
        .collect();
    let key = attack.raw.key.as_deref();
    let offset = broker.append_raw(attack.stream, &fields, key, Some(&attack.raw.body))?;
    Ok(format!("{}/{offset}", attack.stream))
}

fn spoils(shop: &Shop, keys: &Keys) -> Result<Spoils, Fault> {
    let first = |stream: &str| -> Result<Delivery, Fault> {
        let mut page = shop.broker.browse(stream, 1, 1)?;
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

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble::Fault(fault)
    }
}

impl From<Misuse> for Trouble {
    fn from(misuse: Misuse) -> Trouble {
        Trouble::Misuse(misuse)
    }
}

impl From<chancery::PublishError> for Trouble {
    fn from(error: chancery::PublishError) -> Trouble {
        Trouble::Fault(Fault::broker(error.to_string()))
    }
}
