// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data to stdout, everything else to stderr; colour and progress only for people.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl};
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};

/// What every command is given.
#[derive(Clone, Debug)]
pub(crate) struct Ctx {
    /// Whether stdout is to be JSON.
    pub(crate) json: bool,
    /// The project folder, if one was named.
    pub(crate) project: Option<PathBuf>,
}

/// What a command has to say: JSON for programs, text for people.
pub(crate) trait Report: Serialize {
    /// The same for people; ends in a newline unless it is empty.
    fn text(&self) -> String;
}

impl Ctx {
    /// A context for one command.
    pub(crate) fn new(json: bool, project: Option<PathBuf>) -> Ctx {
        Ctx { json, project }
    }

    /// Writes one report to stdout.
    pub(crate) fn show<R: Report>(&self, report: &R) -> Result<()> {
        if self.json {
            return self.json_line(report);
        }
        self.write(report.text().as_bytes())
    }

    /// Writes one JSON document as one line to stdout.
    pub(crate) fn json_line<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(Failure::bug)?;
        line.push(b'\n');
        self.write(&line)
    }

    /// Writes text to stdout as it is.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        stdout_file().and_then(|mut out| out.write_all(bytes)).map_err(|error| stdout(&error))
    }

    /// Tells of a failure and gives the exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        // Whoever closed our output knows; but not what is to be done about it, if anything is.
        if failure.exit != Exit::OutputClosed || !failure.fix.is_empty() {
            if self.json {
                let error = serde_json::json!({"error": {
                    "exit": failure.exit.code(), "code": failure.code,
                    "what": failure.what, "at": failure.at, "fix": failure.fix,
                }});
                warn(&error.to_string());
            } else {
                warn(&format!("{} {failure}", paint(Colour::Red, "chancery:")));
            }
        }
        failure.exit.into()
    }
}

/// Standard output without a buffer, so that one line is one write.
fn stdout_file() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Standard output for what must not be lost.
///
/// Rust's runtime opens `/dev/null` for reading and writing where a program is started without
/// standard output; a shell's `>/dev/null` is for writing only.
///
/// # Errors
/// There is none: what is written would be gone and count as delivered.
pub(crate) fn stdout_for_data() -> Result<File> {
    let opened = || -> io::Result<(File, bool)> {
        let out = stdout_file()?;
        let both = fcntl_getfl(&out)? & OFlags::RWMODE == OFlags::RDWR;
        let null = std::fs::metadata("/dev/null").is_ok_and(|null| {
            out.metadata().is_ok_and(|out| out.rdev() == null.rdev() && null.rdev() != 0)
        });
        Ok((out, both && null))
    };
    match opened() {
        Ok((out, false)) => Ok(out),
        Ok((_, true)) => {
            let fix = "give it a file or a pipe, or write `>/dev/null` to throw away what it says";
            Err(Failure::misuse("is closed", "standard output", fix))
        }
        Err(error) => Err(stdout(&error)),
    }
}

/// A failure of standard output.
pub(crate) fn stdout(error: &io::Error) -> Failure {
    Failure::pipe("standard output", error)
}

/// One line to stderr. That stderr is gone is no reason to stop.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The colours in use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    /// Wrong.
    Red,
    /// To be looked at.
    Yellow,
}

/// Colours text for stderr, if stderr is a terminal and NO_COLOR is not set (no-color.org).
pub(crate) fn paint(colour: Colour, text: &str) -> String {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if !wanted || !io::stderr().is_terminal() {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Red => 31,
        Colour::Yellow => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A line that counts, on a terminal only and only if it takes long.
pub(crate) struct Progress {
    what: &'static str,
    since: Instant,
    told: Option<Instant>,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_millis(500);
    const EVERY: Duration = Duration::from_millis(100);

    /// Begins.
    pub(crate) fn new(what: &'static str) -> Progress {
        Progress { what, since: Instant::now(), told: None }
    }

    /// So many of so many.
    pub(crate) fn at(&mut self, done: u64, of: u64) {
        let due = self.told.is_none_or(|told| told.elapsed() >= Progress::EVERY);
        if self.since.elapsed() < Progress::PATIENCE || !due || !io::stderr().is_terminal() {
            return;
        }
        self.told = Some(Instant::now());
        let _ = write!(io::stderr().lock(), "\r{} {done} of {of}\x1b[K", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// Lines up columns by two spaces; the last column runs on.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&header).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = String::new();
    for row in all() {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// So many of something.
pub(crate) fn many(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// Text from a message or a broker, safe for a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let keep = !c.is_control();
            let shown: Vec<char> = if keep { vec![c] } else { c.escape_default().collect() };
            shown
        })
        .collect()
}
