// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery demo`

use std::path::PathBuf;

use crate::demo::{self, Kind, On, Trap, Verdict};
use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, Report, warn};
use crate::wire;

/// See the whole system at work: an embedded broker, a shop, its attackers, and what came of it.
/// Ends with 1 if anything got through, was lost or doubled.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep everything in this new folder; by default in one that goes afterwards.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Play it on this real server, as `cargo xtask brokers up` makes it. Attackers use the
    /// broker's stock Python client, which needs python3 and PyPI once.
    #[arg(long, value_enum)]
    broker: Option<Kind>,
    /// The folder of the servers; by default CHANCERY_BROKERS_DIR, or target/brokers.
    #[arg(long, value_name = "DIR", requires = "broker")]
    brokers: Option<PathBuf>,
}

/// A consumer of the demo, in a process that may be killed.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// The demo's folder.
    #[arg(long)]
    dir: PathBuf,
    /// Abort on this order.
    #[arg(long)]
    abort: Option<String>,
    /// Stand still on this order, and make the file `marker`.
    #[arg(long, requires = "marker")]
    pause: Option<String>,
    /// See `pause`.
    #[arg(long)]
    marker: Option<PathBuf>,
}

impl Report for Verdict {
    fn text(&self) -> String {
        self.table()
    }
}

impl Args {
    /// Plays the demo.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let temporary = tempfile::tempdir().map_err(|e| Failure::io(&std::env::temp_dir(), &e))?;
        let dir = self.keep.unwrap_or_else(|| temporary.path().to_owned());
        std::fs::create_dir_all(&dir).map_err(|error| Failure::io(&dir, &error))?;
        let on = match self.broker {
            None => On::Local,
            Some(kind) => On::Server(kind, brokers(self.brokers)?),
        };
        let verdict = wire::runtime()?.block_on(demo::run(&dir, &on, &warn))?;
        ctx.show(&verdict)?;
        Ok(Exit::found(!verdict.good()))
    }
}

impl WorkerArgs {
    /// Consumes until there is nothing left, or the trap springs.
    pub(crate) fn run(self, _: &Ctx) -> Result {
        let pause = self.pause.zip(self.marker).map(|(order, marker)| Trap::Pause(order, marker));
        let trap = self.abort.map(Trap::Abort).or(pause);
        wire::runtime()?.block_on(demo::work(&self.dir, trap))?;
        Ok(Exit::Ok)
    }
}

fn brokers(named: Option<PathBuf>) -> Result<PathBuf> {
    let known = std::env::var_os("CHANCERY_BROKERS_DIR").map(PathBuf::from);
    let dir = named.or(known).unwrap_or_else(|| PathBuf::from("target/brokers"));
    std::path::absolute(&dir).map_err(|error| Failure::io(&dir, &error))
}
