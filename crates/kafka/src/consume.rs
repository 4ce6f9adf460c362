// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receiving.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chancery::Wire;
use chancery_core::{Delivery, Fault};
use tokio::sync::Notify;

use crate::admin;
use crate::config::Settings;
use crate::connect::consumer::{Consumer, HAND_OVER, Holder, Incoming, Mark, Place};
use crate::connect::{ANSWER, Trouble};
use crate::convert::{self, Doing, TimeRule};

mod offsets;

use offsets::Offsets;
pub(crate) use offsets::settled_above;

/// Messages that are not settled, at most; what a key that is stuck holds back is among them.
pub(crate) const WINDOW: usize = 8_192;
/// Messages and bytes that wait between the library and the window.
const QUEUE_MAX: usize = 1_024;
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// While nothing comes, so long is it silent that the broker cannot be reached.
const DOWN: Duration = Duration::from_secs(10);
/// Longest wait until a receiver is a member of its group, at the start.
const JOIN: Duration = Duration::from_secs(5);
/// Between two attempts to write down what is settled, while the group changes.
const AGAIN: Duration = Duration::from_millis(100);
/// Longest wait for that. A broker answers one request of a connection after another, and one to
/// join again is answered when the slowest member has let go of what it must.
const WRITTEN: Duration = HAND_OVER.saturating_add(ANSWER);
/// How long what the topics bound a client's time by is believed.
const TIMES: Duration = Duration::from_secs(60);
/// How often it is looked whether what waits is wanted back.
const LOOK: Duration = Duration::from_millis(250);

/// One member of a consumer group.
pub struct KafkaWire {
    consumer: Consumer,
    held: Arc<Held>,
    /// One commit at a time: an older one must not come after a newer.
    committing: tokio::sync::Mutex<()>,
    settings: Settings,
    topics: Vec<String>,
    asked: Mutex<Instant>,
}

/// How a delivery is named until it is settled.
#[derive(Clone, Debug)]
pub struct KafkaReceipt {
    place: Place,
    offset: i64,
    /// Which time this member had the partition.
    turn: u64,
}

struct Held {
    stream: String,
    doing: Doing,
    times: Mutex<TimeRule>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    partitions: HashMap<Place, Partition>,
    queue: VecDeque<(Delivery, KafkaReceipt)>,
    queue_bytes: usize,
    turns: u64,
    joined: bool,
    /// Whoever waits for more is to look at what he has.
    nudged: bool,
    trouble: Option<(Instant, Trouble)>,
}

struct Partition {
    turn: u64,
    offsets: Offsets,
    /// Messages that the window has.
    out: usize,
    /// It is to move: no more of it, and what is out comes back.
    wanted: bool,
}

impl KafkaWire {
    /// Joins the group, and waits a little for its first share, or for what is wrong.
    pub(crate) async fn join(
        settings: &Settings,
        stream: &str,
        topics: &[String],
        group: &str,
    ) -> Result<KafkaWire, Fault> {
        let times = admin::times(settings, topics).await.unwrap_or_default();
        let doing = Doing::Receive { topic: topics.join(", "), group: group.to_owned() };
        let held = Arc::new(Held {
            stream: stream.to_owned(),
            doing,
            times: Mutex::new(times),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        let holder: Arc<dyn Holder> = Arc::<Held>::clone(&held);
        let consumer = Consumer::join(settings, topics, group, holder)
            .map_err(|trouble| convert::fault(&held.doing, &trouble))?;
        let wire = KafkaWire {
            consumer,
            held,
            committing: tokio::sync::Mutex::default(),
            settings: settings.clone(),
            topics: topics.to_vec(),
            asked: Mutex::new(Instant::now()),
        };
        let until = Instant::now() + JOIN;
        while !wire.held.lock().joined && Instant::now() < until {
            wire.held.told(Duration::ZERO)?;
            wire.held.wait(until).await;
        }
        Ok(wire)
    }

    async fn write_down(&self, receipts: &[KafkaReceipt]) -> Result<(), Fault> {
        let until = Instant::now() + WRITTEN;
        loop {
            let marks = self.held.marks(receipts);
            if marks.is_empty() {
                return Ok(());
            }
            let commit = tokio::task::spawn_blocking(self.consumer.commit(marks));
            let left = until.saturating_duration_since(Instant::now());
            let told = match tokio::time::timeout(left, commit).await {
                Ok(Ok(told)) => told,
                _ => Err(Trouble::silent(WRITTEN)),
            };
            match told {
                Ok(()) => return Ok(()),
                Err(trouble) if trouble.will_pass() && Instant::now() < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(trouble) => return Err(convert::fault(&self.held.doing, &trouble)),
            }
        }
    }
}

impl Wire for KafkaWire {
    type Receipt = KafkaReceipt;

    async fn pull(
        &self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, KafkaReceipt)>, Fault> {
        let until = Instant::now() + wait;
        loop {
            let (batch, nudged) = {
                let mut state = self.held.lock();
                (state.give(max), std::mem::take(&mut state.nudged))
            };
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.held.told(DOWN)?;
            if nudged || Instant::now() >= until {
                return Ok(batch);
            }
            self.held.wait(until).await;
        }
    }

    async fn acknowledge(&self, receipts: Vec<KafkaReceipt>) -> Result<(), Fault> {
        let _turn = self.committing.lock().await;
        let settled = self.held.lock().settle(receipts);
        // Whoever drops this future has not acknowledged: nothing stays settled by it.
        let mut undo = Undo { held: &self.held, receipts: settled };
        self.write_down(&undo.receipts).await?;
        self.held.lock().settled(&std::mem::take(&mut undo.receipts));
        Ok(())
    }

    fn keep_alive_every(&self) -> Option<Duration> {
        Some(LOOK)
    }

    /// A bound that somebody has taken away must not be believed for long.
    async fn keep_alive(&self, _: Vec<KafkaReceipt>) {
        let due = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let due = asked.elapsed() > TIMES && self.held.times() != TimeRule::Nothing;
            *asked = if due { Instant::now() } else { *asked };
            due
        };
        if due && let Ok(times) = admin::times(&self.settings, &self.topics).await {
            *self.held.times.lock().unwrap_or_else(PoisonError::into_inner) = times;
        }
    }

    fn lost(&self, receipt: &KafkaReceipt) -> bool {
        self.held.lock().partition(receipt).is_none()
    }

    fn wanted(&self, receipt: &KafkaReceipt) -> bool {
        self.held.lock().partition(receipt).is_some_and(|partition| partition.wanted)
    }

    fn release(&self, receipts: Vec<KafkaReceipt>) {
        let mut state = self.held.lock();
        for receipt in receipts {
            if let Some(partition) = state.partition(&receipt) {
                partition.out = partition.out.saturating_sub(1);
            }
        }
    }
}

impl Drop for KafkaWire {
    fn drop(&mut self) {
        self.consumer.leave();
    }
}

/// Takes back what was settled in memory, unless it was written down.
struct Undo<'h> {
    held: &'h Held,
    receipts: Vec<KafkaReceipt>,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let mut state = self.held.lock();
        for receipt in &self.receipts {
            if let Some(partition) = state.partition(receipt) {
                partition.offsets.reopen(receipt.offset);
            }
        }
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn times(&self) -> TimeRule {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let _ = tokio::time::timeout(left, self.changed.notified()).await;
    }

    /// What is wrong, once it has been so for longer than `patience`, if it may pass.
    fn told(&self, patience: Duration) -> Result<(), Fault> {
        let state = self.lock();
        match &state.trouble {
            Some((since, trouble)) if !trouble.may_pass() || since.elapsed() >= patience => {
                Err(convert::fault(&self.doing, trouble))
            }
            _ => Ok(()),
        }
    }

    /// Where the group is, in the partitions of these receipts.
    fn marks(&self, receipts: &[KafkaReceipt]) -> Vec<(Place, i64, String)> {
        let mut state = self.lock();
        let mut marks: Vec<(Place, i64, String)> = Vec::new();
        for receipt in receipts {
            if marks.iter().any(|(place, ..)| *place == receipt.place) {
                continue;
            }
            if let Some(partition) = state.partition(receipt) {
                let offsets = &partition.offsets;
                marks.push((receipt.place.clone(), offsets.position(), offsets.note()));
            }
        }
        marks
    }
}

impl State {
    fn partition(&mut self, receipt: &KafkaReceipt) -> Option<&mut Partition> {
        self.partitions.get_mut(&receipt.place).filter(|it| it.turn == receipt.turn)
    }

    fn give(&mut self, max: usize) -> Vec<(Delivery, KafkaReceipt)> {
        let n = max.min(self.queue.len());
        let batch: Vec<(Delivery, KafkaReceipt)> = self.queue.drain(..n).collect();
        for (delivery, receipt) in &batch {
            self.queue_bytes = self.queue_bytes.saturating_sub(convert::size(delivery));
            if let Some(partition) = self.partition(receipt) {
                partition.out += 1;
            }
        }
        batch
    }

    /// Settles in memory; gives those that were not.
    fn settle(&mut self, receipts: Vec<KafkaReceipt>) -> Vec<KafkaReceipt> {
        let open = receipts.into_iter().filter(|receipt| {
            self.partition(receipt).is_some_and(|it| it.offsets.settle(receipt.offset))
        });
        open.collect()
    }

    fn settled(&mut self, receipts: &[KafkaReceipt]) {
        for receipt in receipts {
            if let Some(partition) = self.partition(receipt) {
                partition.out = partition.out.saturating_sub(1);
                partition.offsets.forget();
            }
        }
    }

    fn drop_queued(&mut self, places: &[Place]) {
        self.queue.retain(|(_, receipt)| !places.contains(&receipt.place));
        self.queue_bytes = self.queue.iter().map(|(delivery, _)| convert::size(delivery)).sum();
    }
}

impl Holder for Held {
    fn has_room(&self) -> bool {
        let state = self.lock();
        state.queue.len() < QUEUE_MAX && state.queue_bytes < QUEUE_BYTES_MAX
    }

    fn take(&self, incoming: Incoming) -> bool {
        let mut state = self.lock();
        let full = state.queue.len() >= 2 * QUEUE_MAX || state.queue_bytes >= 2 * QUEUE_BYTES_MAX;
        let Some(partition) = state.partitions.get_mut(&incoming.place) else { return true };
        if partition.wanted {
            return true;
        }
        if full || !partition.offsets.is_near(incoming.offset) {
            return false;
        }
        let receipt = KafkaReceipt {
            place: incoming.place.clone(),
            offset: incoming.offset,
            turn: partition.turn,
        };
        if partition.offsets.came(incoming.offset) {
            let delivery = convert::delivery(&self.stream, incoming, self.times());
            state.queue_bytes += convert::size(&delivery);
            state.queue.push_back((delivery, receipt));
        }
        state.trouble = None;
        drop(state);
        self.changed.notify_one();
        true
    }

    fn may_go_on(&self, place: &Place, offset: i64) -> bool {
        self.has_room()
            && self.lock().partitions.get(place).is_some_and(|it| it.offsets.is_near(offset))
    }

    fn assigned(&self, marks: Vec<Mark>) -> Vec<(Place, Option<i64>)> {
        let mut state = self.lock();
        let mut begin = Vec::new();
        for mark in marks {
            state.turns += 1;
            let offsets = Offsets::at(mark.offset.unwrap_or_default(), &mark.note);
            let partition = Partition { turn: state.turns, offsets, out: 0, wanted: false };
            state.partitions.insert(mark.place.clone(), partition);
            begin.push((mark.place, mark.offset));
        }
        state.joined = true;
        drop(state);
        self.changed.notify_one();
        begin
    }

    fn wanted(&self, places: &[Place]) {
        let mut state = self.lock();
        for place in places {
            if let Some(partition) = state.partitions.get_mut(place) {
                partition.wanted = true;
            }
        }
        state.drop_queued(places);
        state.nudged = true;
        drop(state);
        self.changed.notify_one();
    }

    fn let_go(&self, places: &[Place]) -> bool {
        let state = self.lock();
        places.iter().all(|place| state.partitions.get(place).is_none_or(|it| it.out == 0))
    }

    fn gone(&self, places: &[Place]) {
        let mut state = self.lock();
        state.drop_queued(places);
        for place in places {
            state.partitions.remove(place);
        }
    }

    fn trouble(&self, trouble: Option<Trouble>) {
        let mut state = self.lock();
        let known = state.trouble.take();
        state.trouble = match (trouble, known) {
            (Some(trouble), Some((since, _))) => Some((since, trouble)),
            (Some(trouble), None) => Some((Instant::now(), trouble)),
            // A connection that is there again gives no right that was missing.
            (None, known) => known.filter(|(_, known)| !known.may_pass()),
        };
        drop(state);
        self.changed.notify_one();
    }
}

impl std::fmt::Debug for KafkaWire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaWire").field("stream", &self.held.stream).finish_non_exhaustive()
    }
}
