// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `cargo xtask brokers` promises, on all servers of both kinds, in a folder of their own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

mod process;

use process::{Process, Watch};

/// A folder with servers; when it goes they go, and nothing of them may be left.
struct Folder {
    path: PathBuf,
    /// One test has the machine at a time: each starts more than a dozen servers.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Folder {
    /// Shares what was downloaded, and nothing else.
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Folder { path, _alone: alone };
        folder.run(&["down"]);
        let _ = std::fs::remove_dir_all(&folder.path);
        std::fs::create_dir_all(&folder.path).unwrap();
        let shared = std::env::var_os("CHANCERY_BROKERS_DIR").map(PathBuf::from);
        let shared = shared.unwrap_or_else(|| {
            Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("brokers")
        });
        std::os::unix::fs::symlink(shared.join("cache"), folder.path.join("cache")).unwrap();
        folder
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("brokers").args(args).env("CHANCERY_BROKERS_DIR", &self.path);
        command.env_remove("CHANCERY_PORTS");
        command
    }

    fn run(&self, args: &[&str]) -> String {
        succeeded(args, self.command(args).output().unwrap())
    }

    fn up(&self) {
        self.run(&["up"]);
        self.run(&["up", "--as-found"]);
    }

    /// Server and fixture, and what `status --json` says of it.
    fn status(&self) -> BTreeMap<(String, String), Value> {
        let all: Value = serde_json::from_str(&self.run(&["status", "--json"])).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let servers = all["servers"].as_array().unwrap().iter();
        servers.map(|it| ((text(&it["name"]), text(&it["fixture"])), it.clone())).collect()
    }

    fn processes(&self) -> Vec<Process> {
        process::below(&self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let had = self.processes();
        self.run(&["down"]);
        let left: Vec<Process> = had.into_iter().filter(Process::lives).collect();
        let new = self.processes();
        if !std::thread::panicking() {
            assert!(left.is_empty() && new.is_empty(), "`down` leaves {left:#?} {new:#?}");
            std::fs::remove_dir_all(&self.path).unwrap();
        }
    }
}

fn succeeded(args: &[&str], output: Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_ups_at_once_are_one_and_a_killed_server_comes_back_where_it_was() {
    let folder = Folder::new("restart");
    let twice = ["a", "b"].map(|_| folder.command(&["up"]).spawn().unwrap());
    for up in twice {
        succeeded(&["up"], up.wait_with_output().unwrap());
    }
    folder.run(&["up", "--as-found"]);
    let before = folder.status();
    assert!(before.len() >= 12, "six servers, twice: {before:#?}");
    assert!(before.values().all(|server| server["running"] == true), "{before:#?}");
    let processes = folder.processes();
    folder.up();
    assert_eq!(folder.status(), before);
    assert!(processes.iter().all(Process::lives), "a second `up` stopped something");
    // Half of them crash, half of them stop in order.
    let hardened = before.keys().filter(|(_, fixture)| fixture == "hardened");
    let names: Vec<&str> = hardened.map(|(name, _)| name.as_str()).collect();
    folder.run(&[&["kill"], &names[..]].concat());
    folder.run(&["down", "--as-found"]);
    assert!(folder.status().values().all(|server| server["running"] == false));
    folder.up();
    assert_eq!(folder.status(), before, "another port, version or credential");
}

// Whoever has a login on the machine reads every process's arguments.
#[test]
fn no_secret_is_in_any_process_arguments_and_nobody_listens_beyond_loopback() {
    let folder = Folder::new("arguments");
    let watch = Watch::start();
    folder.up();
    let seen = watch.seen();
    let secrets = secrets(&folder);
    let passwords: Vec<&String> = secrets.iter().filter(|secret| secret.len() == 40).collect();
    assert!(passwords.len() >= 12, "only {} passwords were found", passwords.len());
    let told = |arguments: &String| secrets.iter().any(|secret| arguments.contains(secret));
    let leaks: Vec<&String> = seen.iter().filter(|arguments| told(arguments)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(seen.iter().any(|it| it.contains("openssl")), "short-lived tools were not seen");

    let processes = folder.processes();
    let listeners = process::listeners(&processes);
    assert!(listeners.len() >= 12, "{listeners:?}");
    let open = listeners.iter().filter(|(at, _)| !at.ip().to_canonical().is_loopback());
    let open: Vec<_> = open.collect();
    assert!(open.is_empty(), "{open:#?}");
}

/// Words of what clients have in hand that nobody else may know: long, of letters and digits.
fn secrets(folder: &Folder) -> Vec<String> {
    let mut found = Vec::new();
    for server in folder.status().values() {
        for files in server["credentials"].as_object().unwrap().values() {
            for (name, path) in files.as_object().unwrap() {
                if name == "ca.pem" || name == "client.pem" {
                    continue;
                }
                let text = std::fs::read(path.as_str().unwrap()).unwrap();
                let text = String::from_utf8_lossy(&text);
                let words = text.split(|c: char| !c.is_ascii_alphanumeric());
                let long = words.filter(|word| word.len() >= 20);
                let random = long.filter(|word| {
                    word.contains(|c: char| c.is_ascii_digit())
                        && word.contains(|c: char| c.is_ascii_alphabetic())
                });
                found.extend(random.map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn a_secret_in_arguments_would_be_seen() {
    let watch = Watch::start();
    let mut leak = Command::new("sh").args(["-c", "sleep 0.2", "tops3cret"]).spawn().unwrap();
    leak.wait().unwrap();
    assert!(watch.seen().iter().any(|arguments| arguments.contains("tops3cret")));
}

#[test]
fn a_name_or_an_option_that_is_none_changes_nothing() {
    let folder = Folder::new("names");
    for wrong in [&["up", "kafak"][..], &["up", "--json"], &["kill", "postgers"], &["fly"]] {
        let output = folder.command(wrong).output().unwrap();
        assert!(!output.status.success(), "{wrong:?}");
    }
    for wrong in ["redis.resp=none", "resid.resp=26379", "redis.rsep=26379", "redis=26379"] {
        let mut up = folder.command(&["up", "redis"]);
        let output = up.env("CHANCERY_PORTS", wrong).output().unwrap();
        assert!(!output.status.success(), "{wrong}");
    }
    assert!(folder.status().values().all(|server| server["running"] == false));
}

#[test]
fn a_server_listens_where_its_user_wants_it() {
    let folder = Folder::new("ports");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut up = folder.command(&["up", "redis"]);
    up.env("CHANCERY_PORTS", format!("redis.resp={free}"));
    succeeded(&["up"], up.output().unwrap());
    let redis = &folder.status()[&("redis".to_owned(), "hardened".to_owned())];
    assert_eq!(redis["endpoints"]["resp"], format!("rediss://localhost:{free}"));
    assert!(TcpStream::connect(("127.0.0.1", free)).is_ok());
}
