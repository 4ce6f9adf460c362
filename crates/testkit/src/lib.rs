// SPDX-License-Identifier: MIT OR Apache-2.0
//! For tests only: suites that judge every adapter alike.

pub mod conformance;
