// SPDX-License-Identifier: MIT OR Apache-2.0
//! Language-neutral cases in `vectors/`: the file format, the snapshots, the judge
//! (vectors/README.md).

use std::path::{Path, PathBuf};

mod file;
mod index;
mod model;
mod snapshot;

pub use file::{Action, Body, Delivered, Expect, Reads, Vector};
pub use index::index;
pub use model::{Verdict, judge};
pub use snapshot::{Snapshots, sources};

/// The folder of the repository's own vectors.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors")
}

/// Every vector under `folder`, in order of name.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn all(folder: &Path) -> Result<Vec<Vector>, String> {
    let mut paths = Vec::new();
    walk(&folder.join("cases"), &mut paths)?;
    paths.sort();
    paths.iter().map(|path| read(folder, path)).collect()
}

/// Reads one vector; its name must be its path, and the file must be written as
/// [`Vector::render`] writes it.
fn read(folder: &Path, path: &Path) -> Result<Vector, String> {
    let at = |what: String| format!("{}: {what}", path.display());
    let bytes = std::fs::read(path).map_err(|error| at(error.to_string()))?;
    let vector = Vector::parse(&bytes).map_err(at)?;
    if folder.join("cases").join(format!("{}.vec", vector.name)) != path {
        return Err(at(format!("is named `{}`", vector.name)));
    }
    if vector.render() != bytes {
        return Err(at("is not written as the format says".to_owned()));
    }
    Ok(vector)
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.is_dir() {
            walk(&path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}
