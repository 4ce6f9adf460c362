// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two hashes of an RFC 6962 tree. The prefix byte keeps a leaf from passing for a node.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest: a leaf, a node or a root.
pub type Hash = [u8; 32];

/// The longest record, in bytes: tlog-tiles gives an entry's length 16 bits.
pub const RECORD_BYTES_MAX: usize = 65_535;

/// The hash of a record as a leaf: SHA-256(0x00 ‖ record), RFC 6962 section 2.1.
pub fn leaf_hash(record: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(record).finalize().into()
}

/// The hash of two subtrees side by side: SHA-256(0x01 ‖ left ‖ right), RFC 6962 section 2.1.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A hash as C2SP texts write it: padded standard base64.
pub(super) fn hash_text(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

/// Reads [`hash_text`] back; the one spelling per hash, nothing else.
pub(super) fn parse_hash(text: &str) -> Option<Hash> {
    if text.len() != 44 {
        return None;
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A decimal number without sign, leading zero or anything else beside its digits.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
