// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is alive, and what the dead had in hand.
//!
//! Each ledger of a process holds a lock on a file of its own; the kernel frees it however the
//! process ends. The file says which events are in hand, so that an event that kills its handler
//! is counted by whoever finds the file. That costs no fsync: after a power cut the count may be
//! short by one, which only means one more attempt.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chancery_core::Fault;
use chancery_core::text::hex;

use super::database::{lock, random};

/// Bytes of one mark in the file.
const MARK_BYTES: usize = 96;
/// Most marks that are read from one file.
const MARKS_MAX: u64 = 1024;

/// What a ledger must know of an event to count a death for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) id: [u8; 16],
    pub(crate) content: [u8; 16],
    pub(crate) message_id: [u8; 32],
    pub(crate) expires: i64,
    pub(crate) timely: bool,
}

/// A living owner. Dropping it ends it.
pub(crate) struct Owner {
    dir: PathBuf,
    pub(crate) name: String,
    slots: Mutex<Slots>,
}

struct Slots {
    file: File,
    marks: Vec<Option<[u8; 16]>>,
}

/// An event in hand. Dropping it wipes the mark.
pub(crate) struct InHand {
    owner: Arc<Owner>,
    slot: usize,
}

/// How it stands with another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It holds its lock.
    Alive,
    /// It is dead and was not counted yet.
    Dead,
    /// It has left no file.
    Gone,
}

impl Owner {
    /// Registers a new owner of the database at `path`.
    pub(crate) fn register(path: &Path) -> Result<Arc<Owner>, Fault> {
        let dir = folder(path);
        let name = hex(&random::<8>()?);
        let register = || {
            fs::create_dir_all(&dir)?;
            // Locked before it has its name, or a neighbour could take it for a dead one's.
            let unnamed = dir.join(format!("{name}.new"));
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&unnamed)?;
            file.try_lock().map_err(io::Error::from)?;
            fs::rename(&unnamed, dir.join(&name))?;
            Ok(file)
        };
        let file = register().map_err(|error| told(&dir, &error))?;
        let slots = Mutex::new(Slots { file, marks: Vec::new() });
        Ok(Arc::new(Owner { dir, name, slots }))
    }

    /// Marks an event as in hand.
    pub(crate) fn take(self: &Arc<Owner>, mark: &Mark) -> Result<InHand, Fault> {
        let mut slots = lock(&self.slots);
        let free = slots.marks.iter().position(Option::is_none);
        let slot = free.unwrap_or(slots.marks.len());
        slots.put(slot, &mark.encode()).map_err(|error| told(&self.dir, &error))?;
        if free.is_none() {
            slots.marks.push(None);
        }
        if let Some(place) = slots.marks.get_mut(slot) {
            *place = Some(mark.id);
        }
        Ok(InHand { owner: self.clone(), slot })
    }

    /// Whether this owner has the event in hand.
    pub(crate) fn has(&self, id: &[u8; 16]) -> bool {
        lock(&self.slots).marks.iter().flatten().any(|held| held == id)
    }

    /// How it stands with the owner of that name.
    pub(crate) fn life_of(&self, name: &str) -> Result<Life, Fault> {
        if name == self.name {
            return Ok(Life::Alive);
        }
        match open_locked(&self.dir.join(name)) {
            Ok(Some(_)) => Ok(Life::Dead),
            Ok(None) => Ok(Life::Alive),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Life::Gone),
            Err(error) => Err(told(&self.dir, &error)),
        }
    }

    /// The dead that nobody has counted yet.
    pub(crate) fn dead(&self) -> Result<Vec<Dead>, Fault> {
        let mut dead = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|error| told(&self.dir, &error))? {
            let path = entry.map_err(|error| told(&self.dir, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name == self.name || name.len() != 16 {
                continue;
            }
            // Another may have buried it between listing and opening.
            let Ok(Some(lock)) = open_locked(&path) else { continue };
            let marks = read_marks(lock.try_clone()).map_err(|error| told(&self.dir, &error))?;
            dead.push(Dead { name: name.to_owned(), marks, path, _lock: lock });
        }
        Ok(dead)
    }
}

/// A dead owner, locked so that nobody else counts it meanwhile.
pub(crate) struct Dead {
    pub(crate) name: String,
    pub(crate) marks: Vec<Mark>,
    path: PathBuf,
    _lock: File,
}

impl Dead {
    /// Removes what it left, once its deaths are committed.
    pub(crate) fn bury(self) {
        // If it stays, the ledger knows that this owner's deaths were counted.
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Left behind, it would be found and removed as a dead one's with nothing in hand.
        let _ = fs::remove_file(self.dir.join(&self.name));
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut slots = lock(&self.owner.slots);
        // A mark that cannot be wiped can at worst count one death too many.
        let _ = slots.put(self.slot, &[0; MARK_BYTES]);
        if let Some(place) = slots.marks.get_mut(self.slot) {
            *place = None;
        }
    }
}

impl Slots {
    fn put(&mut self, slot: usize, bytes: &[u8; MARK_BYTES]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start((slot * MARK_BYTES) as u64))?;
        self.file.write_all(bytes)
    }
}

impl Mark {
    fn encode(&self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        let parts: [&[u8]; 6] = [
            &[1],
            &self.id,
            &self.content,
            &self.message_id,
            &self.expires.to_be_bytes(),
            &[u8::from(self.timely)],
        ];
        for (place, byte) in bytes.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        bytes
    }

    /// `None` for an empty slot.
    fn decode(bytes: &[u8]) -> Option<Mark> {
        let (set, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (content, rest) = rest.split_first_chunk()?;
        let (message_id, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let timely = *rest.first()? == 1;
        (*set == 1).then_some(Mark {
            id: *id,
            content: *content,
            message_id: *message_id,
            expires: i64::from_be_bytes(*expires),
            timely,
        })
    }
}

/// Opens a file whose lock is free, and takes it; `None` if somebody holds it.
fn open_locked(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read_marks(file: io::Result<File>) -> io::Result<Vec<Mark>> {
    let mut bytes = Vec::new();
    file?.take(MARKS_MAX * MARK_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes.chunks_exact(MARK_BYTES).filter_map(Mark::decode).collect())
}

fn folder(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".owners");
    PathBuf::from(name)
}

fn told(dir: &Path, error: &io::Error) -> Fault {
    Fault::store(format!("{}: {error}; allow this user to write there", dir.display()))
}
