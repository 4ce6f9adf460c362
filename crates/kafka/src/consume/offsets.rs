// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is settled of a partition. A group's place in it is one number, and messages are settled in
//! any order: those above the first that is not stand in the note that Kafka keeps beside the
//! number, a bit each, so that a restart brings none of them again.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Farthest that is delivered above the first that is not settled. Its note fits into the 4096
/// bytes that a broker allows (`offset.metadata.max.bytes`).
pub(crate) const SPAN_MAX: i64 = 24_000;
const FORM: &str = "chancery/1:";

/// Which offsets are in hand, and which are settled above the first of them.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    /// Behind the last that came.
    next: i64,
    open: BTreeSet<i64>,
    settled: BTreeSet<i64>,
}

impl Offsets {
    /// Begins where a group was. A note of another form is another program's.
    pub(crate) fn at(offset: i64, note: &str) -> Offsets {
        Offsets { next: offset, open: BTreeSet::new(), settled: read(offset, note) }
    }

    /// Whether an offset is near enough to the first that is not settled.
    pub(crate) fn is_near(&self, offset: i64) -> bool {
        self.open.is_empty() || offset.saturating_sub(self.position()) <= SPAN_MAX
    }

    /// Enters an offset that came; `false`: it is settled already.
    pub(crate) fn came(&mut self, offset: i64) -> bool {
        let is_settled = self.settled.contains(&offset) || offset < self.position();
        self.next = self.next.max(offset.saturating_add(1));
        !is_settled && self.open.insert(offset)
    }

    /// Settles an offset; `false`: it was not open.
    pub(crate) fn settle(&mut self, offset: i64) -> bool {
        let was_open = self.open.remove(&offset);
        if was_open {
            self.settled.insert(offset);
        }
        was_open
    }

    /// Takes back what [`Offsets::settle`] did.
    pub(crate) fn reopen(&mut self, offset: i64) {
        if self.settled.remove(&offset) {
            self.open.insert(offset);
        }
    }

    /// The first that is not settled.
    pub(crate) fn position(&self) -> i64 {
        let behind = || (self.next..).find(|offset| !self.settled.contains(offset));
        self.open.first().copied().or_else(behind).unwrap_or(self.next)
    }

    /// Drops what the position alone says.
    pub(crate) fn forget(&mut self) {
        let position = self.position();
        self.next = self.next.max(position);
        self.settled = self.settled.split_off(&position);
    }

    /// The settled ones above the position, a bit each.
    pub(crate) fn note(&self) -> String {
        let position = self.position();
        let mut bits = Vec::new();
        for offset in self.settled.range(position + 1..=position + SPAN_MAX) {
            let Ok(at) = usize::try_from(offset - position - 1) else { continue };
            if bits.len() <= at / 8 {
                bits.resize(at / 8 + 1, 0u8);
            }
            if let Some(byte) = bits.get_mut(at / 8) {
                *byte |= 1 << (at % 8);
            }
        }
        if bits.is_empty() {
            String::new()
        } else {
            FORM.to_owned() + &URL_SAFE_NO_PAD.encode(bits)
        }
    }
}

/// How many a note says are settled above a position.
pub(crate) fn settled_above(position: i64, note: &str) -> u64 {
    u64::try_from(read(position, note).len()).unwrap_or_default()
}

fn read(position: i64, note: &str) -> BTreeSet<i64> {
    let coded = note.strip_prefix(FORM).unwrap_or_default();
    let bits = URL_SAFE_NO_PAD.decode(coded).unwrap_or_default();
    let set = bits.iter().enumerate().flat_map(|(at, byte)| {
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| at * 8 + bit)
    });
    set.filter_map(|at| position.checked_add(i64::try_from(at).ok()? + 1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn restarted(offsets: &Offsets) -> Offsets {
        Offsets::at(offsets.position(), &offsets.note())
    }

    #[test]
    fn what_is_settled_in_order_needs_no_note() {
        let mut offsets = Offsets::at(7, "");
        assert!((7..10).all(|offset| offsets.came(offset)));
        assert!(offsets.settle(7) && offsets.settle(8));
        assert_eq!((offsets.position(), offsets.note().as_str()), (9, ""));
        offsets.settle(9);
        assert_eq!((offsets.position(), offsets.note().as_str()), (10, ""));
    }

    // Threat: a restart, and what was done runs again.
    #[test]
    fn what_is_settled_out_of_order_does_not_come_again_after_a_restart() {
        let mut offsets = Offsets::at(0, "");
        (0..100).for_each(|offset| assert!(offsets.came(offset)));
        for offset in [1, 2, 50, 99] {
            assert!(offsets.settle(offset));
        }
        let mut again = restarted(&offsets);
        assert_eq!(again.position(), 0);
        let come: Vec<i64> = (0..101).filter(|offset| again.came(*offset)).collect();
        assert_eq!(come.len(), 97);
        assert!(come.iter().all(|offset| ![1, 2, 50, 99].contains(offset)));
        (0..98).for_each(|offset| {
            again.settle(offset);
        });
        assert_eq!(again.position(), 98);
    }

    #[test]
    fn what_a_fault_took_back_is_open_again() {
        let mut offsets = Offsets::at(0, "");
        offsets.came(0);
        offsets.came(1);
        offsets.settle(0);
        offsets.reopen(0);
        assert_eq!(offsets.position(), 0);
        assert!(restarted(&offsets).came(0));
    }

    // A broker refuses a longer one, and with it the acknowledgement.
    #[test]
    fn the_longest_note_is_short_enough() {
        let mut offsets = Offsets::at(0, "");
        (0..=SPAN_MAX).for_each(|offset| assert!(offsets.came(offset)));
        assert!(offsets.is_near(SPAN_MAX) && !offsets.is_near(SPAN_MAX + 1));
        (1..=SPAN_MAX).for_each(|offset| assert!(offsets.settle(offset)));
        let note = offsets.note();
        assert!(note.len() <= 4096, "{}", note.len());
        let mut again = restarted(&offsets);
        assert!(again.came(0) && (1..=SPAN_MAX).all(|offset| !again.came(offset)));
        assert!(again.settle(0));
        assert_eq!(again.position(), SPAN_MAX + 1);
    }

    #[test]
    fn a_note_of_somebody_else_says_nothing() {
        for note in ["", "hello", "chancery/1:", "chancery/1:***", "chancery/2:_w"] {
            let mut offsets = Offsets::at(5, note);
            assert!((5..40).all(|offset| offsets.came(offset)), "{note}");
        }
    }

    proptest! {
        #[test]
        fn any_walk_loses_nothing_and_brings_nothing_again(
            steps in prop::collection::vec((0i64..60, any::<bool>()), 1..120)
        ) {
            let mut offsets = Offsets::at(0, "");
            let (mut came, mut settled) = (BTreeSet::new(), BTreeSet::new());
            let mut next = 0;
            for (pick, restart) in steps {
                if restart && pick < 6 {
                    offsets = restarted(&offsets);
                    next = offsets.position();
                } else if pick % 2 == 0 {
                    // Compaction and transactions leave gaps.
                    let offset = if next % 4 == 3 { next + 1 } else { next };
                    next = offset + 1;
                    if offsets.came(offset) {
                        prop_assert!(!settled.contains(&offset), "{} came again", offset);
                    }
                    came.insert(offset);
                } else if let Some(offset) = offsets.open.iter().nth(pick as usize % 7).copied() {
                    offsets.settle(offset);
                    settled.insert(offset);
                    offsets.forget();
                }
            }
            let position = offsets.position();
            prop_assert!(came.range(..position).all(|offset| settled.contains(offset)));
        }
    }
}
