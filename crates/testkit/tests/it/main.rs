// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repository's own vectors, judged by chancery-core.

mod vectors;
