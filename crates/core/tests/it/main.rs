// SPDX-License-Identifier: MIT OR Apache-2.0
//! chancery-core against what others have written: signatures, codes, encodings, traces.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod dsse;
mod ed25519;
mod files;
mod hmac;
mod traceparent;
