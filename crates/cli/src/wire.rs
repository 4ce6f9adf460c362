// SPDX-License-Identifier: MIT OR Apache-2.0
//! The only file that names a broker or a store.

use chancery_local::Broker;

use crate::exit::Result;
use crate::project::Project;

/// The project's broker.
pub(crate) fn broker(project: &Project) -> Result<Broker> {
    Ok(Broker::open(&project.broker_dir()?)?)
}
