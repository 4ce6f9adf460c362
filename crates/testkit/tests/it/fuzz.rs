// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every committed fuzz input runs here too, on stable; what is listed is what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use chancery_testkit::fuzz::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_committed_input_holds() {
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(folder("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            target(&fs::read(path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no input");
    }
}

#[test]
fn the_targets_listed_are_the_targets_there() {
    let listed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, names(&folder("fuzz_targets")));
    assert_eq!(listed, names(&folder("corpus")));
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    let bins = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let bins: BTreeSet<String> =
        bins.map(|path| path.trim_end_matches(".rs\"").to_owned()).collect();
    assert_eq!(listed, bins);
}

// A corpus whose honest message is refused tests refusals only.
#[test]
fn the_honest_message_is_admitted_and_its_envelope_sealed() {
    use chancery_testkit::fuzz::seeds::{arrived, delivery, sealed, text};
    let honest = arrived(sealed().unwrap());
    assert_eq!(delivery(&text(&honest)), honest);
    let committed = fs::read(folder("corpus/screened/honest")).unwrap();
    assert_eq!(committed, text(&honest), "run the example fuzz_seeds");
    let snapshot = chancery_testkit::world::World::shop().snapshot();
    let reader =
        chancery::core::Reader { service: "svc-billing".to_owned(), group: "billing".to_owned() };
    let now = chancery_testkit::world::BEGINNING;
    assert!(chancery::core::screen(&honest, &snapshot, &reader, now).is_ok());
}
