// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints the feature matrix of `docs/brokers.md`.

use std::io::Write;

use chancery_testkit::conformance::matrix;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(matrix::matrix().as_bytes())
}
