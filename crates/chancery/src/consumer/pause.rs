// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a running consumer does about faults that pass by themselves: it waits, with everything
//! that it has still in its hands. To end would have the broker deliver all of that again, and
//! count it against the messages.

use std::time::{Duration, Instant};

use chancery_core::{Fault, FaultKind};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// The faults since something last went well.
#[derive(Debug, Default)]
pub(super) struct Pause {
    since: Option<Instant>,
    waits: u32,
}

impl Pause {
    /// How long to wait before trying again; the fault itself if it will not pass, or has lasted
    /// for longer than `patience`.
    pub(super) fn after(&mut self, fault: Fault, patience: Duration) -> Result<Duration, Fault> {
        let lasts = self.since.get_or_insert_with(Instant::now).elapsed();
        if !passes(fault.kind) || lasts >= patience {
            return Err(fault);
        }
        let wait = FIRST.saturating_mul(1 << self.waits.min(8)).min(LONGEST);
        self.waits += 1;
        Ok(wait.min(patience.saturating_sub(lasts)))
    }

    /// Something went well.
    pub(super) fn over(&mut self) {
        *self = Pause::default();
    }
}

/// Whether waiting can mend it: a server that is down, a bundle that is being replaced. A database
/// that is another one, and a handler that breaks its promise, need a person.
fn passes(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Broker
        | FaultKind::Store
        | FaultKind::Evidence
        | FaultKind::BundleStale
        | FaultKind::BundleRollback => true,
        FaultKind::StoreReset | FaultKind::HandlerEndedTransaction => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end_with_patience() {
        let mut pause = Pause::default();
        let patience = Duration::from_secs(3600);
        let waits: Vec<Duration> =
            (0..12).map(|_| pause.after(Fault::store("down"), patience).unwrap()).collect();
        assert!(waits.is_sorted() && waits[0] == FIRST && waits[11] == LONGEST);
        assert!(pause.after(Fault::store("down"), Duration::ZERO).is_err());
        pause.over();
        assert_eq!(pause.after(Fault::store("down"), patience).unwrap(), FIRST);
    }

    // Threat: a ledger that was swapped for an empty one is waited out, and then believed.
    #[test]
    fn what_needs_a_person_is_not_waited_out() {
        for kind in [FaultKind::StoreReset, FaultKind::HandlerEndedTransaction] {
            let fault = Fault { kind, detail: String::new() };
            assert!(Pause::default().after(fault, Duration::from_secs(60)).is_err());
        }
    }
}
