// SPDX-License-Identifier: MIT OR Apache-2.0
//! One receiver of a consumer group: a thread that polls, hands over what comes, and asks whoever
//! holds it before a partition goes.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message, Timestamp};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::{ANSWER, Context, Trouble, native};
use crate::config::Settings;

/// Longest time in a poll; then it is looked whether to stop, and what may go.
const POLL: Duration = Duration::from_millis(50);
/// A holder that is full for a moment only is not fetched from; after this the partitions are
/// paused, which throws away what was fetched ahead.
const PAUSE_AFTER: Duration = Duration::from_millis(200);
/// Longest time that a partition which is to move waits for what is in hand.
pub(crate) const HAND_OVER: Duration = Duration::from_secs(20);
/// Between two questions where the group is, after one that failed.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a receiver that says nothing is still a member of its group.
const SESSION: &str = "10000";

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// Where a group is in a partition: the offset, if it ever was anywhere, and what it wrote beside.
pub(crate) struct Mark {
    pub(crate) place: Place,
    pub(crate) offset: Option<i64>,
    pub(crate) note: String,
}

/// Whose word a time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    Broker(i64),
    Client(i64),
    None,
}

/// A record that came.
pub(crate) struct Incoming {
    pub(crate) place: Place,
    pub(crate) offset: i64,
    pub(crate) stamp: Stamp,
    pub(crate) key: Option<Bytes>,
    pub(crate) body: Option<Bytes>,
    pub(crate) fields: Vec<(String, Bytes)>,
}

/// Who holds what came. All of it is called by the polling thread.
pub(crate) trait Holder: Send + Sync + 'static {
    /// Whether there is room for more.
    fn has_room(&self) -> bool;
    /// Takes a record; `false`: not from this partition now, it is to come again later.
    fn take(&self, incoming: Incoming) -> bool;
    /// Whether a partition may go on at an offset that it was not to give yet.
    fn may_go_on(&self, place: &Place, offset: i64) -> bool;
    /// Partitions came; gives where to begin in each.
    fn assigned(&self, marks: Vec<Mark>) -> Vec<(Place, Option<i64>)>;
    /// Partitions are to move: no more of them, and what is in hand is to be settled.
    fn wanted(&self, places: &[Place]);
    /// Whether nothing of them is in hand any more.
    fn let_go(&self, places: &[Place]) -> bool;
    /// They are somebody else's.
    fn gone(&self, places: &[Place]);
    /// Something is wrong; `None`: no longer.
    fn trouble(&self, trouble: Option<Trouble>);
}

/// A member of a group.
pub(crate) struct Consumer {
    native: Weak<BaseConsumer<Member>>,
    stop: Arc<AtomicBool>,
    ended: Mutex<Receiver<()>>,
}

impl Consumer {
    /// Joins a group that reads these topics.
    pub(crate) fn join(
        settings: &Settings,
        topics: &[String],
        group: &str,
        holder: Arc<dyn Holder>,
    ) -> Result<Consumer, Trouble> {
        let mut config = native(settings);
        config.set("group.id", group);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", SESSION);
        config.set("heartbeat.interval.ms", "500");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        // Where to begin is said when a partition comes; any other jump would pass over messages.
        config.set("auto.offset.reset", "error");
        config.set("isolation.level", "read_committed");
        config.set("fetch.wait.max.ms", "100");
        config.set("fetch.error.backoff.ms", "100");
        config.set("queued.max.messages.kbytes", "16384");
        config.set("topic.metadata.refresh.interval.ms", "30000");
        let member = Member {
            context: Context::new(&settings.security),
            holder: Arc::clone(&holder),
            leaving: Mutex::default(),
            blocked: Mutex::default(),
            unknown: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        let consumer: BaseConsumer<Member> =
            config.create_with_context(member).map_err(|error| Trouble::of(&error))?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| Trouble::of(&error))?;
        let consumer = Arc::new(consumer);
        let native = Arc::downgrade(&consumer);
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = mpsc::channel();
        let poller = Poller {
            consumer,
            holder,
            stop: Arc::clone(&stop),
            full_since: None,
            paused: false,
            probed: Instant::now(),
            asked: Instant::now(),
            down: false,
            topic: topics.first().cloned().unwrap_or_default(),
        };
        let run = move || {
            poller.run();
            let _ = end.send(());
        };
        let named = thread::Builder::new().name("kafka-receiver".to_owned());
        named
            .spawn(run)
            .map_err(|error| Trouble::new(RDKafkaErrorCode::Fail, error.to_string()))?;
        Ok(Consumer { native, stop, ended: Mutex::new(ended) })
    }

    /// What writes down where the group is; it waits for the broker.
    pub(crate) fn commit(
        &self,
        marks: Vec<(Place, i64, String)>,
    ) -> impl FnOnce() -> Result<(), Trouble> + Send + 'static {
        let native = Weak::clone(&self.native);
        move || {
            let closed = || Trouble::new(RDKafkaErrorCode::Fail, "the receiver is closed");
            let consumer = native.upgrade().ok_or_else(closed)?;
            // The library tells of a call that failed as a whole: what may fail in part is not one.
            let mut calls: BTreeMap<Arc<str>, TopicPartitionList> = BTreeMap::new();
            for (place, offset, note) in &marks {
                let mut alone = TopicPartitionList::new();
                let together = Some(Arc::clone(&place.topic)).filter(|_| note.is_empty());
                let list = match together {
                    Some(topic) => calls.entry(topic).or_default(),
                    None => &mut alone,
                };
                let mut mark = list.add_partition(&place.topic, place.partition);
                mark.set_offset(Offset::Offset(*offset)).map_err(|error| Trouble::of(&error))?;
                if !note.is_empty() {
                    mark.set_metadata(note);
                    let done = consumer.commit(&alone, CommitMode::Sync);
                    done.map_err(|error| Trouble::of(&error))?;
                }
            }
            calls.values().try_for_each(|list| {
                consumer.commit(list, CommitMode::Sync).map_err(|error| Trouble::of(&error))
            })
        }
    }

    /// Leaves the group, and waits a little until that is done: the others need not wait until
    /// this member's session is over.
    pub(crate) fn leave(&self) {
        self.stop.store(true, Ordering::Release);
        let _ = lock(&self.ended).recv_timeout(Duration::from_secs(2));
    }
}

/// What the library calls back.
struct Member {
    context: Context,
    holder: Arc<dyn Holder>,
    /// Partitions that are to move, since when.
    leaving: Mutex<Vec<(Instant, TopicPartitionList)>>,
    /// Partitions that gave too much, and where they go on.
    blocked: Mutex<Vec<(Place, i64)>>,
    /// Partitions that are paused until it is known where the group is in them.
    unknown: Mutex<Vec<Place>>,
    closing: AtomicBool,
}

impl ClientContext for Member {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.context.generate_oauth_token(config)
    }
}

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Member>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, list);
            return;
        }
        let places = places(list);
        if self.closing.load(Ordering::Acquire) || consumer.assignment_lost() {
            self.holder.gone(&places);
            self.unblocked(&places);
            self.note(consumer.incremental_unassign(list));
            return;
        }
        self.holder.wanted(&places);
        self.unblocked(&places);
        self.note(consumer.pause(list));
        lock(&self.leaving).push((Instant::now(), list.clone()));
    }
}

impl Member {
    /// Begins where the group is. Without that knowledge nothing is read: what was settled would
    /// come again.
    fn assign(&self, consumer: &BaseConsumer<Member>, list: &TopicPartitionList) {
        let places = places(list);
        self.unblocked(&places);
        let begin = self.marks(consumer, &places).map(|marks| self.holder.assigned(marks));
        let (begin, unknown) = match begin {
            Ok(begin) => (begin, Vec::new()),
            Err(error) => {
                let reason = format!("where the group is cannot be read: {error}");
                self.holder.trouble(Some(Trouble::new(RDKafkaErrorCode::Fail, reason)));
                (places.iter().map(|place| (place.clone(), None)).collect(), places)
            }
        };
        self.note(begins(begin).and_then(|begin| {
            consumer.incremental_assign(&begin)?;
            if unknown.is_empty() { Ok(()) } else { consumer.pause(&begin) }
        }));
        lock(&self.unknown).extend(unknown);
    }

    fn marks(&self, consumer: &BaseConsumer<Member>, places: &[Place]) -> KafkaResult<Vec<Mark>> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut asked = TopicPartitionList::with_capacity(places.len());
        for place in places {
            asked.add_partition(&place.topic, place.partition);
        }
        let known = consumer.committed_offsets(asked, ANSWER)?;
        let mut marks = Vec::new();
        for mark in known.elements() {
            mark.error()?;
            let place = Place { topic: mark.topic().into(), partition: mark.partition() };
            let offset = match mark.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            let note = unless_unreadable(|| mark.metadata().to_owned()).unwrap_or_default();
            marks.push(Mark { place, offset, note });
        }
        Ok(marks)
    }

    /// Where they would have gone on was true of that time with them: not of the next.
    fn unblocked(&self, places: &[Place]) {
        lock(&self.blocked).retain(|(place, _)| !places.contains(place));
        lock(&self.unknown).retain(|place| !places.contains(place));
    }

    fn is_blocked(&self, place: &Place) -> bool {
        lock(&self.blocked).iter().any(|(blocked, _)| blocked == place)
            || lock(&self.unknown).contains(place)
    }

    /// Asks where the group is in partitions where that is not known, and begins there.
    fn begin_late(&self, consumer: &BaseConsumer<Member>) {
        let unknown = lock(&self.unknown).clone();
        let Ok(marks) = self.marks(consumer, &unknown) else { return };
        for (place, offset) in self.holder.assigned(marks) {
            let from = offset.map_or(Offset::Beginning, Offset::Offset);
            if self.go_on(consumer, &place, from) {
                self.unblocked(&[place]);
            }
        }
    }

    /// Goes on at an offset; `false`: it is to be tried again.
    fn go_on(&self, consumer: &BaseConsumer<Member>, place: &Place, from: Offset) -> bool {
        let mut list = TopicPartitionList::new();
        list.add_partition(&place.topic, place.partition);
        let done = consumer.seek(&place.topic, place.partition, from, ANSWER);
        let done = done.and_then(|()| consumer.resume(&list));
        let went = done.is_ok();
        self.note(done);
        went
    }

    fn note(&self, done: KafkaResult<()>) {
        if let Err(error) = done {
            self.holder.trouble(Some(Trouble::of(&error)));
        }
    }
}

struct Poller {
    consumer: Arc<BaseConsumer<Member>>,
    holder: Arc<dyn Holder>,
    stop: Arc<AtomicBool>,
    full_since: Option<Instant>,
    paused: bool,
    probed: Instant,
    asked: Instant,
    down: bool,
    topic: String,
}

impl Poller {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.hand_over();
            self.unblock();
            self.ask_again();
            if !self.may_poll() {
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            // What is taken borrows from the consumer.
            let consumer = Arc::clone(&self.consumer);
            match consumer.poll(POLL) {
                Some(Ok(message)) => self.take(&message),
                Some(Err(error)) => self.failed(&error),
                None => {}
            }
            self.probe();
        }
        self.consumer.context().closing.store(true, Ordering::Release);
    }

    fn may_poll(&mut self) -> bool {
        if self.holder.has_room() {
            self.full_since = None;
            if std::mem::take(&mut self.paused) {
                self.pause(false);
            }
            return true;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PAUSE_AFTER {
            return false;
        }
        if !std::mem::replace(&mut self.paused, true) {
            self.pause(true);
        }
        true
    }

    /// All that this member has, but what is to move or gave too much: that stays paused.
    fn pause(&self, pause: bool) {
        let Ok(all) = self.consumer.assignment() else { return };
        let member = self.consumer.context();
        let leaving = lock(&member.leaving);
        let mut list = TopicPartitionList::new();
        for place in places(&all) {
            let moves = leaving
                .iter()
                .any(|(_, it)| it.find_partition(&place.topic, place.partition).is_some());
            if !moves && !member.is_blocked(&place) {
                list.add_partition(&place.topic, place.partition);
            }
        }
        let done = if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        member.note(done);
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let incoming = incoming(message);
        let (place, offset) = (incoming.place.clone(), incoming.offset);
        let member = self.consumer.context();
        if member.is_blocked(&place) || self.holder.take(incoming) {
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&place.topic, place.partition);
        member.note(self.consumer.pause(&list));
        lock(&member.blocked).push((place, offset));
    }

    fn unblock(&self) {
        let member = self.consumer.context();
        let blocked = lock(&member.blocked).clone();
        for (place, offset) in blocked {
            if self.holder.may_go_on(&place, offset)
                && member.go_on(&self.consumer, &place, Offset::Offset(offset))
            {
                member.unblocked(&[place]);
            }
        }
    }

    fn ask_again(&mut self) {
        let member = self.consumer.context();
        if lock(&member.unknown).is_empty() || self.asked.elapsed() < ASK_AGAIN {
            return;
        }
        member.begin_late(&self.consumer);
        self.asked = Instant::now();
    }

    /// Lets partitions go whose messages are settled, and those that wait for too long.
    fn hand_over(&self) {
        let member = self.consumer.context();
        let mut leaving = lock(&member.leaving);
        let lost = !leaving.is_empty() && self.consumer.assignment_lost();
        leaving.retain(|(since, list)| {
            let places = places(list);
            let goes = lost || since.elapsed() > HAND_OVER || self.holder.let_go(&places);
            if goes {
                self.holder.gone(&places);
                member.unblocked(&places);
                member.note(self.consumer.incremental_unassign(list));
            }
            !goes
        });
    }

    fn failed(&mut self, error: &KafkaError) {
        let trouble = Trouble::of(error);
        match trouble.code {
            RDKafkaErrorCode::PartitionEOF => {}
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL => {
                let told = self.consumer.context().context.troubles.last(ANSWER);
                self.down = true;
                self.holder.trouble(Some(told.unwrap_or(trouble)));
            }
            _ => self.holder.trouble(Some(trouble)),
        }
    }

    /// Nobody tells when a broker is there again: it is asked.
    fn probe(&mut self) {
        if !self.down || self.probed.elapsed() < Duration::from_secs(1) {
            return;
        }
        let wait = Duration::from_millis(500);
        if self.consumer.fetch_metadata(Some(&self.topic), wait).is_ok() {
            self.down = false;
            self.holder.trouble(None);
        }
        self.probed = Instant::now();
    }
}

fn begins(places: Vec<(Place, Option<i64>)>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (place, offset) in places {
        let offset = offset.map_or(Offset::Beginning, Offset::Offset);
        list.add_partition_offset(&place.topic, place.partition, offset)?;
    }
    Ok(list)
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    let all = list.elements();
    all.iter().map(|it| Place { topic: it.topic().into(), partition: it.partition() }).collect()
}

fn incoming(message: &BorrowedMessage<'_>) -> Incoming {
    let mut fields = Vec::new();
    if let Some(headers) = message.headers() {
        for at in 0..headers.count() {
            // A name that is no text is nobody's of ours; it stays visible as such.
            let field = unless_unreadable(|| {
                headers.try_get(at).map(|field| {
                    let value = field.value.map(Bytes::copy_from_slice).unwrap_or_default();
                    (field.key.to_owned(), value)
                })
            });
            fields.push(field.flatten().unwrap_or_else(|| ("\u{fffd}".into(), Bytes::new())));
        }
    }
    Incoming {
        place: Place { topic: message.topic().into(), partition: message.partition() },
        offset: message.offset(),
        stamp: match message.timestamp() {
            Timestamp::LogAppendTime(at) => Stamp::Broker(at),
            Timestamp::CreateTime(at) => Stamp::Client(at),
            Timestamp::NotAvailable => Stamp::None,
        },
        key: message.key().map(Bytes::copy_from_slice),
        body: message.payload().map(Bytes::copy_from_slice),
        fields,
    }
}

/// rdkafka panics where a name or a note is not UTF-8, and whoever may append may write such a
/// name: one message would stop every receiver for good.
pub(crate) fn unless_unreadable<T>(read: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(read)).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
