// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees and proofs against the naive ones; every damaged proof refused.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::evidence::leaf::empty_root;
use crate::evidence::proof::{consistency, inclusion, verify_consistency, verify_inclusion};

fn node_of(leaves: &[Hash]) -> impl Fn(u8, u64) -> Result<Hash, ProofError> {
    |level, index| {
        let first = (index << level) as usize;
        Ok(naive::root(&leaves[first..first + (1 << level)]))
    }
}

/// Every tile of the tree, as a sealer would leave them.
fn grow(leaves: &[Hash]) -> (Frontier, BTreeMap<Tile, Vec<Hash>>) {
    let (mut frontier, mut tiles) = (Frontier::new(), BTreeMap::new());
    for leaf in leaves {
        let full = |tile: Tile, hashes: &[Hash]| {
            assert!(tile.is_full() && tiles.insert(tile, hashes.to_vec()).is_none());
            Ok::<_, TileError>(())
        };
        frontier.append(*leaf, full).unwrap();
    }
    tiles.extend(frontier.partial_tiles().map(|(tile, hashes)| (tile, hashes.to_vec())));
    (frontier, tiles)
}

fn check_proofs(leaves: &[Hash], index: u64, old: u64) {
    let size = leaves.len() as u64;
    let root = naive::root(leaves);
    let path = inclusion(index, size, node_of(leaves)).unwrap();
    assert_eq!(path, naive::path(index as usize, leaves));
    verify_inclusion(&leaves[index as usize], index, size, &path, &root).unwrap();
    let steps = consistency(old, size, node_of(leaves)).unwrap();
    assert_eq!(steps, naive::subproof(old as usize, leaves, true));
    let old_root = naive::root(&leaves[..old as usize]);
    verify_consistency(old, size, &old_root, &root, &steps).unwrap();
}

#[test]
fn every_small_tree_is_the_naive_one() {
    let all = leaves(300);
    for size in 1..=all.len() {
        let part = &all[..size];
        let node = node_of(part);
        assert_eq!(tree::root(size as u64, node).unwrap(), naive::root(part));
        let step = if size <= 70 { 1 } else { 37 };
        for at in (0..size as u64).step_by(step) {
            check_proofs(part, at, at + 1);
        }
    }
}

#[test]
fn the_frontier_has_the_root_and_the_tiles_of_every_size() {
    let all = leaves(600);
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), empty_root());
    for (size, leaf) in (1..).zip(&all) {
        frontier.append(*leaf, |_, _| Ok::<_, TileError>(())).unwrap();
        assert_eq!((frontier.size(), frontier.root()), (size, naive::root(&all[..size as usize])));
    }
}

#[test]
fn a_frontier_is_loaded_from_its_tiles_and_refuses_narrow_ones() {
    for size in [0, 1, 255, 256, 257, 511, 512, 70_000] {
        let (frontier, tiles) = grow(&leaves(size));
        let read = |tile: Tile| Ok::<_, TileError>(tiles[&tile].clone());
        assert_eq!(Frontier::load(size, read).unwrap(), frontier);
        let narrow = |tile: Tile| Ok(tiles[&tile][1..].to_vec());
        let refused = if size == 0 { Ok(Frontier::new()) } else { Err(TileError::Length) };
        assert_eq!(Frontier::load(size, narrow), refused);
    }
}

#[test]
fn nodes_come_out_of_tiles() {
    let all = leaves(70_000);
    let (frontier, tiles) = grow(&all);
    let size = frontier.size();
    let mut read = |tile: Tile| tiles.get(&tile).cloned().ok_or(TileError::Name);
    for (level, index) in [(0, 69_999), (3, 17), (7, 1), (8, 272), (11, 33), (15, 1), (16, 0)] {
        let first = (index << level) as usize;
        let expected = naive::root(&all[first..first + (1 << level)]);
        assert_eq!(tile::node(level, index, size, &mut read), Ok(expected));
    }
    for (level, index) in [(0, 70_000), (8, 273), (16, 1), (17, 0), (63, 0)] {
        assert!(tile::node(level, index, size, &mut read).is_err(), "outside the tree");
    }
}

#[test]
fn every_bit_of_a_proof_counts() {
    for size in [2, 3, 7, 8, 21] {
        let all = leaves(size);
        for at in 0..size {
            flip_inclusion(&all, at);
            flip_consistency(&all, at + 1);
        }
    }
}

fn flips(proof: &[Hash]) -> impl Iterator<Item = Vec<Hash>> {
    (0..proof.len() * 256).map(|bit| {
        let mut bent = proof.to_vec();
        bent[bit / 256][bit / 8 % 32] ^= 1 << (bit % 8);
        bent
    })
}

fn flip_inclusion(all: &[Hash], index: u64) {
    let (size, root) = (all.len() as u64, naive::root(all));
    let leaf = &all[index as usize];
    let proof = naive::path(index as usize, all);
    for bent in flips(&proof) {
        let refused = verify_inclusion(leaf, index, size, &bent, &root);
        assert_eq!(refused, Err(ProofError::Root));
    }
    lengths(&proof, |bent| verify_inclusion(leaf, index, size, bent, &root));
    for other in (0..size).filter(|other| *other != index) {
        assert!(verify_inclusion(leaf, other, size, &proof, &root).is_err(), "another index");
    }
    assert!(
        verify_inclusion(&all[(index as usize + 1) % all.len()], index, size, &proof, &root)
            .is_err()
    );
    assert_eq!(verify_inclusion(leaf, size, size, &proof, &root), Err(ProofError::IndexOutside));
    assert!(verify_inclusion(leaf, index, size * 2, &proof, &root).is_err(), "another size");
}

fn flip_consistency(all: &[Hash], old: u64) {
    let (new, new_root) = (all.len() as u64, naive::root(all));
    let old_root = naive::root(&all[..old as usize]);
    let proof = naive::subproof(old as usize, all, true);
    for bent in flips(&proof) {
        let refused = verify_consistency(old, new, &old_root, &new_root, &bent);
        assert_eq!(refused, Err(ProofError::Root));
    }
    lengths(&proof, |bent| verify_consistency(old, new, &old_root, &new_root, bent));
    if old != new {
        let swapped = verify_consistency(new, old, &new_root, &old_root, &proof);
        assert_eq!(swapped, Err(ProofError::SizesReversed));
        let forked = verify_consistency(old, new, &all[0], &new_root, &proof);
        assert!(forked.is_err() || old == 1, "another old root");
    }
}

/// A hash too many or too few, at either end.
fn lengths(proof: &[Hash], verify: impl Fn(&[Hash]) -> Result<(), ProofError>) {
    let longer = [proof, &[[0; 32]]].concat();
    let preceded = [&[[0; 32]], proof].concat();
    assert_eq!(verify(&longer), Err(ProofError::Length));
    assert_eq!(verify(&preceded), Err(ProofError::Length));
    if let Some((_, shorter)) = proof.split_last() {
        assert_eq!(verify(shorter), Err(ProofError::Length));
    }
}

#[test]
fn a_tree_never_proves_another_of_its_own_size() {
    let (a, b) = ([1; 32], [2; 32]);
    assert_eq!(verify_consistency(5, 5, &a, &b, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(0, 5, &empty_root(), &b, &[]), Err(ProofError::OldEmpty));
    assert_eq!(consistency(0, 5, |_, _| Ok::<_, ProofError>(a)), Err(ProofError::OldEmpty));
}

#[test]
fn a_node_is_no_leaf() {
    let all = leaves(2);
    let parent = [all[0], all[1]].concat();
    assert_ne!(leaf_hash(&parent), naive::root(&all), "second preimage by a missing prefix");
}

#[test]
fn the_largest_sizes_do_not_overflow() {
    let node = |_: u8, _: u64| Ok::<_, ProofError>([0; 32]);
    for index in [0, 1, u64::MAX / 2, u64::MAX - 1] {
        let proof = inclusion(index, u64::MAX, node).unwrap();
        let refused = verify_inclusion(&[0; 32], index, u64::MAX, &proof, &[0; 32]);
        assert_eq!(refused, Err(ProofError::Root));
    }
    let proof = consistency(u64::MAX - 1, u64::MAX, node).unwrap();
    assert!(proof.len() <= proof::PROOF_HASHES_MAX);
    let refused = verify_consistency(u64::MAX - 1, u64::MAX, &[0; 32], &[0; 32], &proof);
    assert_eq!(refused, Err(ProofError::Root));
    let zeros = |tile: Tile| Ok::<_, TileError>(vec![[0; 32]; tile.width()]);
    let mut frontier = Frontier::load(u64::MAX, zeros).unwrap();
    let refused = frontier.append([0; 32], |_, _| Ok::<_, TileError>(()));
    assert_eq!(refused, Err(TileError::TooLarge));
    assert_eq!(tree::root(0, node), Ok(empty_root()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn large_trees_are_the_naive_ones(size in 1_u64..4000, at in any::<prop::sample::Index>()) {
        let all = leaves(size);
        let at = at.index(size as usize) as u64;
        check_proofs(&all, at, at + 1);
        let (frontier, tiles) = grow(&all);
        prop_assert_eq!(frontier.root(), naive::root(&all));
        let mut read = |tile: Tile| tiles.get(&tile).cloned().ok_or(TileError::Name);
        let node = |level: u8, index: u64| tile::node(level, index, size, &mut read);
        prop_assert_eq!(tree::root(size, node), Ok(frontier.root()));
    }

    #[test]
    fn no_proof_makes_the_checks_panic(
        index in any::<u64>(),
        sizes in any::<(u64, u64)>(),
        proof in prop::collection::vec(any::<Hash>(), 0..80),
    ) {
        let zero = [0; 32];
        prop_assert!(verify_inclusion(&zero, index, sizes.0, &proof, &zero).is_err());
        let consistent = verify_consistency(sizes.0, sizes.1, &zero, &zero, &proof);
        prop_assert!(consistent.is_err() || sizes.0 == sizes.1);
    }
}
