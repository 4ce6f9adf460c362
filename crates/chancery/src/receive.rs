// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path of one message, from the broker's hands to an outcome that is on record.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chancery_core::claim::ClaimRequest;
use chancery_core::order::order;
use chancery_core::record::{Decider, Record, RecordKind};
use chancery_core::{
    Admitted, Delivery, Disposition, Fault, Reader, Reason, Refusal, Snapshot, Timestamp, screen,
};
use serde::de::DeserializeOwned;

use crate::handler::{Handler, Outcome};
use crate::ports::{Begun, Kept, Known, Ledger, Stored, Unit};
use crate::signals::Signals;

/// What every message of a consumer is received with.
pub struct Receiver<'c, L, H> {
    /// The ledger.
    pub ledger: &'c L,
    /// The user's code.
    pub handler: &'c H,
    /// Who reads.
    pub reader: &'c Reader,
    /// Who decides, for the evidence.
    pub decider: &'c Decider,
    /// Where everything is counted.
    pub signals: &'c Signals,
    /// Failed attempts before a message is parked.
    pub attempts_max: u32,
    /// Longest time a handler may take.
    pub handler_timeout: Duration,
}

/// What the caller does with the broker's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// The outcome is durable: acknowledge.
    Acknowledge(Settled),
    /// Give it back, to come again after this time.
    GiveBack(Duration),
    /// Leave it with the broker and go on with others.
    Leave,
}

/// The outcome that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The handler ran.
    Done,
    /// It did not; this is why.
    Refused(Reason),
}

/// Judges and handles one message.
///
/// # Errors
/// A fault is ours: the message stays with the broker, nothing has run.
pub async fn receive<E, L, H>(
    delivery: &Delivery,
    snapshot: &Snapshot,
    with: &Receiver<'_, L, H>,
    now: Timestamp,
) -> Result<Settle, Fault>
where
    E: DeserializeOwned + Send + Sync,
    L: Ledger,
    H: Handler<E, <L::Unit as Unit>::Lent>,
{
    let tail = Tail { delivery, snapshot, with, now };
    let validated = match screen(delivery, snapshot, with.reader, now) {
        Ok(validated) => validated,
        Err(refusal) => return tail.refuse(refusal, None).await,
    };
    let ask = validated.claim(snapshot.policy.times.horizon_ms());
    let mut unit = match with.ledger.begin(&ask, now).await? {
        Begun::Run(unit) => unit,
        Begun::Known(known) => return tail.known(known, &ask).await,
    };
    let admitted = order(validated, unit.key_state()).and_then(Admitted::read::<E>);
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            drop(unit);
            return tail.refuse(refusal, Some(&ask)).await;
        }
    };
    let outcome = run(with, &admitted, unit.lend()).await;
    match outcome {
        Outcome::Done => tail.done(unit, None).await,
        Outcome::DoneWith(effects) => tail.done(unit, Some(effects)).await,
        Outcome::Retry(why) => {
            drop(unit);
            tail.failed(&why, &ask).await
        }
        Outcome::Park(why) => {
            drop(unit);
            tail.refuse(Refusal::new(Reason::HandlerRefused, why), Some(&ask)).await
        }
    }
}

// A handler that panics or hangs must not take its consumer with it, or hold the store's lock.
async fn run<E, T, L, H: Handler<E, T>>(
    with: &Receiver<'_, L, H>,
    event: &Admitted<E>,
    lent: &mut T,
) -> Outcome {
    let handled = CatchUnwind(Box::pin(AssertUnwindSafe(with.handler.handle(event, lent))));
    match tokio::time::timeout(with.handler_timeout, handled).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Outcome::Retry("the handler panicked".into()),
        Err(_) => Outcome::Retry("the handler took too long".into()),
    }
}

struct CatchUnwind<F>(std::pin::Pin<Box<AssertUnwindSafe<F>>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Option<F::Output>;
    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<F::Output>> {
        let inner = self.0.as_mut();
        match std::panic::catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => std::task::Poll::Ready(None),
        }
    }
}

/// The one way out: every message that is not handled leaves through here.
struct Tail<'t, 'c, L, H> {
    delivery: &'t Delivery,
    snapshot: &'t Snapshot,
    with: &'t Receiver<'c, L, H>,
    now: Timestamp,
}

impl<L: Ledger, H> Tail<'_, '_, L, H> {
    async fn done(&self, unit: L::Unit, effects: Option<String>) -> Result<Settle, Fault> {
        let mut record = self.record(RecordKind::Done);
        record.effects = effects;
        unit.finish(record).await?;
        self.with.signals.done(&self.delivery.stream);
        Ok(Settle::Acknowledge(Settled::Done))
    }

    async fn failed(&self, why: &str, ask: &ClaimRequest) -> Result<Settle, Fault> {
        let attempts = self.with.ledger.failed(ask, self.now).await?;
        self.with.signals.retried(&self.delivery.stream);
        if attempts < self.with.attempts_max {
            return Ok(Settle::GiveBack(backoff(attempts)));
        }
        let detail = format!("{attempts} attempts; the last said: {why}");
        self.refuse(Refusal::new(Reason::Attempts, detail), Some(ask)).await
    }

    async fn known(&self, known: Known, ask: &ClaimRequest) -> Result<Settle, Fault> {
        let (reason, detail) = match known {
            Known::Busy { retry_in_ms } => {
                let ms = u64::try_from(retry_in_ms).unwrap_or(0).clamp(10, 60_000);
                return Ok(Settle::GiveBack(Duration::from_millis(ms)));
            }
            // The broker's own redelivery, or the producer telling the same event again.
            Known::Done { message_id, position }
                if position == ask.position || message_id != ask.message_id =>
            {
                (Reason::Duplicate, format!("done as {position}"))
            }
            Known::Done { position, .. } => {
                (Reason::Replay, format!("this very message was done as {position}"))
            }
            Known::Equivocal { message_id } => {
                let first = chancery_core::text::b64u(&message_id);
                (Reason::Equivocation, format!("message {first} has this id and other content"))
            }
            Known::Exhausted { attempts, deaths } => {
                let detail = format!("{attempts} failed attempts, {deaths} deaths of its handler");
                (Reason::Attempts, detail)
            }
        };
        self.refuse(Refusal::new(reason, detail), Some(ask)).await
    }

    async fn refuse(&self, refusal: Refusal, ask: Option<&ClaimRequest>) -> Result<Settle, Fault> {
        let record = self.record(kind(refusal.reason.disposition())).because(&refusal);
        let kept = Kept {
            group: &self.with.reader.group,
            delivery: self.delivery,
            refusal: &refusal,
            ask,
            snapshot: &self.snapshot.digest,
            now: self.now,
        };
        let stored = self.with.ledger.keep(&kept, record).await?;
        self.with.signals.refused(&self.delivery.stream, refusal.reason, stored);
        match stored {
            Stored::Kept => Ok(Settle::Acknowledge(Settled::Refused(refusal.reason))),
            Stored::OverQuota => Ok(Settle::Leave),
        }
    }

    fn record(&self, kind: RecordKind) -> Record {
        Record::new(kind, self.with.decider, &self.snapshot.digest, self.now).about(self.delivery)
    }
}

fn kind(disposition: Disposition) -> RecordKind {
    match disposition {
        Disposition::Skip => RecordKind::Skip,
        Disposition::Quarantine => RecordKind::Quarantine,
        Disposition::Hold => RecordKind::Hold,
        Disposition::Park | Disposition::Defer => RecordKind::Park,
    }
}

/// 100 ms, doubled with each attempt, at most a minute.
pub(crate) fn backoff(attempts: u32) -> Duration {
    Duration::from_millis(
        100u64.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(60_000),
    )
}
