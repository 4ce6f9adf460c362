// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data files of `vectors/`: one case a line, `#` begins a comment.

use std::path::Path;

/// The lines of a file that hold cases.
pub(crate) fn lines(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// Words of a line; `-` stands for nothing.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| if word == "-" { "" } else { word }).collect()
}

/// Hexadecimal.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty());
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    pairs.iter().map(byte).collect::<Result<_, _>>().unwrap()
}
