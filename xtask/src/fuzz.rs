// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask fuzz [--install] [--seconds N] [TARGET]`: each parser under libFuzzer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::run::{cargo, say, step};

const CARGO_FUZZ: &str = "0.13.2";
/// More inputs for some targets, kept elsewhere for their own reasons.
const ALSO: [(&str, &str); 1] = [("json", "vectors/third_party/json_test_suite/test_parsing")];

pub(crate) fn fuzz(args: &[&str]) -> Result<(), String> {
    let mut seconds = 20;
    let mut only = None;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--install" => install()?,
            "--seconds" => {
                let given = args.next().and_then(|text| text.parse().ok());
                seconds = given.ok_or("--seconds wants a number")?;
            }
            name if !name.starts_with('-') && only.is_none() => only = Some(name),
            other => return Err(format!("`{other}` is not an option of fuzz")),
        }
    }
    let tool = tool()?;
    let targets = targets()?;
    if let Some(name) = only.filter(|name| !targets.iter().any(|target| target == name)) {
        return Err(format!("`{name}` is not a target; there are {}", targets.join(", ")));
    }
    let chosen = targets.iter().filter(|target| only.is_none_or(|name| name == *target));
    let failed: Vec<String> =
        chosen.filter_map(|target| run(&tool, target, seconds).err()).collect();
    match failed.as_slice() {
        [] => say("every target held\n"),
        _ => Err(failed.join("; ")),
    }
}

/// The names of `fuzz/fuzz_targets`, in order.
fn targets() -> Result<Vec<String>, String> {
    let entries = fs::read_dir("fuzz/fuzz_targets")
        .map_err(|error| format!("fuzz/fuzz_targets: {error}; run this from the repository"))?;
    let stems = entries.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_owned()));
    let mut names: Vec<String> = stems.filter_map(|stem| stem.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// What is found goes to `target/`: inputs are committed by hand, once they mean something.
fn run(tool: &Path, target: &str, seconds: u64) -> Result<(), String> {
    let found = PathBuf::from("target/fuzz-corpus").join(target);
    fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
    let mut command = nightly(tool);
    command.args(["run", target]).arg(absolute(&found)?);
    command.arg(absolute(&Path::new("fuzz/corpus").join(target))?);
    for (_, folder) in ALSO.iter().filter(|(name, _)| *name == target) {
        command.arg(absolute(Path::new(folder))?);
    }
    command.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-timeout=10",
        "-verbosity=0",
        "-print_funcs=0",
    ]);
    step(&format!("fuzz {target}"), &mut command)
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn nightly(tool: &Path) -> Command {
    let mut command = Command::new(tool);
    command.arg("fuzz").env("RUSTUP_TOOLCHAIN", "nightly");
    command
}

fn tool() -> Result<PathBuf, String> {
    let works = |command: &mut Command| {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !works(Command::new("rustc").env("RUSTUP_TOOLCHAIN", "nightly").arg("--version")) {
        return Err("fuzzing needs nightly Rust: rustup toolchain install nightly".into());
    }
    let ours = PathBuf::from("target/tools/bin/cargo-fuzz");
    [ours, PathBuf::from("cargo-fuzz")]
        .into_iter()
        .find(|tool| works(Command::new(tool).args(["fuzz", "--version"])))
        .ok_or_else(|| {
            format!("there is no cargo-fuzz: cargo xtask fuzz --install (or cargo install cargo-fuzz --version {CARGO_FUZZ})")
        })
}

fn install() -> Result<(), String> {
    let version = ["--version", CARGO_FUZZ, "--locked", "--root", "target/tools"];
    step("install cargo-fuzz", cargo(&["install", "cargo-fuzz"]).args(version))
}
