// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several sealers: one works; and should the lock fail, still one history.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use chancery_core::evidence::{Checkpoint, Hash, VerifierKey};
use chancery_stores::log::{
    CheckpointRow, Disk, LogError, Pending, Reserved, Sealer, Storage, verify,
};
use chancery_stores::sqlite::evidence::SqliteEvidence;

use crate::log_world::{NAME, OnDisk, assert_sound, insert};

#[test]
fn the_second_sealer_is_refused_until_the_first_is_gone() {
    let world = OnDisk::new();
    let disk = world.disk();
    let first = Sealer::open(&disk, world.database(), &world.signer).unwrap();
    assert!(matches!(world.seal(), Err(LogError::Busy)));
    drop(first);
    assert!(world.seal().is_ok());
}

#[test]
fn what_a_dead_sealer_staged_is_cleared_away() {
    let world = OnDisk::new();
    world.grow(&[3]);
    world.disk().stage(b"half a tile").unwrap();
    world.seal().unwrap();
    assert!(!world.log().join("tmp").exists());
}

/// A file system whose locks do not lock.
struct NoLock(Disk);

impl Storage for NoLock {
    type Lock = ();

    fn lock(&self) -> io::Result<Option<()>> {
        Ok(Some(()))
    }

    fn stage(&self, bytes: &[u8]) -> io::Result<String> {
        self.0.stage(bytes)
    }

    fn rename(&self, staged: &str, path: &str) -> io::Result<()> {
        self.0.rename(staged, path)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.0.sync_folder(folder)
    }

    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        self.0.read(path, bytes_max)
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        self.0.remove_folder(folder)
    }
}

/// Looks at the log until told to stop: every checkpoint seen extends the ones before.
fn watch(world: &OnDisk, key: &VerifierKey, done: &AtomicBool) -> u64 {
    let mut seen: Option<(u64, String)> = None;
    while !done.load(Ordering::Relaxed) {
        let Ok(note) = std::fs::read_to_string(world.log().join("checkpoint")) else { continue };
        let size = Checkpoint::open(note.as_bytes(), key).unwrap().size;
        if let Some((older, kept)) = &seen
            && *older <= size
        {
            let report = verify(&world.disk(), key, Some(kept), |_, _| {}).unwrap();
            assert!(report.is_sound(), "{report:?}");
        }
        seen = Some((size, note));
    }
    seen.map_or(0, |(size, _)| size)
}

#[test]
fn without_a_lock_there_is_still_one_history() {
    const COUNT: u64 = 1500;
    let world = OnDisk::new();
    drop(world.database());
    let done = AtomicBool::new(false);
    let key = world.signer.verifier();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let storage = NoLock(world.disk());
                let mut sealer = Sealer::open(&storage, world.database(), &world.signer).unwrap();
                while !done.load(Ordering::Relaxed) {
                    match sealer.seal_once() {
                        Ok(_) | Err(LogError::Overtaken { .. } | LogError::Rows { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
        scope.spawn(|| watch(&world, key, &done));
        let database = world.database();
        for begin in (0..COUNT).step_by(30) {
            insert(&database, begin, begin + 30);
        }
        done.store(true, Ordering::Relaxed);
    });
    world.seal().unwrap();
    assert_sound(&world.disk(), COUNT, &[]);
}

/// A database in which somebody else gets in between, just before the step of that name.
struct Raced<F> {
    inner: SqliteEvidence,
    before: F,
}

impl<F: FnMut(&str)> Pending for Raced<F> {
    type Error = rusqlite::Error;

    fn assign(&mut self, limit: u64) -> rusqlite::Result<u64> {
        self.inner.assign(limit)
    }

    fn records(&mut self, begin: u64, end: u64) -> rusqlite::Result<Vec<Vec<u8>>> {
        self.inner.records(begin, end)
    }

    fn latest(&mut self) -> rusqlite::Result<Option<CheckpointRow>> {
        self.inner.latest()
    }

    fn root(&mut self, size: u64) -> rusqlite::Result<Option<Hash>> {
        self.inner.root(size)
    }

    fn reserve(&mut self, size: u64, root: &Hash) -> rusqlite::Result<Reserved> {
        (self.before)("reserve");
        self.inner.reserve(size, root)
    }

    fn store_note(&mut self, size: u64, note: &str) -> rusqlite::Result<()> {
        (self.before)("store note");
        self.inner.store_note(size, note)
    }

    fn forget(&mut self, end: u64) -> rusqlite::Result<()> {
        self.inner.forget(end)
    }
}

/// Seals five records with `before` getting in between, and gives why that failed.
fn raced(world: &OnDisk, before: impl FnMut(&str)) -> LogError {
    insert(&world.database(), 0, 5);
    let (disk, inner) = (world.disk(), world.database());
    let mut sealer = Sealer::open(&disk, Raced { inner, before }, &world.signer).unwrap();
    sealer.seal_once().unwrap_err()
}

#[test]
fn a_size_that_another_sealer_bound_otherwise_is_not_signed() {
    for (size, root) in [(5, [1; 32]), (6, [1; 32])] {
        let world = OnDisk::new();
        let bind = |step: &str| {
            if step == "reserve" {
                world.database().reserve(size, &root).unwrap();
            }
        };
        let refused = raced(&world, bind);
        let forked = matches!(refused, LogError::Forked { size: 5 });
        let overtaken = matches!(refused, LogError::Overtaken { size: 5 });
        assert_eq!((forked, overtaken), (size == 5, size == 6), "{refused}");
        assert!(!world.log().join("checkpoint").exists());
        let notes = "SELECT count(note) FROM chancery_checkpoint";
        let notes: i64 =
            world.database().connection().query_row(notes, [], |row| row.get(0)).unwrap();
        assert_eq!(notes, 0);
    }
}

#[test]
fn a_newer_checkpoint_is_not_written_over() {
    let world = OnDisk::new();
    let newer = Checkpoint { origin: NAME.to_owned(), size: 6, root: [1; 32] };
    let newer = newer.sign(&world.signer).unwrap();
    let path = world.log().join("checkpoint");
    let refused = raced(&world, |step| {
        if step == "store note" {
            std::fs::write(&path, &newer).unwrap();
        }
    });
    assert!(matches!(refused, LogError::Overtaken { size: 5 }), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
}

#[test]
fn files_are_readable_by_all_and_never_read_beyond_the_limit() {
    let world = OnDisk::new();
    let disk = world.disk();
    let staged = disk.stage(b"12345").unwrap();
    disk.rename(&staged, "tile/0/x001/000").unwrap();
    assert_eq!(disk.read("tile/0/x001/000", 5).unwrap().unwrap(), b"12345");
    assert_eq!(disk.read("tile/0/x001/001", 5).unwrap(), None);
    let refused = disk.read("tile/0/x001/000", 4).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let path = world.log().join("tile/0/x001/000");
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o133, 0);
    }
}

#[test]
fn a_size_is_bound_to_one_root() {
    let world = OnDisk::new();
    let (mut one, mut two) = (world.database(), world.database());
    assert_eq!(one.reserve(5, &[1; 32]).unwrap(), Reserved::Ours);
    assert_eq!(two.reserve(5, &[1; 32]).unwrap(), Reserved::Ours);
    assert_eq!(two.reserve(5, &[2; 32]).unwrap(), Reserved::Forked);
    assert_eq!(two.reserve(9, &[3; 32]).unwrap(), Reserved::Ours);
    assert_eq!(one.reserve(7, &[4; 32]).unwrap(), Reserved::Overtaken);
    assert_eq!(one.reserve(5, &[1; 32]).unwrap(), Reserved::Overtaken);
    assert_eq!(one.root(7).unwrap(), None);
    assert!(one.store_note(7, "note").is_err());
}

#[test]
fn rows_without_a_published_checkpoint_cannot_be_deleted() {
    let world = OnDisk::new();
    let mut database = world.database();
    insert(&database, 0, 4);
    assert_eq!(database.assign(3).unwrap(), 3);
    assert_eq!(database.assign(3).unwrap(), 4);
    assert_eq!(database.reserve(4, &[1; 32]).unwrap(), Reserved::Ours);
    database.forget(4).unwrap();
    assert_eq!(database.records(0, 9).unwrap().len(), 4);
    database.store_note(4, "note").unwrap();
    database.forget(5).unwrap();
    assert_eq!(database.records(0, 9).unwrap().len(), 4);
    database.forget(4).unwrap();
    assert_eq!(database.records(0, 9).unwrap().len(), 0);
    assert_eq!(database.assign(3).unwrap(), 4, "an index is never given again");
}

#[test]
fn a_record_rolled_back_with_its_effect_leaves_no_gap() {
    let world = OnDisk::new();
    let database = world.database();
    insert(&database, 0, 2);
    let effect = database.connection().unchecked_transaction().unwrap();
    chancery_stores::sqlite::evidence::insert_record(&effect, b"never happened").unwrap();
    drop(effect);
    insert(&database, 2, 4);
    assert_eq!(world.seal().unwrap().records, 4);
    assert_sound(&world.disk(), 4, &[]);
}
