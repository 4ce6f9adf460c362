// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fresh project and the binary in it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const CHANCERY: &str = env!("CARGO_BIN_EXE_chancery");

/// One order as `publish` reads it.
pub(crate) fn order(id: &str, amount: u64) -> String {
    format!("{{\"order_id\":\"{id}\",\"amount\":{amount},\"currency\":\"USD\"}}\n")
}

/// So many orders.
pub(crate) fn orders(count: u64) -> String {
    (1..=count).map(|n| order(&format!("o_{n}"), n)).collect()
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Failed with this code, one message that says this, and no trace of a crash.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, says: &str) -> Ended {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(says), "no `{says}` in {self:?}");
        for crash in ["panicked", "backtrace", "RUST_BACKTRACE", "a defect"] {
            assert!(!self.err.contains(crash), "{self:?}");
        }
        self
    }

    /// Every line of stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A project in a folder of its own.
pub(crate) struct Shop {
    root: TempDir,
}

impl Shop {
    pub(crate) fn new() -> Shop {
        let shop = Shop { root: tempfile::tempdir().unwrap() };
        let path = shop.dir();
        let made = Command::new(CHANCERY).arg("init").arg(path).output().unwrap();
        Ended::of(made).ok();
        shop
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("shop")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(CHANCERY);
        command.args(args).current_dir(self.dir()).env("USER", "tester");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    pub(crate) fn fed(&self, args: &[&str], input: &str) -> Ended {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let feeder = std::thread::spawn(move || {
            // It may refuse before it has read.
            let _ = stdin.write_all(input.as_bytes());
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Ended::of(output)
    }

    /// Publishes so many orders.
    pub(crate) fn publish(&self, count: u64) -> Vec<String> {
        let ids = self.fed(&["publish", "orders.created"], &orders(count)).ok();
        ids.lines().map(str::to_owned).collect()
    }

    /// Consumes what is there as billing.
    pub(crate) fn consume(&self) -> Ended {
        self.run(&["consume", "orders.created", "--group", "billing", "--idle-exit", "1"])
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces a text in a file that has it.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no `{from}`");
        self.write(name, &text.replacen(from, to, 1));
    }
}

/// A consumer that runs in the background. Killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) lines: BufReader<ChildStdout>,
    stderr: std::sync::mpsc::Receiver<String>,
    told: Vec<String>,
}

impl Running {
    pub(crate) fn start(shop: &Shop, args: &[&str]) -> Running {
        let mut command = shop.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (sender, stderr) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Running { child, lines, stderr, told: Vec::new() }
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Waits until stderr says this, and gives the line.
    #[track_caller]
    pub(crate) fn told(&mut self, says: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(line) = self.told.iter().find(|line| line.contains(says)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => self.told.push(line),
                Err(_) => panic!("stderr never said `{says}`: {:?}", self.told),
            }
        }
    }

    /// Sends a signal by name, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ids of consumed lines, in order.
pub(crate) fn ids(ended: &Ended) -> Vec<String> {
    ended.json().iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Files below a folder, with their modes.
pub(crate) fn modes(folder: &Path) -> Vec<(String, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mut modes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        modes.push((entry.file_name().to_string_lossy().into_owned(), mode));
    }
    modes.sort();
    modes
}
