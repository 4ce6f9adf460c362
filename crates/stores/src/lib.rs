//! placeholder
pub mod log;
pub mod sqlite;
