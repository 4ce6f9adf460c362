// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receiving: a consumer of one queue, made anew whenever it is lost.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery::Wire;
use chancery_core::{Delivery, Fault};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::connect::{Link, Receiver, Trouble};
use crate::convert::{delivery, fault};
use crate::produce::Shared;

/// How long a broker that is gone is no fault.
const GRACE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// One receiver of a group: a [`Wire`] for [`Windowed`](chancery::Windowed).
pub struct RabbitWire {
    shared: Arc<Shared>,
    stream: String,
    queue: String,
    state: Mutex<State>,
    /// Which of its connections this is. What came on an earlier one is the broker's again.
    generation: AtomicU64,
}

/// Settles one delivery, on the connection on which it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RabbitReceipt {
    generation: u64,
    tag: u64,
}

struct State {
    receiver: Option<Receiver>,
    /// A new one on its way; it goes on when a pull is dropped.
    opening: Option<JoinHandle<Result<Receiver, Trouble>>>,
    /// Since when there is none, and why.
    down: Option<(Instant, Trouble)>,
    pause: Duration,
}

impl RabbitWire {
    pub(crate) async fn open(
        shared: Arc<Shared>,
        stream: &str,
        group: &str,
    ) -> Result<RabbitWire, Fault> {
        let queue = shared.settings.queue(stream, group);
        let receiver = open(&shared, &queue).await.map_err(fault)?;
        let state = State { receiver: Some(receiver), opening: None, down: None, pause: PAUSE };
        Ok(RabbitWire {
            shared,
            stream: stream.to_owned(),
            queue,
            state: Mutex::new(state),
            generation: AtomicU64::new(0),
        })
    }

    fn lose(&self, state: &mut State, why: Trouble) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if let Some(receiver) = state.receiver.take() {
            receiver.close();
        }
        state.down = Some((Instant::now(), why));
    }

    /// Waits until there is a receiver again; `false`: not yet.
    async fn reopen(&self, state: &mut State, until: Instant) -> Result<bool, Fault> {
        let pause = state.pause;
        let opening = state.opening.get_or_insert_with(|| {
            let (shared, queue) = (Arc::clone(&self.shared), self.queue.clone());
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                open(&shared, &queue).await
            })
        });
        let opened = timeout_at(until, opening).await;
        let since = state.down.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        if let Ok(opened) = opened {
            state.opening = None;
            match opened {
                Ok(Ok(receiver)) => {
                    (state.receiver, state.down, state.pause) = (Some(receiver), None, PAUSE);
                    return Ok(true);
                }
                Ok(Err(why)) => state.down = Some((since, why)),
                Err(_) => {}
            }
            state.pause = (state.pause * 2).min(PAUSE_MAX);
        }
        match &state.down {
            Some((_, why @ Trouble::Refused(_))) => Err(fault(why.clone())),
            Some((since, why)) if since.elapsed() > GRACE => Err(fault(why.clone())),
            _ => Ok(Instant::now() < until),
        }
    }
}

async fn open(shared: &Shared, queue: &str) -> Result<Receiver, Trouble> {
    let link = Link::open(&shared.settings).await?;
    link.receiver(queue, shared.settings.window).await
}

impl Wire for RabbitWire {
    type Receipt = RabbitReceipt;

    async fn pull(
        &self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, RabbitReceipt)>, Fault> {
        let until = Instant::now() + wait;
        let mut state = self.state.lock().await;
        loop {
            let Some(receiver) = &mut state.receiver else {
                if self.reopen(&mut state, until).await? {
                    continue;
                }
                return Ok(Vec::new());
            };
            let mut taken = Vec::new();
            let took = poll_fn(|cx| receiver.poll_take(cx, max, &mut taken));
            match timeout_at(until, took).await {
                Err(_) if receiver.is_up() => return Ok(Vec::new()),
                Err(_) => self.lose(&mut state, Trouble::lost()),
                Ok(Err(why)) => self.lose(&mut state, why),
                Ok(Ok(())) => {
                    let generation = self.generation.load(Ordering::SeqCst);
                    let taken = taken.into_iter().map(|message| {
                        let receipt = RabbitReceipt { generation, tag: message.delivery_tag };
                        (delivery(message, &self.stream, &self.shared.settings), receipt)
                    });
                    return Ok(taken.collect());
                }
            }
        }
    }

    async fn acknowledge(&self, receipts: Vec<RabbitReceipt>) -> Result<(), Fault> {
        let mut state = self.state.lock().await;
        let all = receipts.len();
        let mine = receipts.into_iter().filter(|receipt| !self.lost(receipt));
        let tags: Vec<u64> = mine.map(|receipt| receipt.tag).collect();
        let stale = all - tags.len();
        if let Some(receiver) = state.receiver.as_mut().filter(|_| !tags.is_empty())
            && let Err(why) = receiver.acknowledge(tags).await
        {
            self.lose(&mut state, why.clone());
            return Err(fault(why));
        }
        match stale {
            0 => Ok(()),
            _ => Err(Fault::broker(format!(
                "the connection was lost before {stale} messages were acknowledged; they come again"
            ))),
        }
    }

    fn lost(&self, receipt: &RabbitReceipt) -> bool {
        receipt.generation != self.generation.load(Ordering::SeqCst)
    }

    fn release(&self, _receipts: Vec<RabbitReceipt>) {
        let Ok(mut state) = self.state.try_lock() else { return };
        if let Some(opening) = state.opening.take() {
            opening.abort();
        }
        if let Some(receiver) = state.receiver.take() {
            receiver.close();
        }
    }
}

impl std::fmt::Debug for RabbitWire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitWire").field("queue", &self.queue).finish_non_exhaustive()
    }
}
