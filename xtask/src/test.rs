// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: what must be green, and the counts at the end.

use crate::brokers;
use crate::run::{cargo, say, step, step_lines};

/// Needs only Rust and a C compiler: librdkafka wants OpenSSL's headers as well.
const PLAIN: &[&str] = &["--workspace", "--exclude", "chancery-kafka", "--locked"];
/// Each adapter's tests against its server are behind a feature.
const REAL: &[&str] = &["--workspace", "--all-features", "--locked"];

/// What `--soak` makes longer: rounds of kill -9, cases of property tests, faults of real servers.
const SOAK: [(&str, &str); 3] =
    [("CHANCERY_KILLS", "200"), ("PROPTEST_CASES", "20000"), ("CHANCERY_SOAK", "1")];

/// Passed, failed and ignored tests.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

pub(crate) fn test(args: &[&str]) -> Result<(), String> {
    let (mut real, mut soak) = (false, false);
    for arg in args {
        match *arg {
            "--real" => real = true,
            "--soak" => soak = true,
            other => return Err(format!("`{other}` is not an option of test")),
        }
    }
    let packages = if real { REAL } else { PLAIN };
    // Servers are fetched and started while the compiler works; they stop when `servers` goes.
    let servers = real.then(|| std::thread::spawn(brokers::lend));
    let built = build(packages);
    let servers = servers.map(|thread| thread.join().unwrap_or_else(|_| Err("a bug".into())));
    built?;
    let servers = servers.transpose()?;
    let soak: &[_] = if soak { &SOAK } else { &[] };
    let tests = [&["test", "--no-fail-fast"], packages].concat();
    let (all_passed, lines) = step_lines("tests", cargo(&tests).envs(soak.iter().copied()))?;
    let mut counts = count(&lines);
    let demo = step("demo", &mut cargo(&["run", "--release", "--locked", "--", "demo"]));
    *(if demo.is_ok() { &mut counts.passed } else { &mut counts.failed }) += 1;
    drop(servers);
    let Counts { passed, failed, ignored } = counts;
    say(&format!("\n{passed} passed, {failed} failed, {ignored} skipped\n"))?;
    demo?;
    match (all_passed, ignored) {
        (true, 0) => Ok(()),
        (true, _) => Err("a test was skipped".to_owned()),
        (false, _) => Err("a test failed".to_owned()),
    }
}

fn build(packages: &[&str]) -> Result<(), String> {
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let lint = [&["clippy", "--all-targets"], packages, &["--", "-D", "warnings"]].concat();
    step("lints", &mut cargo(&lint))?;
    step("build", &mut cargo(&[&["test", "--no-run"], packages].concat()))
}

// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …`
fn count(lines: &[String]) -> Counts {
    let mut counts = Counts::default();
    for line in lines.iter().filter_map(|line| line.strip_prefix("test result: ")) {
        for part in line.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) =
                (words.next().map(str::parse::<u64>), words.next())
            else {
                continue;
            };
            match what {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.ignored += number,
                _ => {}
            }
        }
    }
    counts
}
