// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another process: the test binary runs itself, with its task in an environment variable.

#![allow(clippy::panic, reason = "this is a test that several crates share")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use chancery::{Sink, Source};

use super::{Fixture, STREAM, body, message, take};

const TASK: &str = "CHANCERY_CONFORMANCE_TASK";
const SAYS: &str = "child says ";

/// A child process. Dropping it kills it (SIGKILL) and waits for its end.
pub struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the test binary again, with a task: `hold GROUP N`, `append PREFIX N` or
    /// `consume GROUP`.
    pub fn start(place: &str, task: &str) -> Process {
        Process::start_test("conformance_child", place, task)
    }

    /// Starts the test of this name alone, with a task; [`task`] gives it to it.
    pub fn start_test(test: &str, place: &str, task: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--nocapture", "--test-threads=1"])
            .env(TASK, format!("{task}\n{place}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Process { child, out }
    }

    /// The next thing that it says; `None` at its end.
    pub fn next_word(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.out.read_line(&mut line).unwrap() > 0 {
            if let Some((_, word)) = line.trim_end().split_once(SAYS) {
                return Some(word.to_owned());
            }
            line.clear();
        }
        None
    }

    /// Waits for its end: whether it ended well.
    pub fn ended_well(mut self) -> bool {
        while self.next_word().is_some() {}
        self.child.wait().unwrap().success()
    }
}

/// The task and the place of a child; nothing in the parent.
pub fn task() -> Option<(String, String)> {
    let task = std::env::var(TASK).ok()?;
    let (task, place) = task.split_once('\n').unwrap();
    Some((task.to_owned(), place.to_owned()))
}

/// Tells the parent.
pub fn say(word: &str) {
    println!("{SAYS}{word}");
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child does; nothing at all in the parent.
pub fn run<F: Fixture>() {
    let Some((task, place)) = task().filter(|(_, place)| F::has(place)) else { return };
    let place = &*place;
    let words: Vec<&str> = task.split(' ').collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match words[..] {
            ["hold", group, n] => hold::<F>(place, group, n.parse().unwrap()).await,
            ["append", prefix, n] => append::<F>(place, prefix, n.parse().unwrap()).await,
            ["consume", group] => consume::<F>(place, group).await,
            _ => panic!("an unknown task"),
        }
    });
}

async fn hold<F: Fixture>(place: &str, group: &str, n: usize) {
    let mut source = F::source(place, STREAM, group).await;
    let batch = take(&mut source, n).await;
    for (delivery, _) in &batch {
        say(&body(delivery));
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
}

async fn append<F: Fixture>(place: &str, prefix: &str, n: usize) {
    let sink = F::sink(place).await;
    for n in 0..n {
        let text = format!("{prefix}-{n:04}");
        sink.append(&[message(Some(&format!("key-{}", n % 7)), &text)]).await.unwrap();
    }
    say("appended");
}

async fn consume<F: Fixture>(place: &str, group: &str) {
    let mut source = F::source(place, STREAM, group).await;
    loop {
        let batch = source.receive(8, Duration::from_secs(2)).await.unwrap();
        if batch.is_empty() {
            return;
        }
        for (delivery, receipt) in batch {
            source.acknowledge(vec![receipt]).await.unwrap();
            say(&body(&delivery));
        }
    }
}
