// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a user writes.

use std::future::Future;

use chancery_core::{Admitted, Unproven};

/// Handles admitted events of payload type `E`, with what a ledger lends: `T` is an open
/// transaction (effects commit with the outcome) or a lease (effects must honour its key).
pub trait Handler<E, T>: Send + Sync + 'static {
    /// Handles one event. A panic counts as [`Outcome::Retry`].
    fn handle(&self, event: &Admitted<E>, lent: &mut T) -> impl Future<Output = Outcome> + Send;
}

/// Observes the messages of a stream below `enforce`, with what a ledger lends. It is given every
/// message there, also a perfect one, and must decide itself what an unproven one may do.
pub trait Observer<T>: Send + Sync + 'static {
    /// Observes one message. A panic counts as [`Outcome::Retry`].
    fn observe(&self, event: &Unproven, lent: &mut T) -> impl Future<Output = Outcome> + Send;
}

/// What became of an event in its handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; commit.
    Done,
    /// Done; commit, and say in the evidence what changed. No secrets, no personal data.
    DoneWith(String),
    /// Undo, try again later. After too many attempts the message is parked.
    Retry(String),
    /// Undo, set the message aside for a person.
    Park(String),
}
