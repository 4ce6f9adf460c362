// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker that the demo is played on, and what attackers and operators do to it behind our
//! back: by the embedded broker's ordinary append, or by a real broker's stock client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery::core::Field;
use chancery::{Fault, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::forge::Raw;
use super::services::Group;
use super::stock::{Kind, Stock};
use crate::exit::{Failure, Result};
use crate::project::broker::BrokerConfig;
use crate::wire::{AnyBroker, Local};

/// What the demo's processes need to know of the stage.
const PLAN: &str = "stage.json";
/// On one machine, in one file, nothing takes longer.
const QUIET: Duration = Duration::from_millis(300);
/// Longest wait for messages that an operator moves.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the demo is played.
pub(crate) enum On {
    /// In a folder.
    Local,
    /// On a real server of `cargo xtask brokers up`, whose folder this is.
    Server(Kind, PathBuf),
}

/// How to meet the broker.
#[derive(Serialize, Deserialize)]
struct Plan {
    broker: Value,
    quiet_ms: u64,
}

/// What is behind our back.
pub(super) enum Stage {
    /// The embedded broker.
    Local(Local),
    /// A stock client of a real one. What it made there goes with it.
    Stock(Box<Stock>),
}

impl Stage {
    /// Makes the streams, and leaves word in `dir` of where they are.
    pub(super) async fn build(dir: &Path, on: &On, tell: &dyn Fn(&str)) -> Result<Stage> {
        match on {
            On::Local => Ok(Stage::Local(Local::open(&dir.join("broker"))?)),
            On::Server(kind, brokers) => {
                let stock = Stock::start(*kind, brokers, dir, tell).await?;
                let quiet_ms = u64::try_from(kind.quiet().as_millis()).unwrap_or(u64::MAX);
                let plan = Plan { broker: stock.mapping(), quiet_ms };
                let text = serde_json::to_string(&plan).map_err(Failure::bug)?;
                let path = dir.join(PLAN);
                std::fs::write(&path, text).map_err(|error| Failure::io(&path, &error))?;
                Ok(Stage::Stock(Box::new(stock)))
            }
        }
    }

    /// Appends as any client of the broker may.
    pub(super) async fn append(&self, stream: &str, raw: &Raw) -> Result<(), Fault> {
        match self {
            Stage::Local(broker) => {
                let fields: Vec<Field> = raw
                    .fields
                    .iter()
                    .map(|(name, value)| Field::new(name.clone(), value.clone()))
                    .collect();
                broker.append_raw(stream, &fields, raw.key.as_deref(), Some(&raw.body)).map(drop)
            }
            Stage::Stock(stock) => stock.append(stream, raw).await,
        }
    }

    /// Moves up to `max` messages that a group has not handled to the dead letters; how many.
    pub(super) async fn dead_letter(&self, of: &Group, max: usize) -> Result<u64, Fault> {
        match self {
            Stage::Local(broker) => {
                let mut source = broker.subscribe(of.stream, of.name)?;
                let in_hand = source.receive(max, PATIENCE).await?;
                for (_, receipt) in &in_hand {
                    broker.dead_letter(of.stream, of.name, receipt.offset())?;
                }
                Ok(in_hand.len() as u64)
            }
            Stage::Stock(stock) => stock.dead_letter(of.stream, of.name, max).await,
        }
    }

    /// Appends all dead letters to the stream that they came from; how many.
    pub(super) async fn redrive(&self, stream: &str) -> Result<u64, Fault> {
        match self {
            Stage::Local(broker) => broker.redrive(&dead_letters(stream)),
            Stage::Stock(stock) => stock.redrive(stream).await,
        }
    }
}

/// Where a stream's dead letters are.
pub(super) fn dead_letters(stream: &str) -> String {
    format!("{stream}.dlq")
}

/// Connects as an honest service, and tells how long nothing comes before nothing comes any more.
pub(super) async fn meet(dir: &Path) -> Result<(AnyBroker, Duration)> {
    let path = dir.join(PLAN);
    if !path.exists() {
        return Ok((AnyBroker::Local(Local::open(&dir.join("broker"))?), QUIET));
    }
    let text = std::fs::read(&path).map_err(|error| Failure::io(&path, &error))?;
    let plan: Plan = serde_json::from_slice(&text).map_err(Failure::bug)?;
    let config: BrokerConfig = serde_json::from_value(plan.broker).map_err(Failure::bug)?;
    Ok((AnyBroker::open(config, dir).await?, Duration::from_millis(plan.quiet_ms)))
}
