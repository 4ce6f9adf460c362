// SPDX-License-Identifier: MIT OR Apache-2.0
//! The evidence log against Cloudflare's `tlog_tiles` and `signed_note`: what one makes the other
//! accepts, and both refuse the same. A proof that only we understand proves nothing to an auditor.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::evidence::proof::{
    consistency, inclusion, verify_consistency, verify_inclusion,
};
use chancery_core::evidence::tile::{encode_hashes, node};
use chancery_core::evidence::{
    Checkpoint, Frontier, Hash, ProofError, Row, Signer, Tile, TileError, leaf_hash, tree,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::HashReader;

/// Two full tiles and a partial one; the first parent tile has begun.
const LEAVES_MAX: u64 = 700;
const ORIGIN: &str = "log.example/orders";
const SEED: [u8; 32] = [7; 32];

/// One tree, kept twice: as our tiles by path, and as their sequence of stored hashes.
struct Log {
    size: u64,
    root: Hash,
    tiles: BTreeMap<String, (Tile, Vec<Hash>)>,
    theirs: Stored,
}

struct Stored(Vec<tlog_tiles::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

#[derive(Debug)]
enum Failure {
    Proof,
    Tile,
}

impl From<ProofError> for Failure {
    fn from(_: ProofError) -> Self {
        Self::Proof
    }
}

impl From<TileError> for Failure {
    fn from(_: TileError) -> Self {
        Self::Tile
    }
}

impl Log {
    fn of(size: u64, salt: u64) -> Self {
        let mut frontier = Frontier::new();
        let (mut tiles, mut theirs) = (BTreeMap::new(), Stored(Vec::new()));
        for n in 0..size {
            let record = record(n, salt);
            let full = |tile: Tile, hashes: &[Hash]| {
                tiles.insert(tile.to_string(), (tile, hashes.to_vec()));
                Ok::<_, TileError>(())
            };
            frontier.append(leaf_hash(&record), full).unwrap();
            let stored = tlog_tiles::stored_hashes(n, &record, &theirs).unwrap();
            theirs.0.extend(stored);
        }
        for (tile, hashes) in frontier.partial_tiles() {
            tiles.insert(tile.to_string(), (tile, hashes.to_vec()));
        }
        Self { size, root: frontier.root(), tiles, theirs }
    }

    /// A complete subtree's hash, out of our tiles.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Failure> {
        let mut read = |tile: Tile| Ok(self.tiles[&tile.to_string()].1.clone());
        node(level, index, self.size, &mut read)
    }

    fn root_at(&self, size: u64) -> Hash {
        tree::root(size, |level, index| self.node(level, index)).unwrap()
    }
}

fn record(n: u64, salt: u64) -> Vec<u8> {
    [salt.to_be_bytes(), n.to_be_bytes()].concat()
}

fn ours(hashes: &[tlog_tiles::Hash]) -> Vec<Hash> {
    hashes.iter().map(|hash| hash.0).collect()
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().copied().map(tlog_tiles::Hash).collect()
}

/// What an attacker may do to a proof; `None` leaves it whole.
type Forgery = Option<(u8, Index, u8)>;

fn forge(proof: &mut Vec<Hash>, forgery: Forgery) {
    let Some((kind, at, bit)) = forgery else { return };
    match kind {
        _ if proof.is_empty() => proof.push([bit; 32]),
        0 => drop(proof.remove(at.index(proof.len()))),
        1 => proof.insert(at.index(proof.len()), [bit; 32]),
        2 => proof.reverse(),
        _ => {
            let hash = at.index(proof.len());
            proof[hash][usize::from(bit % 32)] ^= 1 << (bit / 32);
        }
    }
}

fn forgery() -> impl Strategy<Value = Forgery> {
    proptest::option::of((0..4_u8, any::<Index>(), any::<u8>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_inclusion_proof_is_theirs_and_so_is_the_verdict(
        size in 1..=LEAVES_MAX,
        salt: u64,
        (at, claimed) in any::<(Index, Index)>(),
        claimed_size in 1..=2 * LEAVES_MAX,
        forgery in forgery(),
    ) {
        let log = Log::of(size, salt);
        let index = at.index(size as usize) as u64;
        let mut proof = inclusion(index, size, |l, i| log.node(l, i)).unwrap();
        let made = tlog_tiles::prove_record(size, index, &log.theirs).unwrap();
        prop_assert_eq!(&proof, &ours(&made));
        let leaf = leaf_hash(&record(index, salt));
        let judge = |proof: &[Hash], index: u64, size: u64| {
            let mine = verify_inclusion(&leaf, index, size, proof, &log.root).is_ok();
            let (root, leaf) = (tlog_tiles::Hash(log.root), tlog_tiles::Hash(leaf));
            let other = tlog_tiles::check_record(&theirs(proof), size, root, index, leaf).is_ok();
            (mine, other)
        };
        prop_assert_eq!(judge(&proof, index, size), (true, true));
        let (mine, other) = judge(&proof, index, claimed_size);
        prop_assert_eq!(mine, other);
        let claimed = claimed.index(size as usize + 1) as u64;
        prop_assert_eq!(judge(&proof, claimed, size), (claimed == index, claimed == index));
        let whole = proof.clone();
        forge(&mut proof, forgery);
        prop_assert_eq!(judge(&proof, index, size), (proof == whole, proof == whole));
    }

    #[test]
    fn a_consistency_proof_is_theirs_and_so_is_the_verdict(
        size in 1..=LEAVES_MAX,
        salt: u64,
        (at, claimed) in any::<(Index, Index)>(),
        forgery in forgery(),
    ) {
        let log = Log::of(size, salt);
        let old = at.index(size as usize) as u64 + 1;
        let mut proof = consistency(old, size, |l, i| log.node(l, i)).unwrap();
        let made = tlog_tiles::prove_tree(size, old, &log.theirs).unwrap();
        prop_assert_eq!(&proof, &ours(&made));
        let old_root = log.root_at(old);
        let judge = |proof: &[Hash], old: u64| {
            let mine = verify_consistency(old, size, &old_root, &log.root, proof).is_ok();
            let roots = (tlog_tiles::Hash(log.root), tlog_tiles::Hash(old_root));
            let other = tlog_tiles::check_tree(&theirs(proof), size, roots.0, old, roots.1).is_ok();
            (mine, other)
        };
        prop_assert_eq!(judge(&proof, old), (true, true));
        let (mine, other) = judge(&proof, claimed.index(size as usize + 2) as u64);
        prop_assert_eq!(mine, other);
        let whole = proof.clone();
        forge(&mut proof, forgery);
        prop_assert_eq!(judge(&proof, old), (proof == whole, proof == whole));
    }

    #[test]
    fn a_tile_has_their_path_wherever_it_lies(
        level in 0..6_u8, index in 0..1_u64 << 40, width in 1..=256_u32,
    ) {
        let path = path(&tlog_tiles::Tile::new(8, level, index, width, false));
        let tile = Tile::parse(&path).unwrap();
        let found = (tile.row(), tile.index(), tile.width());
        prop_assert_eq!(found, (Row::Level(level), index, width as usize));
        prop_assert_eq!(tile.to_string(), path);
    }

    #[test]
    fn exactly_their_paths_are_read(
        path in "tile/[0-7]/(x?[0-9]{3}/){0,3}x?[0-9]{2,4}(\\.p/[0-9]{1,3})?",
    ) {
        // Theirs panics at a width of 0.
        prop_assume!(!path.split_once(".p/").is_some_and(|(_, w)| w.trim_matches('0').is_empty()));
        let other = tlog_tiles::Tile::from_path(&path.replacen("tile/", "tile/8/", 1));
        prop_assert_eq!(Tile::parse(&path).is_ok(), other.is_ok(), "{}", path);
    }
}

/// Their path without the height, which C2SP fixes at 8 and does not write.
fn path(tile: &tlog_tiles::Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1)
}

#[test]
fn a_tree_has_their_root_and_their_tiles_at_every_size() {
    let whole = Log::of(LEAVES_MAX, 0);
    for size in 0..=LEAVES_MAX {
        let root = tlog_tiles::tree_hash(size, &whole.theirs).unwrap();
        assert_eq!(whole.root_at(size), root.0, "{size}");
    }
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 513, LEAVES_MAX] {
        let log = Log::of(size, 0);
        let wanted = tlog_tiles::Tile::new_tiles(8, 0, size);
        let wanted = wanted.iter().map(|t| (path(t), t.read_data(&log.theirs).unwrap()));
        let found = log.tiles.iter().map(|(path, (_, h))| (path.clone(), encode_hashes(h)));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), wanted.collect(), "{size}");
    }
}

// Checkpoints.

fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &SEED).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.to_owned(), size: 961_984_011, root: leaf_hash(b"a root") }
}

/// Reads a signed note as a stranger with nothing but our verifier key would.
fn opened_by_them(note: &[u8]) -> Option<Checkpoint> {
    let key = StandardVerifier::new(&signer().verifier().to_string()).unwrap();
    let note = Note::from_bytes(note).ok()?;
    note.verify(&VerifierList::new(vec![Box::new(key)])).ok()?;
    let found = tlog_tiles::Checkpoint::from_bytes(note.text()).ok()?;
    let (origin, root) = (found.origin().to_owned(), found.hash().0);
    found.extension().is_empty().then(|| Checkpoint { origin, size: found.size(), root })
}

#[test]
fn they_open_our_checkpoint_and_no_forgery_of_it() {
    let note = checkpoint().sign(&signer()).unwrap();
    assert_eq!(opened_by_them(note.as_bytes()), Some(checkpoint()));
    for at in 0..note.len() {
        let mut forged = note.clone().into_bytes();
        forged[at] ^= 1;
        let mine = Checkpoint::open(&forged, signer().verifier()).ok();
        assert_eq!((mine, opened_by_them(&forged)), (None, None), "byte {at}");
    }
}

#[test]
fn their_checkpoint_is_ours_byte_for_byte() {
    let Checkpoint { origin, size, root } = checkpoint();
    let text = tlog_tiles::Checkpoint::new(&origin, size, tlog_tiles::Hash(root), "").unwrap();
    let public = signer().verifier().to_string();
    let id = public.split('+').nth(1).unwrap();
    let seed = STANDARD.encode([&[1][..], &SEED].concat());
    let theirs = StandardSigner::new(&format!("PRIVATE+KEY+{ORIGIN}+{id}+{seed}")).unwrap();
    let mut note = Note::new(&text.to_bytes(), &[]).unwrap();
    note.add_sigs(&[&theirs]).unwrap();
    assert_eq!(note.to_bytes(), checkpoint().sign(&signer()).unwrap().into_bytes());
    assert_eq!(Checkpoint::open(&note.to_bytes(), signer().verifier()).unwrap(), checkpoint());
}

// A log of others, of nearly a thousand million entries.

fn answer(name: &str) -> Value {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../vectors/third_party/certificate_transparency");
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

fn bytes(text: &Value) -> Vec<u8> {
    STANDARD.decode(text.as_str().unwrap()).unwrap()
}

fn hash(text: &Value) -> Hash {
    bytes(text).try_into().unwrap()
}

fn hashes(list: &Value) -> Vec<Hash> {
    list.as_array().unwrap().iter().map(hash).collect()
}

#[test]
fn proofs_of_a_public_log_hold() {
    let (head, entry) = (answer("head.json"), answer("entry.json"));
    let (size, root) = (head["tree_size"].as_u64().unwrap(), hash(&head["sha256_root_hash"]));
    let leaf = leaf_hash(&bytes(&entry["entries"][0]["leaf_input"]));
    let proof = hashes(&answer("inclusion.json")["audit_path"]);
    assert_eq!(verify_inclusion(&leaf, 10_000, size, &proof, &root), Ok(()));
    assert!(verify_inclusion(&leaf, 10_001, size, &proof, &root).is_err());
    assert!(verify_inclusion(&leaf, 10_000, size, &proof[1..], &root).is_err());

    let proof = hashes(&answer("consistency.json")["consistency"]);
    let old = hash(&"AuIZ5V6sDUj1vn3Y1K85oOaQ7y+FJJKtyRTl1edIKBQ=".into());
    assert_eq!(verify_consistency(3_654_490, size, &old, &root, &proof), Ok(()));
    assert!(verify_consistency(3_654_491, size, &old, &root, &proof).is_err());
    assert!(verify_consistency(3_654_490, size, &root, &root, &proof).is_err());
}
