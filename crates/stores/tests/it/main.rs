// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the stores promise, tried from outside.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod log_kill;
#[cfg(test)]
mod log_restore;
#[cfg(test)]
mod log_tamper;
#[cfg(test)]
mod log_together;
#[cfg(test)]
mod log_world;
