// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `chancery` command. Read `cli.rs` for what can be typed, `exit.rs` for how it can end,
//! `wire.rs` for which broker and store stand behind it.

use std::process::ExitCode;

use clap::Parser;

mod cli;
mod cmd;
mod demo;
mod exit;
mod files;
mod metrics;
mod out;
mod project;
mod suggest;
mod wire;

fn main() -> ExitCode {
    exit::quiet_panics();
    let cli = cli::Cli::parse();
    let ctx = out::Ctx::new(cli.json, cli.project.clone());
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cli.command.run(&ctx)));
    match ended {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(failure)) => ctx.fail(&failure),
        Err(_) => exit::Exit::Bug.into(),
    }
}
