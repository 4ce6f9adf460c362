// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last check, made inside the unit that will commit: is it this message's turn?

use crate::admitted::Admitted;
use crate::failure::{Refusal, require};
use crate::header::Header;
use crate::reason::Reason;
use crate::screen::{Assessed, Lateness, Validated};
use crate::unproven::Unproven;

/// What the ledger knows, read inside the unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// Whether this event was here before and is not done: then coming late is no fault.
    pub outstanding: bool,
    /// The last version committed for this key.
    pub head: Option<Head>,
    /// Whether an earlier message of this key is parked or held.
    pub behind: bool,
    /// Whether the producer that an unproven message claims is known to sign here.
    pub latched: bool,
}

/// The last message committed for an ordering key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its version.
    pub version: u64,
    /// First 16 bytes of its message id; `None` after an operator's skip, which no message made.
    pub message: Option<[u8; 16]>,
    /// The producer's term that it was made in.
    pub term: u64,
}

/// Admits the message if it is in time, not behind a parked one, and next in its key's order.
///
/// # Errors
/// `E505_LATE_PUBLISH`, `E604_BEHIND_PARKED`, `E513_STALE_TERM`, `E512_STALE_VERSION`,
/// `E516_FORK`, `E511_GAP`.
pub fn order(message: Validated<'_>, state: &KeyState) -> Result<Admitted, Refusal> {
    in_time(message.lateness, state)?;
    not_behind(state)?;
    if message.stream.ordered {
        in_order(&message.header, state.head)?;
    }
    Ok(Admitted::new(message))
}

/// Below `enforce`: refuses what no rung lets run, and gives the rest to the observer's entry with
/// all that `enforce` would have refused it for.
///
/// # Errors
/// `E212_SIGNATURE_STRIPPED`, or the first finding again, of a message whose claimed producer is
/// known to sign here; `E604_BEHIND_PARKED`, `E513_STALE_TERM`, `E512_STALE_VERSION`, `E516_FORK`.
pub fn order_unproven(
    mut message: Assessed<'_>,
    state: &KeyState,
) -> Result<(Unproven, Vec<Refusal>), Refusal> {
    let Some(proof) = &message.proof else {
        return match message.findings.first() {
            Some(first) if state.latched => Err(after_the_latch(first, &message.header)),
            _ => Ok(Unproven::new(message)),
        };
    };
    message.findings.note(in_time(proof.lateness, state))?;
    message.findings.note(not_behind(state))?;
    if message.stream.ordered && message.header.ov.is_some() {
        message.findings.note(in_order(&message.header, state.head))?;
    }
    Ok(Unproven::new(message))
}

// What names a key may be honest and its key new here: that stays held, as under enforce.
fn after_the_latch(first: &Refusal, header: &Header<'_>) -> Refusal {
    let reason = match first.reason {
        Reason::Unsigned => Reason::SignatureStripped,
        other => other,
    };
    let detail = format!("{}; `{}` is known to sign on this stream", first.detail, header.src);
    Refusal::new(reason, detail)
}

fn in_time(lateness: Lateness, state: &KeyState) -> Result<(), Refusal> {
    let Lateness::LateUnlessOutstanding { late_ms } = lateness else { return Ok(()) };
    require(state.outstanding, Reason::LatePublish, || {
        format!("it reached the broker {late_ms} ms after it was signed")
    })
}

fn not_behind(state: &KeyState) -> Result<(), Refusal> {
    require(!state.behind, Reason::BehindParked, || {
        "an earlier message of this key is parked or held".into()
    })
}

fn in_order(header: &Header<'_>, head: Option<Head>) -> Result<(), Refusal> {
    let version = header.ov.unwrap_or(0);
    let term = header.ep.unwrap_or(0);
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
    let follows = match (header.oph, head.and_then(|head| head.message)) {
        (Some(previous), Some(message)) => previous == message,
        _ => true,
    };
    require(follows, Reason::Fork, || {
        format!("version {version} follows another message than the one committed")
    })
}
