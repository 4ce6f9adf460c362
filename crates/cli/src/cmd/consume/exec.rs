// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to a program of the user's, one process each, without a shell.

use std::io;
use std::process::{ExitStatus, Stdio};

use chancery::Outcome;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::{Attempt, Effect, Halt, Line};
use crate::exit::{Failure, Result, system_text};

/// EX_TEMPFAIL: not now.
const RETRY: i32 = 75;
/// EX_DATAERR: not this one, ever.
const PARK: i32 = 65;

/// A program and its arguments.
pub(crate) struct Program {
    program: String,
    args: Vec<String>,
    halt: Halt,
}

impl Program {
    /// The program that `argv` names.
    pub(crate) fn new(argv: Vec<String>, halt: Halt) -> Result<Program> {
        let mut argv = argv.into_iter();
        let program = argv.next().filter(|program| !program.is_empty()).ok_or_else(|| {
            Failure::misuse("names no program", "--exec", "write --exec CMD ARG…")
        })?;
        Ok(Program { program, args: argv.collect(), halt })
    }

    async fn child(&self, line: &Line, attempt: &Attempt) -> io::Result<ExitStatus> {
        let mut command = Command::new(&self.program);
        command.env_remove("CHANCERY_MESSAGE");
        if let Some(message) = &line.message {
            command.env("CHANCERY_MESSAGE", message);
        }
        let mut child = command
            .args(&self.args)
            .env("CHANCERY_KEY", &attempt.key)
            .env("CHANCERY_FENCE", attempt.fence.to_string())
            .env("CHANCERY_STREAM", &line.stream)
            .stdin(Stdio::piped())
            // Of its own group: an interrupt at the terminal is ours, the message is finished.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = Group::of(&child);
        if let Some(mut stdin) = child.stdin.take() {
            // A program may be done without reading; its exit status decides.
            let _ = stdin.write_all(&line.bytes).await;
        }
        let status = child.wait().await;
        group.over();
        status
    }
}

/// The processes of one attempt. Dropped before the first of them has ended, it kills them all:
/// what such an attempt has begun must not go on beside the next one.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group(id.and_then(Pid::from_raw))
    }

    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already; then there is nothing to do.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Effect for Program {
    async fn run(&self, line: &Line, attempt: &Attempt) -> Outcome {
        match self.child(line, attempt).await {
            Ok(status) => outcome(status),
            // Nothing ran, so nothing can be held against the message.
            Err(error) => {
                let fix = "name a program that can be run; the message comes again";
                let what = format!("cannot be run: {}", system_text(&error));
                let at = format!("--exec {}", self.program);
                self.halt.with(Failure::misuse(what, at, fix)).await
            }
        }
    }
}

fn outcome(status: ExitStatus) -> Outcome {
    match status.code() {
        Some(0) => Outcome::Done,
        Some(RETRY) => Outcome::Retry("the program asked for another time".to_owned()),
        Some(PARK) => Outcome::Park("the program refused the message".to_owned()),
        Some(code) => Outcome::Retry(format!("the program ended with {code}")),
        None => Outcome::Retry(format!("the program died: {status}")),
    }
}
