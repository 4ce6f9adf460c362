// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask mutants [--markdown]`: switches off every check, one at a time, in one build of a
//! copied tree, and says which test noticed. A check that nobody misses fails the verb.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{cargo, say, step_lines, warn};

mod sites;
mod tree;

use tree::Mutant;

const FOLDER: &str = "target/mutants";
/// The environment variable that holds the id of the check that is off; the copy reads it once.
const OFF: &str = "CHANCERY_MUTANT";
/// Longer than any judge takes; a mutant that hangs has been noticed.
const JUDGED_WITHIN: Duration = Duration::from_secs(180);

/// Who may notice, the quickest first: a package, and what of it runs.
const JUDGES: [(&str, Runs); 7] = [
    ("chancery-testkit", Runs::Tests),
    ("chancery-core", Runs::Tests),
    ("chancery", Runs::Tests),
    ("chancery-local", Runs::Tests),
    ("chancery-stores", Runs::Tests),
    ("chancery-cli", Runs::Program("chancery", &["demo"])),
    ("chancery-cli", Runs::Tests),
];

enum Runs {
    /// Every test binary of the package.
    Tests,
    /// The package's program with these arguments; it ends with 0 while all attacks are refused.
    Program(&'static str, &'static [&'static str]),
}

/// A program that ends with 0 if nothing is wrong.
struct Judge {
    name: String,
    program: PathBuf,
    args: &'static [&'static str],
}

pub(crate) fn mutants(args: &[&str]) -> Result<(), String> {
    let markdown = match args {
        [] => false,
        ["--markdown"] => true,
        other => return Err(format!("`{}` is not an option of mutants", other.join(" "))),
    };
    let folder = std::path::absolute(FOLDER).map_err(|error| error.to_string())?;
    let mutants = tree::copy(&folder.join("tree"))?;
    let judges = build(&folder)?;
    for judge in &judges {
        if let Some(why) = judge.notices(None, &folder)? {
            return Err(format!("{} is red without any mutant: {why}", judge.name));
        }
    }
    let mut rows = Vec::new();
    let mut survived = 0;
    for mutant in &mutants {
        let verdict = verdict(mutant, &judges, &folder)?;
        survived += usize::from(verdict == SURVIVED);
        let row = row(mutant, &verdict);
        say(&row)?;
        rows.push(row);
    }
    let switched = mutants.iter().filter(|mutant| mutant.id.is_some()).count();
    let sum = format!("{switched} checks switched off, {survived} survived");
    if markdown {
        let page = format!("{HEAD}{sum}.\n\n{TABLE}{}", rows.concat());
        fs::write("docs/mutants.md", page).map_err(|error| format!("docs/mutants.md: {error}"))?;
    }
    say(&format!("{sum}\n"))?;
    if survived == 0 { Ok(()) } else { Err(format!("{survived} checks are missed by no test")) }
}

const SURVIVED: &str = "**SURVIVED**";
const HEAD: &str = "\
# Every check, switched off

Made by `cargo xtask mutants --markdown`: each place that makes a refusal is switched off, one at a
time, and the tests are run until one is red. Where a value is missing there is nothing to go on
with, and nothing to switch off.

";
const TABLE: &str = "| file | function | check | noticed by |\n|---|---|---|---|\n";

fn row(mutant: &Mutant, verdict: &str) -> String {
    let text: String = mutant.site.text.chars().take(90).collect();
    let text = text.replace('|', "\\|");
    let (file, function) = (&mutant.file, &mutant.site.function);
    format!("| `{file}` | `{function}` | `` {text} `` | {verdict} |\n")
}

fn verdict(mutant: &Mutant, judges: &[Judge], folder: &Path) -> Result<String, String> {
    let Some(id) = mutant.id else {
        return Ok("cannot be switched off: there is nothing to go on with".into());
    };
    for judge in judges {
        if let Some(why) = judge.notices(Some(id), folder)? {
            return Ok(format!("{}: {why}", judge.name));
        }
    }
    Ok(SURVIVED.into())
}

/// One build of the copy, all judges in it.
fn build(folder: &Path) -> Result<Vec<Judge>, String> {
    let tree = folder.join("tree");
    let in_tree = |args: &[&str]| {
        let mut command = cargo(args);
        command.current_dir(&tree).env("CARGO_TARGET_DIR", folder.join("build"));
        command
    };
    let mut judges = Vec::new();
    for (package, runs) in JUDGES {
        match runs {
            Runs::Tests => {
                let args = ["test", "--locked", "--no-run", "-p", package];
                let build = in_tree(&args).stderr(Stdio::piped()).output();
                let build = build.map_err(|error| format!("{package}: {error}"))?;
                let told = String::from_utf8_lossy(&build.stderr);
                if !build.status.success() {
                    return Err(format!("{package} does not build:\n{told}"));
                }
                let programs = told.lines().filter_map(executable);
                judges.extend(programs.map(|program| Judge {
                    name: package.to_owned(),
                    program: tree.join(program),
                    // House rules judge the text of the tree, which is another here.
                    args: &["--quiet", "--skip", "tidy::"],
                }));
            }
            Runs::Program(name, args) => {
                let mut build = in_tree(&["build", "--locked", "-p", package]);
                let (built, _) = step_lines(package, &mut build)?;
                if !built {
                    return Err(format!("{package} does not build"));
                }
                let program = folder.join("build/debug").join(name);
                judges.push(Judge { name: args.join(" "), program, args });
            }
        }
    }
    Ok(judges)
}

// `  Executable unittests src/lib.rs (/…/deps/chancery_core-0123456789abcdef)`
fn executable(line: &str) -> Option<PathBuf> {
    let (_, path) = line.trim().strip_prefix("Executable ")?.rsplit_once(" (")?;
    path.strip_suffix(')').map(PathBuf::from)
}

impl Judge {
    /// What it has against the tree with one check off; `None` if it is content.
    fn notices(&self, off: Option<usize>, folder: &Path) -> Result<Option<String>, String> {
        let fault = |error: std::io::Error| format!("{}: {error}", self.name);
        let path = folder.join("output");
        let output = fs::File::create(&path).map_err(fault)?;
        let mut command = Command::new(&self.program);
        command.args(self.args).current_dir(folder.join("tree")).env_remove(OFF);
        if let Some(id) = off {
            command.env(OFF, id.to_string());
        }
        command.stdout(output).stderr(Stdio::null());
        let mut child = command.spawn().map_err(fault)?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(fault)? {
                break status;
            }
            if start.elapsed() > JUDGED_WITHIN {
                child.kill().and_then(|()| child.wait()).map_err(fault)?;
                return Ok(Some("it did not end".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        if status.success() {
            return Ok(None);
        }
        let output = fs::read(&path).map_err(fault)?;
        Ok(Some(first_failure(&String::from_utf8_lossy(&output)).unwrap_or(status.to_string())))
    }
}

/// The first vector that is judged wrongly, or the first test that failed: names of tests stand
/// indented under the last `failures:`.
fn first_failure(output: &str) -> Option<String> {
    let vector =
        output.lines().find_map(|line| line.split_once("]: expected ")?.0.rsplit_once(" ["));
    if let Some((vector, _)) = vector {
        return Some(format!("vector `{vector}`"));
    }
    let (_, list) = output.rsplit_once("\nfailures:\n")?;
    let first = list.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(format!("`{first}`"))
}

/// Says something that is not part of the table.
fn note(line: &str) {
    warn(&format!("mutants: {line}"));
}
