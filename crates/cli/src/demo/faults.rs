// SPDX-License-Identifier: MIT OR Apache-2.0
//! The faults: consumers that die, and a dead-letter queue that is driven again. What must die is
//! a child process of this same binary.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chancery::{Fault, PublishError};

use super::services::{BILLING, Group, REPORT, Shop};
use super::stage::{Stage, dead_letters};
use super::verdict::FaultResult;
use super::{Publishers, audit, honest};

/// Messages of each fault.
const FEW: u64 = 20;
/// Times a supervisor would start a consumer again.
const RESTARTS_MAX: u32 = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// Orders that the faults add to the honest ones, and the one that can never be handled.
pub(super) struct Added {
    pub(super) orders: u64,
    pub(super) poison: String,
}

/// Honest orders that [`all`] publishes.
pub(super) const ORDERS: u64 = 3 * FEW;

/// Every fault, one after the other, on the report service.
pub(super) async fn all(
    shop: &Shop,
    stage: &Stage,
    publishers: &Publishers,
    first: u64,
) -> Result<(Vec<FaultResult>, Added), Fault> {
    let publish = async |from: u64| {
        let published = honest::orders(&publishers.orders, from, from + FEW).await;
        published.map_err(|error| match error {
            PublishError::Fault(fault) => fault,
            other => Fault::broker(other.to_string()),
        })
    };
    let mut next = first;
    let mut results = Vec::new();

    publish(next).await?;
    let poison = format!("o_{}", next + FEW / 2);
    next += FEW;
    // All but the one that can never be handled.
    results.push(aborts(shop, &poison, next - 1)?);

    publish(next).await?;
    let order = format!("o_{}", next + FEW / 2);
    next += FEW;
    results.push(killed_in_handler(shop, &order, next - 1)?);

    publish(next).await?;
    results.push(redriven(shop, stage, publishers).await?);
    next += FEW;
    Ok((results, Added { orders: next - first, poison }))
}

fn aborts(shop: &Shop, poison: &str, owed: u64) -> Result<FaultResult, Fault> {
    let mut deaths = 0;
    for _ in 0..RESTARTS_MAX {
        let mut worker = Worker::start(shop, &["--abort", poison])?;
        if worker.wait()? {
            break;
        }
        deaths += 1;
    }
    let drained = audit::count(&shop.dir, &REPORT)? == owed;
    Ok(FaultResult {
        name: "a message that aborts its consumer",
        survived: drained && deaths > 0 && deaths < RESTARTS_MAX,
        detail: format!("parked after {deaths} deaths, the rest handled"),
    })
}

fn killed_in_handler(shop: &Shop, order: &str, owed: u64) -> Result<FaultResult, Fault> {
    let marker = shop.dir.join("mid-handler");
    let at = marker.to_string_lossy().into_owned();
    let mut worker = Worker::start(shop, &["--pause", order, "--marker", &at])?;
    let caught = wait_for(&marker);
    worker.kill()?;
    let drained = Worker::start(shop, &[])?.wait()?;
    Ok(FaultResult {
        name: "consumer killed in mid-handler",
        survived: caught && drained && audit::count(&shop.dir, &REPORT)? == owed,
        detail: "effect written and not committed, kill -9, run again".to_owned(),
    })
}

// Some of these messages were never handled, some were handled long ago: a redrive must run the
// first and skip the second.
async fn redriven(
    shop: &Shop,
    stage: &Stage,
    publishers: &Publishers,
) -> Result<FaultResult, Fault> {
    let dead = stage.dead_letter(&REPORT, 10).await?;
    let done = publishers.tap.first(REPORT.stream, 50);
    for raw in &done {
        stage.append(&dead_letters(REPORT.stream), raw).await?;
    }
    let driven = stage.redrive(REPORT.stream).await?;
    let run = |group: Group| async move {
        group.run(shop, shop.until_quiet(), None, std::future::pending()).await
    };
    tokio::try_join!(run(REPORT), run(BILLING))?;
    Ok(FaultResult {
        name: "dead-letter queue driven again",
        survived: dead > 0 && done.len() == 50 && driven == dead + 50,
        detail: format!("{driven} messages, {dead} of them not done before; no effect doubled"),
    })
}

/// A consumer of the report service in a process of its own.
struct Worker(Child);

impl Worker {
    fn start(shop: &Shop, trap: &[&str]) -> Result<Worker, Fault> {
        let binary = std::env::current_exe().map_err(Fault::broker)?;
        let child = Command::new(binary)
            .args(["demo-worker", "--dir"])
            .arg(&shop.dir)
            .args(trap)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.map(Worker).map_err(Fault::broker)
    }

    /// Whether it ended by itself and well.
    fn wait(&mut self) -> Result<bool, Fault> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait().map_err(Fault::broker)? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()?;
        Ok(false)
    }

    fn kill(&mut self) -> Result<(), Fault> {
        self.0.kill().and_then(|()| self.0.wait().map(|_| ())).map_err(Fault::broker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(marker: &Path) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if marker.exists() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Where a demo keeps what its workers need.
pub(super) fn bundle_path(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("bundle.json"), dir.join("root.pub"))
}
