// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pure half of a message's path: may these bytes run, as far as bytes alone can tell?
//!
//! Five steps, one after the other. Each takes the proof of the step before and returns its own;
//! proofs have private fields and are made only by their step, so none can be skipped.

use crate::delivery::Delivery;
use crate::failure::Refusal;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

mod decode;
mod authenticate;
pub(crate) mod batches;
mod freshness;
pub(crate) mod authorize;
pub(crate) mod validate;
mod ladder;

pub use authenticate::{Authenticated, authenticate};
pub use authorize::{Authorized, authorize};
pub use decode::{
    BATCH_MAX, BODY_BYTES_MAX, Decoded, FIELDS_BYTES_MAX, FIELDS_MAX, SIGNATURES_MAX, decode,
};
pub use freshness::{Lateness, Timely, freshness};
pub use ladder::{Assessed, assess};
pub use validate::{Validated, unsafe_format, validate};

/// Who reads: a consuming group of a service. The policy must name both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The consuming service.
    pub service: String,
    /// The group, which names the service's share of the stream.
    pub group: String,
}

/// Judges one message against one snapshot at one moment (spec/pipeline.md).
///
/// # Errors
/// The first rule that the message breaks.
pub fn screen<'d>(
    delivery: &'d Delivery,
    snapshot: &'d Snapshot,
    reader: &Reader,
    now: Timestamp,
) -> Result<Validated<'d>, Refusal> {
    let decoded = decode(delivery)?;
    let authenticated = authenticate(decoded, snapshot)?;
    let timely = freshness(authenticated, snapshot, now)?;
    let authorized = authorize(timely, snapshot, reader)?;
    validate(authorized, snapshot)
}

#[cfg(test)]
mod tests;
