// SPDX-License-Identifier: MIT OR Apache-2.0
//! Roots of ranges, and the growing right edge of a tree.

use super::leaf::{Hash, empty_root, node_hash};
use super::tile::{TILE_WIDTH, Tile, TileError};

/// The right edge of a tree, kept as the partial tile of each level.
///
/// Leaves go in one at a time; each tile that fills is handed out once. Memory is bounded by 8
/// levels of 255 hashes whatever the size of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Lowest level first. A tile here is never full: it moves up as one hash.
    partial: Vec<Vec<Hash>>,
}

impl Frontier {
    /// The edge of an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a tree of `size` leaves, from its partial tiles as `read` gives them.
    ///
    /// Only the widths are checked here: compare [`Frontier::root`] with a root you trust.
    ///
    /// # Errors
    /// Those of `read`, or [`TileError::Length`] for a tile of another width than `size` asks for.
    pub fn load<E: From<TileError>>(
        size: u64,
        mut read: impl FnMut(Tile) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut partial = Vec::new();
        for level in 0..Tile::levels(size) {
            let tile = Tile::partial(level, size);
            let hashes = tile.map(&mut read).transpose()?.unwrap_or_default();
            if hashes.len() != tile.map_or(0, Tile::width) {
                return Err(TileError::Length.into());
            }
            partial.push(hashes);
        }
        Ok(Self { size, partial })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; `full` receives each tile that this one fills, lowest level first.
    ///
    /// # Errors
    /// Those of `full`, after which this value must not be used any more, and
    /// [`TileError::TooLarge`] at 2^64 - 1 leaves.
    pub fn append<E: From<TileError>>(
        &mut self,
        leaf: Hash,
        mut full: impl FnMut(Tile, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.size = self.size.checked_add(1).ok_or(TileError::TooLarge)?;
        let mut carried = leaf;
        for level in 0_u8.. {
            let row = usize::from(level);
            if self.partial.len() <= row {
                self.partial.resize(row + 1, Vec::new());
            }
            let Some(hashes) = self.partial.get_mut(row) else { break };
            hashes.push(carried);
            if hashes.len() < TILE_WIDTH {
                break;
            }
            // Just filled, so it is the last full tile of its level.
            let tile = Tile::last_full(level, self.size).ok_or(TileError::TooLarge)?;
            full(tile, hashes)?;
            carried = range_root(hashes);
            hashes.clear();
        }
        Ok(())
    }

    /// The tiles of the right edge that are not full, with their hashes, lowest level first.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        (0_u8..).zip(&self.partial).filter_map(|(level, hashes)| {
            Tile::partial(level, self.size).map(|tile| (tile, hashes.as_slice()))
        })
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Hash {
        let peaks = self.partial.iter().rev().flat_map(|hashes| peaks(hashes));
        join(&peaks.collect::<Vec<_>>())
    }
}

/// The RFC 6962 tree hash over `hashes`, taken as complete subtrees of one height.
pub fn range_root(hashes: &[Hash]) -> Hash {
    join(&peaks(hashes))
}

/// The hash of the leaves `begin..end`, where `begin` is a multiple of a power of two that is at
/// least `end - begin`; `node(level, index)` gives the complete subtree of `2^level` leaves that
/// starts at `index << level`.
pub(super) fn subtree<E>(
    begin: u64,
    end: u64,
    node: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let mut roots = Vec::new();
    let mut at = begin;
    while at < end {
        let level = (end - at).ilog2();
        roots.push(node(level as u8, at >> level)?);
        at += 1 << level;
    }
    Ok(join(&roots))
}

/// The root of a tree of `size` leaves, out of its complete subtrees (see [`super::tile::node`]).
///
/// # Errors
/// Those of `node`.
pub fn root<E>(size: u64, mut node: impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    subtree(0, size, &mut node)
}

/// The maximal complete subtrees over `hashes`, largest and leftmost first.
fn peaks(hashes: &[Hash]) -> Vec<Hash> {
    let mut stack: Vec<(u32, Hash)> = Vec::new();
    for hash in hashes {
        let mut top = (0, *hash);
        while let Some(&(height, left)) = stack.last().filter(|(height, _)| *height == top.0) {
            stack.pop();
            top = (height + 1, node_hash(&left, &top.1));
        }
        stack.push(top);
    }
    stack.into_iter().map(|(_, hash)| hash).collect()
}

/// Joins maximal complete subtrees, largest first, into one root.
fn join(peaks: &[Hash]) -> Hash {
    let joined = peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
    joined.unwrap_or_else(empty_root)
}
