// SPDX-License-Identifier: MIT OR Apache-2.0
//! Notes, keys, checkpoints and bundles: what is signed is taken, nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::evidence::leaf::{empty_root, hash_text};
use crate::evidence::note::{NOTE_BYTES_MAX, Note, SIGNATURES_MAX};
use crate::evidence::proof::inclusion;

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: NAME.to_owned(), size: 5, root: naive::root(&leaves(5)) }
}

/// Any text under a good signature of the log's key.
fn open_text(text: &str) -> Result<Checkpoint, CheckpointError> {
    let signer = signer();
    Checkpoint::open(signer.sign(text).unwrap().as_bytes(), signer.verifier())
}

fn bundle() -> ProofBundle {
    let records: Vec<_> = (0_u64..5).map(|i| i.to_be_bytes().to_vec()).collect();
    let all = leaves(5);
    let node = |level: u8, index: u64| {
        let first = (index << level) as usize;
        Ok::<_, ProofError>(naive::root(&all[first..first + (1 << level)]))
    };
    ProofBundle {
        record: records[3].clone(),
        index: 3,
        proof: inclusion(3, 5, node).unwrap(),
        checkpoint: checkpoint().sign(&signer()).unwrap(),
    }
}

#[test]
fn the_seed_is_never_shown() {
    let shown = format!("{:?}", signer());
    assert!(shown.contains(NAME) && !shown.contains("7, 7") && !shown.contains("0707"), "{shown}");
}

#[test]
fn a_name_that_would_break_a_line_is_refused() {
    for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b", "a\u{7f}", &"n".repeat(256)] {
        assert_eq!(Signer::from_seed(name, &[7; 32]).err(), Some(NoteError::Name), "{name:?}");
    }
}

#[test]
fn other_spellings_of_a_key_are_refused() {
    let vkey = signer().verifier().to_string();
    let (name, rest) = vkey.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    assert!(vkey.parse::<VerifierKey>().is_ok());
    for text in [
        format!("other.example+{id}+{key}"),
        format!("{name}+00000000+{key}"),
        format!("{name}+{}+{key}", id.to_uppercase()),
        format!("{name}+{id}+{key}="),
        format!("{name}+{id}+{key}\n"),
        format!("{name}+{id}+{}", key.replacen('A', "B", 1)),
        format!("{name}+{id}"),
        format!("{name}+{id}+{}", "A".repeat(1_000_000)),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(NoteError::Key), "{text}");
    }
}

#[test]
fn a_key_of_small_order_is_refused() {
    // The identity point: signatures that anybody can write verify under it.
    let mut typed = [0; 33];
    (typed[0], typed[1]) = (1, 1);
    let id = Sha256::digest([NAME.as_bytes(), b"\n", &typed].concat());
    let id = u32::from_be_bytes(*id.first_chunk().unwrap());
    let vkey = format!("{NAME}+{id:08x}+{}", STANDARD.encode(typed));
    assert_eq!(vkey.parse::<VerifierKey>(), Err(NoteError::Key));
}

#[test]
fn a_signature_with_a_point_of_small_order_is_refused() {
    // R is the identity and S = k·a: the equation holds, the strict rules do not.
    let signature = concat!(
        "kmE6JQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "SSKZduSrlFpt0is6Hldu58bFiE57/8KdN158gYP0Gw4=",
    );
    let note = format!("text\n\n— {NAME} {signature}\n");
    let refused = Note::parse(note.as_bytes()).unwrap().verify(signer().verifier());
    assert_eq!(refused, Err(NoteError::Signature));
}

#[test]
fn a_text_that_no_note_can_carry_is_not_signed() {
    for text in ["", "no newline", "tab\t\n", "nul\0\n", "return\r\n"] {
        assert_eq!(signer().sign(text), Err(NoteError::Malformed), "{text:?}");
    }
    assert_eq!(signer().sign(&"a\n".repeat(NOTE_BYTES_MAX)), Err(NoteError::TooLarge));
    let note = signer().sign("blank\n\nlines\n\n").unwrap();
    let text = Note::parse(note.as_bytes()).unwrap().verify(signer().verifier());
    assert_eq!(text, Ok("blank\n\nlines\n\n"));
}

#[test]
fn every_bit_of_a_note_counts() {
    let (signer, note) = (signer(), checkpoint().sign(&signer()).unwrap());
    assert_eq!(Checkpoint::open(note.as_bytes(), signer.verifier()), Ok(checkpoint()));
    for bit in 0..note.len() * 8 {
        let mut bent = note.clone().into_bytes();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(Checkpoint::open(&bent, signer.verifier()).is_err(), "bit {bit}");
    }
    for end in 0..note.len() {
        assert!(Checkpoint::open(&note.as_bytes()[..end], signer.verifier()).is_err());
    }
}

#[test]
fn a_note_with_anything_round_it_is_refused() {
    let (signer, note) = (signer(), checkpoint().sign(&signer()).unwrap());
    let line = note.lines().last().unwrap().to_owned();
    let refused = |note: String| Checkpoint::open(note.as_bytes(), signer.verifier()).unwrap_err();
    let malformed = CheckpointError::Note(NoteError::Malformed);
    for bad in [
        format!("{note}\n"),
        format!("{note}trailing"),
        format!("{note}trailing\n"),
        format!("{note}— name\n"),
        format!("{note}— name AAAA\n"),
        format!("{note}— name !!!!!!!!\n"),
        format!("{note}- name AAAAAAA=\n"),
        format!("{note}—  AAAAAAA=\n"),
        note.replace('\n', "\r\n"),
        note.replace(NAME, "log\u{0}"),
    ] {
        assert_eq!(refused(bad.clone()), malformed, "{bad:?}");
    }
    assert_eq!(refused(format!("{note}{line}\n")), CheckpointError::Note(NoteError::Twice));
    assert_eq!(refused(format!("\n{note}")), CheckpointError::Note(NoteError::Signature));
}

#[test]
fn lines_of_unknown_keys_are_passed_over_up_to_a_limit() {
    let (signer, note) = (signer(), checkpoint().sign(&signer()).unwrap());
    let witness = "— witness.example AAAAAAA=\n";
    let cosigned = format!("{note}{}", witness.repeat(SIGNATURES_MAX - 1));
    assert_eq!(Checkpoint::open(cosigned.as_bytes(), signer.verifier()), Ok(checkpoint()));
    let refused = |note: &str| Note::parse(note.as_bytes()).unwrap_err();
    assert_eq!(refused(&format!("{cosigned}{witness}")), NoteError::TooLarge);
    assert_eq!(refused(&"a".repeat(NOTE_BYTES_MAX + 1)), NoteError::TooLarge);
}

#[test]
fn a_signature_by_another_key_counts_for_nothing() {
    let note = checkpoint().sign(&signer()).unwrap();
    let stranger = Signer::from_seed(NAME, &[8; 32]).unwrap();
    let refused = Checkpoint::open(note.as_bytes(), stranger.verifier());
    assert_eq!(refused, Err(CheckpointError::Note(NoteError::Unsigned)));
    let renamed = Signer::from_seed("other.example", &[7; 32]).unwrap();
    let refused = Checkpoint::open(note.as_bytes(), renamed.verifier());
    assert_eq!(refused, Err(CheckpointError::Note(NoteError::Unsigned)));
    assert_eq!(checkpoint().sign(&renamed), Err(CheckpointError::Origin));
}

#[test]
fn a_signed_text_that_is_no_checkpoint_is_refused() {
    let root = hash_text(&checkpoint().root);
    assert!(open_text(&format!("{NAME}\n5\n{root}\n")).is_ok());
    for text in [
        format!("{NAME}\n05\n{root}\n"),
        format!("{NAME}\n+5\n{root}\n"),
        format!("{NAME}\n-5\n{root}\n"),
        format!("{NAME}\n5 \n{root}\n"),
        format!("{NAME}\n\n{root}\n"),
        format!("{NAME}\n18446744073709551616\n{root}\n"),
        format!("{NAME}\n5\n{root}\nextension\n"),
        format!("{NAME}\n5\n{root}\n\n"),
        format!("{NAME}\n5\n{}\n", root.trim_end_matches('=')),
        format!("{NAME}\n5\n{}=\n", "h".repeat(43)),
        format!("{NAME}\n5\nAAAA\n"),
        format!("{NAME}\n5\n"),
        format!("\n5\n{root}\n"),
        // A tree without leaves has one root only.
        format!("{NAME}\n0\n{root}\n"),
    ] {
        assert_eq!(open_text(&text), Err(CheckpointError::Malformed), "{text:?}");
    }
    let other = format!("other.example\n5\n{root}\n");
    assert_eq!(open_text(&other), Err(CheckpointError::Origin), "a log's key vouches for one log");
    let empty = Checkpoint { origin: NAME.to_owned(), size: 0, root: empty_root() };
    assert!(empty.sign(&signer()).is_ok());
}

#[test]
fn a_bundle_proves_its_record_and_no_other() {
    let (bundle, signer) = (bundle(), signer());
    let proven = bundle.verify(signer.verifier()).unwrap();
    assert_eq!((proven.record, proven.index), (&3_u64.to_be_bytes()[..], 3));
    let refused = |bundle: ProofBundle| bundle.verify(signer.verifier()).unwrap_err();
    let other = ProofBundle { record: b"other".to_vec(), ..bundle.clone() };
    assert_eq!(refused(other), BundleError::Proof(ProofError::Root));
    let moved = ProofBundle { index: 2, ..bundle.clone() };
    assert_eq!(refused(moved), BundleError::Proof(ProofError::Root));
    let outside = ProofBundle { index: 5, ..bundle.clone() };
    assert_eq!(refused(outside), BundleError::Proof(ProofError::IndexOutside));
    let bare = ProofBundle { proof: Vec::new(), ..bundle.clone() };
    assert_eq!(refused(bare), BundleError::Proof(ProofError::Length));
    let stranger = Signer::from_seed(NAME, &[8; 32]).unwrap();
    let refused = bundle.verify(stranger.verifier());
    assert_eq!(refused, Err(BundleError::Checkpoint(NoteError::Unsigned.into())));
}

#[test]
fn every_bit_of_a_bundle_counts() {
    let (text, signer) = (bundle().encode(), signer());
    assert_eq!(ProofBundle::decode(text.as_bytes()), Ok(bundle()));
    for bit in 0..text.len() * 8 {
        let mut bent = text.clone().into_bytes();
        bent[bit / 8] ^= 1 << (bit % 8);
        let proves = ProofBundle::decode(&bent).is_ok_and(|b| b.verify(signer.verifier()).is_ok());
        assert!(!proves, "bit {bit}");
    }
}

#[test]
fn other_spellings_of_a_bundle_are_refused() {
    let text = bundle().encode();
    for bad in [
        text.replace("@v1", "@v2"),
        text.replace("extra ", "Extra "),
        text.replace("extra ", "extra  "),
        text.replace("index 3", "index 03"),
        text.replace("index 3", "index +3"),
        text.replace("index 3\n", ""),
        text.replace("index 3\n", "index 3\n\n"),
        text.replace("extra ", "extra AAAA\nextra "),
        text.replace('\n', "\r\n"),
        text.replace("\n\n", "\n"),
        format!("\n{text}"),
    ] {
        let decoded = ProofBundle::decode(bad.as_bytes());
        let proves = decoded.is_ok_and(|b| b.verify(signer().verifier()).is_ok());
        assert!(!proves, "{bad}");
    }
    let mut long = bundle();
    long.proof = vec![[0; 32]; 66];
    let refused = ProofBundle::decode(long.encode().as_bytes());
    assert_eq!(refused, Err(BundleError::TooLarge));
    long = ProofBundle { record: vec![0; RECORD_BYTES_MAX + 1], ..bundle() };
    let refused = ProofBundle::decode(long.encode().as_bytes());
    assert_eq!(refused, Err(BundleError::TooLarge));
    let huge = vec![b'a'; bundle::BUNDLE_BYTES_MAX + 1];
    assert_eq!(ProofBundle::decode(&huge), Err(BundleError::TooLarge));
}

proptest! {
    #[test]
    fn no_bytes_make_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Note::parse(&bytes);
        let _ = ProofBundle::decode(&bytes);
    }

    #[test]
    fn no_text_makes_parsing_panic(text in "[a-z—+= \n0-9é]{0,200}") {
        let _ = Note::parse(text.as_bytes());
        let _ = text.parse::<VerifierKey>();
        let _ = ProofBundle::decode(text.as_bytes());
    }

    #[test]
    fn bundles_come_back(record in prop::collection::vec(any::<u8>(), 0..500), index: u64) {
        let bundle = ProofBundle { record, index, ..bundle() };
        prop_assert_eq!(ProofBundle::decode(bundle.encode().as_bytes()), Ok(bundle));
    }
}
