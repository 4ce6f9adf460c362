// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files: read with a limit, written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use tempfile::{NamedTempFile, PersistError};

use crate::exit::{Failure, Result};

/// Mode of files that hold secrets.
pub(crate) const SECRET: u32 = 0o600;
/// Mode of everything else.
pub(crate) const OPEN: u32 = 0o644;

/// Reads a file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: usize) -> Result<Vec<u8>> {
    let bytes = read_at_most(path, max).map_err(|error| Failure::io(path, &error))?;
    bytes.ok_or_else(|| {
        let what = format!("is larger than {max} bytes");
        let fix = "make it smaller, or put the file there that was meant";
        Failure::misuse(what, path.display().to_string(), fix)
    })
}

/// Refuses what is not a regular file: a pipe among the project's files would be waited for.
pub(crate) fn require_regular(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path).map_err(|error| Failure::io(path, &error))?;
    if metadata.is_file() {
        return Ok(());
    }
    let fix = "remove it from the folder";
    Err(Failure::misuse("is not a regular file", path.display().to_string(), fix))
}

/// Reads a text file of at most `max` bytes.
pub(crate) fn read_text(path: &Path, max: usize) -> Result<String> {
    String::from_utf8(read(path, max)?).map_err(|_| {
        Failure::misuse("is not UTF-8 text", path.display().to_string(), "save it as UTF-8")
    })
}

fn read_at_most(path: &Path, max: usize) -> io::Result<Option<Vec<u8>>> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= max).then_some(bytes))
}

/// Writes a new file; one that exists is never touched.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    write(path, bytes, mode, |file| file.persist_noclobber(path))
}

/// Replaces a file.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    write(path, bytes, mode, |file| file.persist(path))
}

/// Beside it, synced, renamed, folder synced: half a file is never seen.
fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    persist: impl FnOnce(NamedTempFile) -> Result<File, PersistError>,
) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let written = (|| {
        let mut builder = tempfile::Builder::new();
        let permissions: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        let mut file = builder.prefix(".tmp-").permissions(permissions).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        persist(file).map_err(|error| error.error)?;
        sync_folder(folder)
    })();
    written.map_err(|error| Failure::io(path, &error))
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(mode);
    builder.create(path).map_err(|error| Failure::io(path, &error))
}

/// Names in a folder, sorted, without hidden ones and editors' leavings.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let failed = |error: io::Error| Failure::io(folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !name.ends_with('~') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
