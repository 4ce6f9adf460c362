// SPDX-License-Identifier: MIT OR Apache-2.0
//! chancery-core against what others have written: signatures, codes, encodings, traces, logs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod dsse;
mod ed25519;
mod files;
mod hmac;
mod tlog_oracle;
mod traceparent;
