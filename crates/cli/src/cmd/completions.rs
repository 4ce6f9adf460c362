// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery completions SHELL`

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit::{Exit, Result};
use crate::out::Ctx;

/// Completions for a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    shell: Shell,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "chancery", &mut script);
        ctx.write(&script)?;
        Ok(Exit::Ok)
    }
}
