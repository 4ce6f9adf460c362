// SPDX-License-Identifier: MIT OR Apache-2.0
//! chancery-core against what others have written.

#[cfg(test)]
mod tlog_oracle;
