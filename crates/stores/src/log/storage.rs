// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files under the log's folder, behind a trait so that tests can fail at every step.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const LOCK: &str = "sealer.lock";
const TEMPORARY: &str = "tmp";

/// Keeps the names of staged files apart within this process.
static STAGED_COUNT: AtomicU64 = AtomicU64::new(0);

/// The folder of one log. Paths are relative to it, with `/` between their parts; `""` is the
/// folder.
pub trait Storage {
    /// Held by the sealer; freed when dropped, and by the system when the process dies.
    type Lock;

    /// Takes the sealer's lock without waiting, and clears away what a dead sealer staged.
    /// None if another process, or another value in this one, holds it.
    ///
    /// # Errors
    /// The system's own.
    fn lock(&self) -> io::Result<Option<Self::Lock>>;

    /// Writes a new file that no reader will see, and gives its path. Its content is durable once
    /// this returns; its name need not be.
    ///
    /// # Errors
    /// The system's own; nothing that readers see has changed then.
    fn stage(&self, bytes: &[u8]) -> io::Result<String>;

    /// Moves a staged file to `path`, over what was there, making the folders on the way. Atomic: a
    /// reader sees the old content or the new. Durable only after [`Storage::sync_folder`].
    ///
    /// # Errors
    /// The system's own.
    fn rename(&self, staged: &str, path: &str) -> io::Result<()>;

    /// Makes durable which names `folder` holds.
    ///
    /// # Errors
    /// The system's own.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// A file's content, at most `bytes_max`; none if there is no such file.
    ///
    /// # Errors
    /// The system's own, and [`io::ErrorKind::FileTooLarge`].
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>>;

    /// Removes a folder with all that is in it; succeeds if it is not there.
    ///
    /// # Errors
    /// The system's own; part of the content may be gone then.
    fn remove_folder(&self, folder: &str) -> io::Result<()>;
}

/// A folder in the file system.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// The log in `folder`, which need not exist. Nothing is written until something is asked for.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.folder.clone() } else { self.folder.join(path) }
    }
}

impl Storage for Disk {
    type Lock = File;

    fn lock(&self) -> io::Result<Option<File>> {
        create_durably(&self.folder)?;
        let file = OpenOptions::new().create(true).append(true).open(self.path(LOCK))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        self.remove_folder(TEMPORARY)?;
        Ok(Some(file))
    }

    fn stage(&self, bytes: &[u8]) -> io::Result<String> {
        let count = STAGED_COUNT.fetch_add(1, Ordering::Relaxed);
        let path = format!("{TEMPORARY}/{}-{count}", std::process::id());
        fs::create_dir_all(self.path(TEMPORARY))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
        let mut file = options.open(self.path(&path))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(path)
    }

    fn rename(&self, staged: &str, path: &str) -> io::Result<()> {
        let target = self.path(path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::rename(self.path(staged), target)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(bytes))
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.path(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes `folder` and those above it; each new name is synced in its parent.
fn create_durably(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return fs::create_dir_all(folder),
    };
    create_durably(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}
