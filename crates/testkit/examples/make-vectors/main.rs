// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes `vectors/`: keys, snapshots, cases and their index. Deterministic; run it again and
//! nothing changes. What it signs and hashes it does by itself, without chancery-core.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::too_many_lines,
    reason = "tables of cases; whatever fails, fails the run at once"
)]

use std::error::Error;
use std::fs;
use std::path::Path;

use chancery_testkit::vectors;

mod authenticate;
mod authorize;
mod body;
mod cases;
mod craft;
mod frame;
mod freshness;
mod header;
mod scripts;
mod world;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = vectors::folder();
    let world = world::World::new();
    world.write(&folder)?;
    let mut cases = cases::Cases::default();
    frame::cases(&mut cases, &world);
    authenticate::cases(&mut cases, &world);
    header::cases(&mut cases, &world);
    freshness::cases(&mut cases, &world);
    authorize::cases(&mut cases, &world);
    body::cases(&mut cases, &world);
    scripts::cases(&mut cases, &world);
    write(&folder, &mut cases)
}

fn write(folder: &Path, cases: &mut cases::Cases) -> Result<(), Box<dyn Error>> {
    let root = folder.join("cases");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    cases.list.sort_by_key(|vector| root.join(format!("{}.vec", vector.name)));
    for vector in &cases.list {
        let path = root.join(format!("{}.vec", vector.name));
        if path.exists() {
            return Err(format!("two vectors are named {}", vector.name).into());
        }
        fs::create_dir_all(path.parent().unwrap_or(&root))?;
        fs::write(path, vector.render())?;
    }
    fs::write(folder.join("INDEX.md"), vectors::index(&cases.list))?;
    Ok(())
}
