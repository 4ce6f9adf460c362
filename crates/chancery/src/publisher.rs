// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signs and appends, refusing what no reader could admit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_core::keys::Secret;
use chancery_core::seal::{Draft, Stamp, Unsigned, build, sign_all};
use chancery_core::{Fault, Misuse, Refusal, Timestamp};

use crate::clock::{Clock, SystemClock};
use crate::ports::Sink;
use crate::snapshots::Snapshots;

pub use chancery_core::seal::Content;

/// A draft under the name that users know it by.
pub type Event = Draft;

/// A service's publisher. Cheap to share behind an [`Arc`].
pub struct Publisher<K> {
    sink: K,
    snapshots: Snapshots,
    service: String,
    secret: Secret,
    clock: Arc<dyn Clock>,
    lane: [u8; 16],
    cloud_events: bool,
    sequences: Mutex<BTreeMap<String, u64>>,
}

/// One appended message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event id.
    pub event_id: String,
    /// The universal reference.
    pub message_id: [u8; 32],
    /// Where the broker keeps it.
    pub position: String,
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// No reader could admit it; nothing was sent.
    Refused(Refusal),
    /// The key may not sign now; nothing was sent.
    Misuse(Misuse),
    /// The broker failed; it may or may not have been appended. Publish it again with the same
    /// id: readers skip the copy.
    Fault(Fault),
}

impl<K: Sink> Publisher<K> {
    /// A publisher for `service`. `lane` is 16 random bytes, new at each start.
    ///
    /// # Errors
    /// Misuse if the bundle does not know the key as this service's, or it may not sign now.
    pub fn new(
        sink: K,
        snapshots: Snapshots,
        service: &str,
        secret: Secret,
        lane: [u8; 16],
    ) -> Result<Publisher<K>, Misuse> {
        Publisher::with_clock(sink, snapshots, service, secret, lane, Arc::new(SystemClock))
    }

    /// The same, signing by another clock.
    ///
    /// # Errors
    /// As for [`Publisher::new`].
    pub fn with_clock(
        sink: K,
        snapshots: Snapshots,
        service: &str,
        secret: Secret,
        lane: [u8; 16],
        clock: Arc<dyn Clock>,
    ) -> Result<Publisher<K>, Misuse> {
        let service = service.to_owned();
        let sequences = Mutex::default();
        let publisher = Publisher {
            sink,
            snapshots,
            service,
            secret,
            clock,
            lane,
            cloud_events: false,
            sequences,
        };
        publisher.key_is_ours(publisher.clock.now())?;
        Ok(publisher)
    }

    /// Whether messages also carry the attributes of CloudEvents 1.0, for consumers that read
    /// those and know nothing of ours; about 250 bytes each. Not unless asked.
    pub fn cloud_events(mut self, carried: bool) -> Publisher<K> {
        self.cloud_events = carried;
        self
    }

    /// Whether the key may sign for this service now.
    ///
    /// # Errors
    /// Misuse names the key and what is wrong with it.
    pub fn key_is_ours(&self, now: Timestamp) -> Result<(), Misuse> {
        let kid = self.secret.kid();
        let misuse = |what: &str, fix: &str| {
            Err(Misuse::new(what, format!("key {kid} of {}", self.service), fix))
        };
        let snapshot = self.snapshots.current();
        let Some(key) = snapshot.keys.get(&kid) else {
            return misuse("is not in the trust bundle", "add it with `chancery keys add`");
        };
        if key.principal != self.service {
            return misuse("belongs to another service", "use this service's own key");
        }
        if now + snapshot.policy.times.skew_ms < key.not_before {
            return misuse("is not valid yet", "check the clock, or sign with the older key");
        }
        if now > key.sign_until {
            return misuse("has expired", "make a new one with `chancery keys rotate`");
        }
        if key.compromised_at.is_some() {
            return misuse(
                "is marked as compromised",
                "make a new one with `chancery keys rotate`",
            );
        }
        Ok(())
    }

    /// Signs and appends one message.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, event: &Event) -> Result<Published, PublishError> {
        let mut published = self.publish_all(std::slice::from_ref(event)).await?;
        published
            .pop()
            .ok_or_else(|| PublishError::Fault(Fault::broker("the broker confirmed nothing")))
    }

    /// Signs and appends several messages in order, all or none refused.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_all(&self, events: &[Event]) -> Result<Vec<Published>, PublishError> {
        let messages = self.build_all(events)?;
        self.append(messages).await.map_err(PublishError::Fault)
    }

    /// Signs and appends messages that [`Publisher::build`] made, in order: those of one stream,
    /// tenant and partition under one signature.
    ///
    /// # Errors
    /// A fault of the broker: any prefix may have been appended.
    pub async fn append(&self, messages: Vec<Unsigned>) -> Result<Vec<Published>, Fault> {
        let partition = |stream: &str, key: Option<&[u8]>| self.sink.partition(stream, key);
        let sealed = sign_all(messages, &self.secret, partition);
        let positions = self.sink.append(&sealed).await?;
        let published = sealed.into_iter().zip(positions).map(|(sealed, position)| Published {
            event_id: sealed.event_id,
            message_id: sealed.message_id,
            position,
        });
        Ok(published.collect())
    }

    /// Builds one message, to be appended: it has taken its number on its lane.
    ///
    /// # Errors
    /// [`PublishError::Refused`] if no reader could admit it, [`PublishError::Misuse`] if the key
    /// may no longer sign: bundles change while a publisher runs.
    pub fn build(&self, event: &Event) -> Result<Unsigned, PublishError> {
        let mut built = self.build_all(std::slice::from_ref(event))?;
        built.pop().ok_or_else(|| PublishError::Fault(Fault::broker("nothing was built")))
    }

    /// All or none: a refused one must leave no gap in the numbers of those that are sent.
    fn build_all(&self, events: &[Event]) -> Result<Vec<Unsigned>, PublishError> {
        let now = self.clock.now();
        self.key_is_ours(now).map_err(PublishError::Misuse)?;
        let snapshot = self.snapshots.current();
        let mut sequences = self.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = sequences.clone();
        let mut built = Vec::with_capacity(events.len());
        for event in events {
            let sequence = next.entry(event.stream.clone()).or_insert(0);
            *sequence += 1;
            let (service, lane) = (&*self.service, self.lane);
            let stamp = Stamp { service, now, lane, sequence: *sequence };
            let message = build(event, &stamp, &snapshot).map_err(PublishError::Refused)?;
            built.push(if self.cloud_events { message.with_cloud_events() } else { message });
        }
        *sequences = next;
        Ok(built)
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Refused(refusal) => refusal.fmt(f),
            PublishError::Misuse(misuse) => misuse.fmt(f),
            PublishError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {}
