// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and bytes of tiles, as tlog-tiles writes them and in no other way.

use proptest::prelude::*;

use super::*;
use crate::evidence::tile::{
    TILE_WIDTH, decode_entries, decode_hashes, encode_entries, encode_hashes,
};

#[test]
fn names_are_those_of_the_specification() {
    let name = |row, index, size| Tile::at(row, index, size).unwrap().to_string();
    let far = (1_234_067 + 1) * 256;
    assert_eq!(name(Row::Level(0), 1_234_067, far), "tile/0/x001/x234/067");
    assert_eq!(name(Row::Entries, 1000, 256_005), "tile/entries/x001/000.p/5");
    assert_eq!(name(Row::Level(2), 0, 70_000), "tile/2/000.p/1");
    assert_eq!(name(Row::Entries, 0, 256), "tile/entries/000");
}

#[test]
fn a_tree_of_70000_has_the_tiles_of_the_specification() {
    let size = 70_000;
    assert_eq!(Tile::levels(size), 3);
    assert_eq!(Tile::last_full(0, size).map(Tile::index), Some(272));
    assert_eq!(Tile::partial(0, size).map(Tile::width), Some(112));
    assert_eq!(Tile::last_full(1, size).map(Tile::index), Some(0));
    assert_eq!(Tile::partial(1, size).map(Tile::width), Some(17));
    assert_eq!(Tile::last_full(2, size), None);
    assert_eq!(Tile::partial(2, size).map(Tile::width), Some(1));
    assert_eq!(Tile::partial(0, 256), None, "a full tile has no empty partial one");
    assert_eq!(Tile::at(Row::Entries, u64::MAX, u64::MAX), None);
    assert_eq!((Tile::levels(0), Tile::levels(1), Tile::levels(u64::MAX)), (0, 1, 8));
}

#[test]
fn other_spellings_of_a_name_are_refused() {
    for name in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/00/000",
        "tile/64/000",
        "tile/256/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/+00",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/001/000",
        "tile/0/x001000",
        "tile/0/x001/x000",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000.p/5/",
        "tile/0/../000",
        "tile/entries/x1/000",
        "tile/Entries/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/é00",
        "tile/0/000.p/5.p/5",
    ] {
        assert_eq!(Tile::parse(name), Err(TileError::Name), "{name}");
    }
    assert!(Tile::parse(&format!("tile/0/{}", "x".repeat(100_000))).is_err());
}

#[test]
fn entry_bundles_are_read_to_the_byte() {
    let records: [&[u8]; 3] = [b"", b"ab", b"c"];
    let bytes = encode_entries(&records).unwrap();
    assert_eq!(bytes, b"\0\0\0\x02ab\0\x01c");
    assert_eq!(decode_entries(&bytes, 3).unwrap(), records);
    for width in [0, 1, 2, 4, 256] {
        assert_eq!(decode_entries(&bytes, width), Err(TileError::Length), "width {width}");
    }
    for end in 0..bytes.len() {
        assert_eq!(decode_entries(&bytes[..end], 3), Err(TileError::Length), "cut at {end}");
    }
    let trailing = [bytes.as_slice(), &[0]].concat();
    assert_eq!(decode_entries(&trailing, 3), Err(TileError::Length));
    assert_eq!(decode_entries(&bytes, usize::MAX), Err(TileError::TooLarge));
}

#[test]
fn a_record_over_the_limit_is_refused() {
    let largest = vec![0; RECORD_BYTES_MAX];
    let bytes = encode_entries(std::slice::from_ref(&largest)).unwrap();
    assert_eq!(decode_entries(&bytes, 1).unwrap(), [largest]);
    assert_eq!(encode_entries(&[vec![0; RECORD_BYTES_MAX + 1]]), Err(TileError::TooLarge));
    assert_eq!(encode_entries(&vec![[0]; TILE_WIDTH + 1]), Err(TileError::TooLarge));
}

#[test]
fn hash_tiles_are_read_to_the_byte() {
    let hashes = leaves(3);
    let bytes = encode_hashes(&hashes);
    assert_eq!(decode_hashes(&bytes, 3), Ok(hashes));
    for (bytes, width) in [(&bytes[..], 2), (&bytes[..], 4), (&bytes[..95], 3), (&bytes[1..], 2)] {
        assert_eq!(decode_hashes(bytes, width), Err(TileError::Length));
    }
}

proptest! {
    #[test]
    fn names_come_back(index in 0..u64::MAX / 256, width in 1_u64..=256, entries: bool) {
        let row = if entries { Row::Entries } else { Row::Level(0) };
        let tile = Tile::at(row, index, index * 256 + width).unwrap();
        prop_assert_eq!(Tile::parse(&tile.to_string()), Ok(tile));
    }

    #[test]
    fn no_name_makes_parse_panic(name in "tile/(entries|[0-9]{1,3})/[x0-9/.p+é]{0,30}") {
        if let Ok(tile) = Tile::parse(&name) {
            prop_assert_eq!(tile.to_string(), name);
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        width in 0_usize..300,
    ) {
        if let Ok(records) = decode_entries(&bytes, width) {
            prop_assert_eq!(encode_entries(&records).unwrap(), bytes.clone());
        }
        let _ = decode_hashes(&bytes, width);
    }
}
