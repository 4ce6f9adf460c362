// SPDX-License-Identifier: MIT OR Apache-2.0
//! House rules that a test can keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery::core::reason::Reason;
use chancery::core::{FaultKind, MisuseKind, reason};

const FILE_LINES_MAX: usize = 600;
const CLI: &[&str] = &[
    "chancery-core",
    "chancery",
    "chancery-local",
    "chancery-kafka",
    "chancery-rabbitmq",
    "chancery-nats",
    "chancery-sqs",
    "chancery-stores",
];
/// Each adapter and the client library behind it, as Rust names it.
const ADAPTERS: [(&str, &[&str]); 4] = [
    ("kafka", &["rdkafka"]),
    ("rabbitmq", &["lapin"]),
    ("nats", &["tokio_rustls"]),
    ("sqs", &["aws_sdk_sqs", "aws_config", "aws_smithy"]),
];
const ADAPTER_FILES: [&str; 7] =
    ["admin.rs", "config.rs", "connect.rs", "consume.rs", "convert.rs", "lib.rs", "produce.rs"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// Files of our own below a folder, whose names end so.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            let not_ours = ["target", "third_party", ".git", "corpus", "artifacts"];
            if entry.is_dir() && !not_ours.contains(&name.as_str()) {
                walk(&entry, ending, found);
            } else if name.ends_with(ending) {
                found.push(entry);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), ending, &mut found);
    found.sort();
    found
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("chancery-core", &[][..]),
        ("chancery", &["chancery-core"]),
        ("chancery-local", &["chancery-core", "chancery"]),
        ("chancery-kafka", &["chancery-core", "chancery"]),
        ("chancery-rabbitmq", &["chancery-core", "chancery"]),
        ("chancery-nats", &["chancery-core", "chancery"]),
        ("chancery-sqs", &["chancery-core", "chancery"]),
        ("chancery-stores", &["chancery-core", "chancery"]),
        ("chancery-testkit", &["chancery-core", "chancery"]),
        ("chancery-cli", CLI),
        ("chancery-examples", &["chancery", "chancery-local", "chancery-stores"]),
        ("xtask", &[]),
    ]);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let may = allowed.get(name).unwrap_or_else(|| panic!("{name} is in no rule of this test"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"] == "dev";
            if on.starts_with("chancery") && !for_tests {
                assert!(may.contains(&on), "{name} must not depend on {on}");
            }
        }
    }
}

// Adapters are dull and alike, and what the client library means is translated in one place.
#[test]
fn adapters_have_the_same_files_and_one_that_translates() {
    for (adapter, client) in ADAPTERS {
        let folder = format!("crates/{adapter}/src");
        let all = files(&folder, ".rs");
        let top = all.iter().filter(|file| file.parent() == Some(&root().join(&folder)));
        let names: Vec<_> = top.map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ADAPTER_FILES, "{folder}");
        for file in all.iter().filter(|file| !file.ends_with("convert.rs")) {
            let text = read(file);
            let theirs = client.iter().any(|name| text.contains(&format!("{name}::")));
            let ours = ["chancery_core::", "chancery::"].iter().any(|name| text.contains(name));
            assert!(!(theirs && ours), "{} names both sides' types", file.display());
        }
    }
}

#[test]
fn core_is_pure() {
    let manifest = read(&root().join("crates/core/Cargo.toml"));
    for impure in ["tokio", "rusqlite", "getrandom", "tempfile"] {
        let lines = manifest.lines().take_while(|line| !line.starts_with("[dev-dependencies]"));
        assert!(!lines.into_iter().any(|l| l.starts_with(impure)), "core depends on {impure}");
    }
    let impure = [
        "std::fs",
        "std::net",
        "SystemTime",
        "Instant::now",
        "std::env",
        "std::process",
        "std::thread",
    ];
    let brokers = ["kafka", "rabbitmq", "nats", "sqs", "amqp"];
    for file in files("crates/core/src", ".rs") {
        if file.ends_with("tests.rs") || file.components().any(|c| c.as_os_str() == "tests") {
            continue;
        }
        let text = read(&file).to_lowercase();
        for word in impure.map(str::to_lowercase).iter().chain(&brokers.map(str::to_owned)) {
            assert!(!text.contains(word.as_str()), "{} names `{word}`", file.display());
        }
    }
}

#[test]
fn every_reason_and_fault_has_a_page() {
    let mut codes: BTreeSet<String> = Reason::ALL.iter().map(|r| r.code().to_owned()).collect();
    codes.extend(FaultKind::ALL.iter().map(|fault| fault.code().to_owned()));
    codes.extend(MisuseKind::ALL.iter().map(|misuse| misuse.code().to_owned()));
    let pages: BTreeSet<String> = files("docs/reasons", ".md")
        .iter()
        .map(|page| page.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(codes, pages);
    for reason in Reason::ALL {
        let page = read(&root().join(format!("docs/reasons/{}.md", reason.code())));
        assert!(page.starts_with(&format!("# {}\n", reason.code())), "{reason}: title");
        let step = format!("**Step** {}", reason.step());
        let disposition = format!("**Disposition** {}", reason.disposition());
        assert!(page.contains(&step) && page.contains(&disposition), "{reason}: step, disposition");
    }
}

#[test]
fn every_reason_is_in_the_specification_as_the_code_has_it() {
    let spec = read(&root().join("spec/pipeline.md"));
    for reason in Reason::ALL {
        let row = spec.lines().find(|line| line.contains(reason.code()) && line.starts_with('|'));
        let row = row.unwrap_or_else(|| panic!("{reason} has no row in spec/pipeline.md"));
        let (step, disposition) = (reason.step().to_string(), reason.disposition().to_string());
        assert!(row.contains(&step) && row.contains(&disposition), "spec/pipeline.md: {row}");
        let below = if reason.is_laddered() { "| found |" } else { "| refused |" };
        assert!(row.contains(below), "spec/pipeline.md: {row}");
    }
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len(), "two reasons with one code");
    assert!(Reason::ALL.is_sorted_by_key(|reason| reason.code()));
    assert_eq!(reason::Reason::parse("302"), Some(Reason::WrongDestination));
}

#[test]
fn every_path_named_in_a_document_exists() {
    let mut missing = Vec::new();
    let mut documents = files("docs", ".md");
    documents.extend(files("spec", ".md"));
    documents.extend(files("examples", ".md"));
    for name in ["README.md", "ARCHITECTURE.md", "THREATS.md", "CONTRIBUTING.md"] {
        documents.push(root().join(name));
    }
    for document in documents {
        for path in paths_in(&read(&document)) {
            let folder = document.parent().unwrap();
            if !root().join(&path).exists() && !folder.join(&path).exists() {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What stands in backticks and begins like a path of this repository.
fn paths_in(text: &str) -> Vec<String> {
    let ours = ["crates/", "docs/", "spec/", "vectors/", "examples/", "fuzz/", "xtask/", ".ci/"];
    let prose: Vec<&str> = text.split("```").step_by(2).collect();
    let quoted = prose.iter().flat_map(|part| part.split('`').skip(1).step_by(2));
    let paths = quoted.filter(|path| ours.iter().any(|folder| path.starts_with(folder)));
    let plain = paths.filter(|path| !path.contains(['*', '<', '{', ' ', '…']));
    plain.map(|path| path.split([':', '#']).next().unwrap().to_owned()).collect()
}

#[test]
fn the_code_map_names_every_crate() {
    let map = read(&root().join("ARCHITECTURE.md"));
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            map.contains(&format!("`crates/{name}`")),
            "crates/{name} is not in ARCHITECTURE.md"
        );
    }
}

#[test]
fn sources_keep_the_house_form() {
    let mut wrong = Vec::new();
    for folder in ["crates", "xtask", "examples", "fuzz"] {
        for file in files(folder, ".rs") {
            let text = read(&file);
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            if !text.starts_with("// SPDX-License-Identifier: MIT OR Apache-2.0\n") {
                wrong.push(format!("{name}: the first line is not the licence"));
            }
            let for_tests = name.contains("/tests");
            if !for_tests && text.lines().count() > FILE_LINES_MAX {
                wrong.push(format!("{name}: more than {FILE_LINES_MAX} lines"));
            }
            for unfinished in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!(")] {
                if text.contains(unfinished) {
                    wrong.push(format!("{name}: {unfinished}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
