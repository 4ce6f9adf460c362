// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repository's own vectors, judged by chancery-core.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod vectors;
