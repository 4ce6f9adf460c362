// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inclusion and consistency proofs: made and checked as in RFC 9162 sections 2.1.3 and 2.1.4.
//!
//! Checking is strict: a proof of any other length than the sizes call for is refused.

use super::leaf::{Hash, node_hash};
use super::tree::subtree;

/// The most hashes a proof can have: one per bit of a size, and one to start from.
pub const PROOF_HASHES_MAX: usize = 65;

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The index is not below the size of the tree.
    #[error("the index is not inside the tree")]
    IndexOutside,
    /// The older tree is empty: everything would follow from it, so nothing is shown.
    #[error("the older tree is empty")]
    OldEmpty,
    /// The older tree is the larger one.
    #[error("the older tree is larger than the newer one")]
    SizesReversed,
    /// The proof has more or fewer hashes than the sizes call for.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The proof that leaf `index` is in the tree of `size` leaves, from the leaf's sibling upwards.
///
/// `node(level, index)` gives the complete subtree of `2^level` leaves that starts at
/// `index << level`; it is asked only for subtrees inside the tree.
///
/// # Errors
/// Those of `node`, or [`ProofError::IndexOutside`].
pub fn inclusion<E: From<ProofError>>(
    index: u64,
    size: u64,
    mut node: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if index >= size {
        return Err(ProofError::IndexOutside.into());
    }
    siblings(0, index, size, &mut node)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves.
///
/// # Errors
/// Those of `node`, [`ProofError::OldEmpty`] or [`ProofError::SizesReversed`].
pub fn consistency<E: From<ProofError>>(
    old: u64,
    new: u64,
    mut node: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    check_sizes(old, new)?;
    if old == new {
        return Ok(Vec::new());
    }
    // The largest complete subtree that ends the old tree; the old root itself is not repeated.
    let level = old.trailing_zeros() as u8;
    let index = (old - 1) >> level;
    let mut proof = Vec::new();
    if index > 0 {
        proof.push(node(level, index)?);
    }
    proof.extend(siblings(level, index, new, &mut node)?);
    Ok(proof)
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves under `root`.
///
/// # Errors
/// [`ProofError`] in every other case.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    let led_to = root_from_inclusion(leaf, index, size, proof)?;
    if led_to == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// The root that `proof` leads to from leaf `index` of a tree of `size` leaves; for a caller that
/// checks a signature over it.
///
/// # Errors
/// [`ProofError::IndexOutside`], [`ProofError::Length`].
pub fn root_from_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutside);
    }
    let mut climb = Climb { at: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        hash = match climb.step()? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    climb.end()?;
    Ok(hash)
}

/// Checks that the tree of `old` leaves under `old_root` is a prefix of that of `new` under
/// `new_root`.
///
/// # Errors
/// [`ProofError`] in every other case.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    check_sizes(old, new)?;
    if old == new {
        return match (proof, old_root == new_root) {
            ([], true) => Ok(()),
            ([], false) => Err(ProofError::Root),
            _ => Err(ProofError::Length),
        };
    }
    let level = old.trailing_zeros();
    let mut climb = Climb { at: (old - 1) >> level, last: (new - 1) >> level };
    let mut rest = proof.iter();
    // A complete old tree is its own starting point.
    let start = if climb.at == 0 { old_root } else { rest.next().ok_or(ProofError::Length)? };
    let (mut old_hash, mut new_hash) = (*start, *start);
    for sibling in rest {
        match climb.step()? {
            Side::Left => {
                old_hash = node_hash(sibling, &old_hash);
                new_hash = node_hash(sibling, &new_hash);
            }
            Side::Right => new_hash = node_hash(&new_hash, sibling),
        }
    }
    climb.end()?;
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(ProofError::Root) }
}

fn check_sizes(old: u64, new: u64) -> Result<(), ProofError> {
    match old {
        0 => Err(ProofError::OldEmpty),
        _ if old > new => Err(ProofError::SizesReversed),
        _ => Ok(()),
    }
}

/// The siblings on the way from the subtree (`level`, `index`) to the root of `size` leaves.
fn siblings<E>(
    level: u8,
    index: u64,
    size: u64,
    node: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut found = Vec::new();
    let (mut level, mut at, mut last) = (level, index, (size - 1) >> level);
    while last > 0 {
        if at & 1 == 1 {
            found.push(node(level, at - 1)?);
        } else if at < last {
            let begin = (at + 1) << level;
            // The right sibling may be cut short by the end of the tree.
            let end = begin.saturating_add(1 << level).min(size);
            found.push(subtree(begin, end, node)?);
        }
        (level, at, last) = (level + 1, at >> 1, last >> 1);
    }
    Ok(found)
}

/// Where the sibling stands.
enum Side {
    Left,
    Right,
}

/// The way up from a subtree to the root: its place and the last place on the same level.
struct Climb {
    at: u64,
    last: u64,
}

impl Climb {
    /// One level up; skips the levels where a lone right edge has no sibling.
    fn step(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length);
        }
        if self.at == self.last {
            let lone = self.at.trailing_zeros();
            (self.at, self.last) = (self.at >> lone, self.last >> lone);
        }
        let side = if self.at & 1 == 1 { Side::Left } else { Side::Right };
        (self.at, self.last) = (self.at >> 1, self.last >> 1);
        Ok(side)
    }

    /// Whether the root was reached.
    fn end(self) -> Result<(), ProofError> {
        if self.last == 0 { Ok(()) } else { Err(ProofError::Length) }
    }
}
