// SPDX-License-Identifier: MIT OR Apache-2.0
//! kill -9 of a consumer process, at named points and at random: every event exactly once, none
//! lost, none parked, and the evidence holds after each.
//!
//! The consumer is a child process of this test binary. Points are reached through wrappers round
//! the ports, so that the product has no hooks for it. `CHANCERY_KILLS` sets the rounds.
