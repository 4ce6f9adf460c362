// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `chancery_testkit::fuzz::header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chancery_testkit::fuzz::header(data));
