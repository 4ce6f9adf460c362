// SPDX-License-Identifier: MIT OR Apache-2.0
//! Step 3: was it signed, and did it reach the broker, when it should have been?
//!
//! Judged at the broker's first append time, not at our clock, so that an outage refuses no
//! backlog. Our clock decides only the deadline and the horizon.

use super::authenticate::Authenticated;
use crate::bundle::Key;
use crate::delivery::AppendTime;
use crate::failure::{Refusal, require};
use crate::header::Header;
use crate::policy::Times;
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// A message that is as fresh as bytes and clocks can tell.
#[derive(Debug)]
pub struct Timely<'d> {
    pub(super) message: Authenticated<'d>,
    pub(super) lateness: Lateness,
}

/// What the ledger must still say about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lateness {
    /// It reached the broker in time.
    Fresh,
    /// It came late, by this many milliseconds: only a message that the ledger knows as
    /// unfinished may still run.
    LateUnlessOutstanding {
        /// Milliseconds from signing to append.
        late_ms: i64,
    },
}

/// Checks key validity, clock, horizon, deadline and lateness.
///
/// # Errors
/// `E207_KEY_REVOKED`, `E206_KEY_NOT_VALID_THEN`, `E507_CLOCK`, `E506_BEYOND_HORIZON`,
/// `E508_EXPIRED`.
pub fn freshness<'d>(
    message: Authenticated<'d>,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Timely<'d>, Refusal> {
    let times = &snapshot.policy.times;
    let header = &message.header;
    let appended = message.delivery.appended;
    for key in &message.signers {
        key_valid_then(key, appended, header.iat, times)?;
    }
    clock(header, appended, times)?;
    horizon(header, now, times)?;
    deadline(header, now)?;
    let lateness = lateness(header, appended, times);
    Ok(Timely { message, lateness })
}

pub(super) fn clock(
    header: &Header<'_>,
    appended: AppendTime,
    times: &Times,
) -> Result<(), Refusal> {
    let Some(at) = appended.at() else { return Ok(()) };
    require(header.iat <= at + times.skew_ms, Reason::Clock, || {
        format!("signed {} ms after the broker took it", header.iat - at)
    })
}

pub(super) fn horizon(header: &Header<'_>, now: Timestamp, times: &Times) -> Result<(), Refusal> {
    let age_ms = now - header.iat;
    require(age_ms <= times.horizon_ms(), Reason::BeyondHorizon, || {
        format!("signed {age_ms} ms ago; the ledger remembers {} ms", times.horizon_ms())
    })
}

pub(super) fn deadline(header: &Header<'_>, now: Timestamp) -> Result<(), Refusal> {
    let Some(deadline) = header.exp else { return Ok(()) };
    require(now <= deadline, Reason::Expired, || {
        format!("the deadline passed {} ms ago", now - deadline)
    })
}

pub(super) fn lateness(header: &Header<'_>, appended: AppendTime, times: &Times) -> Lateness {
    let late_ms = appended.at().map_or(0, |at| at - header.iat);
    if late_ms <= times.publish_within_ms {
        Lateness::Fresh
    } else {
        Lateness::LateUnlessOutstanding { late_ms }
    }
}

// Where the broker keeps no time, the signing time has to do; it is the producer's own word, so
// a compromised key gets no credit for it.
pub(super) fn key_valid_then(
    key: &Key,
    appended: AppendTime,
    signed: Timestamp,
    times: &Times,
) -> Result<(), Refusal> {
    if let Some(compromised) = key.compromised_at {
        let before = matches!(appended, AppendTime::Broker(at) if at < compromised);
        require(before, Reason::KeyRevoked, || {
            format!("key {} is compromised since {compromised}", key.kid)
        })?;
    }
    let at = appended.at().unwrap_or(signed);
    let valid =
        key.not_before <= at + times.skew_ms && at <= key.sign_until + times.publish_within_ms;
    require(valid, Reason::KeyNotValidThen, || {
        format!("key {} signs from {} until {}", key.kid, key.not_before, key.sign_until)
    })
}
