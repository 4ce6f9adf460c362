// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cases that others wrote, read from a folder outside this repository.
//!
//! `CHANCERY_MERKLE_TESTDATA` is the `testdata` folder of transparency-dev/merkle, `CHANCERY_C2SP`
//! a copy of the C2SP specifications. Run with `cargo test -p chancery-core foreign -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::evidence::leaf::parse_hash;
use crate::evidence::note::Note;
use crate::evidence::proof::{verify_consistency, verify_inclusion};

fn folder(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set")).into()
}

fn cases(folder: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(cases(&path));
        } else {
            let case = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            found.push((path.display().to_string(), case));
        }
    }
    found
}

/// Where a case has something shorter for a hash, the hash of that, so that alike stays alike; none
/// where it has nothing, which our types cannot hand over at all.
fn hash(text: &Value) -> Option<Hash> {
    let text = text.as_str().filter(|text| !text.is_empty())?;
    Some(parse_hash(text).unwrap_or_else(|| leaf_hash(text.as_bytes())))
}

fn proof(case: &Value) -> Option<Vec<Hash>> {
    case["proof"].as_array().into_iter().flatten().map(hash).collect()
}

fn number(case: &Value, member: &str) -> u64 {
    case[member].as_u64().unwrap()
}

fn inclusion_holds(case: &Value) -> Option<()> {
    let (index, size) = (number(case, "leafIdx"), number(case, "treeSize"));
    let (leaf, root) = (hash(&case["leafHash"])?, hash(&case["root"])?);
    verify_inclusion(&leaf, index, size, &proof(case)?, &root).ok()
}

fn consistency_holds(case: &Value) -> Option<()> {
    let (old, new) = (number(case, "size1"), number(case, "size2"));
    let (old_root, new_root) = (hash(&case["root1"])?, hash(&case["root2"])?);
    verify_consistency(old, new, &old_root, &new_root, &proof(case)?).ok()
}

fn judge(kind: &str, holds: fn(&Value) -> Option<()>) {
    let cases = cases(&folder("CHANCERY_MERKLE_TESTDATA").join(kind));
    assert!(cases.len() >= 98, "{} cases", cases.len());
    for (name, case) in cases {
        assert_eq!(holds(&case).is_none(), case["wantErr"].as_bool().unwrap(), "{name}");
    }
}

#[test]
#[ignore = "needs CHANCERY_MERKLE_TESTDATA"]
fn foreign_inclusion() {
    judge("inclusion", inclusion_holds);
}

#[test]
#[ignore = "needs CHANCERY_MERKLE_TESTDATA"]
fn foreign_consistency() {
    judge("consistency", consistency_holds);
}

#[test]
#[ignore = "needs CHANCERY_C2SP"]
fn foreign_note() {
    let page = fs::read_to_string(folder("CHANCERY_C2SP").join("signed-note.md")).unwrap();
    let example = page.split("### Example\n").nth(1).unwrap();
    let vkey = example.lines().map(str::trim).find(|l| l.contains('+')).unwrap();
    let note = example.split("```\n").nth(1).unwrap();
    let key: VerifierKey = vkey.parse().unwrap();
    assert_eq!(Note::parse(note.as_bytes()).unwrap().verify(&key).unwrap().lines().count(), 1);
    assert_eq!(
        Note::parse(note.as_bytes()).unwrap().verify(signer().verifier()),
        Err(NoteError::Unsigned)
    );
}
