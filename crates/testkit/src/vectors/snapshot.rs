// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots as folders: `bundle.json`, `root.pub`, `policy.yaml`, `schemas/TYPE/VERSION.json`,
//! `secrets/*.hex`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chancery_core::Snapshot;
use chancery_core::snapshot::Sources;
use chancery_core::text::from_b64u;

/// Every snapshot of a folder of vectors, by name.
#[derive(Debug)]
pub struct Snapshots(BTreeMap<String, Snapshot>);

impl Snapshots {
    /// Builds them all.
    ///
    /// # Errors
    /// The folder or file that is wrong, and why.
    pub fn load(folder: &Path) -> Result<Snapshots, String> {
        let mut all = BTreeMap::new();
        for (name, path) in entries(&folder.join("snapshots"))? {
            let snapshot = Snapshot::build(&sources(&path)?);
            all.insert(name, snapshot.map_err(|misuse| format!("{}: {misuse}", path.display()))?);
        }
        Ok(Snapshots(all))
    }

    /// The snapshot of this name.
    pub fn get(&self, name: &str) -> Option<&Snapshot> {
        self.0.get(name)
    }
}

/// The bytes that one snapshot is made from.
///
/// # Errors
/// The file that cannot be read.
pub fn sources(folder: &Path) -> Result<Sources, String> {
    let at = |path: &Path, what: &str| format!("{}: {what}", path.display());
    let text = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| at(&path, &error.to_string()))
    };
    let mut schemas = BTreeMap::new();
    for (typ, path) in entries(&folder.join("schemas"))? {
        for (file, path) in entries(&path)? {
            let version = file.strip_suffix(".json").and_then(|version| version.parse().ok());
            let version = version.ok_or_else(|| at(&path, "is not VERSION.json"))?;
            let document = fs::read(&path).map_err(|error| at(&path, &error.to_string()))?;
            schemas.insert((typ.clone(), version), document);
        }
    }
    let mut secrets = Vec::new();
    for (_, path) in entries(&folder.join("secrets"))? {
        let hex = fs::read_to_string(&path).map_err(|error| at(&path, &error.to_string()))?;
        secrets.push(unhex(hex.trim()).ok_or_else(|| at(&path, "is not hexadecimal"))?);
    }
    Ok(Sources {
        bundle: text("bundle.json")?.into_bytes(),
        root: from_b64u(text("root.pub")?.trim()).ok_or_else(|| at(folder, "root.pub"))?,
        policy: text("policy.yaml")?,
        schemas,
        secrets,
    })
}

/// Name and path of what is in a folder, in order; an absent folder is an empty one.
fn entries(
    folder: &Path,
) -> Result<impl Iterator<Item = (String, std::path::PathBuf)> + use<>, String> {
    let mut found = BTreeMap::new();
    if folder.is_dir() {
        let at = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            found.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
        }
    }
    Ok(found.into_iter())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
