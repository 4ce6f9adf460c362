// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watches the folder: a good change is in force within seconds, a bad one is told of once.

use std::time::Duration;

use chancery::Snapshots;
use chancery::core::snapshot::Sources;
use chancery::core::text::hex;

use super::{Project, same};
use crate::exit::{Failure, Result};
use crate::out::warn;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// The project's snapshot, kept up to date in the background for as long as the process lives.
pub(crate) fn watched(project: &Project) -> Result<Snapshots> {
    let sources = project.sources()?;
    let snapshots = Snapshots::new(chancery::Snapshot::build(&sources)?);
    let watch = Watch { project: project.clone(), snapshots: snapshots.clone(), tried: sources };
    let thread = std::thread::Builder::new().name("reload".to_owned());
    thread.spawn(move || watch.run()).map_err(Failure::bug)?;
    Ok(snapshots)
}

struct Watch {
    project: Project,
    snapshots: Snapshots,
    /// The last sources that were put in force or found bad.
    tried: Sources,
}

impl Watch {
    fn run(mut self) {
        // Files that cannot be read fail at every look, and are told of at the first.
        let mut told = None;
        loop {
            std::thread::sleep(EVERY);
            let failed = self.look().err();
            if let Some(failure) = failed.as_ref().filter(|_| failed != told) {
                warn(&format!("chancery: a change is not in force: {failure}"));
            }
            told = failed;
        }
    }

    fn look(&mut self) -> Result<()> {
        let sources = self.project.sources()?;
        if same(&sources, &self.tried) {
            return Ok(());
        }
        let replaced = self.snapshots.replace(&sources);
        self.tried = sources;
        if replaced? {
            let now = self.snapshots.current();
            let (version, digest) = (now.bundle_version, hex(&now.digest));
            let digest = digest.get(..12).unwrap_or_default();
            warn(&format!("chancery: in force now: bundle version {version}, snapshot {digest}"));
        }
        Ok(())
    }
}
