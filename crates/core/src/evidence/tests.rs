// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an evidence log must refuse, and the naive tree that judges ours.

mod foreign;
mod known;
mod texts;
mod tiles;
mod trees;

use super::*;

pub(super) const NAME: &str = "log.example/orders";

pub(super) fn signer() -> Signer {
    Signer::from_seed(NAME, &[7; 32]).unwrap()
}

/// Distinct leaves, so that no two subtrees are alike.
pub(super) fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// RFC 6962 section 2.1 to the letter: slices and recursion, nothing shared with the code it
/// judges.
pub(super) mod naive {
    use sha2::{Digest as _, Sha256};

    pub(crate) type Hash = [u8; 32];

    fn split(count: usize) -> usize {
        let mut k = 1;
        while k * 2 < count {
            k *= 2;
        }
        k
    }

    pub(crate) fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest(b"").into(),
            [one] => *one,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                let input = [&[1][..], &root(left), &root(right)].concat();
                Sha256::digest(input).into()
            }
        }
    }

    pub(crate) fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = split(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut below, sibling) =
            if m < k { (path(m, left), root(right)) } else { (path(m - k, right), root(left)) };
        below.push(sibling);
        below
    }

    pub(crate) fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let k = split(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut below, sibling) = if m <= k {
            (subproof(m, left, whole), root(right))
        } else {
            (subproof(m - k, right, false), root(left))
        };
        below.push(sibling);
        below
    }
}
