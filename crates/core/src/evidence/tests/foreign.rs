// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cases that others wrote, in `vectors/third_party/`: a proof that only we refuse or only we
//! accept convinces nobody.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::evidence::note::Note;
use crate::evidence::proof::{consistency, inclusion, verify_consistency, verify_inclusion};

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/third_party");
    fs::read_to_string(folder.join(name)).unwrap()
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    name: String,
    first: u64,
    second: u64,
    from: String,
    to: String,
    proof: Vec<String>,
    want_error: bool,
}

/// Where a case has something shorter for a hash, the hash of that, so that alike stays alike; none
/// where it has nothing, which our types cannot hand over at all.
fn hash(hex: &str) -> Option<Hash> {
    let bytes = bytes(hex);
    (!bytes.is_empty()).then(|| Hash::try_from(&bytes[..]).unwrap_or_else(|_| leaf_hash(&bytes)))
}

fn bytes(hex: &str) -> Vec<u8> {
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(byte).collect()
}

fn holds(case: &Case) -> Option<()> {
    let (from, to) = (hash(&case.from)?, hash(&case.to)?);
    let proof: Vec<Hash> = case.proof.iter().map(|text| hash(text)).collect::<Option<_>>()?;
    match case.kind.as_str() {
        "inclusion" => verify_inclusion(&from, case.first, case.second, &proof, &to).ok(),
        "consistency" => verify_consistency(case.first, case.second, &from, &to, &proof).ok(),
        other => panic!("{other}"),
    }
}

#[test]
fn transparency_dev_merkle_agrees() {
    let mut seen = [0, 0];
    for line in file("transparency_dev_merkle/cases.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        // That version took an empty tree for the beginning of any other; later ones do not, nor
        // do we: a proof from nothing proves nothing.
        let from_nothing = case.kind == "consistency" && case.first == 0;
        let refused = case.want_error || from_nothing;
        assert_eq!(holds(&case).is_none(), refused, "{}: {}", case.kind, case.name);
        seen[usize::from(refused)] += 1;
    }
    assert_eq!(seen, [12, 183], "good ones and spoiled ones");
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Tree { leaves: Vec<String>, roots: Vec<String> },
    Inclusion { at: u64, size: u64, proof: Vec<String> },
    Consistency { at: u64, size: u64, proof: Vec<String> },
}

#[test]
fn trees_and_paths_of_transparency_dev_are_ours() {
    let (mut leaves, mut trees, mut paths) = (Vec::new(), 0, 0);
    for line in file("transparency_dev_merkle/trees.jsonl").lines() {
        let node = |level: u8, index: u64| -> Result<Hash, ProofError> {
            let first = (index << level) as usize;
            Ok(naive::root(&leaves[first..first + (1 << level)]))
        };
        let (ours, theirs) = match serde_json::from_str(line).unwrap() {
            Line::Inclusion { at, size, proof } => (inclusion(at, size, node).unwrap(), proof),
            Line::Consistency { at, size, proof } => (consistency(at, size, node).unwrap(), proof),
            Line::Tree { leaves: entries, roots } => {
                leaves = entries.iter().map(|entry| leaf_hash(&bytes(entry))).collect();
                trees += 1;
                let sizes = 0..=leaves.len();
                (sizes.map(|size| tree::range_root(&leaves[..size])).collect(), roots)
            }
        };
        assert_eq!(ours, theirs.iter().map(|text| hash(text).unwrap()).collect::<Vec<_>>());
        paths += 1;
    }
    assert_eq!((trees, paths - trees), (2, 78));
}

#[test]
fn a_note_of_others_is_read_and_only_their_key_opens_it() {
    let (text, key) = (file("signed_note/note.txt"), file("signed_note/key.txt"));
    let note = Note::parse(text.as_bytes()).unwrap();
    assert_eq!(note.verify(&key.trim().parse().unwrap()).unwrap().lines().count(), 2);
    assert_eq!(note.verify(signer().verifier()), Err(NoteError::Unsigned));
}
