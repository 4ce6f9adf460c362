// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stores in SQLite.

pub mod evidence;
