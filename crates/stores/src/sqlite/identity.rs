// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is this the database that was here before? An empty one in its place would let every message
//! that the broker still has run again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chancery_core::text::hex;
use chancery_core::{Fault, FaultKind};

use super::database::random;

/// Compares the database's identity with the one in the file beside it; the first database ever
/// seen here is the one that stays.
///
/// # Errors
/// `E701_STORE_RESET` for another database, a store fault if the file cannot be read or made.
pub(crate) fn pin(path: &Path, store_uuid: &[u8; 16]) -> Result<(), Fault> {
    let beside = beside(path, ".id");
    let ours = hex(store_uuid);
    let told = |error: io::Error| {
        Fault::store(format!("{}: {error}; allow this user to write there", beside.display()))
    };
    let known = match fs::read_to_string(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_first(path, &beside, &ours).map_err(told)?;
            fs::read_to_string(&beside)
        }
        read => read,
    };
    if known.map_err(told)?.trim() == ours {
        return Ok(());
    }
    Err(Fault {
        kind: FaultKind::StoreReset,
        detail: format!(
            "{}: is not the database that was here before; restore that one, or, if nothing that \
             the broker still has may run twice, remove {}",
            path.display(),
            beside.display()
        ),
    })
}

/// Whole or absent; of several processes that start at once the first one's stays.
fn write_first(path: &Path, beside: &Path, text: &str) -> io::Result<()> {
    let unique = random::<8>().map_err(|fault| io::Error::other(fault.detail))?;
    let new = self::beside(path, &format!(".id.{}", hex(&unique)));
    let mut file = File::create_new(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&new, beside);
    fs::remove_file(new)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
