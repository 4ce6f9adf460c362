// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sealer dies at each of its steps; nothing is lost, doubled or signed twice.

use std::cell::RefCell;

use chancery_core::evidence::Checkpoint;
use chancery_stores::log::{LogError, Sealed, Sealer, Storage, verify};
use chancery_stores::sqlite::evidence::SqliteEvidence;
use rusqlite::Connection;

use crate::faults::{Cut, Death, Memory, Mortal};
use crate::log_world::{assert_sound, insert, signer};

struct World {
    memory: Memory,
    database: RefCell<SqliteEvidence>,
    notes: Vec<String>,
    count: u64,
}

impl World {
    fn new() -> Self {
        let database = SqliteEvidence::new(Connection::open_in_memory().unwrap()).unwrap();
        Self {
            memory: Memory::default(),
            database: RefCell::new(database),
            notes: Vec::new(),
            count: 0,
        }
    }

    fn insert(&mut self, count: u64) {
        insert(&self.database.borrow(), self.count, self.count + count);
        self.count += count;
    }

    fn seal(&self, death: Option<Death>) -> Result<Sealed, LogError> {
        self.memory.steps.restart(death);
        let pending = Mortal { steps: &self.memory.steps, inner: &self.database };
        Sealer::open(&self.memory, pending, &signer())?.seal_once()
    }

    fn note(&self) -> Option<String> {
        let note = self.memory.read("checkpoint", usize::MAX).unwrap();
        note.map(|note| String::from_utf8(note).unwrap())
    }

    fn seal_soundly(&mut self) {
        self.seal(None).unwrap();
        self.notes.extend(self.note());
        assert_sound(&self.memory, self.count, &self.notes);
    }

    /// Whatever happened, readers see a whole log. After a power cut it may for a while be the one
    /// before; what they have seen is kept, and must be in the log that comes out in the end.
    fn look(&mut self) {
        let Some(note) = self.note() else { return };
        let report = verify(&self.memory, signer().verifier(), None, |_, _| {}).unwrap();
        assert!(report.is_sound(), "{report:?}");
        self.notes.push(note);
    }
}

fn deaths(steps: usize) -> impl Iterator<Item = (Death, Cut)> {
    let deaths = (0..steps).flat_map(|step| [Death::Before(step), Death::After(step)]);
    deaths.flat_map(|death| [Cut::Process, Cut::Power].map(|cut| (death, cut)))
}

/// `before` records are sealed, then the sealing of `more` dies at each step in turn.
fn die_everywhere(before: u64, more: u64) {
    let prepared = || {
        let mut world = World::new();
        if before > 0 {
            world.insert(before);
            world.seal_soundly();
        }
        world.insert(more);
        world
    };
    let whole = prepared();
    whole.seal(None).unwrap();
    let steps = whole.memory.steps.count();
    assert!(steps > 10);
    for (death, cut) in deaths(steps) {
        let mut world = prepared();
        world.seal(Some(death)).unwrap_err();
        world.look();
        world.memory.crash(cut);
        world.look();
        world.seal_soundly();
        world.insert(3);
        world.seal_soundly();
        world.insert(300);
        world.seal_soundly();
    }
}

#[test]
fn dying_at_the_first_seal() {
    die_everywhere(0, 5);
}

#[test]
fn dying_while_a_bundle_fills() {
    die_everywhere(250, 20);
}

#[test]
fn dying_over_many_bundles() {
    die_everywhere(255, 300);
}

#[test]
fn dying_at_the_edge_of_a_bundle() {
    die_everywhere(256, 256);
}

#[test]
fn dying_twice() {
    for (first, _) in deaths(22).step_by(5) {
        for (second, cut) in deaths(26).step_by(7) {
            let mut world = World::new();
            world.insert(254);
            world.seal_soundly();
            world.insert(4);
            let _ = world.seal(Some(first));
            world.memory.crash(cut);
            world.look();
            world.insert(2);
            let _ = world.seal(Some(second));
            world.memory.crash(Cut::Power);
            world.look();
            world.seal_soundly();
        }
    }
}

#[test]
fn the_steps_are_in_the_order_that_makes_them_safe() {
    let mut world = World::new();
    world.insert(255);
    world.seal_soundly();
    world.insert(2);
    world.seal(None).unwrap();
    let names = world.memory.steps.names.borrow();
    let names: Vec<_> = names.iter().map(String::as_str).filter(|name| *name != "stage").collect();
    assert_eq!(
        names,
        [
            "assign",
            "rename tile/entries/000",
            "rename tile/0/000",
            "rename tile/entries/001.p/1",
            "rename tile/0/001.p/1",
            "rename tile/1/000.p/1",
            "sync tile/entries/001.p",
            "sync tile/entries",
            "sync tile/1/000.p",
            "sync tile/1",
            "sync tile/0/001.p",
            "sync tile/0",
            "sync tile",
            "sync ",
            "remove tile/entries/000.p",
            "remove tile/0/000.p",
            "reserve",
            "store note",
            "rename checkpoint",
            "sync ",
            "forget",
        ]
    );
}

#[test]
fn rows_of_full_published_bundles_go_and_no_others() {
    let mut world = World::new();
    world.insert(600);
    let steps = {
        world.seal(None).unwrap();
        world.memory.steps.count()
    };
    let kept = |world: &World| {
        let database = world.database.borrow();
        let sql = "SELECT min(idx), count(*) FROM chancery_evidence";
        database.connection().query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap()
    };
    assert_eq!(kept(&world), (512_i64, 88_i64));
    // Until the checkpoint's name is synced, the rows are all there is.
    let mut world = World::new();
    world.insert(600);
    world.seal(Some(Death::Before(steps - 1))).unwrap_err();
    assert_eq!(kept(&world), (0, 600));
    // Indices go on where they were when a tree ends with a bundle and no row is left.
    let mut world = World::new();
    world.insert(512);
    world.seal_soundly();
    world.insert(1);
    assert_eq!(world.seal(None).unwrap().records, 1);
    assert_eq!(kept(&world), (512, 1));
}

#[test]
fn nothing_pending_changes_nothing() {
    let mut world = World::new();
    assert_eq!(world.seal(None).unwrap(), Sealed { records: 0, checkpoint: None });
    assert_eq!(world.note(), None);
    world.insert(3);
    let sealed = world.seal(None).unwrap();
    let (note, seen) = (world.note().unwrap(), world.memory.seen.borrow().clone());
    let checkpoint = Checkpoint::open(note.as_bytes(), signer().verifier()).unwrap();
    assert_eq!(sealed, Sealed { records: 3, checkpoint: Some(checkpoint.clone()) });
    let again = world.seal(None).unwrap();
    assert_eq!(again, Sealed { records: 0, checkpoint: Some(checkpoint) });
    assert_eq!(*world.memory.seen.borrow(), seen);
}
