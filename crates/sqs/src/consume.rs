// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receiving. A request that waits at the server runs in a task of its own: whoever stops waiting
//! for it loses nothing that it brings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery::window::Wire;
use chancery_core::{Delivery, Fault};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{Settings, Via};
use crate::connect::{Client, Trouble, What};
use crate::convert::{asked, deletion, delivery, fault, seconds, showing};
use crate::produce::Queue;

/// Messages that a receiver holds and has not settled.
pub(crate) const WINDOW: usize = 100;
/// SQS gives no more at once, and waits no longer.
const BATCH_MAX: usize = 10;
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Who waits for less than this does not wait at the server, which counts in seconds, but asks again.
const SHORT: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(30);
/// Between requests to a server that cannot be reached, and how long that is no fault.
const AGAIN: Duration = Duration::from_millis(200);
const DOWN_MAX: Duration = Duration::from_secs(10);

/// One receiver of one queue.
pub struct SqsWire {
    link: Arc<Link>,
    inbox: Arc<Inbox>,
}

/// Where it receives, and as what.
struct Link {
    client: Client,
    stream: String,
    queue: Queue,
    via: Via,
    visibility: Duration,
    users: BTreeMap<String, String>,
    /// What was said of visibility is said in order: a message that was given back is not taken
    /// again by a word that was on its way.
    telling: tokio::sync::Mutex<()>,
}

/// One delivery of one message. It is ours as long as the broker shows it to nobody else, which we
/// know from when we asked for it.
#[derive(Clone)]
pub struct SqsReceipt(Arc<Held>);

struct Held {
    handle: String,
    until: Mutex<Instant>,
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    messages: Vec<(Delivery, SqsReceipt)>,
    /// A request is on its way.
    asking: bool,
    failed: Option<Fault>,
    down_since: Option<Instant>,
    /// The receiver is gone; what comes now goes back.
    closed: bool,
}

impl SqsWire {
    /// A receiver of a queue.
    ///
    /// # Errors
    /// A fault if the queue cannot be reached, or messages in it can be received and not settled.
    pub(crate) async fn new(
        client: &Client,
        settings: &Settings,
        stream: &str,
        queue: Queue,
    ) -> Result<SqsWire, Fault> {
        let link = Link {
            client: client.clone(),
            stream: stream.to_owned(),
            queue,
            via: settings.via(stream),
            visibility: settings.visibility,
            users: settings.users.clone(),
            telling: tokio::sync::Mutex::default(),
        };
        link.may_settle().await?;
        Ok(SqsWire { link: Arc::new(link), inbox: Arc::default() })
    }

    /// What is there now; asks for more if nothing is and nobody has asked.
    fn take_or_ask(&self, max: usize, wait: Duration) -> Result<Inquiry, Fault> {
        let mut state = self.inbox.lock();
        if let Some(fault) = state.failed.take() {
            return Err(fault);
        }
        let now = Instant::now();
        state.messages.retain(|(_, receipt)| receipt.until() > now);
        if !state.messages.is_empty() {
            let n = max.min(state.messages.len());
            return Ok(Inquiry::Found(state.messages.drain(..n).collect()));
        }
        if std::mem::replace(&mut state.asking, true) {
            return Ok(Inquiry::Waiting);
        }
        let (link, inbox) = (Arc::clone(&self.link), Arc::clone(&self.inbox));
        tokio::spawn(ask(link, inbox, max.clamp(1, BATCH_MAX), wait));
        Ok(Inquiry::Asked)
    }
}

enum Inquiry {
    Found(Vec<(Delivery, SqsReceipt)>),
    /// An earlier request is on its way.
    Waiting,
    Asked,
}

impl Wire for SqsWire {
    type Receipt = SqsReceipt;

    async fn pull(&self, max: usize, wait: Duration) -> Result<Vec<(Delivery, SqsReceipt)>, Fault> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let asked = match self.take_or_ask(max, left)? {
                Inquiry::Found(messages) => return Ok(messages),
                Inquiry::Asked => true,
                Inquiry::Waiting => false,
            };
            // A question that does not wait at the server has its answer at once.
            let answered = async { while self.changed().await {} };
            if asked && left < SHORT {
                answered.await;
            } else {
                let _ = tokio::time::timeout_at(until, answered).await;
            }
            let found = self.take_if_any(max)?;
            let left = until.saturating_duration_since(Instant::now());
            if !found.is_empty() || left.is_zero() {
                return Ok(found);
            }
            if left < SHORT {
                tokio::time::sleep(left.min(PAUSE)).await;
            }
        }
    }

    async fn acknowledge(&self, receipts: Vec<SqsReceipt>) -> Result<(), Fault> {
        for some in receipts.chunks(BATCH_MAX) {
            self.link.delete(some).await?;
        }
        Ok(())
    }

    fn keep_alive_every(&self) -> Option<Duration> {
        Some(self.link.visibility / 3)
    }

    async fn keep_alive(&self, receipts: Vec<SqsReceipt>) {
        let waiting: Vec<SqsReceipt> =
            self.inbox.lock().messages.iter().map(|(_, receipt)| receipt.clone()).collect();
        let link = Arc::clone(&self.link);
        // A task of its own: whoever stops waiting for it must not leave a word on its way.
        let telling = tokio::spawn(async move {
            let _telling = link.telling.lock().await;
            let all: Vec<SqsReceipt> = receipts.into_iter().chain(waiting).collect();
            for some in all.chunks(BATCH_MAX) {
                link.show_after(some, link.visibility).await;
            }
        });
        let _ = telling.await;
    }

    fn lost(&self, receipt: &SqsReceipt) -> bool {
        receipt.until() <= Instant::now()
    }

    fn release(&self, receipts: Vec<SqsReceipt>) {
        give_back_soon(&self.link, receipts);
    }

    async fn close(&self, mut receipts: Vec<SqsReceipt>) {
        receipts.extend(self.inbox.close());
        give_back(Arc::clone(&self.link), receipts).await;
    }
}

impl Drop for SqsWire {
    fn drop(&mut self) {
        give_back_soon(&self.link, self.inbox.close());
    }
}

impl SqsWire {
    /// Waits for news of a request; `true` if one is still on its way.
    async fn changed(&self) -> bool {
        self.inbox.changed.notified().await;
        self.inbox.lock().asking
    }

    fn take_if_any(&self, max: usize) -> Result<Vec<(Delivery, SqsReceipt)>, Fault> {
        let mut state = self.inbox.lock();
        if let Some(fault) = state.failed.take() {
            return Err(fault);
        }
        let n = max.min(state.messages.len());
        Ok(state.messages.drain(..n).collect())
    }
}

impl Inbox {
    /// Takes nothing more; gives what nobody has taken out.
    fn close(&self) -> Vec<SqsReceipt> {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.messages).into_iter();
        waiting.map(|(_, receipt)| receipt).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SqsReceipt {
    fn until(&self) -> Instant {
        *self.0.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, until: Instant) {
        *self.0.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// One request, and what became of it.
async fn ask(link: Arc<Link>, inbox: Arc<Inbox>, max: usize, wait: Duration) {
    let told = link.receive(max, wait).await;
    let down = matches!(&told, Err(trouble) if is_down(trouble));
    if down {
        tokio::time::sleep(AGAIN).await;
    }
    let unwanted = {
        let mut state = inbox.lock();
        state.asking = false;
        match told {
            Ok(messages) => {
                state.down_since = None;
                state.messages.extend(messages);
            }
            Err(trouble) => {
                let since = *state.down_since.get_or_insert_with(Instant::now);
                if !down || since.elapsed() >= DOWN_MAX {
                    state.failed = Some(link.fault("receive", &trouble));
                }
            }
        }
        match state.closed {
            true => std::mem::take(&mut state.messages),
            false => Vec::new(),
        }
    };
    inbox.changed.notify_one();
    if !unwanted.is_empty() {
        give_back(link, unwanted.into_iter().map(|(_, receipt)| receipt).collect()).await;
    }
}

/// Without a runtime the process ends; the broker gives them to others when it has waited.
fn give_back_soon(link: &Arc<Link>, receipts: Vec<SqsReceipt>) {
    if let (false, Ok(runtime)) = (receipts.is_empty(), tokio::runtime::Handle::try_current()) {
        runtime.spawn(give_back(Arc::clone(link), receipts));
    }
}

async fn give_back(link: Arc<Link>, receipts: Vec<SqsReceipt>) {
    let _telling = link.telling.lock().await;
    for some in receipts.chunks(BATCH_MAX) {
        link.show_after(some, Duration::ZERO).await;
    }
}

/// What may be over in a moment.
fn is_down(trouble: &Trouble) -> bool {
    matches!(trouble.what, What::Unreachable | What::Silent | What::Server | What::Throttled)
}

impl Link {
    fn fault(&self, doing: &str, trouble: &Trouble) -> Fault {
        fault(&self.client.server, doing, &self.queue.name, trouble)
    }

    /// Asks to settle a delivery that there never was: whoever may is told that there is none.
    async fn may_settle(&self) -> Result<(), Fault> {
        const NOBODYS: &str = "none";
        let sqs = &self.client.sqs;
        let delete = sqs.delete_message().queue_url(&self.queue.url).receipt_handle(NOBODYS);
        let show = sqs.change_message_visibility().queue_url(&self.queue.url);
        let show = show.receipt_handle(NOBODYS).visibility_timeout(0);
        let told = [
            ("acknowledge", delete.send().await.err().map(Trouble::from)),
            ("give back", show.send().await.err().map(Trouble::from)),
        ];
        for (doing, trouble) in told {
            if let Some(trouble) = trouble.filter(|it| it.what != What::Receipt && !is_down(it)) {
                return Err(self.fault(doing, &trouble));
            }
        }
        Ok(())
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, SqsReceipt)>, Trouble> {
        let wait_s = if wait < SHORT { 0 } else { seconds(wait.min(WAIT_MAX)) };
        let asked_at = Instant::now();
        let request = self
            .client
            .sqs
            .receive_message()
            .queue_url(&self.queue.url)
            .max_number_of_messages(i32::try_from(max).unwrap_or(1))
            .wait_time_seconds(wait_s)
            .visibility_timeout(seconds(self.visibility))
            .message_attribute_names("All")
            .set_message_system_attribute_names(Some(asked()));
        let patient = self.client.patient(wait.min(WAIT_MAX) + Duration::from_secs(1));
        let answer = request.customize().config_override(patient).send().await?;
        let until = asked_at + self.visibility;
        let mut taken = Vec::new();
        for message in answer.messages.unwrap_or_default() {
            if let Some((delivery, handle)) =
                delivery(&self.stream, &self.queue.name, self.via, &self.users, message)
            {
                let held = Held { handle, until: Mutex::new(until) };
                taken.push((delivery, SqsReceipt(Arc::new(held))));
            }
        }
        Ok(taken)
    }

    async fn delete(&self, receipts: &[SqsReceipt]) -> Result<(), Fault> {
        let entries = receipts.iter().enumerate();
        let entries = entries.filter_map(|(n, receipt)| deletion(n, &receipt.0.handle)).collect();
        let request = self.client.sqs.delete_message_batch().queue_url(&self.queue.url);
        let answer = request.set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| self.fault("acknowledge", &error.into()))?;
        for entry in answer.failed() {
            let trouble = Trouble::of_code(entry.code(), entry.message().unwrap_or_default());
            // Deleted by a request whose answer was lost: as long as a message is ours, nobody else
            // can make its receipt invalid.
            let receipt = entry.id().parse().ok().and_then(|n: usize| receipts.get(n));
            let ours = receipt.is_some_and(|receipt| receipt.until() > Instant::now());
            if trouble.what != What::Receipt || !ours {
                return Err(self.fault("acknowledge", &trouble));
            }
        }
        match answer.successful().len() + answer.failed().len() == receipts.len() {
            true => Ok(()),
            false => {
                let what = "it did not say what became of a message";
                Err(self.fault("acknowledge", &Trouble::new(What::Server, what)))
            }
        }
    }

    /// Says when messages may be shown to others. What the server refuses (settled, another's, or
    /// held for the twelve hours that it allows) is lost when its time is over.
    async fn show_after(&self, receipts: &[SqsReceipt], after: Duration) {
        let asked_at = Instant::now();
        let shown = |(n, receipt): (usize, &SqsReceipt)| showing(n, &receipt.0.handle, after);
        let entries = receipts.iter().enumerate().filter_map(shown).collect();
        let request = self.client.sqs.change_message_visibility_batch().queue_url(&self.queue.url);
        let Ok(answer) = request.set_entries(Some(entries)).send().await else { return };
        for entry in answer.successful() {
            let receipt = entry.id().parse().ok().and_then(|n: usize| receipts.get(n));
            if let Some(receipt) = receipt {
                receipt.extend(asked_at + after);
            }
        }
    }
}
