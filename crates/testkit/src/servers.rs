// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real servers that `cargo xtask brokers up` has made, for the tests that need them. One that
//! is missing fails the test: nothing is skipped.

#![allow(clippy::panic, reason = "this is a part of tests")]

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time for a server to end or to be ready again.
const PATIENCE: Duration = Duration::from_secs(150);

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    home: PathBuf,
    up: String,
}

impl Server {
    /// The hardened server of this name.
    ///
    /// # Panics
    /// It was never made; the message has the command that makes it.
    #[must_use]
    pub fn hardened(name: &str) -> Server {
        Server::at("hardened", name, format!("cargo xtask brokers up {name}"))
    }

    /// The server of this name as people leave it.
    ///
    /// # Panics
    /// As [`Server::hardened`].
    #[must_use]
    pub fn as_found(name: &str) -> Server {
        Server::at("as-found", name, format!("cargo xtask brokers up --as-found {name}"))
    }

    fn at(fixture: &str, name: &str, up: String) -> Server {
        let server = Server { home: root().join(fixture).join(name), up };
        assert!(!server.read("endpoints").is_empty(), "{name} has no listener");
        server
    }

    /// Where a listener of this name is.
    ///
    /// # Panics
    /// There is no such listener.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> String {
        let lines = self.read("endpoints");
        let found = lines.lines().find_map(|line| line.strip_prefix(listener)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no `{listener}` among:\n{lines}")).to_owned()
    }

    /// The folder with what a service has in hand.
    #[must_use]
    pub fn client(&self, service: &str) -> PathBuf {
        self.home.join("clients").join(service)
    }

    /// A file below the server's folder, such as `clients/orders/password`, without the white
    /// space at its end.
    ///
    /// # Panics
    /// It is not there; the message has the command that makes it.
    #[must_use]
    pub fn read(&self, file: &str) -> String {
        let path = self.home.join(file);
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|e| panic!("{}: {e}; run `{}`", path.display(), self.up));
        text.trim_end().to_owned()
    }

    /// Kills the server, as a crash would.
    ///
    /// # Panics
    /// It does not run, or does not end.
    pub fn kill(&self) {
        let start = Instant::now();
        let pid = self.pid().unwrap_or_else(|| panic!("it does not run; run `{}`", self.up));
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        // Until its parent has noticed: some servers do not start while there is the number.
        while Path::new(&format!("/proc/{pid}")).exists() {
            assert!(start.elapsed() < PATIENCE, "process {pid} does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the server again on the same data and ports, and waits until all its listeners
    /// answer.
    ///
    /// # Panics
    /// It does not come back.
    pub fn start(&self) {
        let start = Instant::now();
        let folder = self.process();
        if self.pid().is_none() {
            let mut shell = Command::new("/bin/sh");
            shell.arg(folder.join("start")).process_group(0).stdin(Stdio::null());
            let started = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = started.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            // It outlives the test; if it ends before, nothing of it stays.
            std::thread::spawn(move || child.wait());
        }
        while self.pid().is_none() || !self.listens() {
            assert!(start.elapsed() < PATIENCE, "no server; see {}/log", folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn listens(&self) -> bool {
        let lines = self.read("endpoints");
        let mut ports = lines.lines().filter_map(|line| {
            let port = line.split("://").nth(1)?.split('/').next()?.rsplit(':').next()?;
            port.parse::<u16>().ok()
        });
        ports.all(|port| TcpStream::connect(("127.0.0.1", port)).is_ok())
    }

    /// The living process that was noted: a number that was given away again is another.
    fn pid(&self) -> Option<u32> {
        let note = fs::read_to_string(self.process().join("pid")).ok()?;
        let (pid, began) = note.trim().split_once(' ')?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let lives = fields.first() != Some(&"Z") && fields.get(19) == Some(&began);
        lives.then(|| pid.parse().ok()).flatten()
    }

    fn process(&self) -> PathBuf {
        self.home.join("processes/server")
    }
}

/// A file of the development CA: `ca.pem`; `expired.pem` and `expired.key`, orders' certificate of
/// another year; `unknown.pem` and `unknown.key`, in orders' name by a CA that nobody trusts.
#[must_use]
pub fn pki(file: &str) -> PathBuf {
    root().join("pki").join(file)
}

fn root() -> PathBuf {
    let at = std::env::var_os("CHANCERY_BROKERS_DIR").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    at.or_else(|| Some(workspace?.join("target/brokers"))).unwrap_or_default()
}
