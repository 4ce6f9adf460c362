// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last check, made inside the unit that will commit: is it this message's turn?

use crate::admitted::Admitted;
use crate::failure::{Refusal, require};
use crate::reason::Reason;
use crate::screen::{Lateness, Validated};

/// What the ledger knows, read inside the unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// Whether this event was here before and is not done: then coming late is no fault.
    pub outstanding: bool,
    /// The last version committed for this key.
    pub head: Option<Head>,
    /// Whether an earlier message of this key is parked or held.
    pub behind: bool,
}

/// The last message committed for an ordering key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its version.
    pub version: u64,
    /// First 16 bytes of its message id.
    pub message: [u8; 16],
    /// The producer's term that it was made in.
    pub term: u64,
}

/// Admits the message if it is in time, not behind a parked one, and next in its key's order.
///
/// # Errors
/// `E505_LATE_PUBLISH`, `E604_BEHIND_PARKED`, `E513_STALE_TERM`, `E512_STALE_VERSION`,
/// `E516_FORK`, `E511_GAP`.
pub fn order(message: Validated<'_>, state: &KeyState) -> Result<Admitted, Refusal> {
    if let Lateness::LateUnlessOutstanding { late_ms } = message.lateness {
        require(state.outstanding, Reason::LatePublish, || {
            format!("it reached the broker {late_ms} ms after it was signed")
        })?;
    }
    require(!state.behind, Reason::BehindParked, || {
        "an earlier message of this key is parked or held".into()
    })?;
    if message.stream.ordered {
        in_order(&message, state.head)?;
    }
    Ok(Admitted::new(message))
}

fn in_order(message: &Validated<'_>, head: Option<Head>) -> Result<(), Refusal> {
    let version = message.header.ov.unwrap_or(0);
    let term = message.header.ep.unwrap_or(0);
    let last = head.map_or(0, |head| head.version);
    let known_term = head.map_or(0, |head| head.term);
    require(term >= known_term, Reason::StaleTerm, || {
        format!("term {term}, term {known_term} has taken over")
    })?;
    require(version != last, Reason::Fork, || {
        format!("version {version} of this key is another message")
    })?;
    require(version > last, Reason::StaleVersion, || {
        format!("version {version}, this key is at {last}")
    })?;
    require(version == last + 1, Reason::Gap, || {
        format!("version {version}, the next of this key is {}", last + 1)
    })?;
    let follows = match (message.header.oph, head) {
        (Some(previous), Some(head)) => previous == head.message,
        _ => true,
    };
    require(follows, Reason::Fork, || {
        format!("version {version} follows another message than the one committed")
    })
}
