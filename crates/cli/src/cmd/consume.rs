// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery consume STREAM --group G`: admitted messages to standard output, or one by one to a
//! program.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery::{Outcome, Settings, Signals, Snapshot, Summary};
use chancery_core::Reader;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, warn};
use crate::project::{self, Project, reload};
use crate::{metrics, suggest, wire};

mod exec;
pub(crate) mod line;
mod pipe;

use exec::Program;
use line::Line;
use pipe::Pipe;

/// Handle a stream's messages.
///
/// Each admitted message is one JSON object on one line, in one write: `id`, `type`, `version`,
/// `producer`, `tenant`, `stream`, `key`, `time`, `payload`. It counts as handled once it is
/// written, so whoever reads may see a message again after a kill, and loses what it had buffered
/// if it dies itself. A program run by --exec gets the line on its standard input instead; it is
/// handled when the program ends with 0. On a stream below `enforce` each line also has
/// `unproven`, `verified` and `findings`, and what it says is a claim.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The stream.
    stream: String,
    /// The group whose share of the stream this is.
    #[arg(long)]
    group: String,
    /// The consuming service; by default the one that the policy names for the group.
    #[arg(long = "as", value_name = "SERVICE")]
    service: Option<String>,
    /// Stop after this many handled messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Stop after this long without a message.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    idle_exit: Option<u64>,
    /// Wait this long, once begun, for a broker, ledger or evidence log that is down, with
    /// everything kept in hand; by default 600, or --idle-exit if that is given.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    patience: Option<u64>,
    /// Failed attempts before a message is parked.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    attempts: u32,
    /// Longest time for one message.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Serve Prometheus metrics here; a port alone means this machine only.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = metrics::address)]
    metrics: Option<SocketAddr>,
    /// Run this program for each message, without a shell. Last: the rest of the line is its own.
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    exec: Option<Vec<String>>,
}

/// One attempt at one message.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The same for every attempt at this event.
    pub(crate) key: String,
    /// Grows with each attempt.
    pub(crate) fence: u64,
}

/// What is done with a message.
pub(crate) trait Effect: Send + Sync + 'static {
    /// Does it, or undoes it and says why.
    fn run(&self, line: &Line, attempt: &Attempt) -> impl Future<Output = Outcome> + Send;
}

/// What stands for the whole run once it can go no further: nobody reads, or nothing can be
/// started. The message in hand is left as if it had never been taken.
#[derive(Clone, Default)]
pub(crate) struct Halt(Arc<(Mutex<Option<Failure>>, Notify)>);

impl Halt {
    /// Ends the run; never returns.
    pub(crate) async fn with(&self, failure: Failure) -> Outcome {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.0.1.notify_one();
        std::future::pending().await
    }

    async fn wait(&self) -> Failure {
        loop {
            self.0.1.notified().await;
            let failure = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(failure) = failure {
                return failure;
            }
        }
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(mut self, ctx: &Ctx) -> Result {
        let project = Project::open(ctx)?;
        let snapshots = reload::watched(&project)?;
        let service = self.consuming_service(&snapshots.current())?;
        let reader = Reader { service, group: self.group.clone() };
        let program = self.exec.take();
        let run = wire::Consuming {
            stream: self.stream.clone(),
            reader,
            snapshots,
            settings: self.settings(program.is_some()),
            signals: Signals::default(),
            lease: Duration::from_secs(self.timeout + 30),
        };
        let summary = wire::runtime()?.block_on(async {
            if let Some(address) = self.metrics {
                metrics::serve(address, run.signals.clone()).await?;
            }
            let halt = Halt::default();
            match program {
                Some(argv) => finish(&project, run, Program::new(argv, halt.clone())?, halt).await,
                None => finish(&project, run, Pipe::new(halt.clone())?, halt).await,
            }
        })?;
        let Summary { handled, refused } = summary;
        warn(&format!("chancery: {handled} handled, {refused} set aside or skipped"));
        Ok(Exit::Ok)
    }

    fn settings(&self, one_at_a_time: bool) -> Settings {
        let standard = Settings::default();
        let patience = self.patience.or(self.idle_exit).map(Duration::from_secs);
        Settings {
            batch_max: if one_at_a_time { 1 } else { 64 },
            attempts_max: self.attempts,
            handler_timeout: Duration::from_secs(self.timeout),
            handled_max: self.max,
            idle_exit: self.idle_exit.map(Duration::from_secs),
            patience: patience.unwrap_or(standard.patience),
            ..standard
        }
    }

    /// `--as`, or whom the policy names for the group.
    fn consuming_service(&self, snapshot: &Snapshot) -> Result<String> {
        let stream = project::stream(snapshot, &self.stream)?;
        let at = format!("policy.yaml, streams.{}.handled_by", self.stream);
        let Some(named) = stream.handled_by.get(&self.group) else {
            let what = format!("has no group `{}`", crate::out::plain(&self.group));
            let fix = suggest::instead(&self.group, stream.handled_by.keys().map(String::as_str));
            return Err(Failure::misuse(what, at, fix));
        };
        match &self.service {
            Some(service) if service != named => {
                let what = format!("group `{}` is `{named}`, not `{service}`", self.group);
                Err(Failure::misuse(what, at, "leave --as out, or name another group"))
            }
            _ => Ok(named.clone()),
        }
    }
}

/// Consumes until told to stop, or until the effect can go no further.
async fn finish<E: Effect>(
    project: &Project,
    run: wire::Consuming,
    effect: E,
    halt: Halt,
) -> Result<Summary> {
    let stop = stop_signal()?;
    tokio::select! {
        biased;
        failure = halt.wait() => Err(failure),
        summary = wire::consume(project, run, effect, stop) => summary,
    }
}

/// Ready at the first SIGINT or SIGTERM; at the second the process ends there and then.
fn stop_signal() -> Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::bug)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::bug)?;
    let first = Arc::new(Notify::new());
    let told = first.clone();
    tokio::spawn(async move {
        for nth in 0.. {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
            if nth > 0 {
                std::process::exit(130);
            }
            warn("chancery: finishing the message in hand; once more ends at once");
            told.notify_one();
        }
    });
    Ok(async move { first.notified().await })
}
