// SPDX-License-Identifier: MIT OR Apache-2.0
//! Below `enforce`: what nobody signed runs apart from what somebody did, until its producer signs.

use std::time::Duration;

use bytes::Bytes;
use chancery::receive::{Receiver, Settle, Settled, receive_unproven};
use chancery::{ConsumeError, Consumer, Fault, Ledger, Observer, Outcome, Signals, Unit, Unproven};
use chancery_core::keys::Secret;
use chancery_core::{Delivery, Reason, Snapshot, Timestamp};
use chancery_stores::sqlite::{Database, Lease, Leased, Limits, Transactional, Tx};

use super::world::{
    Effect, GROUP, MOVES, NOW, ORDERS, World, decider, draft, moved, order, reader, run, run_at,
    signed, snapshot, sources,
};

/// The shop's policy with all of its streams on this rung.
fn below(rung: &str) -> Snapshot {
    let mut sources = sources(2);
    let rules = format!("owner: shop, rung: {rung}, unsigned: [shop],");
    sources.policy = sources.policy.replace("owner: shop,", &rules);
    Snapshot::build(&sources).unwrap()
}

/// The message as a producer sends it that does not sign yet, or as anyone forges it.
fn unsigned(delivery: &Delivery) -> Delivery {
    Delivery { fields: Vec::new(), ..delivery.clone() }
}

/// Its header as it was signed, and a signature of nobody's.
fn by_a_stranger(delivery: &Delivery) -> Delivery {
    let mut forged = delivery.clone();
    let stranger = Secret::ed25519(&[66; 32]);
    let block = format!("1;{}:{}", stranger.kid(), "A".repeat(86));
    forged.fields.iter_mut().find(|field| field.name == "chancery-sig").unwrap().value =
        Bytes::from(block);
    forged
}

struct Seen(Outcome);

impl Observer<Tx> for Seen {
    async fn observe(&self, event: &Unproven, tx: &mut Tx) -> Outcome {
        tx.execute("INSERT INTO effect (event) VALUES (?1)", [event.claimed_id()]).unwrap();
        self.0.clone()
    }
}

impl Observer<Lease> for Seen {
    async fn observe(&self, _: &Unproven, _: &mut Lease) -> Outcome {
        self.0.clone()
    }
}

async fn observe<L>(
    ledger: &L,
    outcome: Outcome,
    delivery: &Delivery,
    by: &Snapshot,
) -> Result<Settle, Fault>
where
    L: Ledger,
    Seen: Observer<<L::Unit as Unit>::Lent>,
{
    observe_at(ledger, outcome, delivery, by, NOW, &Signals::default()).await
}

async fn observe_at<L>(
    ledger: &L,
    outcome: Outcome,
    delivery: &Delivery,
    by: &Snapshot,
    now: Timestamp,
    signals: &Signals,
) -> Result<Settle, Fault>
where
    L: Ledger,
    Seen: Observer<<L::Unit as Unit>::Lent>,
{
    let with = Receiver {
        ledger,
        handler: &Seen(outcome),
        reader: &reader(),
        decider: &decider(),
        signals,
        attempts_max: 5,
        handler_timeout: Duration::from_secs(20),
    };
    receive_unproven(delivery, by, &with, now).await
}

const DONE: Settle = Settle::Acknowledge(Settled::Done);

fn refused(reason: Reason) -> Settle {
    Settle::Acknowledge(Settled::Refused(reason))
}

async fn latch<L>(ledger: &L, database: &Database)
where
    L: Ledger,
    Seen: Observer<<L::Unit as Unit>::Lent>,
{
    let by = below("observe");
    let observe = |delivery: Delivery| {
        let by = &by;
        async move { observe(ledger, Outcome::Done, &delivery, by).await.unwrap() }
    };
    assert_eq!(observe(unsigned(&order(1))).await, DONE);
    assert_eq!(observe(by_a_stranger(&order(2))).await, DONE);
    assert_eq!(observe(order(3)).await, DONE);
    assert_eq!(observe(unsigned(&order(4))).await, refused(Reason::SignatureStripped));
    assert_eq!(observe(by_a_stranger(&order(5))).await, refused(Reason::UnknownKey));
    // Of this stream only.
    assert_eq!(observe(unsigned(&moved("k", 1))).await, DONE);
    let kept = database.stats().unwrap().kept;
    assert_eq!(kept.values().sum::<u64>(), 2, "{kept:?}");
}

/// Threat: taking the signature away while the stream climbs.
#[tokio::test]
async fn once_a_producer_signs_its_unsigned_messages_are_refused_also_after_a_restart() {
    let world = World::new();
    {
        let database = world.open();
        latch(&Transactional::new(&database).unwrap(), &database).await;
    }
    let ledger = Transactional::new(&world.open()).unwrap();
    for rung in ["mark", "observe"] {
        let settle = observe(&ledger, Outcome::Done, &unsigned(&order(6)), &below(rung)).await;
        assert_eq!(settle.unwrap(), refused(Reason::SignatureStripped));
    }
    assert_eq!(world.effects(), 4);
}

#[tokio::test]
async fn a_leased_ledger_latches_too() {
    let world = World::new();
    let database = world.open();
    latch(&Leased::new(&database).unwrap(), &database).await;
}

/// A stream that was enforced knows its producers when it is let down.
#[tokio::test]
async fn the_latch_is_set_under_enforce_and_by_what_fails() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let retry = Outcome::Retry("not now".into());
    run(&ledger, &Effect(retry), &order(1)).await.unwrap();
    let settle = observe(&ledger, Outcome::Done, &unsigned(&order(2)), &below("mark")).await;
    assert_eq!(settle.unwrap(), refused(Reason::SignatureStripped));
}

/// Threat: a message signed for another stream, or by another's key, latches a producer out.
#[tokio::test]
async fn nobody_else_can_set_the_latch() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let by = below("observe");
    let mut elsewhere = moved("k", 1);
    elsewhere.stream = ORDERS.into();
    observe(&ledger, Outcome::Done, &elsewhere, &by).await.unwrap();
    observe(&ledger, Outcome::Done, &by_a_stranger(&order(1)), &by).await.unwrap();
    observe(&ledger, Outcome::Done, &unsigned(&order(2)), &by).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM chancery_latch"), 0);
    let settle = observe(&ledger, Outcome::Done, &unsigned(&order(3)), &by).await;
    assert_eq!(settle.unwrap(), DONE);
}

/// Threat (invariant 6): whatever a stranger sends first, the authentic message runs once.
#[tokio::test]
async fn a_forgery_changes_nothing_for_the_authentic_message() {
    let by = below("observe");
    let ends = [
        Outcome::Done,
        Outcome::Retry("x".into()),
        Outcome::Park("x".into()),
        Outcome::DoneWith("x".into()),
    ];
    for end in ends {
        let world = World::new();
        let ledger = Transactional::new(&world.open()).unwrap();
        let authentic = moved("k", 1);
        for forged in [unsigned(&authentic), by_a_stranger(&authentic)] {
            for _ in 0..6 {
                observe(&ledger, end.clone(), &forged, &by).await.unwrap();
            }
            let mut other = forged.clone();
            let body = String::from_utf8(other.body.unwrap().to_vec()).unwrap();
            let body = body.replace(r#"{"order":"k"}"#, r#"{"order":"k","x":"y"}"#);
            other.body = Some(body.into());
            observe(&ledger, end.clone(), &other, &by).await.unwrap();
        }
        assert_eq!(world.count("SELECT count(*) FROM chancery_key"), 0);
        let settle = observe(&ledger, Outcome::Done, &authentic, &by).await.unwrap();
        assert_eq!(settle, DONE, "{end:?}");
        // Nor once the stream is enforced.
        let settle = run(&ledger, &Effect(Outcome::Done), &moved("k", 2)).await.unwrap();
        assert_eq!(settle, DONE, "{end:?}");
        let settle = run(&ledger, &Effect(Outcome::Done), &authentic).await.unwrap();
        assert_eq!(settle, refused(Reason::Duplicate), "{end:?}");
    }
}

/// Threat (invariant 6): an authentic message that is parked, and a forgery with its header.
#[tokio::test]
async fn a_forgery_does_not_touch_a_kept_message() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let (by, authentic) = (below("observe"), order(1));
    // Kept before the latch could be set by it: parked for its handler's type.
    let parked = observe(&ledger, Outcome::Park("x".into()), &authentic, &by).await.unwrap();
    assert_eq!(parked, refused(Reason::HandlerRefused));
    let sql = world.open().connection().unwrap();
    sql.execute("DELETE FROM chancery_latch", []).unwrap();
    let before = world.count("SELECT count(*) FROM chancery_kept WHERE disposition = 'park'");
    for end in [Outcome::Done, Outcome::Park("y".into())] {
        observe(&ledger, end.clone(), &by_a_stranger(&authentic), &by).await.unwrap();
        observe(&ledger, end, &unsigned(&authentic), &by).await.unwrap();
    }
    let still = "SELECT count(*) FROM chancery_kept WHERE verified = 1 AND detail = 'x'";
    assert_eq!((before, world.count(still)), (1, 1));
}

/// Threat: what `enforce` would refuse moves a key past what it would admit.
#[tokio::test]
async fn only_a_sound_message_moves_a_key() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let by = below("observe");
    let late = |version: u64| {
        let mut late = moved("k", version);
        late.appended = chancery_core::AppendTime::Broker(Timestamp(NOW.0 - 3_600_000));
        late
    };
    // Signed in the broker's future: found, run, and nothing for the key.
    assert_eq!(observe(&ledger, Outcome::Done, &late(9), &by).await.unwrap(), DONE);
    assert_eq!(world.count("SELECT count(*) FROM chancery_key"), 0);
    assert_eq!(observe(&ledger, Outcome::Done, &moved("k", 1), &by).await.unwrap(), DONE);
    // Its handler failed; it holds back nobody who is sound.
    let park = Outcome::Park("x".into());
    observe(&ledger, park, &late(2), &by).await.unwrap();
    assert_eq!(observe(&ledger, Outcome::Done, &moved("k", 3), &by).await.unwrap(), DONE);
    // The order itself is never laddered.
    let stale = observe(&ledger, Outcome::Done, &late(1), &by).await.unwrap();
    assert_ne!(stale, DONE);
    let again = super::world::moved_as("another-move-2", "k", 2);
    let stale = observe(&ledger, Outcome::Done, &again, &by).await.unwrap();
    assert_eq!(stale, refused(Reason::StaleVersion));
    let fork = super::world::moved_as("another-move-3", "k", 3);
    let fork = observe(&ledger, Outcome::Done, &fork, &by).await.unwrap();
    assert_eq!(fork, refused(Reason::Fork));
}

/// Threat: replay and equivocation, which climb no ladder.
#[tokio::test]
async fn what_nobody_signed_runs_once_too() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let by = below("mark");
    for delivery in [unsigned(&order(1)), order(2)] {
        assert_eq!(observe(&ledger, Outcome::Done, &delivery, &by).await.unwrap(), DONE);
        let again = observe(&ledger, Outcome::Done, &delivery, &by).await.unwrap();
        assert_eq!(again, refused(Reason::Duplicate));
        let copy = Delivery { position: "orders.created/999".into(), ..delivery };
        let again = observe(&ledger, Outcome::Done, &copy, &by).await.unwrap();
        assert_eq!(again, refused(Reason::Replay));
    }
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let other =
        signed(&draft(ORDERS, "order-000001", r#"{"item":"bag"}"#), &super::world::shop(), NOW);
    observe(&ledger, Outcome::Done, &unsigned(&order(1)), &by).await.unwrap();
    let other = observe(&ledger, Outcome::Done, &unsigned(&other), &by).await.unwrap();
    assert_eq!(other, refused(Reason::Equivocation));
    assert_eq!(world.effects(), 1);
}

/// Threat: strangers fill the quota of the producer that they claim.
#[tokio::test]
async fn a_flood_of_claims_fills_only_strangers_room() {
    let world = World::new();
    let limits = Limits { stranger_rows_max: 3, ..Limits::default() };
    let ledger = Transactional::new(&world.open_with(limits)).unwrap();
    let by = below("observe");
    let park = || Outcome::Park("x".into());
    for number in 0..3 {
        observe(&ledger, park(), &unsigned(&order(number)), &by).await.unwrap();
    }
    let full = observe(&ledger, park(), &unsigned(&order(7)), &by).await.unwrap();
    assert_eq!(full, Settle::Leave);
    let authentic = observe(&ledger, park(), &order(8), &by).await.unwrap();
    assert_eq!(authentic, refused(Reason::HandlerRefused));
    assert_eq!(world.count("SELECT count(*) FROM chancery_kept WHERE producer IS NOT NULL"), 1);
}

#[tokio::test]
async fn findings_are_counted_with_what_ran_and_only_then() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let (by, signals) = (below("mark"), Signals::default());
    let mut misfit = unsigned(&order(1));
    misfit.key = Some(Bytes::from_static(b"key"));
    for (outcome, now) in [(Outcome::Retry("x".into()), NOW), (Outcome::Done, NOW + 100)] {
        observe_at(&ledger, outcome, &misfit, &by, now, &signals).await.unwrap();
    }
    for delivery in [unsigned(&order(2)), order(3)] {
        observe_at(&ledger, Outcome::Done, &delivery, &by, NOW, &signals).await.unwrap();
    }
    let stats = database.stats().unwrap();
    let found = &stats.findings[&(GROUP.to_owned(), ORDERS.to_owned())];
    assert_eq!((found.ran, found.would_refuse), (3, 2));
    assert_eq!(found.reasons[&Reason::Unsigned], (2, NOW + 100));
    assert_eq!(found.reasons[&Reason::KeyMismatch].0, 1);
    assert_eq!(found.reasons.len(), 2);
    let exposition = signals.exposition();
    let series = "chancery_findings_total{stream=\"orders.created\",reason=\"E201_UNSIGNED\"} 2";
    assert!(exposition.contains(series), "{exposition}");
    let records = world.records();
    let told = records[0].unproven.clone().unwrap();
    assert_eq!((told.rung.as_str(), told.verified), ("mark", false));
    assert_eq!(told.findings, ["E201_UNSIGNED", "E515_KEY_MISMATCH"]);
    let sound = records.last().unwrap().unproven.clone().unwrap();
    assert_eq!((sound.verified, sound.findings.len()), (true, 0));
    // Under enforce the member is not there.
    run_at(&ledger, &Effect(Outcome::Done), &moved("k", 1), &snapshot(2), NOW).await.unwrap();
    assert!(world.records().last().unwrap().unproven.is_none());
    assert!(!stats.findings.contains_key(&(GROUP.to_owned(), MOVES.to_owned())));
}

/// A broker that nobody may ask.
struct Untouched;

impl chancery::Source for Untouched {
    type Receipt = ();

    async fn receive(&mut self, _: usize, _: Duration) -> Result<Vec<(Delivery, ())>, Fault> {
        panic!("asked for a message")
    }

    async fn acknowledge(&mut self, _: Vec<()>) -> Result<(), Fault> {
        panic!("acknowledged")
    }

    async fn pass_over(&mut self, _: Vec<((), Duration)>) -> Result<(), Fault> {
        panic!("passed over")
    }

    async fn give_back(&mut self, (): (), _: Duration) -> Result<(), Fault> {
        panic!("gave back")
    }
}

/// Threat: a handler of proven events on a stream below `enforce`.
#[tokio::test]
async fn each_entry_refuses_the_others_rung_before_the_first_message() {
    let world = World::new();
    let database = world.open();
    let consumer = |by: Snapshot| {
        let ledger = Transactional::new(&database).unwrap();
        let snapshots = chancery::Snapshots::new(by);
        let clock = std::sync::Arc::new(Still);
        Consumer::new(Untouched, ledger, snapshots, ORDERS, reader()).unwrap().clock(clock)
    };
    for rung in ["observe", "mark"] {
        let ended = consumer(below(rung)).run(&Effect(Outcome::Done), std::future::pending()).await;
        let Err(ConsumeError::Misuse(misuse)) = ended else { panic!("{ended:?}") };
        assert!(misuse.fix.contains("run_unproven"), "{misuse}");
    }
    let mut enforced = consumer(snapshot(2));
    let ended = enforced.run_unproven(&Seen(Outcome::Done), std::future::pending()).await;
    let Err(ConsumeError::Misuse(misuse)) = ended else { panic!("{ended:?}") };
    assert!(misuse.to_string().contains("consume the stream by `run`"), "{misuse}");
}

struct Still;

impl chancery::Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Threat: a held message that ran meanwhile is judged again for ever, a record each time.
#[tokio::test]
async fn a_held_message_that_ran_unproven_is_held_no_longer() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let held = by_a_stranger(&order(1));
    let settle = run(&ledger, &Effect(Outcome::Done), &held).await.unwrap();
    assert_eq!(settle, refused(Reason::UnknownKey));
    let by = below("observe");
    for expected in [DONE, refused(Reason::Duplicate)] {
        let again = ledger.to_judge_again(GROUP, ORDERS, &[0; 32], i64::MIN, 9).await.unwrap();
        let settle = observe(&ledger, Outcome::Done, &again[0].delivery, &by).await;
        assert_eq!(settle.unwrap(), expected);
    }
    assert!(ledger.to_judge_again(GROUP, ORDERS, &[0; 32], i64::MIN, 9).await.unwrap().is_empty());
    assert_eq!(world.effects(), 1);
}
