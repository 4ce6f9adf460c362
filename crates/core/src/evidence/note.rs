// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signed notes (C2SP signed-note) with Ed25519 keys: a text, a blank line, signature lines.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The longest note that is looked at, in bytes: room for 16 post-quantum signatures and more.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;

/// The most signature lines in a note; the specification asks for at least 16.
pub const SIGNATURES_MAX: usize = 64;

/// The longest key name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Signature type of a plain Ed25519 note signature.
const ED25519: u8 = 0x01;

/// Why a note or a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Over [`NOTE_BYTES_MAX`] or [`SIGNATURES_MAX`].
    #[error("the note is over the limit")]
    TooLarge,
    /// Not the form of a signed note.
    #[error("not a signed note")]
    Malformed,
    /// Empty, too long, or with a space, a control character or a plus sign.
    #[error("not a key name")]
    Name,
    /// Not a verifier key of the form `name+id+key`, or not a usable Ed25519 key.
    #[error("not an Ed25519 verifier key")]
    Key,
    /// The key signed none of the lines.
    #[error("not signed by the given key")]
    Unsigned,
    /// The key has more than one line.
    #[error("signed twice by the given key")]
    Twice,
    /// A line names the key, but the signature is not its own.
    #[error("the signature does not verify")]
    Signature,
}

/// A note taken apart; [`Note::verify`] is the way to its text.
#[derive(Clone, Debug)]
pub struct Note<'a> {
    text: &'a str,
    lines: Vec<Line<'a>>,
}

#[derive(Clone, Debug)]
struct Line<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Takes a note apart. Nothing is verified yet.
    ///
    /// # Errors
    /// [`NoteError::TooLarge`] or [`NoteError::Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed)?;
        if note.bytes().any(|b| b < b' ' && b != b'\n') {
            return Err(NoteError::Malformed);
        }
        // The last blank line ends the text, whose own final newline belongs to it.
        let blank = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, rest) = note.split_at_checked(blank + 1).ok_or(NoteError::Malformed)?;
        let lines = rest.strip_prefix('\n').and_then(|rest| rest.strip_suffix('\n'));
        let lines = lines.ok_or(NoteError::Malformed)?;
        if lines.split('\n').count() > SIGNATURES_MAX {
            return Err(NoteError::TooLarge);
        }
        let lines = lines.split('\n').map(Line::parse).collect::<Option<_>>();
        Ok(Self { text, lines: lines.ok_or(NoteError::Malformed)? })
    }

    /// The text, if `key` signed it. Lines of other keys are passed over.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`], [`NoteError::Twice`] or [`NoteError::Signature`].
    pub fn verify(&self, key: &VerifierKey) -> Result<&'a str, NoteError> {
        let mut ours = self.lines.iter().filter(|l| l.name == key.name && l.id == key.id);
        let line = ours.next().ok_or(NoteError::Unsigned)?;
        if ours.next().is_some() {
            return Err(NoteError::Twice);
        }
        let signature = Signature::from_slice(&line.signature).map_err(|_| NoteError::Signature)?;
        let verified = key.key.verify_strict(self.text.as_bytes(), &signature);
        verified.map(|()| self.text).map_err(|_| NoteError::Signature)
    }
}

impl<'a> Line<'a> {
    /// Reads `— name base64(id ‖ signature)`.
    fn parse(line: &'a str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (id, signature) = decoded.split_first_chunk()?;
        let sound = is_name(name) && !signature.is_empty();
        sound.then(|| Self { name, id: *id, signature: signature.to_vec() })
    }
}

/// Who a note must be signed by: `name+id+base64(0x01 ‖ public key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Name);
        }
        if key.is_weak() {
            return Err(NoteError::Key);
        }
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        let id = hash.first_chunk().copied().unwrap_or_default();
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// The key's name, which for a log is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    /// Reads the one spelling per key, and checks the id against name and key.
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, rest) = text.split_once('+').ok_or(NoteError::Key)?;
        let (_, encoded) = rest.split_once('+').ok_or(NoteError::Key)?;
        if encoded.len() != 44 {
            return Err(NoteError::Key);
        }
        let decoded = STANDARD.decode(encoded).map_err(|_| NoteError::Key)?;
        let Some((&ED25519, public)) = decoded.split_first() else { return Err(NoteError::Key) };
        let public = public.try_into().map_err(|_| NoteError::Key)?;
        let key = VerifyingKey::from_bytes(&public).map_err(|_| NoteError::Key)?;
        let found = Self::new(name, key)?;
        if found.to_string() == text { Ok(found) } else { Err(NoteError::Key) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![ED25519];
        typed.extend_from_slice(self.key.as_bytes());
        let id = u32::from_be_bytes(self.id);
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(typed))
    }
}

/// A note's signing key. It shows its public half only, and is wiped when dropped.
pub struct Signer {
    secret: SigningKey,
    verifier: VerifierKey,
}

impl Signer {
    /// The signer called `name` whose Ed25519 seed (RFC 8032 section 5.1.5) is `seed`.
    ///
    /// # Errors
    /// [`NoteError::Name`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let secret = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, secret.verifying_key())?;
        Ok(Self { secret, verifier })
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs `text`, which ends in a newline, and gives the whole note.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] or [`NoteError::TooLarge`] for a text that no note can carry.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed);
        }
        let mut signed = self.verifier.id.to_vec();
        signed.extend_from_slice(&self.secret.sign(text.as_bytes()).to_bytes());
        let note = format!("{text}\n— {} {}\n", self.verifier.name, STANDARD.encode(signed));
        Note::parse(note.as_bytes())?;
        Ok(note)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.verifier.to_string()).finish()
    }
}

fn is_name(name: &str) -> bool {
    let sized = (1..=NAME_BYTES_MAX).contains(&name.len());
    sized && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}
