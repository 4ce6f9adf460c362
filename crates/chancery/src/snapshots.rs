// SPDX-License-Identifier: MIT OR Apache-2.0
//! The snapshot in force, and how a new one takes its place.

use std::sync::{Arc, PoisonError, RwLock};

use chancery_core::snapshot::Sources;
use chancery_core::{Misuse, Snapshot};

/// The snapshot in force. Cheap to clone and to read; replaced whole.
#[derive(Clone, Debug)]
pub struct Snapshots(Arc<RwLock<Arc<Snapshot>>>);

impl Snapshots {
    /// Begins with this snapshot.
    pub fn new(first: Snapshot) -> Snapshots {
        Snapshots(Arc::new(RwLock::new(Arc::new(first))))
    }

    /// The snapshot in force; hold it for one message, not longer.
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new snapshot in force if it is good and its bundle is not older. Gives whether
    /// anything changed.
    ///
    /// # Errors
    /// Misuse says what is wrong with the new one; the old one stays.
    pub fn replace(&self, sources: &Sources) -> Result<bool, Misuse> {
        let next = Snapshot::build(sources)?;
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if next.bundle_version < slot.bundle_version {
            return Err(Misuse::new(
                format!(
                    "has version {}, version {} is in force",
                    next.bundle_version, slot.bundle_version
                ),
                "trust bundle",
                "restore the newer one",
            ));
        }
        if next.bundle_version == slot.bundle_version && next.bundle_digest != slot.bundle_digest {
            return Err(Misuse::new(
                format!("is another one with version {}", next.bundle_version),
                "trust bundle",
                "restore the one in force and make the change again",
            ));
        }
        let changed = next.digest != slot.digest;
        if changed {
            *slot = Arc::new(next);
        }
        Ok(changed)
    }
}
