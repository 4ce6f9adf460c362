// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery demo`

use std::path::PathBuf;

use crate::demo::{self, Trap, Trouble, Verdict};
use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, Report, warn};

/// See the whole system at work: an embedded broker, a shop, its attackers, and what came of it.
/// Ends with 1 if anything got through, was lost or doubled.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep everything in this new folder; by default in one that goes afterwards.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
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
        let verdict = runtime()?.block_on(demo::run(&dir, &warn))?;
        ctx.show(&verdict)?;
        Ok(Exit::found(!verdict.good()))
    }
}

impl WorkerArgs {
    /// Consumes until there is nothing left, or the trap springs.
    pub(crate) fn run(self, _: &Ctx) -> Result {
        let pause = self.pause.zip(self.marker).map(|(order, marker)| Trap::Pause(order, marker));
        let trap = self.abort.map(Trap::Abort).or(pause);
        runtime()?.block_on(demo::work(&self.dir, trap))?;
        Ok(Exit::Ok)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Fault(fault) => fault.into(),
            Trouble::Misuse(misuse) => misuse.into(),
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(Failure::bug)
}
