// SPDX-License-Identifier: MIT OR Apache-2.0
//! What no rung lets through.
