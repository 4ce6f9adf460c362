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
/// Bytes of the messages that are not settled, with those that wait, at most.
const BYTES_MAX: usize = 128 << 20;
/// While nothing comes, so long is it silent that the broker cannot be reached.
const DOWN: Duration = Duration::from_secs(10);
/// Trouble that was not told again for so long is over, where it would be.
const OVER: Duration = Duration::from_secs(30);
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
    committing: Arc<tokio::sync::Mutex<()>>,
    settings: Settings,
    topics: Vec<String>,
    asked: Mutex<Instant>,
}

/// The right to commit.
type Turn = tokio::sync::OwnedMutexGuard<()>;

/// How a delivery is named until it is settled.
#[derive(Clone, Debug)]
pub struct KafkaReceipt {
    place: Place,
    offset: i64,
    /// Which time this member had the partition.
    turn: u64,
    bytes: usize,
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
    /// Since when, and told last when.
    trouble: Option<(Instant, Instant, Trouble)>,
    /// What this receiver never gets over: a partition gives nothing more.
    halted: Option<Trouble>,
}

struct Partition {
    turn: u64,
    offsets: Offsets,
    /// Messages that the window has.
    out: usize,
    out_bytes: usize,
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
            committing: Arc::default(),
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

    async fn write_down(&self, receipts: &[KafkaReceipt], mut turn: Turn) -> Result<(), Fault> {
        let until = Instant::now() + WRITTEN;
        loop {
            let marks = self.held.lock().marks(receipts).ok_or_else(|| self.held.moved())?;
            let commit = self.consumer.commit(marks);
            // A commit that nobody waits for any more goes on: until it is done, no other begins.
            let work = tokio::task::spawn_blocking(move || (commit(), turn));
            let left = until.saturating_duration_since(Instant::now());
            let Ok(Ok((told, back))) = tokio::time::timeout(left, work).await else {
                return Err(convert::fault(&self.held.doing, &Trouble::silent(WRITTEN)));
            };
            turn = back;
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
            self.held.halted()?;
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
        let turn = Arc::clone(&self.committing).lock_owned();
        let turn = tokio::time::timeout(WRITTEN, turn)
            .await
            .map_err(|_| convert::fault(&self.held.doing, &Trouble::silent(WRITTEN)))?;
        let settled = self.held.lock().settle(receipts).ok_or_else(|| self.held.moved())?;
        // Whoever drops this future has not acknowledged: nothing stays settled by it.
        let mut undo = Undo { held: &self.held, receipts: settled };
        self.write_down(&undo.receipts, turn).await?;
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
                partition.came_back(&receipt);
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

    fn halted(&self) -> Result<(), Fault> {
        match &self.lock().halted {
            Some(trouble) => Err(convert::fault(&self.doing, trouble)),
            None => Ok(()),
        }
    }

    /// What is wrong, once it has been so for longer than `patience`, if it may pass.
    fn told(&self, patience: Duration) -> Result<(), Fault> {
        let state = self.lock();
        match &state.trouble {
            Some((_, told, trouble)) if trouble.is_repeated() && told.elapsed() > OVER => Ok(()),
            Some((since, _, trouble)) if !trouble.may_pass() || since.elapsed() >= patience => {
                Err(convert::fault(&self.doing, trouble))
            }
            _ => Ok(()),
        }
    }

    fn moved(&self) -> Fault {
        convert::fault(&self.doing, &Trouble::moved())
    }
}

impl State {
    fn partition(&mut self, receipt: &KafkaReceipt) -> Option<&mut Partition> {
        self.partitions.get_mut(&receipt.place).filter(|it| it.turn == receipt.turn)
    }

    fn give(&mut self, max: usize) -> Vec<(Delivery, KafkaReceipt)> {
        let n = max.min(self.queue.len());
        let batch: Vec<(Delivery, KafkaReceipt)> = self.queue.drain(..n).collect();
        for (_, receipt) in &batch {
            self.queue_bytes = self.queue_bytes.saturating_sub(receipt.bytes);
            if let Some(partition) = self.partition(receipt) {
                partition.out += 1;
                partition.out_bytes += receipt.bytes;
            }
        }
        batch
    }

    /// Settles in memory; gives those that were not. `None`, and nothing is settled: one of them is
    /// this member's no longer.
    fn settle(&mut self, receipts: Vec<KafkaReceipt>) -> Option<Vec<KafkaReceipt>> {
        if receipts.iter().any(|receipt| self.partition(receipt).is_none()) {
            return None;
        }
        let open = receipts.into_iter().filter(|receipt| {
            self.partition(receipt).is_some_and(|it| it.offsets.settle(receipt.offset))
        });
        Some(open.collect())
    }

    /// Where the group is, in the partitions of these receipts; `None`: one of them has moved.
    fn marks(&mut self, receipts: &[KafkaReceipt]) -> Option<Vec<(Place, i64, String)>> {
        let mut marks: Vec<(Place, i64, String)> = Vec::new();
        for receipt in receipts {
            let offsets = &self.partition(receipt)?.offsets;
            if !marks.iter().any(|(place, ..)| *place == receipt.place) {
                marks.push((receipt.place.clone(), offsets.position(), offsets.note()));
            }
        }
        Some(marks)
    }

    fn settled(&mut self, receipts: &[KafkaReceipt]) {
        for receipt in receipts {
            if let Some(partition) = self.partition(receipt) {
                partition.came_back(receipt);
                partition.offsets.forget();
            }
        }
    }

    fn drop_queued(&mut self, places: &[Place]) {
        self.queue.retain(|(_, receipt)| !places.contains(&receipt.place));
        self.queue_bytes = self.queue.iter().map(|(_, receipt)| receipt.bytes).sum();
    }

    /// Whether there is room for more; what was fetched ahead finds some `beyond`.
    fn has_room(&self, beyond: usize) -> bool {
        let out: usize = self.partitions.values().map(|it| it.out_bytes).sum();
        self.queue.len() < QUEUE_MAX * (1 + beyond)
            && self.queue_bytes < QUEUE_BYTES_MAX * (1 + beyond)
            && self.queue_bytes + out < BYTES_MAX + QUEUE_BYTES_MAX * beyond
    }
}

impl Partition {
    fn came_back(&mut self, receipt: &KafkaReceipt) {
        self.out = self.out.saturating_sub(1);
        self.out_bytes = self.out_bytes.saturating_sub(receipt.bytes);
    }
}

impl Holder for Held {
    fn has_room(&self) -> bool {
        self.lock().has_room(0)
    }

    fn take(&self, incoming: Incoming) -> bool {
        let mut state = self.lock();
        let full = !state.has_room(1);
        let Some(partition) = state.partitions.get_mut(&incoming.place) else { return false };
        if partition.wanted {
            return true;
        }
        if full || !partition.offsets.is_near(incoming.offset) {
            return false;
        }
        let (place, offset, turn) = (incoming.place.clone(), incoming.offset, partition.turn);
        if partition.offsets.came(offset) {
            let delivery = convert::delivery(&self.stream, incoming, self.times());
            let bytes = convert::size(&delivery);
            state.queue_bytes += bytes;
            state.queue.push_back((delivery, KafkaReceipt { place, offset, turn, bytes }));
        }
        state.trouble = None;
        drop(state);
        self.changed.notify_one();
        true
    }

    fn may_go_on(&self, place: &Place, offset: i64) -> bool {
        self.has_room()
            && self
                .lock()
                .partitions
                .get(place)
                .is_some_and(|it| !it.wanted && it.offsets.is_near(offset))
    }

    fn assigned(&self, marks: Vec<Mark>) -> Vec<(Place, Option<i64>)> {
        let mut state = self.lock();
        let mut begin = Vec::new();
        // The group has us, and lets us have them.
        if !marks.is_empty() {
            state.trouble = None;
        }
        for mark in marks {
            state.turns += 1;
            let offsets = Offsets::at(mark.offset.unwrap_or_default(), &mark.note);
            let partition =
                Partition { turn: state.turns, offsets, out: 0, out_bytes: 0, wanted: false };
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
        if let Some(trouble) = trouble.as_ref().filter(|it| it.is_final()) {
            state.halted = Some(trouble.clone());
        }
        let known = state.trouble.take();
        state.trouble = match (trouble, known) {
            (Some(trouble), Some((since, ..))) => Some((since, Instant::now(), trouble)),
            (Some(trouble), None) => Some((Instant::now(), Instant::now(), trouble)),
            // A connection that is there again gives no right that was missing.
            (None, known) => known.filter(|(.., known)| !known.may_pass()),
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

#[cfg(test)]
mod tests;
