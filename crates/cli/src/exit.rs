// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a command can end: the one table of exit codes, and what is told when it fails
//! (docs/guides/cli.md "Exit codes").

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use chancery::{ConsumeError, Fault, Misuse, MisuseKind, PublishError, Refusal};

/// How a command ended. Usage errors (2) are clap's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, nothing to report.
    Ok,
    /// Done, and something was found or refused; it is on stdout or stderr.
    Findings,
    /// The project, a file, a key, the policy or a name does not fit; nothing was done.
    Misuse,
    /// The broker, a store or the evidence log failed; nothing undone was acknowledged.
    Unavailable,
    /// A defect of ours.
    Bug,
    /// A file or a pipe failed.
    Io,
    /// Whoever read our output has closed it, 128 + SIGPIPE as from any other tool.
    OutputClosed,
}

impl Exit {
    /// Every way but usage errors, for the table in the guide.
    #[cfg(test)]
    pub(crate) const ALL: [Exit; 7] = [
        Exit::Ok,
        Exit::Findings,
        Exit::Misuse,
        Exit::Unavailable,
        Exit::Bug,
        Exit::Io,
        Exit::OutputClosed,
    ];

    /// The number, after sysexits.h where it has one.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Findings => 1,
            Exit::Misuse => 64,
            Exit::Unavailable => 69,
            Exit::Bug => 70,
            Exit::Io => 74,
            Exit::OutputClosed => 141,
        }
    }

    /// `Findings` if there are any.
    pub(crate) fn found(any: bool) -> Exit {
        if any { Exit::Findings } else { Exit::Ok }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command did not do what it was asked: what, where, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How to end.
    pub(crate) exit: Exit,
    /// The stable code of a reason or fault, where it has one; `chancery why CODE` explains it.
    pub(crate) code: Option<&'static str>,
    /// What is wrong.
    pub(crate) what: String,
    /// Where: a file, a flag, a member, a line.
    pub(crate) at: String,
    /// What to do about it.
    pub(crate) fix: String,
}

/// What commands give.
pub(crate) type Result<T = Exit, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Of the configuration, a key, the policy, a name.
    pub(crate) fn misuse(
        what: impl Into<String>,
        at: impl Into<String>,
        fix: impl Into<String>,
    ) -> Failure {
        Misuse::new(what, at, fix).into()
    }

    /// Of a file.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Failure {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check who owns it and its mode",
            io::ErrorKind::StorageFull => "free some space; nothing was lost",
            io::ErrorKind::IsADirectory => "name a file",
            io::ErrorKind::NotADirectory => "a folder belongs there; move what is there away",
            _ => "see what the system says of this disk",
        };
        Failure::of(Exit::Io, system_text(error), path.display().to_string(), fix)
    }

    /// Of standard input or output.
    pub(crate) fn pipe(name: &str, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => {
                Failure::of(Exit::OutputClosed, "was closed by its reader", name, "")
            }
            io::ErrorKind::StorageFull => {
                let fix =
                    "free some space and run it again; a message that was not written comes again";
                Failure::of(Exit::Io, "the disk is full", name, fix)
            }
            io::ErrorKind::IsADirectory => {
                Failure::of(Exit::Io, system_text(error), name, "give it a file or a pipe")
            }
            _ => Failure::of(Exit::Io, system_text(error), name, "run it again"),
        }
    }

    /// Ours.
    pub(crate) fn bug(what: impl fmt::Display) -> Failure {
        let fix = "this is a defect of chancery; please report it with the command you typed";
        Failure::of(Exit::Bug, what.to_string(), "chancery", fix)
    }

    fn of(
        exit: Exit,
        what: impl Into<String>,
        at: impl Into<String>,
        fix: impl Into<String>,
    ) -> Failure {
        Failure { exit, code: None, what: what.into(), at: at.into(), fix: fix.into() }
    }
}

/// What the system said, without the number that it appends.
pub(crate) fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(text, _)| text.to_lowercase())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code}: ")?;
        }
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.what)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "\n  fix: {}", self.fix) }
    }
}

impl From<Misuse> for Failure {
    fn from(misuse: Misuse) -> Failure {
        let code = misuse.kind.map(MisuseKind::code);
        Failure { code, ..Failure::of(Exit::Misuse, one_line(&misuse.what), misuse.at, misuse.fix) }
    }
}

/// The first line of what a parser says; the rest is a drawing of the place.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        let code = fault.kind.code();
        let fix = format!("`chancery why {code}` says what to do; nothing undone was acknowledged");
        Failure { code: Some(code), ..Failure::of(Exit::Unavailable, fault.detail, "", fix) }
    }
}

impl From<ConsumeError> for Failure {
    fn from(error: ConsumeError) -> Failure {
        match error {
            ConsumeError::Fault(fault) => fault.into(),
            ConsumeError::Misuse(misuse) => misuse.into(),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let code = refusal.reason.code();
        let fix = format!("`chancery why {code}` says what it means");
        Failure { code: Some(code), ..Failure::of(Exit::Findings, refusal.detail, "", fix) }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Failure {
        match error {
            PublishError::Refused(refusal) => refusal.into(),
            PublishError::Misuse(misuse) => misuse.into(),
            PublishError::Fault(fault) => fault.into(),
        }
    }
}

/// A panic is one line on stderr, never a backtrace.
pub(crate) fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        crate::out::warn(&format!("chancery: a defect at {at}; please report it"));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_lists_every_exit_code() {
        let guide = include_str!("../../../docs/guides/cli.md");
        for exit in Exit::ALL {
            let row = format!("| {} |", exit.code());
            assert!(guide.contains(&row), "docs/guides/cli.md has no row `{row}`");
        }
        assert!(guide.contains("| 2 |"));
    }
}
