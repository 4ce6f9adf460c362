// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the demo found, as a table for people and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// The whole result.
#[derive(Serialize)]
pub(crate) struct Verdict {
    pub(super) honest: Honest,
    pub(super) attacks: Vec<AttackResult>,
    pub(super) faults: Vec<FaultResult>,
    pub(super) evidence: Evidence,
}

/// Honest events, counted in the shop's own tables against the producers' own list.
#[derive(Serialize, Default)]
pub(super) struct Honest {
    /// Events that producers published.
    pub(super) published: u64,
    /// Of these, handled exactly once by each service that should.
    pub(super) handled: u64,
    /// Effects that should be there and are not.
    pub(super) lost: u64,
    /// Effects that are there more than once.
    pub(super) doubled: u64,
    /// Effects that nobody honest asked for.
    pub(super) foreign: u64,
}

#[derive(Serialize)]
pub(super) struct AttackResult {
    pub(super) name: &'static str,
    /// Refused, at every group that read it, for its own reason.
    pub(super) refused: bool,
    pub(super) step: String,
    pub(super) reason: String,
    /// The reason that it should fall to.
    pub(super) expected: &'static str,
}

#[derive(Serialize)]
pub(super) struct FaultResult {
    pub(super) name: &'static str,
    pub(super) survived: bool,
    pub(super) detail: String,
}

#[derive(Serialize, Default)]
pub(super) struct Evidence {
    pub(super) records: u64,
    pub(super) verified: bool,
    pub(super) detail: String,
}

impl Verdict {
    /// Whether nothing got through, was lost or doubled, and the evidence holds.
    pub(crate) fn good(&self) -> bool {
        let honest = &self.honest;
        let clean = honest.lost + honest.doubled + honest.foreign == 0;
        clean
            && honest.handled == honest.published
            && honest.published > 0
            && !self.attacks.is_empty()
            && self.attacks.iter().all(|attack| attack.refused)
            && self.faults.iter().all(|fault| fault.survived)
            && self.evidence.verified
            && self.evidence.records > 0
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let wide = self.attacks.iter().map(|a| a.name.chars().count()).max().unwrap_or(0);
        let _ = writeln!(out, "{:wide$}  {:13} reason", "attack", "refused at");
        for attack in &self.attacks {
            let mark = if attack.refused { "" } else { "   <- GOT THROUGH, expected " };
            let expected = if attack.refused { "" } else { attack.expected };
            let (name, step) = (attack.name, &attack.step);
            let _ = writeln!(out, "{name:wide$}  {step:13} {}{mark}{expected}", attack.reason);
        }
        let _ = writeln!(out);
        for fault in &self.faults {
            let word = if fault.survived { "survived" } else { "NOT SURVIVED" };
            let _ = writeln!(out, "{:wide$}  {word}: {}", fault.name, fault.detail);
        }
        let Honest { published, handled, lost, doubled, foreign } = &self.honest;
        let _ = writeln!(out);
        let _ = writeln!(
            out,
            "honest events: {published} published, {handled} handled once, {lost} lost, \
             {doubled} doubled, {foreign} that nobody sent"
        );
        let refused = self.attacks.iter().filter(|attack| attack.refused).count();
        let _ = writeln!(out, "attacks: {refused} of {} refused", self.attacks.len());
        let word = if self.evidence.verified { "verified" } else { "NOT VERIFIED" };
        let _ = writeln!(
            out,
            "evidence: {} records, {word}{}",
            self.evidence.records, self.evidence.detail
        );
        out
    }
}
