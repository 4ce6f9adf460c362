// SPDX-License-Identifier: MIT OR Apache-2.0
//! The language-neutral vectors against the real ledgers: each script of deliveries through
//! `receive`, each outcome compared with what the vector expects and with what is kept.

use std::fmt::Debug;
use std::time::Duration;

use chancery::core::policy::Rung;
use chancery::core::record::Decider;
use chancery::core::{Delivery, Disposition, Reason, Snapshot, Timestamp};
use chancery::ports::{Ledger, Unit};
use chancery::receive::{Receiver, Settle, Settled, receive, receive_unproven};
use chancery::{Admitted, Handler, Observer, Outcome, Signals, Unproven};
use chancery_stores::sqlite::{Database, KeptEntry, KeptFilter, Leased, Limits, Transactional};
use chancery_testkit::vectors::{self, Action, Delivered, Expect, Snapshots, Vector};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[tokio::test(flavor = "multi_thread")]
async fn every_vector_holds_for_the_transactional_ledger() {
    play_all(|database| Transactional::new(database).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vector_holds_for_the_leased_ledger() {
    play_all(|database| Leased::new(database).unwrap()).await;
}

async fn play_all<L: Ledger>(ledger: impl Fn(&Database) -> L) {
    let folder = vectors::folder();
    let snapshots = Snapshots::load(&folder).unwrap();
    let (mut wrong, mut scripts) = (Vec::new(), 0);
    for vector in vectors::all(&folder).unwrap() {
        scripts += usize::from(vector.steps.len() > 1);
        let place = Place::new(&vector, &snapshots);
        let ledger = ledger(&place.database);
        match &vector.reads {
            None => place.play::<Anything, L>(&ledger, &mut wrong).await,
            Some(reads) => {
                assert_eq!(reads.member, "quantity", "{}", vector.name);
                place.play::<Quantity, L>(&ledger, &mut wrong).await;
            }
        }
    }
    assert!(scripts > 20, "{scripts} scripts");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A handler's type that every payload fits.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "serde::de::IgnoredAny")]
struct Anything;

impl From<serde::de::IgnoredAny> for Anything {
    fn from(_: serde::de::IgnoredAny) -> Anything {
        Anything
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Quantity {
    #[serde(rename = "quantity")]
    _quantity: u8,
}

struct Does(Action);

impl<E: Send + Sync, T: Send> Handler<E, T> for Does {
    async fn handle(&self, _: &Admitted<E>, _: &mut T) -> Outcome {
        match self.0 {
            Action::Done => Outcome::Done,
            Action::Retry => Outcome::Retry("told to".into()),
            Action::Park => Outcome::Park("told to".into()),
        }
    }
}

impl<T: Send> Observer<T> for Does {
    async fn observe(&self, _: &Unproven, _: &mut T) -> Outcome {
        Outcome::Done
    }
}

/// One group with an empty ledger.
struct Place<'v> {
    vector: &'v Vector,
    snapshots: &'v Snapshots,
    database: Database,
    attempts_max: u32,
    _dir: tempfile::TempDir,
}

impl<'v> Place<'v> {
    fn new(vector: &'v Vector, snapshots: &'v Snapshots) -> Place<'v> {
        let dir = tempfile::tempdir().unwrap();
        let attempts_max = vector.attempts_max.unwrap_or(3);
        let hold_ms_max = snapshots.get(&vector.snapshot).unwrap().policy.times.keep_ms;
        // Room for one message above the format's limit; by default it is left with the broker.
        let stranger_bytes_max = 64 << 20;
        let limits = Limits { attempts_max, hold_ms_max, stranger_bytes_max, ..Limits::default() };
        let database = Database::open_with(dir.path().join("service.db"), limits).unwrap();
        Place { vector, snapshots, database, attempts_max, _dir: dir }
    }

    async fn play<E, L>(&self, ledger: &L, wrong: &mut Vec<String>)
    where
        E: DeserializeOwned + Send + Sync + 'static,
        L: Ledger,
        Does: Handler<E, <L::Unit as Unit>::Lent> + Observer<<L::Unit as Unit>::Lent>,
    {
        for (at, step) in self.vector.steps.iter().enumerate() {
            let snapshot = step.snapshot.as_ref().unwrap_or(&self.vector.snapshot);
            let snapshot = self.snapshots.get(snapshot).unwrap();
            let delivery = match &step.message {
                Ok(delivery) => (**delivery).clone(),
                Err(earlier) => self.take_again(ledger, *earlier, step.now).await,
            };
            let settle = self.receive::<E, L>(ledger, &delivery, step, snapshot).await;
            let (outcome, kept) = (word(settle), self.kept(&delivery));
            if let Some(what) = differs(step, outcome, kept.as_ref()) {
                wrong.push(format!("{} [{}]: {what}", self.vector.name, at + 1));
            }
        }
    }

    async fn receive<E, L>(
        &self,
        ledger: &L,
        delivery: &Delivery,
        step: &Delivered,
        snapshot: &Snapshot,
    ) -> Settle
    where
        E: DeserializeOwned + Send + Sync + 'static,
        L: Ledger,
        Does: Handler<E, <L::Unit as Unit>::Lent> + Observer<<L::Unit as Unit>::Lent>,
    {
        let reader = &self.vector.reader;
        let decider = Decider {
            group: reader.group.clone(),
            service: reader.service.clone(),
            build: "test".into(),
        };
        let with = Receiver {
            ledger,
            handler: &Does(step.handler),
            reader,
            decider: &decider,
            signals: &Signals::default(),
            attempts_max: self.attempts_max,
            handler_timeout: Duration::from_secs(20),
        };
        let rules = snapshot.policy.streams.get(&delivery.stream);
        if rules.is_some_and(|rules| rules.rung < Rung::Enforce) {
            return receive_unproven(delivery, snapshot, &with, step.now).await.unwrap();
        }
        receive::<E, L, Does>(delivery, snapshot, &with, step.now).await.unwrap()
    }

    /// What a consumer that starts would judge again; an operator has to release the rest first,
    /// but for what only waits for its turn.
    async fn take_again<L: Ledger>(&self, ledger: &L, earlier: usize, now: Timestamp) -> Delivery {
        let delivery = self.vector.steps[earlier - 1].message.as_ref().unwrap();
        let kept = self.kept(delivery).unwrap();
        let waits = kept.disposition == "hold"
            || [Reason::Gap.code(), Reason::BehindParked.code()].contains(&&*kept.reason);
        if !waits {
            assert!(self.database.kept().release(kept.row, "somebody", now).unwrap());
        }
        let group = &self.vector.reader.group;
        let again = ledger.to_judge_again(group, &delivery.stream, &[0; 32], i64::MIN, 64).await;
        let found = again.unwrap().into_iter().find(|again| again.row == kept.row);
        found.expect("it is not judged again").delivery
    }

    fn kept(&self, delivery: &Delivery) -> Option<KeptEntry> {
        let store = self.database.kept();
        store.list(&KeptFilter::default()).unwrap().into_iter().find(|entry| {
            let (_, kept) = store.show(entry.row).unwrap().unwrap();
            (&kept.stream, &kept.fields, &kept.key, &kept.body)
                == (&delivery.stream, &delivery.fields, &delivery.key, &delivery.body)
        })
    }
}

fn word(settle: Settle) -> Result<&'static str, Reason> {
    match settle {
        Settle::Acknowledge(Settled::Done) => Ok("ok"),
        Settle::GiveBack(_) => Ok("retry"),
        Settle::Leave => Ok("left with the broker"),
        Settle::Acknowledge(Settled::Refused(reason)) => Err(reason),
    }
}

/// What is not as expected: the outcome, its step, or what is kept of the message.
fn differs(
    step: &Delivered,
    outcome: Result<&'static str, Reason>,
    kept: Option<&KeptEntry>,
) -> Option<String> {
    let about = kept.map(|entry| (&*entry.reason, &*entry.disposition));
    let right = match (&step.expect, outcome) {
        (Expect::Ok | Expect::Retry, Ok(word)) => {
            let set_aside = about.filter(|(_, disposition)| *disposition != "quarantine");
            word == step.expect.word() && set_aside.is_none()
        }
        // That a hold is over is said of the kept message; the path itself ends as it did before.
        (Expect::Refused(code), Err(reason)) if *code == Reason::HoldExpired.code() => {
            reason.disposition() == Disposition::Hold && about == Some((code, "park"))
        }
        (Expect::Refused(code), Err(reason)) => {
            let disposition = reason.disposition();
            let kept = (disposition != Disposition::Skip).then(|| (&**code, disposition.word()));
            reason.code() == code && step.step == Some(reason.step().to_string()) && about == kept
        }
        _ => false,
    };
    let expected = step.expect.word();
    (!right).then(|| format!("expected {expected}, got {outcome:?}, kept {about:?}"))
}
