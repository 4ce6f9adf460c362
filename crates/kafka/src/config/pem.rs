// SPDX-License-Identifier: MIT OR Apache-2.0
//! Certificates and keys as text. Java also takes them on one line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// One block: its label and its text, wrapped as OpenSSL wants it.
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) text: Zeroizing<String>,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

impl Block {
    pub(crate) fn is_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    pub(crate) fn is_certificate(&self) -> bool {
        self.label == "CERTIFICATE"
    }
}

/// Every block of a text; `None` if one does not end, or is not what PEM allows.
pub(crate) fn blocks(text: &str) -> Option<Vec<Block>> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some((_, behind)) = rest.split_once("-----BEGIN ") {
        let (label, behind) = behind.split_once("-----")?;
        let (inside, behind) = behind.split_once(&format!("-----END {label}-----"))?;
        let base64: Zeroizing<String> =
            Zeroizing::new(inside.chars().filter(|c| !c.is_whitespace()).collect());
        let bytes = Zeroizing::new(STANDARD.decode(base64.as_bytes()).ok()?);
        found.push(Block { label: label.to_owned(), text: block(label, &bytes), bytes });
        rest = behind;
    }
    Some(found)
}

/// A block of these bytes.
pub(crate) fn block(label: &str, bytes: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(bytes));
    let mut text = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = behind;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
