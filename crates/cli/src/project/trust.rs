// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing the trust bundle: under a lock, one version up, signed by the root key, written whole.

use std::fs::OpenOptions;

use chancery::core::bundle::{BUNDLE_BYTES_MAX, Bundle};

use super::{Project, Purpose, now};
use crate::exit::{Failure, Result};
use crate::files;

/// How long a new bundle may be used, days.
pub(crate) const BUNDLE_DAYS: i64 = 730;
/// How long a new key may sign, days.
pub(crate) const KEY_DAYS: i64 = 730;

impl Project {
    /// The trust bundle, verified.
    pub(crate) fn bundle(&self) -> Result<Bundle> {
        let bytes = files::read(&self.bundle_path(), BUNDLE_BYTES_MAX)?;
        Ok(Bundle::open(&bytes, &self.root()?)?)
    }

    /// Changes the trust bundle and gives what `change` gives. Others wait meanwhile.
    pub(crate) fn change_bundle<T>(
        &self,
        change: impl FnOnce(&mut Bundle) -> Result<T>,
    ) -> Result<T> {
        let path = self.bundle_path();
        let lock = path.with_extension("lock");
        let locked = OpenOptions::new().create(true).append(true).open(&lock).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        let _held = locked.map_err(|error| Failure::io(&lock, &error))?;
        let mut bundle = self.bundle()?;
        let name = format!("{}/{}", bundle.domain, bundle.environment);
        let root = self.key(Purpose::Root, &name)?.signing()?;
        let changed = change(&mut bundle)?;
        bundle.version += 1;
        bundle.issued = now().0;
        if bundle.expires <= bundle.issued {
            let at = path.display().to_string();
            return Err(Failure::misuse("has expired", at, "run `chancery keys renew` first"));
        }
        files::replace(&path, bundle.seal(&root)?.as_bytes(), files::OPEN)?;
        Ok(changed)
    }
}
