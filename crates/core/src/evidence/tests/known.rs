// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers computed by another implementation, in `vectors/evidence/known.json`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::*;
use crate::evidence::leaf::{empty_root, parse_hash};
use crate::evidence::proof::{consistency, inclusion, verify_consistency, verify_inclusion};

#[derive(Deserialize)]
struct Known {
    seed_hex: String,
    vkey: String,
    records: Vec<String>,
    roots: Vec<String>,
    checkpoints: Vec<String>,
    inclusion: Vec<Inclusion>,
    consistency: Vec<Consistency>,
    bundle: String,
}

#[derive(Deserialize)]
struct Inclusion {
    index: u64,
    size: u64,
    proof: Vec<String>,
}

#[derive(Deserialize)]
struct Consistency {
    old: u64,
    new: u64,
    proof: Vec<String>,
}

fn known() -> Known {
    serde_json::from_str(include_str!("../../../../../vectors/evidence/known.json")).unwrap()
}

fn hashes(texts: &[String]) -> Vec<Hash> {
    texts.iter().map(|t| parse_hash(t).unwrap()).collect()
}

fn records(known: &Known) -> Vec<Vec<u8>> {
    known.records.iter().map(|r| STANDARD.decode(r).unwrap()).collect()
}

#[test]
fn roots_and_proofs_are_the_known_ones() {
    let known = known();
    let leaves: Vec<_> = records(&known).iter().map(|r| leaf_hash(r)).collect();
    let roots = hashes(&known.roots);
    let node = |level: u8, index: u64| -> Result<Hash, ProofError> {
        let first = (index << level) as usize;
        Ok(naive::root(&leaves[first..first + (1 << level)]))
    };
    assert_eq!(roots[0], empty_root());
    for (size, root) in (0..).zip(&roots) {
        assert_eq!(tree::root(size, node).unwrap(), *root, "root of {size}");
    }
    for case in &known.inclusion {
        let proof = hashes(&case.proof);
        assert_eq!(inclusion(case.index, case.size, node).unwrap(), proof);
        let leaf = &leaves[case.index as usize];
        let root = &roots[case.size as usize];
        verify_inclusion(leaf, case.index, case.size, &proof, root).unwrap();
    }
    for case in &known.consistency {
        let proof = hashes(&case.proof);
        assert_eq!(consistency(case.old, case.new, node).unwrap(), proof);
        let (old_root, new_root) = (&roots[case.old as usize], &roots[case.new as usize]);
        verify_consistency(case.old, case.new, old_root, new_root, &proof).unwrap();
    }
}

#[test]
fn keys_and_checkpoints_are_the_known_ones() {
    let known = known();
    let digits = known.seed_hex.as_bytes().chunks(2);
    let seed: Vec<u8> =
        digits.map(|d| u8::from_str_radix(str::from_utf8(d).unwrap(), 16).unwrap()).collect();
    let signer = Signer::from_seed(NAME, &seed.try_into().unwrap()).unwrap();
    assert_eq!(signer.verifier().to_string(), known.vkey);
    assert_eq!(known.vkey.parse::<VerifierKey>().unwrap(), *signer.verifier());
    for ((size, note), root) in (0..).zip(&known.checkpoints).zip(hashes(&known.roots)) {
        let checkpoint = Checkpoint { origin: NAME.to_owned(), size, root };
        assert_eq!(checkpoint.sign(&signer).unwrap(), *note);
        assert_eq!(Checkpoint::open(note.as_bytes(), signer.verifier()).unwrap(), checkpoint);
    }
}

#[test]
fn the_known_bundle_proves_its_record() {
    let known = known();
    let key: VerifierKey = known.vkey.parse().unwrap();
    let bundle = ProofBundle::decode(known.bundle.as_bytes()).unwrap();
    assert_eq!(bundle.verify(&key).unwrap().record, records(&known)[2]);
    assert_eq!(bundle.encode(), known.bundle);
}
