// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repository's own vectors and fuzz inputs, judged by chancery-core, and the house rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod fuzz;
mod ladder;
mod matrix;
mod proxy;
mod signed;
mod tidy;
mod vectors;
