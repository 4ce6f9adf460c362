// SPDX-License-Identifier: MIT OR Apache-2.0
//! Retry in place for brokers that have no delay of their own: what a receiver has in its hands
//! stays there, unacknowledged, until it is settled.
//!
//! An adapter writes a [`Wire`]: take, acknowledge, say that we still live. [`Windowed`] makes a
//! [`Source`] of it: messages of one record key in order, delays, several receivers' share left to
//! the broker. When the receiver dies the broker gives all of it to somebody else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use chancery_core::{Delivery, Fault};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ports::Source;

/// Longest wait for the broker to hear that a receiver goes away.
const CLOSE: Duration = Duration::from_secs(5);

/// One receiver's connection to a broker. A message that was taken stays this receiver's until it
/// is acknowledged, left, or the receiver is gone.
pub trait Wire: Send + Sync + 'static {
    /// How the broker names one delivery of one message.
    type Receipt: Clone + Send + Sync + 'static;

    /// Waits up to `wait` for messages and takes at most `max`; messages of one record key come
    /// in the order in which they were appended. Dropping the future loses none.
    fn pull(
        &self,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<(Delivery, Self::Receipt)>, Fault>> + Send;

    /// Durable once it returns: the messages do not come again to this group.
    fn acknowledge(
        &self,
        receipts: Vec<Self::Receipt>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Leaves a message with the broker, to bring it again after `delay`; `false` if the broker
    /// cannot, then the message stays in the window. No step towards a dead-letter queue.
    fn leave(
        &self,
        receipt: &Self::Receipt,
        delay: Duration,
    ) -> impl Future<Output = Result<bool, Fault>> + Send {
        let _ = (receipt, delay);
        std::future::ready(Ok(false))
    }

    /// How often the broker must hear that what is in the window is still worked on.
    fn keep_alive_every(&self) -> Option<Duration> {
        None
    }

    /// Tells the broker so. What goes wrong here shows at the next pull or acknowledgement.
    fn keep_alive(&self, receipts: Vec<Self::Receipt>) -> impl Future<Output = ()> + Send {
        drop(receipts);
        std::future::ready(())
    }

    /// Whether the broker has given this message to somebody else (a partition moved).
    fn lost(&self, receipt: &Self::Receipt) -> bool {
        let _ = receipt;
        false
    }

    /// Whether the broker is about to give this message to somebody else, and waits for us. What
    /// is not in hand then goes back ([`Wire::release`]); what is in hand is finished first.
    fn wanted(&self, receipt: &Self::Receipt) -> bool {
        let _ = receipt;
        false
    }

    /// Gives messages back at once, as well as it can without waiting: the receiver goes away, or
    /// they are [`Wire::wanted`].
    fn release(&self, receipts: Vec<Self::Receipt>) {
        drop(receipts);
    }

    /// The receiver goes away in good order: gives messages back, and waits until the broker has
    /// heard it.
    fn close(&self, receipts: Vec<Self::Receipt>) -> impl Future<Output = ()> + Send {
        self.release(receipts);
        std::future::ready(())
    }
}

/// A [`Source`] over a [`Wire`]. Dropping it gives back what it has.
pub struct Windowed<W: Wire> {
    wire: Arc<W>,
    window: Arc<Mutex<Window<W::Receipt>>>,
    size_max: usize,
    alive: Option<JoinHandle<()>>,
}

/// Settles one message of a window. One that is dropped instead, with a future that was cancelled,
/// gives its message back: nothing stays in a hand that is gone.
pub struct Ticket {
    id: u64,
    window: Weak<dyn Dropped>,
}

/// A window, whatever its receipts are.
trait Dropped: Send + Sync {
    fn dropped(&self, id: u64);
}

impl<R: Clone + Send> Dropped for Mutex<Window<R>> {
    fn dropped(&self, id: u64) {
        // What was settled, or given back, is not in hand any more.
        lock(self).give_back(id, Instant::now());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(window) = self.window.upgrade() {
            window.dropped(self.id);
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ticket").field(&self.id).finish()
    }
}

impl<W: Wire> Windowed<W> {
    /// A source that holds at most `size_max` messages that are not settled. Must be called
    /// within a Tokio runtime.
    pub fn new(wire: W, size_max: usize) -> Windowed<W> {
        let (wire, window) = (Arc::new(wire), Arc::new(Mutex::new(Window::default())));
        let alive = wire.keep_alive_every().map(|every| {
            let (wire, window) = (Arc::clone(&wire), Arc::clone(&window));
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    // Whoever handles something for long must not keep what only waits.
                    let wanted = lock(&window).let_go(|receipt| wire.wanted(receipt));
                    if !wanted.is_empty() {
                        wire.release(wanted);
                    }
                    let receipts = lock(&window).receipts();
                    wire.keep_alive(receipts).await;
                }
            })
        });
        Windowed { wire, window, size_max, alive }
    }

    /// The connection.
    pub fn wire(&self) -> &W {
        &self.wire
    }

    async fn pull(&self, wait: Duration) -> Result<(), Fault> {
        let room = self.size_max.saturating_sub(lock(&self.window).messages.len());
        if room == 0 {
            tokio::time::sleep(wait).await;
            return Ok(());
        }
        // Nothing is awaited between the broker's answer and the window: a receive that is
        // dropped loses nothing.
        let pulled = self.wire.pull(room, wait).await?;
        let mut window = lock(&self.window);
        for (delivery, receipt) in pulled {
            window.enter(delivery, receipt);
        }
        Ok(())
    }

    fn take(&self, max: usize) -> Vec<(Delivery, Ticket)> {
        let mut window = lock(&self.window);
        window.forget(|receipt| self.wire.lost(receipt));
        let wanted = window.let_go(|receipt| self.wire.wanted(receipt));
        if !wanted.is_empty() {
            self.wire.release(wanted);
        }
        let taken = window.take(max, Instant::now()).into_iter();
        let window: Weak<Mutex<Window<W::Receipt>>> = Arc::downgrade(&self.window);
        let ticket = |id| Ticket { id, window: window.clone() };
        taken.map(|(delivery, id)| (delivery, ticket(id))).collect()
    }
}

impl<W: Wire> Source for Windowed<W> {
    type Receipt = Ticket;

    async fn receive(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, Ticket)>, Fault> {
        let until = Instant::now() + wait;
        // New messages come in before the returned ones have their turn, so that these starve
        // nobody.
        self.pull(Duration::ZERO).await?;
        loop {
            let batch = self.take(max);
            let now = Instant::now();
            if !batch.is_empty() || now >= until {
                return Ok(batch);
            }
            let due = lock(&self.window).next_due().map_or(until, |due| due.clamp(now, until));
            self.pull(due - now).await?;
        }
    }

    async fn acknowledge(&mut self, receipts: Vec<Self::Receipt>) -> Result<(), Fault> {
        let ids: Vec<u64> = receipts.iter().map(|ticket| ticket.id).collect();
        let known = lock(&self.window).named(&ids);
        if known.is_empty() {
            return Ok(());
        }
        let told = self.wire.acknowledge(known).await;
        let mut window = lock(&self.window);
        for id in ids {
            match told {
                Ok(()) => window.settle(id),
                Err(_) => window.give_back(id, Instant::now()),
            }
        }
        told
    }

    async fn give_back(&mut self, receipt: Self::Receipt, delay: Duration) -> Result<(), Fault> {
        lock(&self.window).give_back(receipt.id, Instant::now() + delay);
        Ok(())
    }

    async fn pass_over(&mut self, receipts: Vec<(Self::Receipt, Duration)>) -> Result<(), Fault> {
        for (ticket, delay) in receipts {
            let id = ticket.id;
            let known = lock(&self.window).named(&[id]);
            let Some(receipt) = known.first() else { continue };
            // One that the broker would not take stays here.
            let left = self.wire.leave(receipt, delay).await;
            let mut window = lock(&self.window);
            match left {
                Ok(true) => window.settle(id),
                Ok(false) | Err(_) => window.pass_over(id, Instant::now() + delay),
            }
        }
        Ok(())
    }

    async fn close(self) {
        let receipts = lock(&self.window).empty();
        let _ = tokio::time::timeout(CLOSE, self.wire.close(receipts)).await;
    }
}

impl<W: Wire> Drop for Windowed<W> {
    fn drop(&mut self) {
        if let Some(alive) = &self.alive {
            alive.abort();
        }
        self.wire.release(lock(&self.window).receipts());
    }
}

impl<W: Wire> std::fmt::Debug for Windowed<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = lock(&self.window).messages.len();
        f.debug_struct("Windowed").field("size", &size).finish_non_exhaustive()
    }
}

fn lock<R>(window: &Mutex<Window<R>>) -> MutexGuard<'_, Window<R>> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages that were taken and are not settled. Those that are not in hand wait in `turns`; of
/// those, the ones with a place in `keys` must keep the order of their record key.
struct Window<R> {
    messages: BTreeMap<u64, Slot<R>>,
    /// Who is next: by turn, so that whoever goes back goes behind those who wait.
    turns: BTreeMap<u64, u64>,
    keys: HashMap<Bytes, BTreeSet<u64>>,
    counter: u64,
}

struct Slot<R> {
    delivery: Delivery,
    receipt: R,
    ordered: bool,
    /// `None` while it is in hand.
    waits: Option<Waits>,
}

struct Waits {
    turn: u64,
    until: Option<Instant>,
}

impl<R> Default for Window<R> {
    fn default() -> Window<R> {
        Window {
            messages: BTreeMap::new(),
            turns: BTreeMap::new(),
            keys: HashMap::new(),
            counter: 0,
        }
    }
}

impl<R: Clone> Window<R> {
    fn enter(&mut self, delivery: Delivery, receipt: R) {
        self.counter += 1;
        let (id, ordered) = (self.counter, delivery.key.is_some());
        self.messages.insert(id, Slot { delivery, receipt, ordered, waits: None });
        self.wait(id, None);
    }

    /// What may be handled now: of each key, nothing before an earlier one that waits.
    fn take(&mut self, max: usize, now: Instant) -> Vec<(Delivery, u64)> {
        let mut taken = Vec::new();
        loop {
            let before = taken.len();
            let waiting: Vec<u64> = self.turns.values().copied().collect();
            for id in waiting {
                if taken.len() < max && self.may_go(id, now) {
                    self.unwait(id);
                    let slot = self.messages.get(&id);
                    taken.extend(slot.map(|slot| (slot.delivery.clone(), id)));
                }
            }
            // One that goes may have been in the way of an earlier turn's.
            if taken.len() == before || taken.len() == max {
                return taken;
            }
        }
    }

    fn may_go(&self, id: u64, now: Instant) -> bool {
        let Some(slot) = self.messages.get(&id) else { return false };
        let until = slot.waits.as_ref().and_then(|waits| waits.until);
        until.is_none_or(|until| until <= now) && self.is_first(id, slot)
    }

    fn is_first(&self, id: u64, slot: &Slot<R>) -> bool {
        let key = slot.delivery.key.as_ref().filter(|_| slot.ordered);
        let of_key = key.and_then(|key| self.keys.get(key));
        of_key.and_then(BTreeSet::first).is_none_or(|first| *first == id)
    }

    /// When the next one that waits for a time may go. What waits behind another has no time.
    fn next_due(&self) -> Option<Instant> {
        let firsts = self.messages.iter().filter(|(id, slot)| self.is_first(**id, slot));
        firsts.filter_map(|(_, slot)| slot.waits.as_ref()?.until).min()
    }

    fn give_back(&mut self, id: u64, until: Instant) {
        if let Some(slot) = self.messages.get_mut(&id).filter(|slot| slot.waits.is_none()) {
            slot.delivery.deliveries = slot.delivery.deliveries.saturating_add(1);
            self.wait(id, Some(until));
        }
    }

    fn pass_over(&mut self, id: u64, until: Instant) {
        if let Some(slot) = self.messages.get_mut(&id) {
            slot.ordered = false;
        }
        self.give_back(id, until);
    }

    fn settle(&mut self, id: u64) {
        self.unwait(id);
        self.messages.remove(&id);
    }

    fn forget(&mut self, lost: impl Fn(&R) -> bool) {
        let gone = self.messages.iter().filter(|(_, slot)| lost(&slot.receipt));
        let gone: Vec<u64> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            self.settle(id);
        }
    }

    /// Drops those that wait and are wanted; gives their receipts.
    fn let_go(&mut self, wanted: impl Fn(&R) -> bool) -> Vec<R> {
        let waiting = self.messages.iter().filter(|(_, slot)| slot.waits.is_some());
        let wanted = waiting.filter(|(_, slot)| wanted(&slot.receipt));
        let gone: Vec<(u64, R)> = wanted.map(|(id, slot)| (*id, slot.receipt.clone())).collect();
        let settled = gone.into_iter().map(|(id, receipt)| {
            self.settle(id);
            receipt
        });
        settled.collect()
    }

    fn named(&self, ids: &[u64]) -> Vec<R> {
        let slots = ids.iter().filter_map(|id| self.messages.get(id));
        slots.map(|slot| slot.receipt.clone()).collect()
    }

    fn empty(&mut self) -> Vec<R> {
        let window = std::mem::take(self);
        self.counter = window.counter;
        window.messages.into_values().map(|slot| slot.receipt).collect()
    }

    fn receipts(&self) -> Vec<R> {
        self.messages.values().map(|slot| slot.receipt.clone()).collect()
    }

    fn wait(&mut self, id: u64, until: Option<Instant>) {
        let Some(slot) = self.messages.get_mut(&id) else { return };
        self.counter += 1;
        slot.waits = Some(Waits { turn: self.counter, until });
        self.turns.insert(self.counter, id);
        if let Some(key) = slot.delivery.key.clone().filter(|_| slot.ordered) {
            self.keys.entry(key).or_default().insert(id);
        }
    }

    fn unwait(&mut self, id: u64) {
        let Some(slot) = self.messages.get_mut(&id) else { return };
        let Some(waits) = slot.waits.take() else { return };
        self.turns.remove(&waits.turn);
        let Some(key) = slot.delivery.key.clone() else { return };
        if let Some(of_key) = self.keys.get_mut(&key) {
            of_key.remove(&id);
            if of_key.is_empty() {
                self.keys.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
