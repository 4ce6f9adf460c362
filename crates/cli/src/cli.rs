// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be typed: one file per verb in `cmd/`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cmd;
use crate::exit::Result;
use crate::out::Ctx;

/// What every command understands stands apart from its own flags.
const EVERYWHERE: &str = "With every command";

/// Makes every message on a queue provably from the service it names, meant for the stream it
/// arrived on, handled once and in order, and entered on a record that nobody can quietly change.
#[derive(Debug, Parser)]
#[command(name = "chancery", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The project's folder; by default this one or the nearest above with a chancery.yaml.
    #[arg(long, short = 'C', global = true, value_name = "DIR", help_heading = EVERYWHERE)]
    pub(crate) project: Option<PathBuf>,
    /// JSON on stdout: one document, or one per line.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See the whole system at work, attacks included.
    Demo(cmd::demo::Args),
    #[command(hide = true)]
    DemoWorker(cmd::demo::WorkerArgs),
    /// Make a project: configuration, policy, schemas, keys, trust bundle.
    Init(cmd::init::Args),
    /// Sign and append one message per line of standard input.
    Publish(cmd::publish::Args),
    /// Handle a stream's messages: to standard output, or by a program of yours.
    Consume(cmd::consume::Args),
    /// See what was set aside, and release it or give it up.
    Kept(cmd::kept::Args),
    /// See, verify and hand out what is on record.
    Evidence(cmd::evidence::Args),
    /// Make a first schema from an example, and look schemas over.
    Schema(cmd::schema::Args),
    /// Keys and the trust bundle.
    Keys(cmd::keys::Args),
    /// Look the policy over, and ask it who may do what.
    Policy(cmd::policy::Args),
    /// What a code means and what to do about it.
    Why(cmd::why::Args),
    /// What became of one message, and which rule decided.
    Explain(cmd::explain::Args),
    /// How the project stands: streams, lag, what is set aside, evidence.
    Status(cmd::status::Args),
    /// Check clock, keys, bundle, disk and databases; say what is promised per stream.
    Doctor(cmd::doctor::Args),
    /// Completions for a shell.
    Completions(cmd::completions::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        match self {
            Command::Demo(args) => args.run(ctx),
            Command::DemoWorker(args) => args.run(ctx),
            Command::Init(args) => args.run(ctx),
            Command::Publish(args) => args.run(ctx),
            Command::Consume(args) => args.run(ctx),
            Command::Kept(args) => args.run(ctx),
            Command::Evidence(args) => args.run(ctx),
            Command::Schema(args) => args.run(ctx),
            Command::Keys(args) => args.run(ctx),
            Command::Policy(args) => args.run(ctx),
            Command::Why(args) => args.run(ctx),
            Command::Explain(args) => args.run(ctx),
            Command::Status(args) => args.run(ctx),
            Command::Doctor(args) => args.run(ctx),
            Command::Completions(args) => args.run(ctx),
        }
    }
}
