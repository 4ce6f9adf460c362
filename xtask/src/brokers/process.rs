// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that outlive this program, and are found again by who they are, not by a number alone.
//! A process has a folder with its `start` script, its `pid` note and its `log`: whoever runs the
//! script gets the same server again, on the same ports and data.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time for a server to be ready, or to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process of a server, by its folder.
pub(super) struct Process {
    folder: PathBuf,
}

/// What a `pid` note says: a process, and when it began, in the kernel's ticks. A number that was
/// given away again is another process, and is not ours to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    pid: u32,
    began: u64,
}

impl Process {
    pub(super) fn at(folder: PathBuf) -> Process {
        Process { folder }
    }

    pub(super) fn runs(&self) -> bool {
        self.alive().is_some()
    }

    fn alive(&self) -> Option<Note> {
        let note = Note::read(&fs::read_to_string(self.folder.join("pid")).ok()?)?;
        (began(note.pid) == Some(note.began)).then_some(note)
    }

    /// Starts a program in the background, unless it runs, and waits until it is `ready`; one that
    /// ends before that is told of with its last words.
    pub(super) fn start(&self, command: &Command, ready: impl Fn() -> bool) -> Result<(), String> {
        if !self.runs() {
            super::private_file(&self.folder.join("start"), &script(command, &self.folder))?;
            let mut shell = Command::new("/bin/sh");
            shell.arg(self.folder.join("start")).stdin(Stdio::null()).process_group(0);
            let spawned = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = spawned.map_err(|error| format!("/bin/sh: {error}"))?;
            // Whoever kills it while we live must not find what is left of it.
            let waits = std::thread::spawn(move || child.wait());
            return self.wait(ready, || !waits.is_finished());
        }
        self.wait(ready, || self.runs())
    }

    fn wait(
        &self,
        ready: impl Fn() -> bool,
        mut lives: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let start = Instant::now();
        while !ready() || !self.runs() {
            if !lives() {
                return Err(self.failed("ended before it was ready"));
            }
            if start.elapsed() > PATIENCE {
                self.stop()?;
                return Err(self.failed("was not ready in two minutes"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Asks it to stop, by the signal that its `stop` file names if it has one, and makes it after
    /// a while.
    pub(super) fn stop(&self) -> Result<(), String> {
        let start = Instant::now();
        let polite = fs::read_to_string(self.folder.join("stop"));
        let polite = polite.unwrap_or_else(|_| "-TERM".to_owned());
        let mut asked = false;
        while let Some(note) = self.alive() {
            if start.elapsed() > PATIENCE {
                return Err(format!("process {} does not end", note.pid));
            }
            if start.elapsed() > PATIENCE / 8 {
                signal("-KILL", note.pid);
            } else if !asked {
                signal(&polite, note.pid);
                asked = true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Kills it, as a crash would, and waits until its parent has noticed.
    pub(super) fn kill(&self) {
        let Some(note) = self.alive() else { return };
        signal("-KILL", note.pid);
        let start = Instant::now();
        while Path::new(&format!("/proc/{}", note.pid)).exists() && start.elapsed() < PATIENCE / 24
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn failed(&self, what: &str) -> String {
        let path = self.folder.join("log");
        let log = fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let mut last: Vec<&str> = log.lines().rev().take(8).collect();
        last.reverse();
        format!("it {what}; its log ({}) ends:\n{}", path.display(), last.join("\n"))
    }
}

impl Note {
    fn read(note: &str) -> Option<Note> {
        let (pid, began) = note.trim_end().split_once(' ')?;
        Some(Note { pid: pid.parse().ok()?, began: began.parse().ok()? })
    }
}

/// A shell script that becomes the command. It writes the note itself, before: no process is ever
/// started that nobody would find.
fn script(command: &Command, folder: &Path) -> String {
    let mut text = "#!/bin/sh\n# The server again, on the same ports and data.\n".to_owned();
    text += &format!("cd {} && umask 077\n", quoted(folder.as_os_str()));
    text += "began=$(cut -d ' ' -f 22 /proc/$$/stat)\n";
    text += "echo \"$$ $began\" >pid.new && mv pid.new pid\n";
    for (name, value) in command.get_envs() {
        let name = name.to_string_lossy();
        text += &match value {
            Some(value) => format!("export {name}={}\n", quoted(value)),
            None => format!("unset {name}\n"),
        };
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(quoted).collect();
    text + &format!("exec {} </dev/null >>log 2>&1\n", words.join(" "))
}

/// A word of the shell that means itself.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

fn signal(name: &str, pid: u32) {
    let mut kill = Command::new("kill");
    let _ = kill.args([name, &pid.to_string()]).stderr(Stdio::null()).status();
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

/// Whether something listens on a port of loopback.
pub(super) fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
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
        let told =
            if told.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { told };
        return Err(format!("`{name}` failed ({}): {}", output.status, told.trim()));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("`{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(name: &str) -> (PathBuf, Process, Command) {
        let name = format!("chancery xtask's {name} {}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        super::super::private_folder(&folder).unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        (folder.clone(), Process::at(folder), sleep)
    }

    // A number that the kernel gave away again must never be killed in a server's stead.
    #[test]
    fn a_process_is_known_by_when_it_began() {
        let (folder, process, sleep) = sleeper("note");
        process.start(&sleep, || true).unwrap();
        let note = process.alive().unwrap();
        let other = format!("{} {}\n", note.pid, note.began + 1);
        fs::write(folder.join("pid"), other).unwrap();
        assert!(!process.runs());
        process.stop().unwrap();
        process.kill();
        assert_eq!(began(note.pid), Some(note.began), "another process was stopped");
        fs::write(folder.join("pid"), format!("{} {}\n", note.pid, note.began)).unwrap();
        process.stop().unwrap();
        assert_eq!(began(note.pid), None);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_runs_is_not_started_again_and_what_was_killed_is() {
        let (folder, process, sleep) = sleeper("restart");
        process.start(&sleep, || true).unwrap();
        let first = process.alive();
        process.start(&sleep, || true).unwrap();
        assert_eq!(process.alive(), first);
        process.kill();
        assert!(!process.runs());
        process.start(&sleep, || true).unwrap();
        assert!(process.runs() && process.alive() != first);
        process.stop().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_program_that_ends_is_told_of_with_its_last_words() {
        let (folder, process, _) = sleeper("end");
        let mut dies = Command::new("sh");
        dies.args(["-c", "echo it\\'s \"$WHY\"; exit 1"]).env("WHY", "no 'data' $HOME");
        let why = process.start(&dies, || false).unwrap_err();
        assert!(why.contains("ended") && why.ends_with("it's no 'data' $HOME"), "{why}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_note_that_is_no_note_is_nobody() {
        for note in ["", "12", "12 x", "x 12", "12 12 12"] {
            assert_eq!(Note::read(note), None, "{note}");
        }
    }
}
