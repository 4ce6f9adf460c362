// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files: read with a limit, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

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
        Failure::misuse(what, path.display().to_string(), "name the file that was meant")
    })
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
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    written.map_err(|error| Failure::io(path, &error))
}

/// Replaces a file: beside it, synced, renamed, folder synced.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = (|| {
        let mut builder = tempfile::Builder::new();
        let permissions: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        let mut file = builder.prefix(".tmp-").permissions(permissions).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
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
