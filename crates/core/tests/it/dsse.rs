// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pre-authentication encoding of DSSE v1.

use chancery_core::keys::pae;

/// The example of the DSSE protocol's own page.
#[test]
fn the_published_example() {
    let encoded = pae("http://example.com/HelloWorld", b"hello world");
    assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

/// What is one type and payload must not read as another: the lengths are in front.
#[test]
fn lengths_are_decimal_bytes_without_padding() {
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    assert_eq!(pae("tést", "é".as_bytes()), "DSSEv1 5 tést 2 é".as_bytes());
    assert_ne!(pae("a 1 b", b"c"), pae("a", b"b 1 c"));
    assert_ne!(pae("ab", b"c"), pae("a", b"bc"));
}
