// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tiles and entry bundles as C2SP tlog-tiles lays them out: names, widths, bytes.

use std::fmt;

use super::leaf::{Hash, RECORD_BYTES_MAX, parse_decimal};
use super::tree::range_root;

/// Hashes in a full tile and records in a full entry bundle.
pub const TILE_WIDTH: usize = 256;

/// A full entry bundle at its longest, in bytes.
pub const ENTRIES_BYTES_MAX: usize = TILE_WIDTH * (2 + RECORD_BYTES_MAX);

/// The longest name that [`Tile::parse`] looks at, in bytes.
const PATH_BYTES_MAX: usize = 64;

/// The highest level that the format has room for.
const LEVEL_MAX: u8 = 63;

/// Why bytes or a name are not a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// The name is not one that tlog-tiles would write.
    #[error("not a tile name")]
    Name,
    /// Fewer or more bytes than the width calls for.
    #[error("the tile has the wrong length")]
    Length,
    /// A record over [`RECORD_BYTES_MAX`], a bundle over [`TILE_WIDTH`], or a tree over 2^64 - 1.
    #[error("over the limit of the format")]
    TooLarge,
}

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// Records.
    Entries,
    /// Hashes of complete subtrees of 256^level leaves.
    Level(u8),
}

/// One tile or entry bundle of a tree, full or partial.
///
/// Its [`Display`](fmt::Display) is its path under the log's folder: `tile/0/x001/x234/067`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    row: Row,
    index: u64,
    width: u16,
}

impl Tile {
    /// Tile `index` of `row` as it stands in a tree of `size` leaves; none if it is empty there.
    pub fn at(row: Row, index: u64, size: u64) -> Option<Self> {
        let begin = index.checked_mul(TILE_WIDTH as u64)?;
        let width = row.units(size).checked_sub(begin)?.min(TILE_WIDTH as u64) as u16;
        (width > 0).then_some(Self { row, index, width })
    }

    /// The partial tile of `level` in a tree of `size` leaves; none where the last tile is full.
    pub fn partial(level: u8, size: u64) -> Option<Self> {
        let row = Row::Level(level);
        Self::at(row, row.units(size) / TILE_WIDTH as u64, size)
    }

    /// The last full tile of `level` in a tree of `size` leaves, if one is full.
    pub fn last_full(level: u8, size: u64) -> Option<Self> {
        let row = Row::Level(level);
        let index = (row.units(size) / TILE_WIDTH as u64).checked_sub(1)?;
        Self::at(row, index, size)
    }

    /// How many levels of tiles a tree of `size` leaves has: at most 8.
    pub fn levels(size: u64) -> u8 {
        size.checked_ilog2().map_or(0, |bits| bits as u8 / 8 + 1)
    }

    /// What it holds.
    pub fn row(self) -> Row {
        self.row
    }

    /// Its place in its row.
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many hashes or records it holds: 1 to 256.
    pub fn width(self) -> usize {
        usize::from(self.width)
    }

    /// Whether nothing can be added to it any more.
    pub fn is_full(self) -> bool {
        self.width() == TILE_WIDTH
    }

    /// The full tile that this one becomes.
    #[must_use]
    pub fn filled(self) -> Self {
        Self { width: TILE_WIDTH as u16, ..self }
    }

    /// Reads a path back; the one spelling per tile, nothing else.
    ///
    /// # Errors
    /// [`TileError::Name`].
    pub fn parse(path: &str) -> Result<Self, TileError> {
        parse_path(path).filter(|tile| tile.to_string() == path).ok_or(TileError::Name)
    }
}

impl Row {
    /// How many hashes or records the row has in a tree of `size` leaves.
    fn units(self, size: u64) -> u64 {
        match self {
            Self::Entries => size,
            Self::Level(level) => size.checked_shr(8 * u32::from(level)).unwrap_or(0),
        }
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Row::Entries => f.write_str("tile/entries/")?,
            Row::Level(level) => write!(f, "tile/{level}/")?,
        }
        // The highest group that is not zero, and all below it.
        let groups = self.index.checked_ilog10().unwrap_or(0) / 3;
        for group in (1..=groups).rev() {
            write!(f, "x{:03}/", self.index / 1000_u64.pow(group) % 1000)?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// Reads a path loosely; [`Tile::parse`] compares with what the tile would be called.
fn parse_path(path: &str) -> Option<Tile> {
    if path.len() > PATH_BYTES_MAX {
        return None;
    }
    let (row, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let row = match row {
        "entries" => Row::Entries,
        level => Row::Level(u8::try_from(parse_decimal(level)?).ok().filter(|l| *l <= LEVEL_MAX)?),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, parse_decimal(width).filter(|w| (1..256).contains(w))?),
        None => (rest, TILE_WIDTH as u64),
    };
    let digits = index.replace("/x", "").replace('/', "");
    let index = digits.trim_start_matches('x').parse().ok()?;
    Some(Tile { row, index, width: width as u16 })
}

/// The hash of the complete subtree of `2^level` leaves at `index << level`, out of the tiles of a
/// tree of `size` leaves as `read` gives them.
///
/// # Errors
/// Those of `read`, or [`TileError::Length`] where the tree has no such subtree.
pub fn node<E: From<TileError>>(
    level: u8,
    index: u64,
    size: u64,
    read: &mut impl FnMut(Tile) -> Result<Vec<Hash>, E>,
) -> Result<Hash, E> {
    let height = level % 8;
    let tile = Tile::at(Row::Level(level / 8), index >> (8 - height), size);
    let hashes = read(tile.ok_or(TileError::Length)?)?;
    let first = (index as usize) << height & (TILE_WIDTH - 1);
    let part = hashes.get(first..first + (1 << height)).ok_or(TileError::Length)?;
    Ok(range_root(part))
}

/// The bytes of a tile of hashes.
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// Reads a tile of `width` hashes.
///
/// # Errors
/// [`TileError::Length`] for any other number of bytes.
pub fn decode_hashes(bytes: &[u8], width: usize) -> Result<Vec<Hash>, TileError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() == width && rest.is_empty() {
        Ok(hashes.to_vec())
    } else {
        Err(TileError::Length)
    }
}

/// The bytes of an entry bundle: each record behind its length, 16 bits big-endian.
///
/// # Errors
/// [`TileError::TooLarge`] for a record over [`RECORD_BYTES_MAX`] or more than [`TILE_WIDTH`]
/// records.
pub fn encode_entries<R: AsRef<[u8]>>(records: &[R]) -> Result<Vec<u8>, TileError> {
    if records.len() > TILE_WIDTH {
        return Err(TileError::TooLarge);
    }
    let mut bytes = Vec::new();
    for record in records.iter().map(AsRef::as_ref) {
        let length = u16::try_from(record.len()).map_err(|_| TileError::TooLarge)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(record);
    }
    Ok(bytes)
}

/// Reads an entry bundle of `width` records.
///
/// # Errors
/// [`TileError::TooLarge`] for a width over [`TILE_WIDTH`]; [`TileError::Length`] if a record is
/// cut short, or if any byte is left over.
pub fn decode_entries(bytes: &[u8], width: usize) -> Result<Vec<&[u8]>, TileError> {
    if width > TILE_WIDTH {
        return Err(TileError::TooLarge);
    }
    let mut records = Vec::with_capacity(width);
    let mut rest = bytes;
    for _ in 0..width {
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(TileError::Length)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (record, tail) = tail.split_at_checked(length).ok_or(TileError::Length)?;
        records.push(record);
        rest = tail;
    }
    if rest.is_empty() { Ok(records) } else { Err(TileError::Length) }
}
