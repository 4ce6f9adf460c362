// SPDX-License-Identifier: MIT OR Apache-2.0
//! A storage in memory that forgets what was not synced, and a database that dies at a chosen step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;

use chancery_core::evidence::Hash;
use chancery_stores::log::{CheckpointRow, Pending, Reserved, Storage};
use chancery_stores::sqlite::evidence::SqliteEvidence;

/// When the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Just before a step takes effect.
    Before(usize),
    /// After it has, but before anybody hears of it.
    After(usize),
}

/// What is left of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The process alone died.
    Process,
    /// The power failed: names that were not synced are as they were.
    Power,
}

/// Counts the steps of a process, and ends it at one of them.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) names: RefCell<Vec<String>>,
    death: Cell<Option<Death>>,
    dead: Cell<bool>,
}

#[derive(Debug)]
pub(crate) struct Died;

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("died")
    }
}

impl std::error::Error for Died {}

impl Steps {
    /// A new process.
    pub(crate) fn restart(&self, death: Option<Death>) {
        self.names.borrow_mut().clear();
        self.death.set(death);
        self.dead.set(false);
    }

    pub(crate) fn count(&self) -> usize {
        self.names.borrow().len()
    }

    fn step<T>(&self, name: String, act: impl FnOnce() -> T) -> Result<T, Died> {
        let step = self.count();
        self.names.borrow_mut().push(name);
        if self.death.get() == Some(Death::Before(step)) || self.dead.get() {
            self.dead.set(true);
            return Err(Died);
        }
        let done = act();
        if self.death.get() == Some(Death::After(step)) {
            self.dead.set(true);
            return Err(Died);
        }
        Ok(done)
    }
}

/// Names to content; a folder has none.
type Names = BTreeMap<String, Option<Vec<u8>>>;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) steps: Steps,
    pub(crate) seen: RefCell<Names>,
    durable: RefCell<Names>,
}

impl Memory {
    pub(crate) fn crash(&self, cut: Cut) {
        let mut seen = self.seen.borrow_mut();
        if cut == Cut::Power {
            let durable = self.durable.borrow();
            let holds = |path: &str| ancestors(path).all(|folder| durable.contains_key(folder));
            *seen = durable
                .iter()
                .filter(|(path, _)| holds(path))
                .map(|(p, c)| (p.clone(), c.clone()))
                .collect();
        }
        *self.durable.borrow_mut() = seen.clone();
    }

    fn io<T>(&self, name: String, act: impl FnOnce() -> T) -> io::Result<T> {
        self.steps.step(name, act).map_err(io::Error::other)
    }
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Storage for Memory {
    type Lock = ();

    fn lock(&self) -> io::Result<Option<()>> {
        Ok(Some(()))
    }

    fn stage(&self, bytes: &[u8]) -> io::Result<String> {
        let staged = format!("tmp/{}", self.steps.count());
        self.io("stage".to_owned(), || {
            self.seen.borrow_mut().insert("tmp".to_owned(), None);
            self.seen.borrow_mut().insert(staged.clone(), Some(bytes.to_vec()));
            staged
        })
    }

    fn rename(&self, staged: &str, path: &str) -> io::Result<()> {
        self.io(format!("rename {path}"), || {
            let mut seen = self.seen.borrow_mut();
            for folder in ancestors(path) {
                seen.insert(folder.to_owned(), None);
            }
            let content = seen.remove(staged).unwrap();
            seen.insert(path.to_owned(), content);
        })
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.io(format!("sync {folder}"), || {
            let seen = self.seen.borrow();
            let inside = seen.iter().filter(|(path, _)| parent(path) == folder);
            self.durable.borrow_mut().extend(inside.map(|(path, c)| (path.clone(), c.clone())));
        })
    }

    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let content = self.seen.borrow().get(path).cloned().flatten();
        assert!(content.as_ref().is_none_or(|content| content.len() <= bytes_max));
        Ok(content)
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        let inside = format!("{folder}/");
        self.io(format!("remove {folder}"), || {
            let keep = |path: &String| path != folder && !path.starts_with(&inside);
            self.seen.borrow_mut().retain(|path, _| keep(path));
            // Removal may reach the disk before anything else does.
            self.durable.borrow_mut().retain(|path, _| keep(path));
        })
    }
}

/// SQLite, in a process that dies.
pub(crate) struct Mortal<'a> {
    pub(crate) steps: &'a Steps,
    pub(crate) inner: &'a RefCell<SqliteEvidence>,
}

impl Mortal<'_> {
    fn step<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut SqliteEvidence) -> rusqlite::Result<T>,
    ) -> Result<T, Died> {
        self.steps.step(name.to_owned(), || act(&mut self.inner.borrow_mut()).unwrap())
    }
}

impl Pending for Mortal<'_> {
    type Error = Died;

    fn assign(&mut self, limit: u64) -> Result<u64, Died> {
        self.step("assign", |inner| inner.assign(limit))
    }

    fn records(&mut self, begin: u64, end: u64) -> Result<Vec<Vec<u8>>, Died> {
        Ok(self.inner.borrow_mut().records(begin, end).unwrap())
    }

    fn latest(&mut self) -> Result<Option<CheckpointRow>, Died> {
        Ok(self.inner.borrow_mut().latest().unwrap())
    }

    fn root(&mut self, size: u64) -> Result<Option<Hash>, Died> {
        Ok(self.inner.borrow_mut().root(size).unwrap())
    }

    fn reserve(&mut self, size: u64, root: &Hash) -> Result<Reserved, Died> {
        self.step("reserve", |inner| inner.reserve(size, root))
    }

    fn store_note(&mut self, size: u64, note: &str) -> Result<(), Died> {
        self.step("store note", |inner| inner.store_note(size, note))
    }

    fn forget(&mut self, end: u64) -> Result<(), Died> {
        self.step("forget", |inner| inner.forget(end))
    }
}
