// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proofs that others wrote, spoiled and judged: `vectors/third_party/transparency_dev_merkle`.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::evidence::proof::{verify_consistency, verify_inclusion};

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
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = pairs.iter().map(byte).collect();
    (!bytes.is_empty()).then(|| Hash::try_from(&bytes[..]).unwrap_or_else(|_| leaf_hash(&bytes)))
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
    let path = "../../vectors/third_party/transparency_dev_merkle/cases.jsonl";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let mut seen = [0, 0];
    for line in text.lines() {
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
