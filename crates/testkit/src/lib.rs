// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tests are made of: a small world, the vector runner, the conformance suites, real servers
//! and a network that fails on command, house rules.

pub mod bench;
pub mod conformance;
pub mod fuzz;
pub mod path;
pub mod proxy;
pub mod servers;
pub mod vectors;
pub mod world;
