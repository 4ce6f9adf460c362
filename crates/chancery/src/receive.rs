// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path of one message, from the broker's hands to an outcome that is on record.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chancery_core::claim::ClaimRequest;
use chancery_core::order::{order, order_unproven};
use chancery_core::record::{Decider, Record, RecordKind};
use chancery_core::screen::assess;
use chancery_core::{
    Admitted, Delivery, Disposition, Fault, Reader, Reason, Refusal, Snapshot, Timestamp, screen,
};
use serde::de::DeserializeOwned;

use crate::handler::{Handler, Observer, Outcome};
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

impl<'c, L, H> Receiver<'c, L, H> {
    /// The same, with other code of the user's.
    pub(crate) fn with_handler<G>(&self, handler: &'c G) -> Receiver<'c, L, G> {
        Receiver {
            ledger: self.ledger,
            handler,
            reader: self.reader,
            decider: self.decider,
            signals: self.signals,
            attempts_max: self.attempts_max,
            handler_timeout: self.handler_timeout,
        }
    }
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
    let outcome = run(with.handler_timeout, with.handler.handle(&admitted, unit.lend())).await;
    tail.end(outcome, unit, &ask, tail.record(RecordKind::Done)).await
}

/// Judges one message of a stream below `enforce`, and has it observed: the same path, on which
/// what breaks a laddered rule goes on and is counted.
///
/// # Errors
/// A fault is ours: the message stays with the broker, nothing has run.
pub async fn receive_unproven<L, H>(
    delivery: &Delivery,
    snapshot: &Snapshot,
    with: &Receiver<'_, L, H>,
    now: Timestamp,
) -> Result<Settle, Fault>
where
    L: Ledger,
    H: Observer<<L::Unit as Unit>::Lent>,
{
    let tail = Tail { delivery, snapshot, with, now };
    let assessed = match assess(delivery, snapshot, with.reader, now) {
        Ok(assessed) => assessed,
        Err(refusal) => return tail.refuse(refusal, None).await,
    };
    let ask = assessed.claim(snapshot.policy.times.horizon_ms(), now);
    let mut unit = match with.ledger.begin(&ask, now).await? {
        Begun::Run(unit) => unit,
        Begun::Known(known) => return tail.known(known, &ask).await,
    };
    let (event, findings) = match order_unproven(assessed, unit.key_state()) {
        Ok(judged) => judged,
        Err(refusal) => {
            drop(unit);
            // What proves nothing has nothing in the ledger to set aside.
            let proven = Some(&ask).filter(|ask| ask.standing.is_signed());
            return tail.refuse(refusal, proven).await;
        }
    };
    let record = tail.record(RecordKind::Done).below_enforce(&event, &findings);
    let outcome = run(with.handler_timeout, with.handler.observe(&event, unit.lend())).await;
    let settle = tail.end(outcome, unit, &ask, record).await?;
    if settle == Settle::Acknowledge(Settled::Done) {
        for finding in &findings {
            with.signals.found(&delivery.stream, finding.reason);
        }
    }
    Ok(settle)
}

// A handler that panics or hangs must not take its consumer with it, or hold the store's lock.
async fn run(time_max: Duration, handler: impl Future<Output = Outcome>) -> Outcome {
    let handled = CatchUnwind(Box::pin(AssertUnwindSafe(handler)));
    match tokio::time::timeout(time_max, handled).await {
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
    async fn end(
        &self,
        outcome: Outcome,
        unit: L::Unit,
        ask: &ClaimRequest,
        record: Record,
    ) -> Result<Settle, Fault> {
        match outcome {
            Outcome::Done => self.done(unit, record).await,
            Outcome::DoneWith(effects) => {
                self.done(unit, Record { effects: Some(effects), ..record }).await
            }
            Outcome::Retry(why) => {
                drop(unit);
                self.failed(&why, ask).await
            }
            Outcome::Park(why) => {
                drop(unit);
                self.refuse(Refusal::new(Reason::HandlerRefused, why), Some(ask)).await
            }
        }
    }

    async fn done(&self, unit: L::Unit, record: Record) -> Result<Settle, Fault> {
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
            Known::Discarded { position } => {
                (Reason::Duplicate, format!("an operator gave it up as {position}"))
            }
            // Nothing is claimed: it would count as known from now on.
            Known::Forgotten { until } => {
                let detail = format!("signed before {until}, and the ledger has forgotten since");
                return self.refuse(Refusal::new(Reason::BeyondHorizon, detail), None).await;
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

/// Longest wait between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long a message waits after so many failed attempts: 100 ms, doubled with each, at most
/// [`BACKOFF_MAX`].
pub fn backoff(attempts: u32) -> Duration {
    let doubled = 100u64.saturating_mul(1 << attempts.saturating_sub(1).min(10));
    Duration::from_millis(doubled).min(BACKOFF_MAX)
}
