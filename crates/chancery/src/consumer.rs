// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the path for one group of one stream, until told to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_core::policy::Rung;
use chancery_core::record::{Decider, Record, RecordKind};
use chancery_core::{Delivery, Fault, Misuse, Reader, Snapshot, Timestamp};
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::handler::{Handler, Observer};
use crate::ports::{Ledger, Source, Unit};
use crate::receive::{Receiver, Settle, Settled, backoff, receive, receive_unproven};
use crate::signals::Signals;
use crate::snapshots::Snapshots;

mod pause;

use pause::Pause;

/// Longest time between telling the broker what was settled.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How a consumer runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Messages taken from the broker at once.
    pub batch_max: usize,
    /// Failed attempts before a message is parked.
    pub attempts_max: u32,
    /// Longest time a handler may take.
    pub handler_timeout: Duration,
    /// Longest wait for the broker before kept messages are looked at again.
    pub poll: Duration,
    /// Longest wait before a message that had to be left with the broker is judged again.
    pub left_wait_max: Duration,
    /// How long a fault may last that waiting can mend (broker, ledger or evidence down, a bundle
    /// that is too old), once the consumer has begun. Nothing is acknowledged meanwhile, and
    /// nothing given up.
    pub patience: Duration,
    /// Stop after this many messages were handled.
    pub handled_max: Option<u64>,
    /// Stop after this long without a message.
    pub idle_exit: Option<Duration>,
    /// Version of the software, for the evidence.
    pub build: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            batch_max: 64,
            attempts_max: 5,
            handler_timeout: Duration::from_secs(30),
            poll: Duration::from_millis(500),
            left_wait_max: Duration::from_secs(60),
            patience: Duration::from_secs(600),
            handled_max: None,
            idle_exit: None,
            build: concat!("chancery ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// What a consumer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages whose handler ran and whose effect is committed.
    pub handled: u64,
    /// Messages that were set aside or skipped.
    pub refused: u64,
}

/// Why a consumer ended before it was told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumeError {
    /// Ours failed; no message is lost.
    Fault(Fault),
    /// The stream's rung is another entry point's.
    Misuse(Misuse),
}

impl From<Fault> for ConsumeError {
    fn from(fault: Fault) -> ConsumeError {
        ConsumeError::Fault(fault)
    }
}

impl From<Misuse> for ConsumeError {
    fn from(misuse: Misuse) -> ConsumeError {
        ConsumeError::Misuse(misuse)
    }
}

impl fmt::Display for ConsumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConsumeError::Fault(fault) => fault.fmt(f),
            ConsumeError::Misuse(misuse) => misuse.fmt(f),
        }
    }
}

impl std::error::Error for ConsumeError {}

/// One group's consumer of one stream.
pub struct Consumer<S, L> {
    source: S,
    ledger: L,
    snapshots: Snapshots,
    clock: Arc<dyn Clock>,
    signals: Signals,
    on_fault: Box<dyn Fn(&Fault) + Send + Sync>,
    stream: String,
    reader: Reader,
    settings: Settings,
}

impl<S: Source, L: Ledger> Consumer<S, L> {
    /// A consumer of `stream` as `reader`, whose source reads that stream for that group.
    ///
    /// # Errors
    /// Misuse if the policy does not know the stream, or does not let the reader handle it.
    pub fn new(
        source: S,
        ledger: L,
        snapshots: Snapshots,
        stream: &str,
        reader: Reader,
    ) -> Result<Consumer<S, L>, Misuse> {
        may_handle(&snapshots.current(), stream, &reader)?;
        Ok(Consumer {
            source,
            ledger,
            snapshots,
            clock: Arc::new(crate::clock::SystemClock),
            signals: Signals::default(),
            on_fault: Box::new(|_| ()),
            stream: stream.to_owned(),
            reader,
            settings: Settings::default(),
        })
    }

    /// Runs by another clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Counts into these signals.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// Tells this of each fault that it waits out.
    pub fn on_fault(mut self, told: impl Fn(&Fault) + Send + Sync + 'static) -> Self {
        self.on_fault = Box::new(told);
        self
    }

    /// Runs with these settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Handles messages until `stop` is ready, the settings say so, or a fault. The message in
    /// hand is finished first; others go back to the broker.
    ///
    /// # Errors
    /// A fault is ours; no message is lost by it. Misuse if the stream is below `enforce`, before
    /// the first message, or once the policy has changed so.
    pub async fn run<E, H>(
        &mut self,
        handler: &H,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Summary, ConsumeError>
    where
        E: DeserializeOwned + Send + Sync,
        H: Handler<E, <L::Unit as Unit>::Lent>,
    {
        self.enter(&ToHandler(handler, PhantomData), stop).await
    }

    /// Has the messages of a stream below `enforce` observed, until `stop` is ready, the settings
    /// say so, or a fault.
    ///
    /// # Errors
    /// A fault is ours; no message is lost by it. Misuse if the stream is enforced, before the
    /// first message, or once the policy has changed so.
    pub async fn run_unproven<H>(
        &mut self,
        observer: &H,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Summary, ConsumeError>
    where
        H: Observer<<L::Unit as Unit>::Lent>,
    {
        self.enter(&ToObserver(observer), stop).await
    }

    /// Ends in good order: what it has in hand is with the broker again.
    pub async fn close(self) {
        self.source.close().await;
    }

    async fn enter<N: Entry<L>>(
        &mut self,
        entry: &N,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Summary, ConsumeError> {
        tokio::pin!(stop);
        let mut stop = Stop { signal: stop, came: false };
        let decider = Decider {
            group: self.reader.group.clone(),
            service: self.reader.service.clone(),
            build: self.settings.build.clone(),
        };
        let (mut run, mut pause) = (Run::default(), Pause::default());
        loop {
            match self.turn(entry, &decider, (&mut run, &mut stop)).await {
                Ok(true) => pause.over(),
                Ok(false) => return Ok(run.summary),
                // What is wrong at the start is told at once: nothing is in hand yet.
                Err(ConsumeError::Fault(fault)) if run.judged.is_some() => {
                    (self.on_fault)(&fault);
                    self.signals.faulted(&self.stream, fault.kind);
                    let wait = pause.after(fault, self.settings.patience)?;
                    if stop.came_within(wait).await {
                        return Ok(run.summary);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Judges again what was kept, then one batch; `false` when it is time to end.
    async fn turn<N: Entry<L>>(
        &mut self,
        entry: &N,
        decider: &Decider,
        (run, stop): (&mut Run, &mut Stop<'_>),
    ) -> Result<bool, ConsumeError> {
        let snapshot = self.usable_snapshot().await?;
        self.on_its_rung(&snapshot, N::PROVEN, run.judged.is_some())?;
        // At each start all held messages are judged once more: the software may be newer.
        let known = run.judged.map_or([0; 32], |_| snapshot.digest);
        if run.judged != Some(snapshot.digest) {
            self.note_snapshot(decider, &snapshot).await?;
            run.judged = Some(snapshot.digest);
        }
        self.judge_again(entry, decider, &snapshot, known, (run, stop)).await?;
        if self.finished(run) || stop.came().await {
            return Ok(false);
        }
        let batch = tokio::select! {
            biased;
            () = &mut stop.signal => return Ok(false),
            batch = self.source.receive(self.batch_max(run), self.settings.poll) => batch?,
        };
        run.idle = if batch.is_empty() { run.idle + self.settings.poll } else { Duration::ZERO };
        self.handle_batch(entry, decider, &snapshot, batch, (run, stop)).await?;
        Ok(true)
    }

    /// Handles a batch. Outcomes are durable one by one; the broker is told of them in parts, also
    /// when a fault ends the batch: what it was not told comes again and is skipped.
    async fn handle_batch<N: Entry<L>>(
        &mut self,
        entry: &N,
        decider: &Decider,
        snapshot: &Snapshot,
        batch: Vec<(Delivery, S::Receipt)>,
        (run, stop): (&mut Run, &mut Stop<'_>),
    ) -> Result<(), Fault> {
        // Once a message of a key goes back, the later ones of that key go back with it.
        let mut waiting = BTreeSet::new();
        let mut settled = Vec::new();
        let (mut returned, mut left) = (Vec::new(), Vec::new());
        let mut fault = None;
        let mut told = Instant::now();
        for (delivery, receipt) in batch {
            let key = &delivery.key;
            let behind = key.as_ref().is_some_and(|key| waiting.contains(key));
            let enough = run.done_enough(&self.settings) || stop.came().await;
            if fault.is_some() || behind || enough {
                returned.push((receipt, Duration::ZERO));
                continue;
            }
            let with = self.receiver(entry, decider);
            match N::receive(&delivery, snapshot, &with, self.clock.now()).await {
                Ok(Settle::Acknowledge(outcome)) => {
                    run.count(outcome);
                    settled.push(receipt);
                    // A slow batch must not outlive its lease: to tell the broker renews it.
                    if told.elapsed() >= TELL_EVERY {
                        let settled = std::mem::take(&mut settled);
                        fault = self.source.acknowledge(settled).await.err();
                        told = Instant::now();
                    }
                }
                Ok(Settle::GiveBack(delay)) => {
                    waiting.extend(key.clone());
                    returned.push((receipt, delay));
                }
                Ok(Settle::Leave) => {
                    let wait = backoff(delivery.deliveries).min(self.settings.left_wait_max);
                    left.push((receipt, wait));
                }
                Err(ours) => {
                    returned.push((receipt, Duration::ZERO));
                    fault = Some(ours);
                }
            }
        }
        // Each is told, whatever became of the others: nothing may stay in our hands for ever.
        fault = fault.or(self.source.acknowledge(settled).await.err());
        fault = fault.or(self.source.pass_over(left).await.err());
        for (receipt, delay) in returned {
            fault = fault.or(self.source.give_back(receipt, delay).await.err());
        }
        fault.map_or(Ok(()), Err)
    }

    /// Judges kept messages again: those that were not judged against the snapshot `known`, those
    /// whose turn has come, those that an operator released.
    async fn judge_again<N: Entry<L>>(
        &mut self,
        entry: &N,
        decider: &Decider,
        snapshot: &Snapshot,
        mut known: [u8; 32],
        (run, stop): (&mut Run, &mut Stop<'_>),
    ) -> Result<(), Fault> {
        run.waiting.retain(|_, until| *until > Instant::now());
        let (mut after, mut ran) = (i64::MIN, false);
        while !run.done_enough(&self.settings) && !stop.came().await {
            let group = &self.reader.group;
            let again = self.ledger.to_judge_again(group, &self.stream, &known, after, 64).await?;
            let Some(last) = again.last() else {
                if !ran {
                    return Ok(());
                }
                // What waited for one that ran may stand before it.
                (after, known, ran) = (i64::MIN, snapshot.digest, false);
                continue;
            };
            after = last.row;
            for kept in again {
                let enough = run.done_enough(&self.settings) || stop.came().await;
                if enough || run.waiting.contains_key(&kept.row) {
                    continue;
                }
                let with = self.receiver(entry, decider);
                let now = self.clock.now();
                match N::receive(&kept.delivery, snapshot, &with, now).await? {
                    Settle::Acknowledge(Settled::Done) => {
                        run.count(Settled::Done);
                        ran = true;
                    }
                    Settle::GiveBack(delay) => {
                        run.waiting.insert(kept.row, Instant::now() + delay);
                    }
                    Settle::Acknowledge(Settled::Refused(_)) | Settle::Leave => {}
                }
            }
        }
        Ok(())
    }

    fn receiver<'c, H>(&'c self, handler: &'c H, decider: &'c Decider) -> Receiver<'c, L, H> {
        Receiver {
            ledger: &self.ledger,
            handler,
            reader: &self.reader,
            decider,
            signals: &self.signals,
            attempts_max: self.settings.attempts_max,
            handler_timeout: self.settings.handler_timeout,
        }
    }

    /// Whether the stream is still on a rung of this entry; one that is gone refuses each message.
    fn on_its_rung(&self, snapshot: &Snapshot, proven: bool, running: bool) -> Result<(), Misuse> {
        let Some(rules) = snapshot.policy.streams.get(&self.stream) else { return Ok(()) };
        if (rules.rung == Rung::Enforce) == proven {
            return Ok(());
        }
        let entry = if proven { "`run_unproven`" } else { "`run`" };
        let (what, fix) = match running {
            true => ("its rung has changed while this consumer ran", "start the consumer again"),
            false => ("is the rung of the other entry point", "consume the stream"),
        };
        Err(Misuse::new(
            format!("`{}`: {what}", rules.rung.word()),
            format!("policy.yaml, streams.{}.rung", self.stream),
            format!("{fix} by {entry}"),
        ))
    }

    async fn usable_snapshot(&self) -> Result<Arc<Snapshot>, Fault> {
        let snapshot = self.snapshots.current();
        let newest = self.ledger.raise_bundle(snapshot.bundle()).await?;
        snapshot.usable(self.clock.now(), newest)?;
        Ok(snapshot)
    }

    async fn note_snapshot(&self, decider: &Decider, snapshot: &Snapshot) -> Result<(), Fault> {
        let now = self.clock.now();
        self.ledger.note(Record::new(RecordKind::Snapshot, decider, &snapshot.digest, now)).await
    }

    fn batch_max(&self, run: &Run) -> usize {
        let left = self.settings.handled_max.map(|max| max.saturating_sub(run.summary.handled));
        let left = left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        self.settings.batch_max.min(left).max(1)
    }

    fn finished(&self, run: &Run) -> bool {
        let idle = self.settings.idle_exit.is_some_and(|limit| run.idle >= limit);
        idle || run.done_enough(&self.settings)
    }
}

/// The way from a message to the user's code: under `enforce`, or below it.
trait Entry<L: Ledger>: Sync + Sized {
    /// Whether it gives only what is proven.
    const PROVEN: bool;

    fn receive(
        delivery: &Delivery,
        snapshot: &Snapshot,
        with: &Receiver<'_, L, Self>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Settle, Fault>> + Send;
}

struct ToHandler<'h, E, H>(&'h H, PhantomData<fn() -> E>);

impl<E, H, L: Ledger> Entry<L> for ToHandler<'_, E, H>
where
    E: DeserializeOwned + Send + Sync,
    H: Handler<E, <L::Unit as Unit>::Lent>,
{
    const PROVEN: bool = true;

    async fn receive(
        delivery: &Delivery,
        snapshot: &Snapshot,
        with: &Receiver<'_, L, Self>,
        now: Timestamp,
    ) -> Result<Settle, Fault> {
        receive::<E, L, H>(delivery, snapshot, &with.with_handler(with.handler.0), now).await
    }
}

struct ToObserver<'h, H>(&'h H);

impl<H, L: Ledger> Entry<L> for ToObserver<'_, H>
where
    H: Observer<<L::Unit as Unit>::Lent>,
{
    const PROVEN: bool = false;

    async fn receive(
        delivery: &Delivery,
        snapshot: &Snapshot,
        with: &Receiver<'_, L, Self>,
        now: Timestamp,
    ) -> Result<Settle, Fault> {
        receive_unproven(delivery, snapshot, &with.with_handler(with.handler.0), now).await
    }
}

/// When to stop, asked between messages.
struct Stop<'s> {
    signal: Pin<&'s mut (dyn Future<Output = ()> + Send)>,
    came: bool,
}

impl Stop<'_> {
    /// Whether it is time, without waiting.
    async fn came(&mut self) -> bool {
        if !self.came {
            self.came = tokio::select! {
                biased;
                () = &mut self.signal => true,
                () = std::future::ready(()) => false,
            };
        }
        self.came
    }

    /// Waits so long, unless it is time before that.
    async fn came_within(&mut self, wait: Duration) -> bool {
        if !self.came {
            self.came = tokio::time::timeout(wait, &mut self.signal).await.is_ok();
        }
        self.came
    }
}

#[derive(Default)]
struct Run {
    summary: Summary,
    idle: Duration,
    judged: Option<[u8; 32]>,
    /// Rows of kept messages that failed or are busy, and when they may be tried again.
    waiting: BTreeMap<i64, Instant>,
}

impl Run {
    fn count(&mut self, settled: Settled) {
        match settled {
            Settled::Done => self.summary.handled += 1,
            Settled::Refused(_) => self.summary.refused += 1,
        }
    }

    fn done_enough(&self, settings: &Settings) -> bool {
        settings.handled_max.is_some_and(|max| self.summary.handled >= max)
    }
}

fn may_handle(snapshot: &Snapshot, stream: &str, reader: &Reader) -> Result<(), Misuse> {
    let policy = &snapshot.policy;
    let Some(rules) = policy.streams.get(stream) else {
        let what = format!("stream `{}` is not in the policy", stream.escape_default());
        return Err(Misuse::new(
            what,
            "policy.yaml, streams",
            "write it down, or correct the name",
        ));
    };
    if policy.may_handle(&reader.service, &reader.group, rules) {
        return Ok(());
    }
    let handlers: Vec<String> =
        rules.handled_by.iter().map(|(group, service)| format!("{group}: {service}")).collect();
    Err(Misuse::new(
        format!("`{}` may not handle it as group `{}`", reader.service, reader.group),
        format!("policy.yaml, streams.{stream}.handled_by"),
        format!("it says {{{}}}; add the group, or name one of these", handlers.join(", ")),
    ))
}
