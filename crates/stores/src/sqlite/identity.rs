// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is this the database that was here before? An empty one in its place would let every message
//! that the broker still has run again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chancery_core::text::hex;
use chancery_core::{Fault, FaultKind};

/// Compares the database's identity with the one in the file beside it; the first database ever
/// seen here is the one that stays.
///
/// # Errors
/// `E701_STORE_RESET` for another database, a store fault if the file cannot be read or made.
pub(crate) fn pin(path: &Path, store_uuid: &[u8; 16]) -> Result<(), Fault> {
    let beside = beside(path);
    let ours = hex(store_uuid);
    let told = |error: io::Error| {
        Fault::store(format!("{}: {error}; allow this user to write there", beside.display()))
    };
    match fs::read_to_string(&beside) {
        Ok(known) if known.trim() == ours => Ok(()),
        Ok(_) => Err(Fault {
            kind: FaultKind::StoreReset,
            detail: format!(
                "{}: is not the database that was here before; restore that one, or, if nothing \
                 that the broker still has may run twice, remove {}",
                path.display(),
                beside.display()
            ),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(&beside, &ours).map_err(told)
        }
        Err(error) => Err(told(error)),
    }
}

fn write(beside: &Path, text: &str) -> io::Result<()> {
    let mut new = beside.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, beside)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".id");
    PathBuf::from(name)
}
