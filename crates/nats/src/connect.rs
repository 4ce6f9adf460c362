// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connection: one socket, kept by one task, that comes back by itself. Why it is not the
//! client library that everybody has: `docs/decisions/0005-a-nats-client-of-our-own.md`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

mod frame;
mod handshake;
pub(crate) mod nkey;
pub(crate) mod tls;

use crate::config::Settings;
use frame::Frame;
use handshake::{Info, Session, Socket};

pub(crate) use frame::{Message, publish};

/// Longest time for an answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// Longest time for a lost connection to come back, before what waits for it is a fault.
pub(crate) const OUTAGE: Duration = Duration::from_secs(10);
/// How often a silent server is asked whether it lives; two silences in a row are its end.
const PING_EVERY: Duration = Duration::from_secs(4);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Most messages that may wait unread in one inbox: nobody but who floods us sends more than was asked for.
const INBOX_MAX: usize = 8_192;
/// Most bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;
/// The subscription for answers to requests.
const ANSWERS: u64 = 1;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The connection was lost; whether the request arrived is not known.
    Lost,
    /// The server denies it, in its own words.
    Denied(String),
    /// No answer came in time.
    Late,
}

/// A connection. Clones share it; it ends when the last one goes.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    out: mpsc::UnboundedSender<Bytes>,
}

/// What a subscription brings.
pub(crate) enum Event {
    Message(Message),
    /// The connection was lost and is back: what was on its way is gone.
    Back,
    /// The server denies what this subscription lives by.
    Denied(String),
}

/// A subscription's messages, in order. It ends when this is dropped.
pub(crate) struct Inbox {
    queue: Arc<Queue>,
    link: Link,
    sid: u64,
    /// Where to answer: `PREFIX.anything`.
    pub(crate) prefix: String,
}

#[derive(Default)]
struct Queue {
    events: Mutex<VecDeque<Event>>,
    bell: Notify,
}

struct Shared {
    settings: Settings,
    /// Subject prefix that nobody else has.
    inbox: String,
    state: Mutex<State>,
    up: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    info: Info,
    /// Since when it is down, and why.
    down: Option<(Instant, String)>,
    /// The server's words, since it denies us our answers.
    deaf: Option<String>,
    counter: u64,
    waiting: HashMap<u64, Waiting>,
    inboxes: HashMap<u64, (String, String, Arc<Queue>)>,
}

struct Waiting {
    subject: String,
    answer: oneshot::Sender<Result<Message, Failed>>,
}

impl Link {
    /// Connects, or says why not within seconds.
    pub(crate) async fn open(settings: Settings) -> Result<Link, String> {
        let session = handshake::open(&settings).await?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| format!("no randomness: {error}"))?;
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let inbox = format!("{}.{random}", settings.inbox);
        let (out, queued) = mpsc::unbounded_channel();
        let state = State { counter: ANSWERS, ..State::default() };
        let (up, _) = watch::channel(false);
        let shared = Arc::new(Shared { settings, inbox, state: Mutex::new(state), up });
        tokio::spawn(live(Arc::clone(&shared), session, queued));
        let link = Link { shared, out };
        let _ = link.back(Instant::now() + ANSWER).await;
        Ok(link)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// What the server said of itself.
    pub(crate) fn info(&self) -> Info {
        lock(&self.shared.state).info.clone()
    }

    /// Sends what has no answer; lost with the connection.
    pub(crate) fn send(&self, subject: &str, reply: &str, payload: &[u8]) {
        let _ = self.out.send(publish(subject, reply, b"", payload));
    }

    /// Sends a request, and gives what will hold its answer. Requests arrive in order.
    pub(crate) fn ask(&self, subject: &str, head: &[u8], payload: &[u8]) -> Asked {
        let (answer, answered) = oneshot::channel();
        let mut state = lock(&self.shared.state);
        if state.down.is_some() {
            let _ = answer.send(Err(Failed::Lost));
            return Asked { answered, number: 0, link: self.clone() };
        }
        if let Some(told) = &state.deaf {
            let _ = answer.send(Err(Failed::Denied(told.clone())));
            return Asked { answered, number: 0, link: self.clone() };
        }
        state.counter += 1;
        let number = state.counter;
        state.waiting.insert(number, Waiting { subject: subject.to_owned(), answer });
        let reply = format!("{}.{number}", self.shared.inbox);
        // Under the lock: what is queued here belongs to the connection that is up.
        let _ = self.out.send(publish(subject, &reply, head, payload));
        Asked { answered, number, link: self.clone() }
    }

    /// Asks again over lost connections; gives up when one does not come back in [`OUTAGE`].
    pub(crate) async fn request(&self, subject: &str, payload: &[u8]) -> Result<Message, Failed> {
        let until = Instant::now() + OUTAGE;
        loop {
            match self.ask(subject, b"", payload).answer().await {
                Err(Failed::Lost) => self.back(until).await.map_err(|()| Failed::Lost)?,
                other => return other,
            }
        }
    }

    /// Waits until the connection is up.
    pub(crate) async fn back(&self, until: Instant) -> Result<(), ()> {
        let mut up = self.shared.up.subscribe();
        let waited = tokio::time::timeout_at(until, up.wait_for(|up| *up)).await;
        waited.map_err(|_| ())?.map(drop).map_err(|_| ())
    }

    /// Why the connection is down, if it is.
    pub(crate) fn why(&self) -> String {
        let down = lock(&self.shared.state).down.clone();
        down.map_or_else(|| "the connection to nats was lost a moment ago".into(), |(_, why)| why)
    }

    /// Why the connection is down, if it has been for so long.
    pub(crate) fn out_for(&self, time: Duration) -> Option<String> {
        let state = lock(&self.shared.state);
        let (since, why) = state.down.as_ref()?;
        (since.elapsed() >= time).then(|| why.clone())
    }

    /// A subject of ours for answers that nobody waits for.
    pub(crate) fn nowhere(&self) -> String {
        format!("{}.0", self.shared.inbox)
    }

    /// Ends a subscription on the server; what is on its way there still comes.
    pub(crate) fn send_unsubscribe(&self, inbox: &Inbox) {
        let _ = self.out.send(Bytes::from(format!("UNSUB {}\r\n", inbox.sid)));
    }

    /// Subscribes to an inbox of our own. `lives_by` is the subject whose denial ends it.
    pub(crate) fn inbox(&self, lives_by: &str) -> Inbox {
        let queue = Arc::new(Queue::default());
        let mut state = lock(&self.shared.state);
        state.counter += 1;
        let sid = state.counter;
        let prefix = format!("{}.m{sid}", self.shared.inbox);
        state.inboxes.insert(sid, (prefix.clone(), lives_by.to_owned(), Arc::clone(&queue)));
        if state.down.is_none() {
            let _ = self.out.send(Bytes::from(format!("SUB {prefix}.* {sid}\r\n")));
        }
        Inbox { queue, link: self.clone(), sid, prefix }
    }
}

/// An answer that is on its way.
pub(crate) struct Asked {
    answered: oneshot::Receiver<Result<Message, Failed>>,
    number: u64,
    link: Link,
}

impl Asked {
    pub(crate) async fn answer(mut self) -> Result<Message, Failed> {
        match tokio::time::timeout(ANSWER, &mut self.answered).await {
            Ok(answer) => answer.unwrap_or(Err(Failed::Lost)),
            Err(_) => Err(Failed::Late),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        lock(&self.link.shared.state).waiting.remove(&self.number);
    }
}

impl Inbox {
    /// What came next, without waiting.
    pub(crate) fn next(&self) -> Option<Event> {
        lock(&self.queue.events).pop_front()
    }

    /// Waits for something to come.
    pub(crate) async fn rings(&self) {
        self.queue.bell.notified().await;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        lock(&self.link.shared.state).inboxes.remove(&self.sid);
        self.link.send_unsubscribe(self);
    }
}

impl Queue {
    fn put(&self, event: Event) {
        let mut events = lock(&self.events);
        if events.len() < INBOX_MAX || !matches!(event, Event::Message(_)) {
            events.push_back(event);
        }
        self.bell.notify_one();
    }
}

impl Shared {
    /// Subscribes on a new connection, and lets requests go.
    fn is_up(&self, info: Info, queued: &mut mpsc::UnboundedReceiver<Bytes>) -> Vec<u8> {
        let mut state = lock(&self.state);
        // What is queued was meant for the last connection, and has failed with it.
        while queued.try_recv().is_ok() {}
        let mut out = format!("SUB {}.* {ANSWERS}\r\n", self.inbox).into_bytes();
        for (sid, (prefix, _, queue)) in &state.inboxes {
            out.extend(format!("SUB {prefix}.* {sid}\r\n").bytes());
            queue.put(Event::Back);
        }
        (state.info, state.down, state.deaf) = (info, None, None);
        drop(state);
        self.up.send_replace(true);
        out
    }

    fn is_down(&self, why: &str) {
        self.up.send_replace(false);
        let mut state = lock(&self.state);
        let since = state.down.take().map_or_else(Instant::now, |(since, _)| since);
        state.down = Some((since, why.to_owned()));
        for (_, waiting) in state.waiting.drain() {
            let _ = waiting.answer.send(Err(Failed::Lost));
        }
    }

    fn came(&self, message: Message) {
        let mut state = lock(&self.state);
        if message.sid == ANSWERS {
            let number = message.subject.rsplit('.').next().and_then(|token| token.parse().ok());
            if let Some(waiting) = number.and_then(|number: u64| state.waiting.remove(&number)) {
                let _ = waiting.answer.send(Ok(message));
            }
        } else if let Some((.., queue)) = state.inboxes.get(&message.sid) {
            queue.put(Event::Message(message));
        }
    }

    /// A denied publish has no answer: what waits for one is told at once.
    fn denied(&self, told: &str) {
        let subject = told.split('"').nth(1).unwrap_or_default();
        let mut state = lock(&self.state);
        let deaf = subject == format!("{}.*", self.inbox);
        if deaf {
            state.deaf = Some(told.to_owned());
        }
        let of_it = state.waiting.extract_if(|_, waiting| deaf || waiting.subject == subject);
        for (_, waiting) in of_it {
            let _ = waiting.answer.send(Err(Failed::Denied(told.to_owned())));
        }
        for (prefix, lives_by, queue) in state.inboxes.values() {
            if lives_by == subject || subject == format!("{prefix}.*") {
                queue.put(Event::Denied(told.to_owned()));
            }
        }
    }
}

/// Serves one connection after another, until nobody has a link any more.
async fn live(shared: Arc<Shared>, first: Session, mut queued: mpsc::UnboundedReceiver<Bytes>) {
    let mut session = first;
    loop {
        let hello = shared.is_up(session.info.clone(), &mut queued);
        let Err(why) = serve(&shared, session, &hello, &mut queued).await else { return };
        shared.is_down(&why);
        let mut wait = RETRY_FIRST;
        session = loop {
            if queued.is_closed() {
                return;
            }
            match handshake::open(&shared.settings).await {
                Ok(session) => break session,
                Err(why) => shared.is_down(&why),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        };
    }
}

/// Reads and writes until the connection ends (why), or nobody needs it.
async fn serve(
    shared: &Shared,
    session: Session,
    hello: &[u8],
    queued: &mut mpsc::UnboundedReceiver<Bytes>,
) -> Result<(), String> {
    let Session { mut socket, mut buffer, .. } = session;
    write(&mut socket, hello).await?;
    let mut tick = tokio::time::interval(PING_EVERY);
    // After a stall of ours, a burst of ticks would pass for the server's silence.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut silences, mut last_word) = (0, None);
    loop {
        while let Some(frame) = frame::take(&mut buffer)? {
            match frame {
                Frame::Message(message) => shared.came(message),
                Frame::Ping => write(&mut socket, b"PONG\r\n").await?,
                Frame::Error(told) if told.to_lowercase().starts_with("permissions violation") => {
                    shared.denied(&told);
                }
                Frame::Error(told) => last_word = Some(told),
                Frame::Pong | Frame::Ok | Frame::Info(_) => {}
            }
        }
        tokio::select! {
            read = socket.read_buf(&mut buffer) => {
                silences = 0;
                if !read.is_ok_and(|bytes| bytes > 0) {
                    let told = last_word.map(|told| handshake::refused(&told, &shared.settings.identity));
                    return Err(told.unwrap_or_else(|| "the connection to nats was lost".into()));
                }
            }
            first = queued.recv() => {
                let Some(first) = first else {
                    let _ = socket.shutdown().await;
                    return Ok(());
                };
                let mut out = BytesMut::from(first);
                while let Some(more) = (out.len() < WRITE_BYTES).then(|| queued.try_recv().ok()).flatten() {
                    out.extend_from_slice(&more);
                }
                write(&mut socket, &out).await?;
            }
            _ = tick.tick() => {
                silences += 1;
                if silences > 2 {
                    return Err("nats has not said a word for a while; the connection was cut".into());
                }
                write(&mut socket, b"PING\r\n").await?;
            }
        }
    }
}

async fn write(socket: &mut Box<dyn Socket>, bytes: &[u8]) -> Result<(), String> {
    let written = async {
        socket.write_all(bytes).await?;
        socket.flush().await
    };
    match tokio::time::timeout(OUTAGE, written).await {
        Ok(Ok(())) => Ok(()),
        _ => Err("the connection to nats was lost while something was written".into()),
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat: a flood hides that the connection was lost, and newer messages overtake.
    #[test]
    fn only_messages_are_dropped_from_a_full_inbox() {
        let (queue, bytes) = (Queue::default(), Bytes::new);
        for _ in 0..=INBOX_MAX {
            let (subject, head, payload) = (String::new(), bytes(), bytes());
            queue.put(Event::Message(Message { subject, sid: 2, reply: None, head, payload }));
        }
        queue.put(Event::Back);
        queue.put(Event::Denied("no".into()));
        let mut events = lock(&queue.events);
        assert!(matches!(events.pop_back(), Some(Event::Denied(_))));
        assert!(matches!(events.pop_back(), Some(Event::Back)));
        assert_eq!(events.len(), INBOX_MAX);
    }
}
