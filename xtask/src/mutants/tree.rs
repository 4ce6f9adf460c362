// SPDX-License-Identifier: MIT OR Apache-2.0
//! The copied tree, its checks behind a switch. The product itself never has one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::sites::{self, Form, Site, Switch};
use super::{OFF, note};

/// A site of the copy, with its id if it can be switched off.
pub(crate) struct Mutant {
    pub(crate) file: String,
    pub(crate) site: Site,
    pub(crate) id: Option<usize>,
}

const CORE: &str = "crates/core/src";
const LIBRARY: &str = "crates/chancery/src";
const HOME: &str = "crates/core/src/failure.rs";

/// Copies what git knows or would know of this tree, and puts a switch to every check.
///
/// # Errors
/// What cannot be read, written or parsed.
pub(crate) fn copy(to: &Path) -> Result<Vec<Mutant>, String> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    let args = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(args).output().map_err(|error| error.to_string())?;
    let mut mutants = Vec::new();
    for name in String::from_utf8_lossy(&listed.stdout).lines() {
        if Path::new(name).is_file() {
            file(name, &to.join(name), &mut mutants).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    note(&format!("{} places refuse", mutants.len()));
    Ok(mutants)
}

fn file(name: &str, to: &Path, mutants: &mut Vec<Mutant>) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let bytes = fs::read(name).map_err(text)?;
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(text)?;
    if name == HOME {
        let source = String::from_utf8_lossy(&bytes).into_owned() + &switch();
        return fs::write(to, source).map_err(text);
    }
    if !is_ours(name) {
        return fs::write(to, bytes).map_err(text);
    }
    let mut source = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let found = sites::find(&source)?;
    let first = mutants.iter().filter_map(|mutant| mutant.id).max().map_or(1, |id| id + 1);
    let (mut ids, mut edits) = (first.., Vec::new());
    for site in found {
        let id = site.switch.as_ref().and_then(|_| ids.next());
        if let (Some(id), Some(switch)) = (id, &site.switch) {
            edits.push(edit(switch, &off(name, id)));
        }
        mutants.push(Mutant { file: name.to_owned(), site, id });
    }
    apply(&mut source, edits.concat());
    fs::write(to, source).map_err(text)
}

fn is_ours(name: &str) -> bool {
    let tests = name.contains("/tests/") || name.ends_with("/tests.rs");
    let ours = name.starts_with(CORE) || name.starts_with(LIBRARY);
    ours && name.ends_with(".rs") && !tests
}

fn off(name: &str, id: usize) -> String {
    let root = if name.starts_with(CORE) { "crate" } else { "chancery_core" };
    format!("{root}::failure::is_off({id})")
}

/// What stands before and after the range, and where.
fn edit(switch: &Switch, off: &str) -> [(usize, String); 2] {
    let (before, after) = match switch.form {
        Form::Holds => (format!("({off} || ("), "))"),
        Form::Leads => (format!("(!{off} && ("), "))"),
        Form::LeadsLet => (format!("!{off} && "), ""),
        Form::Unit => (format!("(if {off} {{ Ok(()) }} else {{ "), " })"),
    };
    [(switch.range.start, before), (switch.range.end, after.to_owned())]
}

/// From the end to the start, so that no place moves before its turn.
fn apply(source: &mut String, mut edits: Vec<(usize, String)>) {
    edits.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    for (at, text) in edits {
        source.insert_str(at, &text);
    }
}

fn switch() -> String {
    format!(
        "
/// Whether this check is off; only in the tree that `cargo xtask mutants` copies.
pub fn is_off(id: usize) -> bool {{
    static OFF: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var(\"{OFF}\").ok().and_then(|id| id.parse().ok()));
    *OFF == Some(id)
}}
"
    )
}
