// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every command in a guide is typed, in order, and must end as the guide says.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::shop::CHANCERY;

#[test]
fn the_guides_commands_work() {
    let guides = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides");
    let mut names = Vec::new();
    for entry in fs::read_dir(guides).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Guides of other parts are typed by their own tests.
        if !text.contains("<!-- typed by: cli -->") {
            continue;
        }
        type_in(&name, &text);
        names.push(name);
    }
    names.sort();
    let expected =
        ["cli.md", "evidence.md", "kept.md", "keys.md", "metrics.md", "policy.md", "start.md"];
    assert_eq!(names, expected);
}

/// Runs the `sh` blocks of a guide as one script in a fresh project (start.md makes its own).
fn type_in(name: &str, text: &str) {
    let blocks: Vec<&str> = text
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(!blocks.is_empty(), "{name} has no command");
    let project = if name == "start.md" { "" } else { "chancery init shop > /dev/null\ncd shop\n" };
    let script = format!("set -eu\n{project}{}", blocks.concat());
    let root = tempfile::tempdir().unwrap();
    let bin = Path::new(CHANCERY).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let ended = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&root)
        .env("PATH", path)
        .env("USER", "tester")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{name}: {}\n{script}\n---\n{out}\n---\n{err}", ended.status);
}
