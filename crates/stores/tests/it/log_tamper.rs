// SPDX-License-Identifier: MIT OR Apache-2.0
//! Somebody changes the files: the verifier says where.

use std::fs;
use std::path::Path;

use chancery_core::Timestamp;
use chancery_core::evidence::{ProofBundle, Row, Signer, Tile};
use chancery_core::record::{Decider, Record, RecordKind};
use chancery_stores::log::{Break, Fault, LogReader, Report, verify_dir};
use chancery_stores::sqlite::evidence::insert_record;

use crate::log_world::{NAME, OnDisk, assert_sound, copy_folder, files, record, signer};

fn report(folder: &Path, at_least: Option<&str>) -> Report {
    verify_dir(folder, signer().verifier(), at_least, |_, _| {}).unwrap()
}

fn log() -> (OnDisk, Vec<String>) {
    let world = OnDisk::new();
    let notes = world.grow(&[3, 200, 256, 600]);
    (world, notes)
}

#[test]
fn every_earlier_checkpoint_is_a_prefix() {
    let world = OnDisk::new();
    let ends: Vec<_> = (1..=40).map(|n| n * n / 2 + n).collect();
    let notes = world.grow(&ends);
    for (at, end) in ends.iter().enumerate() {
        let report = report(&world.log(), Some(&notes[at]));
        assert!(report.is_sound(), "{end}: {report:?}");
    }
    assert_sound(&world.disk(), *ends.last().unwrap(), &notes);
}

// Whoever can write the database can take a record away before it is sealed.
#[test]
fn a_record_taken_away_before_it_was_sealed_leaves_a_gap() {
    let world = OnDisk::new();
    let decider = Decider { group: "g".into(), service: "svc".into(), build: "test".into() };
    let record = Record::new(RecordKind::Done, &decider, &[0; 32], Timestamp(0));
    for (writer, wseq) in [("a", 1), ("b", 1), ("a", 2), ("a", 5), ("b", 2), ("a", 6), ("c", 2)] {
        insert_record(world.database().connection(), &record.encode(writer, wseq).unwrap())
            .unwrap();
    }
    world.seal().unwrap();
    let gap = |index, writer: &str, records| Break::Gap { index, writer: writer.into(), records };
    assert_eq!(report(&world.log(), None).breaks, [gap(3, "a", 2), gap(6, "c", 1)]);
}

#[test]
fn every_changed_or_cut_file_is_found() {
    let (world, _) = log();
    assert_sound(&world.disk(), 600, &[]);
    let paths = files(&world.log());
    // The lock holds nothing, and one tile is kept for an earlier checkpoint only.
    let outside = ["sealer.lock", "tile/1/000.p/1"];
    let paths = paths.iter().filter(|path| !outside.iter().any(|name| path.ends_with(name)));
    let (mut tried, clean) = (0, |folder: &Path| report(folder, None).is_sound());
    for path in paths {
        let bytes = fs::read(path).unwrap();
        let flipped = |at: usize| {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            bent
        };
        let cut = bytes[..bytes.len() - 1].to_vec();
        let longer = [bytes.as_slice(), b"x"].concat();
        let huge = vec![0; 20_000_000];
        let bad = [0, bytes.len() / 2, bytes.len() - 1].map(flipped);
        for bent in bad.into_iter().chain([cut, longer, Vec::new(), huge]) {
            fs::write(path, bent).unwrap();
            assert!(!clean(&world.log()), "{path:?}");
            tried += 1;
        }
        fs::remove_file(path).unwrap();
        assert!(!clean(&world.log()), "{path:?} removed");
        fs::write(path, bytes).unwrap();
    }
    assert!(tried > 50 && clean(&world.log()));
}

#[test]
fn only_the_files_of_the_tree_are_left() {
    let (world, _) = log();
    let names: Vec<_> = files(&world.log())
        .iter()
        .map(|path| path.strip_prefix(world.log()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let expected = [
        "checkpoint",
        "sealer.lock",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/1",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/88",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_report_says_which_record_was_changed() {
    let (world, _) = log();
    let path = world.log().join("tile/entries/001");
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    let at = text.find("300:").unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] = b'9';
    fs::write(&path, bytes).unwrap();
    let report = report(&world.log(), None);
    let tile = |level, index| Tile::at(Row::Level(level), index, 600).unwrap();
    let differs = Break::Tile { tile: tile(1, 0), fault: Fault::Differs };
    assert_eq!(report.breaks, [Break::Record { index: 300 }, differs, Break::Root]);
    assert_eq!((report.breaks_count, report.records), (3, 600));
}

#[test]
fn lost_records_are_named_and_the_rest_still_checked() {
    let (world, _) = log();
    fs::remove_file(world.log().join("tile/entries/001")).unwrap();
    let report = report(&world.log(), None);
    let tile = Tile::at(Row::Entries, 1, 600).unwrap();
    assert_eq!(report.breaks, [Break::Tile { tile, fault: Fault::Missing }]);
    assert_eq!(report.records, 600 - 256);
    let reader = world.disk();
    let reader = LogReader::open(&reader, world.signer.verifier()).unwrap();
    assert!(reader.find(|_| false).is_err());
    assert_eq!(reader.records().filter(|r| r.is_err()).count(), 1);
    assert_eq!(reader.records().count(), 257);
}

#[test]
fn a_record_and_its_hash_changed_together_do_not_reach_the_root() {
    let (world, _) = log();
    let other = OnDisk::new();
    // Another whole log of one record less, under the first one's checkpoint.
    other.grow(&[599]);
    fs::copy(world.log().join("checkpoint"), other.log().join("checkpoint")).unwrap();
    assert!(!report(&other.log(), None).is_sound());
    for name in ["tile/entries/002.p", "tile/0/002.p"] {
        let (short, long) = (other.log().join(name).join("87"), other.log().join(name).join("88"));
        let tail = if name.contains("entries") { vec![0, 1, b'x'] } else { vec![0; 32] };
        fs::write(long, [fs::read(short).unwrap(), tail].concat()).unwrap();
    }
    assert!(report(&other.log(), None).breaks.contains(&Break::Root));
}

#[test]
fn a_tail_cut_off_with_its_checkpoint_shows_only_against_a_kept_one() {
    let world = OnDisk::new();
    let mut notes = world.grow(&[300]);
    let old = world.folder.path().join("old");
    copy_folder(&world.log(), &old);
    crate::log_world::insert(&world.database(), 300, 400);
    world.seal().unwrap();
    notes.push(fs::read_to_string(world.log().join("checkpoint")).unwrap());
    assert!(report(&old, None).is_sound(), "nothing after the checkpoint can be excluded");
    let rolled = report(&old, Some(&notes[1]));
    assert_eq!(rolled.breaks, [Break::RolledBack { expected: 400 }]);
    assert!(report(&world.log(), Some(&notes[0])).is_sound());
}

#[test]
fn a_second_history_shows_against_a_kept_checkpoint() {
    let (one, other) = (OnDisk::new(), OnDisk::new());
    let notes = one.grow(&[10]);
    crate::log_world::insert(&other.database(), 50, 70);
    other.seal().unwrap();
    assert!(report(&other.log(), None).is_sound());
    let forked = report(&other.log(), Some(&notes[0]));
    assert_eq!(forked.breaks, [Break::OtherHistory { expected: 10 }]);
}

#[test]
fn a_kept_checkpoint_of_another_key_is_no_measure() {
    let (world, notes) = log();
    let stranger = Signer::from_seed(NAME, &[8; 32]).unwrap();
    assert!(verify_dir(&world.log(), signer().verifier(), Some("nonsense"), |_, _| {}).is_err());
    let key = stranger.verifier();
    assert!(verify_dir(&world.log(), key, Some(&notes[0]), |_, _| {}).is_err());
    let report = verify_dir(&world.log(), key, None, |_, _| {}).unwrap();
    assert!(matches!(report.breaks[..], [Break::Checkpoint(_)]) && !report.is_sound());
}

#[test]
fn an_empty_folder_is_not_sound_and_stays_empty() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent")] {
        let report = report(&path, None);
        assert_eq!(report.breaks, [Break::NoCheckpoint]);
        assert!(!report.is_sound());
    }
    assert!(files(folder.path()).is_empty());
}

#[test]
fn bundles_are_proved_and_progress_is_told() {
    let (world, notes) = log();
    let (disk, key) = (world.disk(), world.signer.verifier());
    let reader = LogReader::open(&disk, key).unwrap();
    assert_eq!((reader.note(), reader.checkpoint().size), (notes[3].as_str(), 600));
    for index in [0, 1, 255, 256, 511, 512, 599] {
        let text = reader.bundle(index).unwrap().encode();
        let bundle = ProofBundle::decode(text.as_bytes()).unwrap();
        assert_eq!(bundle.verify(key).unwrap().record, record(index));
    }
    assert!(reader.bundle(600).is_err() && reader.bundle(u64::MAX).is_err());
    assert!(reader.consistency(0).is_err() && reader.consistency(601).is_err());
    assert_eq!(reader.find(|r| r.starts_with(b"300:")).unwrap(), Some(300));
    assert_eq!(reader.find(|_| false).unwrap(), None);
    let mut told = Vec::new();
    verify_dir(&world.log(), key, None, |done, of| told.push((done, of))).unwrap();
    assert_eq!(told, [(256, 600), (512, 600), (600, 600)]);
}

#[test]
fn a_bundle_is_not_made_from_changed_files() {
    let (world, _) = log();
    let disk = world.disk();
    let reader = LogReader::open(&disk, world.signer.verifier()).unwrap();
    let path = world.log().join("tile/entries/000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[2] ^= 1;
    fs::write(path, bytes).unwrap();
    assert!(reader.bundle(0).is_err());
}
