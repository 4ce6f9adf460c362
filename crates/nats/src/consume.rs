// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receiving: one durable pull consumer per group, with one receiver at a time.
//!
//! A shared JetStream consumer spreads a key over its receivers, and brings what a dead one had
//! after what is newer. So the consumer must have the priority policy `pinned_client` (server 2.11
//! and later): the server delivers to one receiver, the pinned one, until that has been silent for
//! the pin's time. Whoever gets the pin first *settles*: it hands over nothing until all that is
//! unacknowledged is in its own hands, and then in the stream's order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery::Wire;
use chancery_core::{Delivery, Fault};
use tokio::time::Instant;

use crate::admin::{ConsumerInfo, consumer_info};
use crate::config::Names;
use crate::connect::{Event, Failed, Inbox, Link, Message, OUTAGE};
use crate::convert::{delivery, placed, take_pin};
use crate::produce::denied;

mod hand;

use hand::Hand;

/// How long a pull waits at the server.
const PULL: Duration = Duration::from_secs(3);
/// How long the pull that only renews a pin waits there.
const RENEWAL: Duration = Duration::from_millis(25);
/// Most messages of one pull.
const PULL_MAX: usize = 2_000;
/// Most bytes in hand, beyond what one pull brings.
const BYTES_MAX: usize = 64 << 20;
/// How often a settling receiver looks whether it has everything.
const LOOK: Duration = Duration::from_millis(50);

/// One receiver of a group.
pub struct NatsWire {
    link: Link,
    inbox: Inbox,
    names: Names,
    stream: String,
    consumer: String,
    /// Where to ask for messages.
    next: String,
    /// The priority group.
    group: String,
    /// How long a silent receiver stays pinned.
    pin_time: Duration,
    /// When an unacknowledged message comes again.
    ack_wait: Duration,
    hand: Mutex<Hand>,
}

/// One delivery of one message.
#[derive(Clone, Debug)]
pub struct Receipt {
    sequence: u64,
    /// Of which time as the pinned receiver.
    term: u64,
}

impl NatsWire {
    /// A receiver of a consumer that `info` describes.
    pub(crate) fn new(
        link: Link,
        (stream, names): (&str, Names),
        info: &ConsumerInfo,
        group: String,
    ) -> NatsWire {
        let next =
            format!("{}.CONSUMER.MSG.NEXT.{}.{}", link.settings().api, names.stream, info.name);
        NatsWire {
            inbox: link.inbox(&next),
            link,
            names,
            stream: stream.to_owned(),
            consumer: info.name.clone(),
            next,
            group,
            pin_time: Duration::from_nanos(info.config.priority_timeout),
            ack_wait: Duration::from_nanos(info.config.ack_wait),
            hand: Mutex::new(Hand::default()),
        }
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what has come.
    fn take_in(&self) -> Result<(), Fault> {
        while let Some(event) = self.inbox.next() {
            match event {
                Event::Message(message) => self.came(message)?,
                Event::Back => self.hand().connection_is_back(),
                Event::Denied(told) => return Err(denied(&told, &self.next)),
            }
        }
        Ok(())
    }

    fn came(&self, mut message: Message) -> Result<(), Fault> {
        // A stored message may begin with any status; only a delivery has this reply.
        let at = message.reply.as_deref().and_then(placed);
        let Some(at) = at else { return self.told(&message) };
        if at.stream != self.names.stream || at.consumer != self.consumer {
            return Ok(());
        }
        let pin = take_pin(&mut message);
        let delivery = delivery(&message, &at, &self.stream, &self.names.subject);
        let size = message.head.len() + message.payload.len();
        let ack: Arc<str> = message.reply.unwrap_or_default().into();
        self.hand().enter(pin, at.sequence, (delivery, ack, size));
        Ok(())
    }

    /// A word of the server about our pull.
    fn told(&self, message: &Message) -> Result<(), Fault> {
        let Some((code, words)) = message.status() else { return Ok(()) };
        let mut hand = self.hand();
        if !hand.pull_ended(&message.subject) {
            return Ok(());
        }
        match code {
            404 | 408 => hand.served(),
            423 => {
                hand.served();
                hand.lose();
            }
            // Perhaps it has no leader for a moment.
            503 if hand.refused(Instant::now(), true) => {
                return Err(self.fault(&format!("is not there for us at `{}`", self.next)));
            }
            503 => {}
            400 => return Err(self.fault(&format!("refuses to be pulled: {words}"))),
            409 if words == "Consumer Deleted" => {
                return Err(self.fault("was deleted while it was read"));
            }
            409 if words.starts_with("Exceeded MaxRequest") => {
                let what = "refuses a pull of ours; let its max_batch, max_expires and max_bytes \
                            be unlimited";
                return Err(self.fault(&format!("{what}: {words}")));
            }
            _ => drop(hand.refused(Instant::now(), false)),
        }
        Ok(())
    }

    fn fault(&self, what: &str) -> Fault {
        let (stream, consumer) = (&self.names.stream, &self.consumer);
        Fault::broker(format!("the consumer {consumer} of stream {stream} {what}"))
    }

    /// Says to the server that the pinned receiver lives: a pull that no message fits. Its answer
    /// proves that the pin was still ours when it was sent.
    async fn renew(&self) -> Result<(), Failed> {
        let Some((term, pin)) = self.hand().pin() else { return Ok(()) };
        let pull = pull_request(&self.group, Some(&pin), 1, RENEWAL, 1);
        let sent = Instant::now();
        let answer = self.link.ask(&self.next, b"", &pull).answer().await?;
        match answer.status() {
            Some((423, _)) => self.hand().lose_term(term),
            Some((404 | 408, _)) => self.hand().ours_until(term, sent + self.pin_time),
            Some((409, words)) if words.contains("MaxBytes") || words.contains("MaxWaiting") => {
                self.hand().ours_until(term, sent + self.pin_time);
            }
            _ => {}
        }
        Ok(())
    }

    /// Looks whether everything that is unacknowledged is in hand.
    async fn settle(&self) -> Result<(), Fault> {
        let Some((term, had)) = self.hand().may_look(Instant::now()) else { return Ok(()) };
        let info = match self.renew().await {
            Ok(()) => consumer_info(&self.link, &self.names, &self.consumer).await?,
            Err(Failed::Denied(told)) => return Err(denied(&told, &self.next)),
            Err(_) => {
                self.hand().look_later(Instant::now() + LOOK);
                return Ok(());
            }
        };
        // What came after `had` was counted may be missing in the server's count as well.
        let missing = info.num_ack_pending.saturating_sub(had);
        self.hand().looked(term, missing, Instant::now() + LOOK);
        Ok(())
    }

    /// Asks for messages, unless a pull is on its way.
    fn ask(&self, max: usize) {
        let (now, mut hand) = (Instant::now(), self.hand());
        let Some(wanted) = hand.wanted(max.min(PULL_MAX), now, self.ack_wait) else { return };
        let pin = hand.pin().map(|(_, pin)| pin);
        let fits = BYTES_MAX.max(self.link.info().max_payload.saturating_mul(2));
        let request = pull_request(&self.group, pin.as_deref(), wanted, PULL, fits);
        let reply = hand.pull_begins(&self.inbox.prefix, wanted, now + PULL + PULL / 2);
        self.link.send(&self.next, &reply, &request);
    }
}

impl Wire for NatsWire {
    type Receipt = Receipt;

    async fn pull(&self, max: usize, wait: Duration) -> Result<Vec<(Delivery, Receipt)>, Fault> {
        let until = Instant::now() + wait;
        loop {
            self.take_in()?;
            if let Some(why) = self.link.out_for(OUTAGE) {
                return Err(Fault::broker(why));
            }
            if self.hand().is_doubtful(Instant::now()) {
                let _ = self.renew().await;
            }
            if self.hand().asks_why() {
                // It has no leader for a moment, or it is gone: then this says so.
                consumer_info(&self.link, &self.names, &self.consumer).await?;
            }
            self.settle().await?;
            self.take_in()?;
            let (batch, look) = self.hand().ready(max, Instant::now());
            self.ask(max - batch.len());
            if !batch.is_empty() || Instant::now() >= until {
                return Ok(batch);
            }
            let wake = until.min(Instant::now() + look.unwrap_or(PULL));
            tokio::select! {
                () = self.inbox.rings() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    async fn acknowledge(&self, receipts: Vec<Receipt>) -> Result<(), Fault> {
        if self.hand().is_doubtful(Instant::now()) {
            let _ = self.renew().await;
        }
        let mut asked = Vec::with_capacity(receipts.len());
        for receipt in &receipts {
            let ack = self.hand().ack(receipt, Instant::now());
            let ack = ack.ok_or_else(|| {
                self.fault("has another receiver by now, which gets these messages again")
            })?;
            self.hand().leaves(receipt.sequence);
            asked.push((receipt.sequence, self.link.ask(&ack, b"", b"+ACK"), ack));
        }
        for (sequence, asked, ack) in asked {
            let answer = match asked.answer().await {
                Err(Failed::Lost) => self.link.request(&ack, b"+ACK").await,
                other => other,
            };
            match answer {
                Ok(_) => self.hand().settled(sequence),
                Err(Failed::Denied(told)) => {
                    let (stream, consumer) = (&self.names.stream, &self.consumer);
                    return Err(denied(&told, &format!("$JS.ACK.{stream}.{consumer}.>")));
                }
                Err(Failed::Lost) => return Err(Fault::broker(self.link.why())),
                Err(Failed::Late) => {
                    return Err(self.fault("does not confirm an acknowledgement in time"));
                }
            }
        }
        Ok(())
    }

    fn keep_alive_every(&self) -> Option<Duration> {
        Some((self.pin_time / 4).min(self.ack_wait / 3).max(Duration::from_millis(50)))
    }

    async fn keep_alive(&self, receipts: Vec<Receipt>) {
        drop(receipts);
        let _ = self.renew().await;
        for ack in self.hand().acks(Instant::now()) {
            self.link.send(&ack, "", b"+WPI");
        }
    }

    fn lost(&self, receipt: &Receipt) -> bool {
        self.hand().ack(receipt, Instant::now()).is_none()
    }

    // In the stream's order: the server gives it to the next receiver like that.
    fn release(&self, receipts: Vec<Receipt>) {
        drop(receipts);
        let _ = self.take_in();
        let (now, mut hand) = (Instant::now(), self.hand());
        let (ours, acks) = (hand.is_ours(now), hand.acks(now));
        hand.lose();
        self.link.send_unsubscribe(&self.inbox);
        if !ours {
            return; // another may have the pin by now, and these messages
        }
        acks.iter().for_each(|ack| self.link.send(ack, "", b"-NAK"));
        let api = &self.link.settings().api;
        let unpin = format!("{api}.CONSUMER.UNPIN.{}.{}", self.names.stream, self.consumer);
        let group = serde_json::json!({ "group": self.group }).to_string();
        self.link.send(&unpin, &self.link.nowhere(), group.as_bytes());
    }
}

fn pull_request(
    group: &str,
    pin: Option<&str>,
    batch: usize,
    expires: Duration,
    max_bytes: usize,
) -> Vec<u8> {
    let expires = u64::try_from(expires.as_nanos()).unwrap_or(u64::MAX);
    let request = serde_json::json!({
        "batch": batch, "expires": expires, "group": group, "id": pin, "max_bytes": max_bytes,
    });
    request.to_string().into_bytes()
}
