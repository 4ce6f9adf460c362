// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vectors/INDEX.md`: every case in one table, and every reason with its cases counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use chancery_core::Reason;

use super::{Expect, Vector};

/// Renders the page.
pub fn index(vectors: &[Vector]) -> String {
    let mut out = String::from(
        "# Index of the vectors\n\nRendered from the files; a test keeps it fresh \
         (`BLESS=1 cargo test -p chancery-testkit` rewrites it).\n\n| reason | cases |\n|---|---|\n",
    );
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for vector in vectors {
        for code in codes(vector) {
            *counts.entry(code).or_default() += 1;
        }
    }
    for reason in Reason::ALL {
        let count = counts.get(reason.code()).copied().unwrap_or_default();
        let _ = writeln!(out, "| {} | {count} |", reason.code());
    }
    let _ =
        writeln!(out, "\n{} vectors.\n\n| vector | expects | why |\n|---|---|---|", vectors.len());
    for vector in vectors {
        let expects: Vec<&str> = vector.steps.iter().map(|step| step.expect.word()).collect();
        let (name, why) = (&vector.name, vector.why.replace('|', "\\|"));
        let _ = writeln!(out, "| `{name}` | {} | {why} |", expects.join(", "));
    }
    out
}

/// The codes that a vector expects, each once.
fn codes(vector: &Vector) -> BTreeSet<&str> {
    let refused = vector.steps.iter().filter_map(|step| match &step.expect {
        Expect::Refused(code) => Some(code.as_str()),
        Expect::Ok | Expect::Retry => None,
    });
    refused.collect()
}
