// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memo of batch signatures: one signature stands for a whole batch, so it is checked once.
//!
//! It belongs to one snapshot, whose keys never change, and holds only what verified under them.
//! An entry is the whole question (key, size and root, signature), so the answer is the same with
//! the memo and without it: `screen` stays a function of its arguments.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::keys::Kid;

/// Batches that are remembered; a consumer meets as many at a time as producers write to it.
const BATCHES_MAX: usize = 32;

/// The batch signatures that verified lately.
#[derive(Default)]
pub(crate) struct Batches(Mutex<VecDeque<Verified>>);

struct Verified {
    kid: Kid,
    /// Size and root, as they were signed.
    batch: [u8; 40],
    /// As it stands in the message: base64url has one spelling here.
    signature: String,
}

impl Batches {
    /// Whether exactly this signature over exactly this batch has verified.
    pub(super) fn know(&self, kid: Kid, batch: &[u8; 40], signature: &str) -> bool {
        let same = |known: &Verified| {
            known.batch == *batch && known.kid == kid && known.signature == signature
        };
        self.lock().iter().any(same)
    }

    /// Remembers a signature that has just verified, and forgets the oldest.
    pub(super) fn remember(&self, kid: Kid, batch: [u8; 40], signature: &str) {
        let mut known = self.lock();
        if known.len() >= BATCHES_MAX {
            known.pop_back();
        }
        known.push_front(Verified { kid, batch, signature: signature.to_owned() });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Verified>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batches")
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCHES_MAX, Batches};
    use crate::keys::Kid;

    // Threat: a signature that was never checked rides on a batch that was.
    #[test]
    fn only_the_whole_question_is_known() {
        let batches = Batches::default();
        batches.remember(Kid([1; 16]), [2; 40], "signature");
        assert!(batches.know(Kid([1; 16]), &[2; 40], "signature"));
        assert!(!batches.know(Kid([9; 16]), &[2; 40], "signature"));
        assert!(!batches.know(Kid([1; 16]), &[9; 40], "signature"));
        assert!(!batches.know(Kid([1; 16]), &[2; 40], "signaturf"));
    }

    // Threat: a producer fills memory with batches of one.
    #[test]
    fn the_oldest_is_forgotten() {
        let batches = Batches::default();
        for nth in 0..=u8::try_from(BATCHES_MAX).unwrap() {
            batches.remember(Kid([nth; 16]), [0; 40], "");
        }
        assert_eq!(batches.lock().len(), BATCHES_MAX);
        assert!(!batches.know(Kid([0; 16]), &[0; 40], ""));
        assert!(batches.know(Kid([1; 16]), &[0; 40], ""));
    }
}
