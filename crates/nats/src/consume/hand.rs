// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a receiver has in hand, and whether it may have it. No clock and no connection: time is
//! an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chancery_core::Delivery;
use tokio::time::Instant;

use super::{BYTES_MAX, LOOK, OUTAGE, Receipt};

#[derive(Default)]
pub(super) struct Hand {
    /// Counts our times as the pinned receiver; what is of an earlier one is lost.
    term: u64,
    pin: Option<Pin>,
    /// Since the pin, or the connection, is new: what else is unacknowledged comes first.
    settling: Option<Settling>,
    /// By place in the stream: what is not acknowledged.
    held: BTreeMap<u64, Held>,
    /// What of it was not handed over yet.
    ready: BTreeMap<u64, Delivery>,
    bytes: usize,
    pull: Option<Pull>,
    pulls: u64,
    /// The pin that the last pull named: it may bring no other.
    named: Option<String>,
    rests_until: Option<Instant>,
    /// Since when no pull was served, and whether it must be asked why.
    refused_since: Option<Instant>,
    asks_why: bool,
}

struct Pin {
    id: String,
    /// The server gives it to nobody else before. `None`: it has not said so yet.
    ours_until: Option<Instant>,
}

struct Settling {
    since: Instant,
    look_at: Instant,
    /// Messages that are in nobody's hand or a dead one's; not known yet.
    missing: Option<usize>,
    asked: bool,
}

struct Held {
    ack: Arc<str>,
    size: usize,
    /// An acknowledgement was sent: the server may count it no more.
    leaves: bool,
}

struct Pull {
    reply: String,
    left: usize,
    until: Instant,
}

impl Hand {
    /// A message came, with the pin of the one it was sent to.
    pub(super) fn enter(
        &mut self,
        pin: Option<String>,
        sequence: u64,
        (delivery, ack, size): (Delivery, Arc<str>, usize),
    ) {
        self.served();
        if let Some(pull) = &mut self.pull {
            pull.left = pull.left.saturating_sub(1);
            if pull.left == 0 {
                self.pull = None;
            }
        }
        let Some(id) = pin else { return };
        if self.pin.as_ref().is_none_or(|pin| pin.id != id) {
            self.lose();
            // Some servers fill a pull of an old pin with what is another receiver's.
            if self.named.as_ref().is_some_and(|named| *named != id) {
                return;
            }
            self.pin = Some(Pin { id, ours_until: None });
            self.settle_again();
        }
        // A copy of what is in hand: the server did not hear in time that we work on it.
        if let Some(held) = self.held.get_mut(&sequence) {
            (held.ack, held.leaves) = (ack, false);
            return;
        }
        self.bytes += size;
        self.held.insert(sequence, Held { ack, size, leaves: false });
        self.ready.insert(sequence, delivery);
    }

    /// What was on its way when the connection broke comes again only after a while; nothing that
    /// is newer may be handed over before.
    pub(super) fn connection_is_back(&mut self) {
        self.pull = None;
        if self.pin.is_some() {
            self.settle_again();
        }
    }

    fn settle_again(&mut self) {
        let now = Instant::now();
        self.settling = Some(Settling { since: now, look_at: now, missing: None, asked: false });
    }

    /// Whether it was the current pull that a word of the server is about.
    pub(super) fn pull_ended(&mut self, reply: &str) -> bool {
        let current = self.pull.as_ref().is_some_and(|pull| pull.reply == reply);
        if current {
            self.pull = None;
        }
        current
    }

    /// A pull ended well.
    pub(super) fn served(&mut self) {
        self.refused_since = None;
    }

    /// A pull was refused: rests a little. Whether it has been so for [`OUTAGE`].
    pub(super) fn refused(&mut self, now: Instant, asks_why: bool) -> bool {
        self.rests_until = Some(now + LOOK * 4);
        let since = *self.refused_since.get_or_insert(now);
        let for_long = now >= since + OUTAGE;
        if for_long {
            self.refused_since = Some(now);
        }
        self.asks_why |= asks_why || for_long;
        for_long
    }

    /// Whether it must be asked why pulls are refused.
    pub(super) fn asks_why(&mut self) -> bool {
        std::mem::take(&mut self.asks_why)
    }

    /// The pin is not ours any more, nor what we had with it.
    pub(super) fn lose(&mut self) {
        self.term += 1;
        (self.pin, self.settling, self.bytes) = (None, None, 0);
        self.held.clear();
        self.ready.clear();
    }

    pub(super) fn lose_term(&mut self, term: u64) {
        if self.term == term {
            self.lose();
        }
    }

    pub(super) fn pin(&self) -> Option<(u64, String)> {
        self.pin.as_ref().map(|pin| (self.term, pin.id.clone()))
    }

    pub(super) fn ours_until(&mut self, term: u64, until: Instant) {
        if let Some(pin) = self.pin.as_mut().filter(|_| self.term == term) {
            pin.ours_until = pin.ours_until.max(Some(until));
        }
    }

    pub(super) fn is_ours(&self, now: Instant) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.ours_until.is_some_and(|until| now < until))
    }

    /// Whether the pin's time is over, as far as we know: we slept, or the server did not answer.
    pub(super) fn is_doubtful(&self, now: Instant) -> bool {
        self.pin.is_some() && self.settling.is_none() && !self.is_ours(now)
    }

    /// If it is time to look: our term, and how much is in hand that the server surely counts.
    pub(super) fn may_look(&self, now: Instant) -> Option<(u64, usize)> {
        let settling = self.settling.as_ref()?;
        let had = self.held.values().filter(|held| !held.leaves).count();
        (now >= settling.look_at).then_some((self.term, had))
    }

    pub(super) fn look_later(&mut self, at: Instant) {
        if let Some(settling) = &mut self.settling {
            settling.look_at = at;
        }
    }

    pub(super) fn looked(&mut self, term: u64, missing: usize, next: Instant) {
        let Some(settling) = self.settling.as_mut().filter(|_| self.term == term) else { return };
        (settling.missing, settling.look_at) = (Some(missing), next);
        if missing == 0 {
            self.settling = None;
        }
    }

    /// How many to pull now. Without a pin one is enough to get it; while it settles, as many as
    /// are missing, at once and then when the server brings what a dead receiver had.
    pub(super) fn wanted(&mut self, max: usize, now: Instant, ack_wait: Duration) -> Option<usize> {
        if self.pull.as_ref().is_some_and(|pull| now >= pull.until) {
            self.pull = None;
        }
        let rests = self.rests_until.is_some_and(|until| now < until);
        if self.pull.is_some() || rests {
            return None;
        }
        match &mut self.settling {
            None if self.pin.is_none() => Some(1),
            None if self.bytes >= BYTES_MAX => None,
            None => Some(max).filter(|max| *max > 0),
            Some(settling) => {
                let missing = settling.missing.filter(|missing| *missing > 0)?;
                let may = !settling.asked || now >= settling.since + ack_wait;
                settling.asked |= may;
                may.then(|| missing.min(super::PULL_MAX))
            }
        }
    }

    pub(super) fn pull_begins(&mut self, prefix: &str, left: usize, until: Instant) -> String {
        self.pulls += 1;
        self.named = self.pin.as_ref().map(|pin| pin.id.clone());
        let reply = format!("{prefix}.{}", self.pulls);
        self.pull = Some(Pull { reply: reply.clone(), left, until });
        reply
    }

    /// Hands over, in the stream's order; also how soon to come again if that is soon.
    pub(super) fn ready(
        &mut self,
        max: usize,
        now: Instant,
    ) -> (Vec<(Delivery, Receipt)>, Option<Duration>) {
        if let Some(settling) = &self.settling {
            return (Vec::new(), Some(settling.look_at.saturating_duration_since(now)));
        }
        if !self.is_ours(now) {
            return (Vec::new(), None);
        }
        let mut batch = Vec::new();
        while let Some((sequence, delivery)) =
            (batch.len() < max).then(|| self.ready.pop_first()).flatten()
        {
            batch.push((delivery, Receipt { sequence, term: self.term }));
        }
        (batch, None)
    }

    /// Where to acknowledge; `None`: it is not ours any more. Once a pin's time is over, all of
    /// it is lost for good: nothing that was forgotten may pass for held.
    pub(super) fn ack(&mut self, receipt: &Receipt, now: Instant) -> Option<Arc<str>> {
        if self.is_doubtful(now) {
            self.lose();
        }
        let held = self.held.get(&receipt.sequence).filter(|_| self.term == receipt.term);
        held.map(|held| Arc::clone(&held.ack))
    }

    /// An acknowledgement is sent; whether it arrives is not known yet.
    pub(super) fn leaves(&mut self, sequence: u64) {
        if let Some(held) = self.held.get_mut(&sequence) {
            held.leaves = true;
        }
    }

    pub(super) fn settled(&mut self, sequence: u64) {
        if let Some(held) = self.held.remove(&sequence) {
            self.bytes = self.bytes.saturating_sub(held.size);
        }
    }

    /// Where to acknowledge all that is held, in the stream's order.
    pub(super) fn acks(&self, now: Instant) -> Vec<Arc<str>> {
        let ours = self.is_ours(now) || self.settling.is_some();
        let held = self.held.values().filter(|_| ours);
        held.map(|held| Arc::clone(&held.ack)).collect()
    }
}

#[cfg(test)]
mod tests;
