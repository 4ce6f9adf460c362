// SPDX-License-Identifier: MIT OR Apache-2.0
//! The smallest ledger that gives every stateful reason: one group, in memory, nothing durable.
//! Real ledgers are judged by the same vectors.

use std::collections::{BTreeMap, BTreeSet};

use chancery_core::claim::ClaimRequest;
use chancery_core::order::{Head, KeyState, order, order_unproven};
use chancery_core::policy::Rung;
use chancery_core::screen::assess;
use chancery_core::{
    Admitted, Delivery, Disposition, Reader, Reason, Refusal, Snapshot, Timestamp, screen,
};

use super::{Action, Delivered, Snapshots, Vector};

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The handler ran and its effect is committed.
    Ok,
    /// The handler failed; the message goes back.
    Retry,
    /// It did not run.
    Refused(Refusal),
}

/// Plays a vector's deliveries in order.
///
/// # Errors
/// A snapshot or an earlier delivery that the vector names and that is not there.
pub fn judge(vector: &Vector, snapshots: &Snapshots) -> Result<Vec<Verdict>, String> {
    let mut group =
        Group { vector, events: BTreeMap::new(), heads: BTreeMap::new(), latched: BTreeSet::new() };
    let mut held = BTreeMap::new();
    let mut verdicts = Vec::new();
    for (at, step) in vector.steps.iter().enumerate() {
        let first = step.message.as_ref().map_or_else(|earlier| *earlier, |_| at + 1);
        let name = step.snapshot.as_ref().unwrap_or(&vector.snapshot);
        let snapshot = snapshots.get(name).ok_or_else(|| format!("no snapshot `{name}`"))?;
        let message = vector.steps.get(first.wrapping_sub(1)).map(|step| &step.message);
        let Some(Ok(delivery)) = message else { return Err(format!("no delivery {first}")) };
        let mut verdict = group.receive(delivery, step, snapshot);
        if is_held(&verdict) {
            let since = *held.entry(first).or_insert(step.now);
            if step.now - since > snapshot.policy.times.keep_ms {
                verdict = refused(Reason::HoldExpired, "no snapshot made it good in time");
            }
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

fn is_held(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused(refusal)
        if refusal.reason.disposition() == Disposition::Hold)
}

struct Group<'v> {
    vector: &'v Vector,
    events: BTreeMap<[u8; 32], Event>,
    heads: BTreeMap<(String, String), Head>,
    /// Producers that have signed, by stream.
    latched: BTreeSet<(String, String)>,
}

struct Event {
    ask: ClaimRequest,
    done: bool,
    aside: bool,
    attempts: u32,
}

impl Group<'_> {
    fn receive(&mut self, delivery: &Delivery, step: &Delivered, snapshot: &Snapshot) -> Verdict {
        self.try_receive(delivery, step, snapshot).unwrap_or_else(Verdict::Refused)
    }

    fn try_receive(
        &mut self,
        delivery: &Delivery,
        step: &Delivered,
        snapshot: &Snapshot,
    ) -> Result<Verdict, Refusal> {
        let reader: &Reader = &self.vector.reader;
        let now: Timestamp = step.now;
        let rules = snapshot.policy.streams.get(&delivery.stream);
        if rules.is_some_and(|rules| rules.rung < Rung::Enforce) {
            return self.observe(delivery, snapshot, now);
        }
        let validated = screen(delivery, snapshot, reader, now)?;
        let ask = validated.claim(snapshot.policy.times.horizon_ms());
        self.known(&ask)?;
        let state = self.state(&ask);
        let admitted = order(validated, &state).inspect_err(|why| self.set_aside(&ask, why))?;
        self.events.entry(ask.identity).or_insert_with(|| Event::new(&ask, false));
        self.handle(&admitted, &ask, step.handler).inspect_err(|why| self.set_aside(&ask, why))
    }

    /// Below `enforce`: the observer is always done.
    fn observe(
        &mut self,
        delivery: &Delivery,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Verdict, Refusal> {
        let assessed = assess(delivery, snapshot, &self.vector.reader, now)?;
        let ask = assessed.claim(snapshot.policy.times.horizon_ms(), now);
        self.known(&ask)?;
        let mut state = self.state(&ask);
        let producer = (ask.stream.clone(), ask.producer.clone());
        state.latched = self.latched.contains(&producer);
        if ask.standing.is_signed() {
            self.latched.insert(producer);
        }
        order_unproven(assessed, &state)?;
        let event = self.events.entry(ask.identity).or_insert_with(|| Event::new(&ask, false));
        event.done = true;
        Ok(Verdict::Ok)
    }

    fn known(&self, ask: &ClaimRequest) -> Result<(), Refusal> {
        let Some(event) = self.events.get(&ask.identity) else { return Ok(()) };
        let refuse = |reason| Err(Refusal::new(reason, format!("seen at {}", event.ask.position)));
        let same_copy = event.ask.message_id == ask.message_id;
        let same_place = event.ask.position == ask.position;
        match event {
            _ if event.ask.content != ask.content => refuse(Reason::Equivocation),
            _ if event.done && same_copy && !same_place => refuse(Reason::Replay),
            _ if event.done => refuse(Reason::Duplicate),
            _ if event.attempts >= self.attempts_max() => refuse(Reason::Attempts),
            _ => Ok(()),
        }
    }

    fn state(&self, ask: &ClaimRequest) -> KeyState {
        let key = ask.key.clone().map(|key| (ask.stream.clone(), key));
        let earlier = |event: &Event| {
            event.aside
                && event.ask.stream == ask.stream
                && event.ask.key == ask.key
                && event.ask.version < ask.version
        };
        KeyState {
            outstanding: self.events.contains_key(&ask.identity),
            head: key.and_then(|key| self.heads.get(&key)).copied(),
            behind: ask.ordered && self.events.values().any(earlier),
            latched: false,
        }
    }

    // Coming late must not make a message known, or its second copy would run.
    fn set_aside(&mut self, ask: &ClaimRequest, why: &Refusal) {
        let kept = matches!(why.reason.disposition(), Disposition::Park | Disposition::Hold);
        if kept && why.reason != Reason::LatePublish {
            let event = self.events.entry(ask.identity);
            event.or_insert_with(|| Event::new(ask, true)).aside = true;
        }
    }

    fn handle(
        &mut self,
        admitted: &Admitted,
        ask: &ClaimRequest,
        handler: Action,
    ) -> Result<Verdict, Refusal> {
        self.read(admitted)?;
        let attempts_max = self.attempts_max();
        let Some(event) = self.events.get_mut(&ask.identity) else { return Ok(Verdict::Retry) };
        match handler {
            Action::Park => return Err(Refusal::new(Reason::HandlerRefused, "asked to")),
            Action::Retry => {
                event.attempts += 1;
                let last = event.attempts >= attempts_max;
                let why = Refusal::new(Reason::Attempts, format!("{attempts_max} attempts"));
                return if last { Err(why) } else { Ok(Verdict::Retry) };
            }
            Action::Done => (event.done, event.aside) = (true, false),
        }
        if let (Some(key), Some(version)) = (ask.key.clone(), ask.version) {
            let mut message = [0; 16];
            message.copy_from_slice(ask.message_id.split_at(16).0);
            let term = admitted.header().ep.unwrap_or(0);
            self.heads
                .insert((ask.stream.clone(), key), Head { version, message: Some(message), term });
        }
        Ok(Verdict::Ok)
    }

    fn read(&self, admitted: &Admitted) -> Result<(), Refusal> {
        let Some(reads) = &self.vector.reads else { return Ok(()) };
        let payload = admitted.clone().read::<BTreeMap<String, serde_json::Value>>()?;
        let member = payload.value().get(&reads.member).and_then(serde_json::Value::as_u64);
        if member.is_some_and(|number| u8::try_from(number).is_ok()) {
            return Ok(());
        }
        admitted.clone().read::<u8>().map(drop)
    }

    fn attempts_max(&self) -> u32 {
        self.vector.attempts_max.unwrap_or(3)
    }
}

impl Event {
    fn new(ask: &ClaimRequest, aside: bool) -> Event {
        Event { ask: ask.clone(), done: false, aside, attempts: 0 }
    }
}

fn refused(reason: Reason, detail: &str) -> Verdict {
    Verdict::Refused(Refusal::new(reason, detail))
}
