// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: what must be green, and the counts at the end.

use crate::run::{cargo, say, step, step_lines};

/// Passed, failed and ignored tests.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// What `--soak` makes longer: rounds of kill -9, cases of property tests.
const SOAK: [(&str, &str); 2] = [("CHANCERY_KILLS", "200"), ("PROPTEST_CASES", "20000")];

pub(crate) fn test(args: &[&str]) -> Result<(), String> {
    let soak: &[_] = match args {
        [] => &[],
        ["--soak"] => &SOAK,
        other => return Err(format!("`{}` is not an option of test", other.join(" "))),
    };
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    step("lints", &mut cargo(&lint))?;
    let tests = ["test", "--workspace", "--locked", "--no-fail-fast"];
    let (all_passed, lines) = step_lines("tests", cargo(&tests).envs(soak.iter().copied()))?;
    let counts = count(&lines);
    let demo = step("demo", &mut cargo(&["run", "--release", "--locked", "--", "demo"]));
    let (passed, failed) = match &demo {
        Ok(()) => (counts.passed + 1, counts.failed),
        Err(_) => (counts.passed, counts.failed + 1),
    };
    say(&format!("\n{passed} passed, {failed} failed, {} skipped\n", counts.ignored))?;
    demo?;
    if all_passed { Ok(()) } else { Err("a test failed".to_owned()) }
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
