// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folder and database that do not belong together: the sealer stops and signs nothing.

use std::fs;

use chancery_core::evidence::{CheckpointError, NoteError};
use chancery_stores::log::{LogError, Sealer};

use crate::log_world::{NAME, OnDisk, assert_sound, insert};

/// A log whose database is put back to where it was after `kept` records of `all`.
fn restored(kept: u64, all: u64) -> OnDisk {
    let world = OnDisk::new();
    if kept > 0 {
        world.grow(&[kept]);
    } else {
        drop(world.database());
    }
    let backup = world.folder.path().join("backup.db");
    world.database().connection().execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    insert(&world.database(), kept, all);
    world.seal().unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(world.folder.path().join(format!("ledger.db{suffix}")));
    }
    fs::copy(backup, world.database_path()).unwrap();
    world
}

#[test]
fn a_restored_database_is_never_sealed_from() {
    for (kept, all) in [(0, 5), (3, 5), (256, 300), (300, 1000)] {
        let world = restored(kept, all);
        let published = fs::read(world.log().join("checkpoint")).unwrap();
        for more in [0, 1, 900] {
            // As many records as there were, and then more than were published.
            insert(&world.database(), 5000, 5000 + more);
            let refused = world.seal().unwrap_err();
            let LogError::Ahead { published, known } = refused else { panic!("{refused}") };
            assert_eq!((published, known), (all, kept));
        }
        assert_eq!(fs::read(world.log().join("checkpoint")).unwrap(), published);
        assert_sound(&world.disk(), all, &[]);
    }
}

#[test]
fn another_root_for_a_published_size_stops_the_sealer() {
    let world = OnDisk::new();
    world.grow(&[5]);
    let sql = "UPDATE chancery_checkpoint SET root = zeroblob(32)";
    world.database().connection().execute(sql, []).unwrap();
    insert(&world.database(), 5, 9);
    assert!(matches!(world.seal().unwrap_err(), LogError::Forked { size: 5 }));
    assert_sound(&world.disk(), 5, &[]);
}

#[test]
fn a_published_root_that_the_database_does_not_have_stops_the_sealer() {
    let (world, other) = (OnDisk::new(), OnDisk::new());
    world.grow(&[5, 9]);
    insert(&other.database(), 50, 55);
    other.seal().unwrap();
    fs::copy(other.log().join("checkpoint"), world.log().join("checkpoint")).unwrap();
    assert!(matches!(world.seal().unwrap_err(), LogError::Forked { size: 5 }));
    insert(&other.database(), 55, 56);
    other.seal().unwrap();
    fs::copy(other.log().join("checkpoint"), world.log().join("checkpoint")).unwrap();
    assert!(matches!(world.seal().unwrap_err(), LogError::Forked { size: 6 }));
}

#[test]
fn a_full_tile_with_other_bytes_stops_the_sealer() {
    for path in ["tile/entries/000", "tile/0/000"] {
        let world = OnDisk::new();
        world.grow(&[5]);
        insert(&world.database(), 5, 300);
        fs::write(world.log().join(path), b"other").unwrap();
        let refused = world.seal().unwrap_err();
        assert!(
            matches!(&refused, LogError::Conflict { path: found } if found == path),
            "{refused}"
        );
        assert_eq!(fs::read(world.log().join(path)).unwrap(), b"other");
        // Somebody looked, and took the file away.
        fs::remove_file(world.log().join(path)).unwrap();
        world.seal().unwrap();
        assert_sound(&world.disk(), 300, &[]);
    }
}

#[test]
fn a_left_over_partial_tile_is_replaced() {
    let world = OnDisk::new();
    world.grow(&[5]);
    insert(&world.database(), 5, 8);
    fs::write(world.log().join("tile/0/000.p/8"), b"left over").unwrap();
    world.seal().unwrap();
    assert_sound(&world.disk(), 8, &[]);
}

#[test]
fn changed_or_lost_rows_stop_the_sealer() {
    for sql in [
        "UPDATE chancery_evidence SET record = x'00' WHERE idx = 2",
        "DELETE FROM chancery_evidence WHERE idx = 2",
        "DELETE FROM chancery_evidence WHERE idx = 4",
    ] {
        let world = OnDisk::new();
        world.grow(&[5]);
        insert(&world.database(), 5, 9);
        world.database().connection().execute(sql, []).unwrap();
        assert!(matches!(world.seal().unwrap_err(), LogError::Rows { index: 0 }), "{sql}");
        assert_sound(&world.disk(), 5, &[]);
    }
}

#[test]
fn lost_or_changed_tiles_stop_the_sealer() {
    let path = "tile/0/000.p/5";
    let world = OnDisk::new();
    world.grow(&[5]);
    insert(&world.database(), 5, 9);
    let mut bytes = fs::read(world.log().join(path)).unwrap();
    bytes[40] ^= 1;
    fs::write(world.log().join(path), &bytes).unwrap();
    assert!(matches!(world.seal().unwrap_err(), LogError::Forked { size: 5 }));
    fs::write(world.log().join(path), b"short").unwrap();
    assert!(matches!(world.seal().unwrap_err(), LogError::Damaged { .. }));
    fs::remove_file(world.log().join(path)).unwrap();
    assert!(matches!(world.seal().unwrap_err(), LogError::Missing { .. }));
}

#[test]
fn another_key_does_not_take_a_log_over() {
    let world = OnDisk::new();
    world.grow(&[5]);
    insert(&world.database(), 5, 9);
    let other = chancery_core::evidence::Signer::from_seed(NAME, &[8; 32]).unwrap();
    let refused = Sealer::open(&world.disk(), world.database(), &other).unwrap().seal_once();
    let unsigned = CheckpointError::Note(NoteError::Unsigned);
    assert!(matches!(refused, Err(LogError::Checkpoint(error)) if error == unsigned));
}

#[test]
fn a_note_in_the_database_that_says_something_else_is_not_published() {
    let world = OnDisk::new();
    let notes = world.grow(&[5, 9]);
    let sql = "UPDATE chancery_checkpoint SET note = ?1 WHERE size = 9";
    world.database().connection().execute(sql, [&notes[0]]).unwrap();
    fs::write(world.log().join("checkpoint"), &notes[0]).unwrap();
    assert!(matches!(world.seal().unwrap_err(), LogError::Forked { size: 9 }));
}

#[test]
fn a_record_over_the_limit_fails_before_it_can_be_committed() {
    let world = OnDisk::new();
    let database = world.database();
    let insert = |length| {
        chancery_stores::sqlite::evidence::insert_record(database.connection(), &vec![0; length])
    };
    assert!(insert(65_536).is_err());
    assert!(insert(65_535).is_ok());
    assert_eq!(world.seal().unwrap().records, 1);
}
