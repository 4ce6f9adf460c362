// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repository's own vectors, judged by chancery-core, and the house rules.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod tidy;
mod vectors;
