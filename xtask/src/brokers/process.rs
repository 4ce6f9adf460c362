// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that outlive this program, and are found again by who they are, not by a number alone.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time for a server to be ready, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
const NOTE: &str = "running";

/// A server that was started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// Its process.
    pid: u32,
    /// When that process began, in the kernel's ticks: a number that was given away again is
    /// another process, and is not ours to stop.
    began: u64,
    /// Where clients connect.
    pub(super) url: String,
}

impl Running {
    /// Starts a program in the background, its output in `home/log`.
    pub(super) fn start(
        command: &mut Command,
        home: &Path,
        url: String,
    ) -> Result<Running, String> {
        let log = home.join("log");
        let told = |error: std::io::Error| format!("{}: {error}", log.display());
        let out = File::create(&log).map_err(told)?;
        let err = out.try_clone().map_err(told)?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let name = command.get_program().display().to_string();
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let began = began(child.id()).ok_or_else(|| failed(home, "ended at once"))?;
        Ok(Running { pid: child.id(), began, url })
    }

    /// What `home` says is running, if it still is.
    pub(super) fn find(home: &Path) -> Option<Running> {
        let note = fs::read_to_string(home.join(NOTE)).ok()?;
        let running = Running::read(&note)?;
        (began(running.pid) == Some(running.began)).then_some(running)
    }

    fn read(note: &str) -> Option<Running> {
        let mut words = note.split_whitespace();
        let (pid, began) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Running { pid, began, url: words.next()?.to_owned() })
    }

    /// Writes down what is running.
    pub(super) fn note(&self, home: &Path) -> Result<(), String> {
        let text = format!("{} {} {}\n", self.pid, self.began, self.url);
        super::private_file(&home.join(NOTE), &text)
    }

    /// Waits until `ready`; a server that ends before that is told of with its last words.
    pub(super) fn wait_for(self, home: &Path, ready: impl Fn() -> bool) -> Result<Running, String> {
        let start = Instant::now();
        while !ready() {
            if began(self.pid) != Some(self.began) {
                return Err(failed(home, "ended before it was ready"));
            }
            if start.elapsed() > PATIENCE {
                self.stop()?;
                return Err(failed(home, "was not ready in a minute"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(self)
    }

    /// Asks it to stop, and makes it after a while.
    pub(super) fn stop(&self) -> Result<(), String> {
        let start = Instant::now();
        let mut signal = "-TERM";
        while began(self.pid) == Some(self.began) {
            if start.elapsed() > PATIENCE {
                return Err(format!("process {} does not end", self.pid));
            }
            if start.elapsed() > PATIENCE / 4 {
                signal = "-KILL";
            }
            let _ = Command::new("kill").args([signal, &self.pid.to_string()]).status();
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

fn failed(home: &Path, what: &str) -> String {
    let log = fs::read_to_string(home.join("log")).unwrap_or_default();
    let last: Vec<&str> = log.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("it {what}; its log ({}) ends:\n{}", home.join("log").display(), last.join("\n"))
}

/// When a living process began (proc(5), `stat`, field 22); `None`: there is none, or it has ended.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A port of loopback that nobody has at this moment.
pub(super) fn free_port() -> Result<u16, String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    bound.map(|at| at.port()).map_err(|error| format!("no free port: {error}"))
}

/// Whether an HTTP server on loopback answers 200.
pub(super) fn answers(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(1 << 16).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

/// Runs a tool to its end; gives what it printed.
pub(super) fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{name}` cannot be run ({error}); install it and try again"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{name}` failed ({}): {}", output.status, told.trim()));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("`{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // A number that the kernel gave away again must never be killed in a server's stead.
    #[test]
    fn a_process_is_known_by_when_it_began() {
        let home = std::env::temp_dir().join(format!("chancery-xtask-{}", std::process::id()));
        super::super::private_folder(&home).unwrap();
        let mut sleep = Command::new("sleep");
        let running = Running::start(sleep.arg("600"), &home, "tls://there".into()).unwrap();
        running.note(&home).unwrap();
        assert_eq!(Running::find(&home).as_ref(), Some(&running));
        let other = Running { began: running.began + 1, url: running.url.clone(), ..running };
        other.note(&home).unwrap();
        assert_eq!(Running::find(&home), None);
        other.stop().unwrap();
        assert!(began(running.pid).is_some(), "another process was stopped");
        running.stop().unwrap();
        assert_eq!(began(running.pid), None);
        fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn a_note_that_is_no_note_is_nobody() {
        for note in ["", "12", "12 x tls://a", "x 12 tls://a", "12 12"] {
            assert_eq!(Running::read(note), None, "{note}");
        }
    }
}
