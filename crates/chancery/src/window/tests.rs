// SPDX-License-Identifier: MIT OR Apache-2.0
//! The window against a model that remembers everything, and a source over a wire that fails.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use chancery_core::AppendTime;
use proptest::prelude::*;

use super::*;

fn delivery(name: &str, key: Option<&'static str>) -> Delivery {
    Delivery {
        stream: "s".into(),
        position: name.into(),
        fields: Vec::new(),
        key: key.map(|key| Bytes::from_static(key.as_bytes())),
        body: None,
        appended: AppendTime::Unknown,
        deliveries: 1,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enter(Option<&'static str>),
    Take(usize),
    Settle(usize),
    GiveBack(usize, u64),
    PassOver(usize, u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop::sample::select(vec![None, Some("k"), Some("l")]);
    prop_oneof![
        4 => key.prop_map(Step::Enter),
        4 => (1..4usize).prop_map(Step::Take),
        3 => (0..8usize).prop_map(Step::Settle),
        2 => (0..8usize, 0..30u64).prop_map(|(n, ms)| Step::GiveBack(n, ms)),
        1 => (0..8usize, 0..30u64).prop_map(|(n, ms)| Step::PassOver(n, ms)),
        2 => (0..30u64).prop_map(Step::Pass),
    ]
}

/// What a reader of the contract would keep: every message by number, and where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waits(u64),
    Hand,
    Settled,
}

#[derive(Default)]
struct Model {
    now: u64,
    messages: Vec<(Option<&'static str>, Place)>,
}

impl Model {
    fn may_go(&self, n: usize) -> bool {
        let (key, place) = self.messages[n];
        let earlier = &self.messages[..n];
        let behind =
            key.is_some() && earlier.iter().any(|(k, p)| *k == key && matches!(p, Place::Waits(_)));
        matches!(place, Place::Waits(until) if until <= self.now) && !behind
    }
}

proptest! {
    /// Order within a key, delays, and nothing lost, doubled or stuck.
    #[test]
    fn a_window_is_its_model(steps in prop::collection::vec(step(), 1..80)) {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let (mut window, mut model) = (Window::default(), Model::default());
        let mut hand: Vec<(usize, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Enter(key) => {
                    let n = model.messages.len();
                    window.enter(delivery(&n.to_string(), key), n);
                    model.messages.push((key, Place::Waits(model.now)));
                }
                Step::Take(max) => {
                    let taken = window.take(max, at(model.now));
                    for (delivery, id) in &taken {
                        let n: usize = delivery.position.parse().unwrap();
                        prop_assert!(model.may_go(n), "{n} came out of turn: {:?}", model.messages);
                        model.messages[n].1 = Place::Hand;
                        hand.push((n, *id));
                    }
                    let more = (0..model.messages.len()).filter(|n| model.may_go(*n)).count();
                    prop_assert!(taken.len() == max || more == 0, "{more} stayed behind");
                }
                Step::Settle(n) if n < hand.len() => {
                    let (n, id) = hand.swap_remove(n);
                    window.settle(id);
                    model.messages[n].1 = Place::Settled;
                }
                Step::GiveBack(n, ms) if n < hand.len() => {
                    let (n, id) = hand.swap_remove(n);
                    window.give_back(id, at(model.now + ms));
                    model.messages[n].1 = Place::Waits(model.now + ms);
                }
                Step::PassOver(n, ms) if n < hand.len() => {
                    let (n, id) = hand.swap_remove(n);
                    window.pass_over(id, at(model.now + ms));
                    model.messages[n] = (None, Place::Waits(model.now + ms));
                }
                Step::Pass(ms) => model.now += ms,
                _ => {}
            }
            let next = (model.now..).take(40).find(|now| {
                let later = Model { now: *now, messages: model.messages.clone() };
                (0..later.messages.len()).any(|n| later.may_go(n))
            });
            // It is asked only when nothing may go.
            if next != Some(model.now) {
                prop_assert_eq!(window.next_due(), next.map(at));
            }
        }
        let unsettled = model.messages.iter().filter(|(_, place)| *place != Place::Settled).count();
        prop_assert_eq!(window.messages.len(), unsettled);
        for (_, id) in hand.drain(..) {
            window.give_back(id, at(model.now));
        }
        let (mut drained, end) = (0, at(model.now + 1_000));
        while let Some((_, id)) = window.take(1, end).pop() {
            window.settle(id);
            drained += 1;
        }
        prop_assert_eq!(drained, unsettled);
        prop_assert!(window.turns.is_empty() && window.keys.is_empty() && window.messages.is_empty());
    }
}

#[derive(Default)]
struct Log {
    pending: VecDeque<(Option<&'static str>, String)>,
    acknowledged: Vec<String>,
    alive: Vec<String>,
    released: Vec<String>,
    lost: Vec<String>,
    wanted: Vec<String>,
}

#[derive(Clone, Default)]
struct Memory {
    log: Arc<Mutex<Log>>,
    broken: Arc<AtomicBool>,
}

impl Memory {
    fn of(messages: &[(Option<&'static str>, &str)]) -> Memory {
        let memory = Memory::default();
        memory.append(messages);
        memory
    }

    fn append(&self, messages: &[(Option<&'static str>, &str)]) {
        let messages = messages.iter().map(|(key, name)| (*key, (*name).to_owned()));
        self.log().pending.extend(messages);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }
}

impl Wire for Memory {
    type Receipt = String;

    async fn pull(&self, max: usize, wait: Duration) -> Result<Vec<(Delivery, String)>, Fault> {
        if self.log().pending.is_empty() {
            tokio::time::sleep(wait).await;
        }
        let mut log = self.log();
        let n = max.min(log.pending.len());
        Ok(log.pending.drain(..n).map(|(key, name)| (delivery(&name, key), name)).collect())
    }

    async fn acknowledge(&self, receipts: Vec<String>) -> Result<(), Fault> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Fault::broker("the connection was cut"));
        }
        self.log().acknowledged.extend(receipts);
        Ok(())
    }

    fn keep_alive_every(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }

    async fn keep_alive(&self, receipts: Vec<String>) {
        self.log().alive = receipts;
    }

    fn lost(&self, receipt: &String) -> bool {
        self.log().lost.contains(receipt)
    }

    fn wanted(&self, receipt: &String) -> bool {
        self.log().wanted.contains(receipt)
    }

    fn release(&self, receipts: Vec<String>) {
        self.log().released.extend(receipts);
    }
}

fn names<R>(batch: &[(Delivery, R)]) -> Vec<&str> {
    batch.iter().map(|(delivery, _)| delivery.position.as_str()).collect()
}

/// A slow handler, and a message that waits for its retry: the broker must not give either to
/// somebody else.
#[tokio::test(start_paused = true)]
async fn all_that_is_not_settled_is_kept_alive() {
    let memory = Memory::of(&[(Some("k"), "hand"), (Some("k"), "returned"), (None, "waits")]);
    let mut source = Windowed::new(memory.clone(), 10);
    let mut batch = source.receive(2, Duration::ZERO).await.unwrap();
    source.give_back(batch.remove(1).1, Duration::from_secs(60)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(memory.log().alive, ["hand", "returned", "waits"]);
    source.acknowledge(vec![batch.remove(0).1]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(memory.log().alive, ["returned", "waits"]);
}

/// The broker never heard it: the message comes again, and the ledger knows that it is done.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_acknowledged_comes_again() {
    let memory = Memory::of(&[(Some("k"), "1")]);
    let mut source = Windowed::new(memory.clone(), 10);
    let (_, ticket) = source.receive(1, Duration::ZERO).await.unwrap().remove(0);
    memory.broken.store(true, Ordering::SeqCst);
    assert!(source.acknowledge(vec![ticket]).await.is_err());
    memory.broken.store(false, Ordering::SeqCst);
    let (_, ticket) = source.receive(1, Duration::ZERO).await.unwrap().remove(0);
    source.acknowledge(vec![ticket]).await.unwrap();
    assert_eq!(memory.log().acknowledged, ["1"]);
}

/// A partition moved while its message was handled: its new owner acknowledges it, we do not.
#[tokio::test(start_paused = true)]
async fn what_was_lost_is_neither_given_out_nor_acknowledged() {
    let memory = Memory::of(&[(Some("k"), "1"), (Some("k"), "2")]);
    let mut source = Windowed::new(memory.clone(), 10);
    let (_, ticket) = source.receive(1, Duration::ZERO).await.unwrap().remove(0);
    memory.log().lost = vec!["1".into(), "2".into()];
    assert!(source.receive(9, Duration::ZERO).await.unwrap().is_empty());
    source.acknowledge(vec![ticket]).await.unwrap();
    assert!(memory.log().acknowledged.is_empty());
}

/// A partition is to move: what waits goes back at once, what is in hand is finished first.
#[tokio::test(start_paused = true)]
async fn what_is_wanted_is_let_go_of_and_what_is_in_hand_is_finished() {
    let memory = Memory::of(&[(Some("k"), "1"), (Some("k"), "2"), (None, "3")]);
    let mut source = Windowed::new(memory.clone(), 10);
    let (_, ticket) = source.receive(1, Duration::ZERO).await.unwrap().remove(0);
    memory.log().wanted = vec!["1".into(), "2".into()];
    assert_eq!(names(&source.receive(9, Duration::ZERO).await.unwrap()), ["3"]);
    assert_eq!(memory.log().released, ["2"]);
    source.acknowledge(vec![ticket]).await.unwrap();
    assert_eq!(memory.log().acknowledged, ["1"]);
}

/// Whoever goes away lets go of what it has, at once.
#[tokio::test(start_paused = true)]
async fn a_dropped_source_releases_everything() {
    let memory = Memory::of(&[(Some("k"), "1"), (None, "2")]);
    let mut source = Windowed::new(memory.clone(), 10);
    let hand = source.receive(1, Duration::ZERO).await.unwrap();
    drop((hand, source));
    assert_eq!(memory.log().released, ["1", "2"]);
}

/// A broker that brings without end must not fill the memory.
#[tokio::test(start_paused = true)]
async fn a_full_window_takes_no_more() {
    let memory = Memory::of(&[(Some("k"), "1"), (Some("k"), "2"), (Some("k"), "3")]);
    let mut source = Windowed::new(memory.clone(), 2);
    let (_, ticket) = source.receive(1, Duration::ZERO).await.unwrap().remove(0);
    source.give_back(ticket, Duration::from_secs(5)).await.unwrap();
    assert!(source.receive(9, Duration::from_secs(1)).await.unwrap().is_empty());
    assert_eq!(memory.log().pending.len(), 1);
    let batch = source.receive(9, Duration::from_secs(60)).await.unwrap();
    assert_eq!(names(&batch), ["1", "2"]);
}

/// A delay ends by itself, and wakes who waits for it.
#[tokio::test(start_paused = true)]
async fn a_waiting_receiver_wakes_when_a_delay_is_over() {
    let mut source = Windowed::new(Memory::of(&[(None, "1")]), 10);
    let (_, ticket) = source.receive(1, Duration::ZERO).await.unwrap().remove(0);
    source.give_back(ticket, Duration::from_secs(5)).await.unwrap();
    let started = Instant::now();
    let batch = source.receive(1, Duration::from_secs(60)).await.unwrap();
    assert_eq!((names(&batch), started.elapsed().as_secs()), (vec!["1"], 5));
    assert_eq!(batch[0].0.deliveries, 2);
}

/// A stranger's message that is left in the window holds no key back.
#[tokio::test(start_paused = true)]
async fn what_is_passed_over_holds_nothing_back() {
    let mut source = Windowed::new(Memory::of(&[(Some("k"), "stranger"), (Some("k"), "1")]), 10);
    let (_, stranger) = source.receive(1, Duration::ZERO).await.unwrap().remove(0);
    source.pass_over(vec![(stranger, Duration::from_secs(5))]).await.unwrap();
    let in_hand = source.receive(9, Duration::ZERO).await.unwrap();
    assert_eq!(names(&in_hand), ["1"]);
    assert_eq!(names(&source.receive(9, Duration::from_secs(9)).await.unwrap()), ["stranger"]);
}

// A consumer whose future is cancelled, and which is run again, must meet its messages again.
#[tokio::test]
async fn what_a_dropped_ticket_had_comes_again() {
    let memory = Memory::of(&[(Some("k"), "1"), (Some("k"), "2")]);
    let mut source = Windowed::new(memory, 10);
    let batch = source.receive(2, Duration::ZERO).await.unwrap();
    assert_eq!(names(&batch), ["1", "2"]);
    drop(batch);
    let batch = source.receive(2, Duration::ZERO).await.unwrap();
    assert_eq!(names(&batch), ["1", "2"]);
}

// What a service has in hand when it is stopped must not wait for a lease to end.
#[tokio::test]
async fn what_is_closed_in_good_order_is_with_the_broker_again() {
    let memory = Memory::of(&[(Some("k"), "1"), (Some("k"), "2"), (None, "3")]);
    let mut source = Windowed::new(memory.clone(), 10);
    let batch = source.receive(2, Duration::ZERO).await.unwrap();
    source.close().await;
    assert_eq!(memory.log().released, ["1", "2", "3"]);
    drop(batch);
}
