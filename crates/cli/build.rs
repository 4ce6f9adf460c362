// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles every page of docs/reasons/ in, so that `chancery why` needs no files.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let pages = Path::new(&manifest).join("../../docs/reasons");
    println!("cargo::rerun-if-changed={}", pages.display());
    let mut entries = String::from("&[\n");
    for path in markdown(&pages)? {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        entries.push_str(&format!("({:?}, include_str!({:?})),\n", stem.unwrap_or_default(), path));
    }
    entries.push(']');
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("pages.rs"), entries)
}

fn markdown(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
