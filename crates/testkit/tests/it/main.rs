// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repository's own vectors, judged by chancery-core, and the house rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod tidy;
mod vectors;
