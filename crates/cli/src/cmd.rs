// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file per verb: what it can be told, and what it does.

pub(crate) mod completions;
pub(crate) mod consume;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod evidence;
pub(crate) mod explain;
pub(crate) mod init;
pub(crate) mod kept;
pub(crate) mod keys;
pub(crate) mod policy;
pub(crate) mod publish;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod why;
