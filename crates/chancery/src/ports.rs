// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the path needs from a broker and from a store, in words that implementations must keep.
//! `chancery-testkit` has the suite that judges them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chancery_core::claim::ClaimRequest;
use chancery_core::order::KeyState;
use chancery_core::record::Record;
use chancery_core::seal::Sealed;
use chancery_core::snapshot::BundleMark;
use chancery_core::{Delivery, Fault, Refusal, Timestamp};

/// One group's share of one stream on a broker.
///
/// A message that was received and neither acknowledged nor returned comes again after the
/// receiver dies or its lease ends. Messages of one record key are never in the hands of two
/// receivers of a group at once, and come in the order in which they were appended, but for those
/// that were passed over. After a fault of any of these, what is in a receiver's hands may come
/// again, to it or to another: nothing is lost, and nothing stays there for ever.
pub trait Source: Send + 'static {
    /// What settles one received message.
    type Receipt: Send + 'static;

    /// Waits up to `wait` for messages and takes at most `max`. Empty: nothing came in time.
    fn receive(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<(Delivery, Self::Receipt)>, Fault>> + Send;

    /// Durable once it returns: the messages do not come again to this group. On a fault any of
    /// them may come again.
    fn acknowledge(
        &mut self,
        receipts: Vec<Self::Receipt>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Gives the message back, to come again after `delay`. Not a failure of the message: it must
    /// not move it towards any dead-letter queue.
    fn give_back(
        &mut self,
        receipt: Self::Receipt,
        delay: Duration,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Leaves messages with the broker, each to come again after its delay, from now on outside
    /// the order of its record key: it holds nothing back. A stranger chooses the record key that
    /// he likes, so what he sends must not stop it. Moves towards no dead-letter queue either.
    fn pass_over(
        &mut self,
        receipts: Vec<(Self::Receipt, Duration)>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Goes away in good order: what it has is with the broker again once this returns, or a few
    /// seconds are over. To drop it gives everything back too, when the broker hears of it.
    fn close(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        drop(self);
        std::future::ready(())
    }
}

/// Where signed messages are appended.
pub trait Sink: Send + Sync + 'static {
    /// Appends messages in order. Durable once it returns; gives each one's position. On a fault
    /// any prefix may have been appended: appending again is safe, consumers skip the copies.
    fn append(
        &self,
        messages: &[Sealed],
    ) -> impl Future<Output = Result<Vec<String>, Fault>> + Send;

    /// The partition that a record key goes to, where the broker has partitions: messages of one
    /// partition are signed together, because one reader meets all of them. Those without a key,
    /// of one call to [`Sink::append`], go to one partition; which, this need not say.
    fn partition(&self, stream: &str, key: Option<&[u8]>) -> Option<u32> {
        let _ = (stream, key);
        None
    }
}

impl<K: Sink> Sink for Arc<K> {
    fn append(
        &self,
        messages: &[Sealed],
    ) -> impl Future<Output = Result<Vec<String>, Fault>> + Send {
        (**self).append(messages)
    }

    fn partition(&self, stream: &str, key: Option<&[u8]>) -> Option<u32> {
        (**self).partition(stream, key)
    }
}

/// What was already done, per group, and what was set aside.
///
/// Every method is atomic and durable once it returns `Ok`. Any number of processes share one
/// ledger.
pub trait Ledger: Send + Sync + 'static {
    /// One message's claim, effect, outcome and evidence.
    type Unit: Unit;

    /// Claims an event, or says what is known of it. A claim whose owner has died is over.
    ///
    /// Whoever is [`Signed`](chancery_core::claim::Standing::Signed) or better is remembered for
    /// good, per group, stream and producer, by the commit that ends the claim; the state of a
    /// unit for what is only claimed says whether its producer is (`latched`). Only a sound
    /// message moves its key's head or holds later ones of its key back.
    fn begin(
        &self,
        ask: &ClaimRequest,
        now: Timestamp,
    ) -> impl Future<Output = Result<Begun<Self::Unit>, Fault>> + Send;

    /// Sets a message aside, whole, with its evidence, and ends its claim. Setting the same
    /// message aside again, as it was kept, only updates why; a copy of it that has no claim, or is
    /// late, updates nothing, whatever position it comes with. But one without a claim that was
    /// quarantined must not stand for one that is to be held: that one takes its place. And one of
    /// another sender than its producer is a stranger's, beside it. A message to skip is not kept:
    /// its record is entered, and a copy of it that was set aside earlier goes.
    fn keep(
        &self,
        kept: &Kept<'_>,
        record: Record,
    ) -> impl Future<Output = Result<Stored, Fault>> + Send;

    /// Counts a failed attempt and ends the claim; gives the attempts so far. No copy of the event
    /// may run before its [`backoff`](crate::receive::backoff) is over: whoever appends copies must
    /// not use up its attempts.
    fn failed(
        &self,
        ask: &ClaimRequest,
        now: Timestamp,
    ) -> impl Future<Output = Result<u32, Fault>> + Send;

    /// Enters a record that belongs to no unit.
    fn note(&self, record: Record) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Messages of a group that should be judged again, oldest first, after this row: held ones
    /// whose snapshot is not `snapshot`; ones that wait for an earlier version and whose turn it
    /// is; parked ones that an operator released.
    fn to_judge_again(
        &self,
        group: &str,
        stream: &str,
        snapshot: &[u8; 32],
        after: i64,
        max: usize,
    ) -> impl Future<Output = Result<Vec<KeptMessage>, Fault>> + Send;

    /// The newest bundle ever used with this ledger; `bundle` is that if its version is higher.
    fn raise_bundle(
        &self,
        bundle: BundleMark,
    ) -> impl Future<Output = Result<BundleMark, Fault>> + Send;
}

/// One message's claim, effect, outcome and evidence. Dropping it undoes everything.
pub trait Unit: Send + 'static {
    /// What a handler is lent: an open transaction, or a lease.
    type Lent: Send;

    /// What the ledger knows of the event and its key, read inside the unit.
    fn key_state(&self) -> &KeyState;

    /// Lends the unit to the handler.
    fn lend(&mut self) -> &mut Self::Lent;

    /// Commits claim, effect, outcome and evidence together.
    ///
    /// # Errors
    /// A fault: then nothing was committed.
    fn finish(self, record: Record) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Begun<U> {
    /// The event is this unit's until it is finished or dropped.
    Run(U),
    /// It may not run now.
    Known(Known),
}

/// Why an event may not run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its effect is committed, with the same content.
    Done {
        /// The message whose effect it was.
        message_id: [u8; 32],
        /// Where that message was.
        position: String,
    },
    /// The id was seen with other content; that one stands.
    Equivocal {
        /// The message that stands.
        message_id: [u8; 32],
    },
    /// An operator gave it up.
    Discarded {
        /// Where the message was that he gave up.
        position: String,
    },
    /// It was signed before a time from which the ledger has begun to forget: it may have been done.
    Forgotten {
        /// That time.
        until: Timestamp,
    },
    /// Another owner has it, or it failed a moment ago; it may be tried again after this many
    /// milliseconds.
    Busy {
        /// Milliseconds until its lease, or its [`backoff`](crate::receive::backoff), ends.
        retry_in_ms: i64,
    },
    /// It failed or killed its handler too often.
    Exhausted {
        /// Failed attempts.
        attempts: u32,
        /// Owners that died with it in hand.
        deaths: u32,
    },
}

/// A message to set aside.
#[derive(Debug)]
pub struct Kept<'m> {
    /// The group that refused it.
    pub group: &'m str,
    /// The whole message.
    pub delivery: &'m Delivery,
    /// Why.
    pub refusal: &'m Refusal,
    /// Its claim, if it got that far; then it is authentic.
    pub ask: Option<&'m ClaimRequest>,
    /// What it was judged against.
    pub snapshot: &'m [u8; 32],
    /// When.
    pub now: Timestamp,
}

/// What became of a message to set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is kept; the broker's copy may go.
    Kept,
    /// Its bucket is full; the broker must keep it.
    OverQuota,
}

/// A message that was set aside.
#[derive(Clone, Debug)]
pub struct KeptMessage {
    /// Its row.
    pub row: i64,
    /// The whole message, with its first append time.
    pub delivery: Delivery,
}
