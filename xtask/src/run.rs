// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running commands and talking.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// `cargo` as this xtask was started by, so that the toolchain is the same.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Runs a step; its name is told first.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<(), String> {
    warn(&format!("\n== {name}"));
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed ({status})")) }
}

/// Runs a step, shows its output as it comes, and gives the lines.
pub(crate) fn step_lines(name: &str, command: &mut Command) -> Result<(bool, Vec<String>), String> {
    warn(&format!("\n== {name}"));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("{name}: {e}"))?;
    let mut lines = Vec::new();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            say(&format!("{line}\n"))?;
            lines.push(line);
        }
    }
    let status = child.wait().map_err(|error| format!("{name}: {error}"))?;
    Ok((status.success(), lines))
}

/// Writes to standard output.
pub(crate) fn say(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// Writes a line to standard error.
pub(crate) fn warn(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
