// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is set aside stays whole, holds back what must wait for it, and comes back.

use chancery::ports::Ledger;
use chancery::receive::{Settle, Settled};
use chancery::{Outcome, Reason};
use chancery_core::record::RecordKind;
use chancery_core::snapshot::BundleMark;
use chancery_core::time::{DAY_MS, MINUTE_MS};
use chancery_core::{AppendTime, Field, Snapshot, Timestamp};
use chancery_stores::sqlite::{KeptFilter, Limits, SkipKey, Skipped, Transactional};

use super::world::{
    self, Effect, GROUP, MOVES, NOW, ORDERS, World, draft, moved, moved_as, newcomer, order, run,
    run_at, run_later, signed, snapshot,
};

pub(super) const DONE: Settle = Settle::Acknowledge(Settled::Done);
pub(super) const OK: Effect = Effect(Outcome::Done);

pub(super) fn refused(reason: Reason) -> Result<Settle, chancery::Fault> {
    Ok(Settle::Acknowledge(Settled::Refused(reason)))
}

/// Judges kept messages again as a consumer does; gives how many were done.
pub(super) async fn judge_again(
    ledger: &Transactional,
    stream: &str,
    snapshot: &Snapshot,
) -> usize {
    let (mut done, mut after) = (0, i64::MIN);
    loop {
        let again =
            ledger.to_judge_again(GROUP, stream, &snapshot.digest, after, 64).await.unwrap();
        let Some(last) = again.last() else { return done };
        after = last.row;
        for kept in again {
            if run_at(ledger, &OK, &kept.delivery, snapshot, NOW).await.unwrap() == DONE {
                (done, after) = (done + 1, i64::MIN);
            }
        }
    }
}

#[tokio::test]
async fn held_runs_once_the_key_is_known_and_comes_whole() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let mut delivery = signed(&draft(ORDERS, "order-000001", "{}"), &newcomer(), NOW);
    delivery.fields.push(Field::new("x-any", &b"\x00\xff"[..]));
    let old = snapshot(1);
    assert_eq!(run_at(&ledger, &OK, &delivery, &old, NOW).await, refused(Reason::UnknownKey));
    assert!(
        ledger.to_judge_again(GROUP, ORDERS, &old.digest, i64::MIN, 9).await.unwrap().is_empty()
    );
    let again = ledger.to_judge_again(GROUP, ORDERS, &[0; 32], i64::MIN, 9).await.unwrap();
    assert_eq!(again[0].delivery, delivery);
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 1);
    assert_eq!(world.effects(), 1);
    assert!(database.kept().list(&KeptFilter::default()).unwrap().is_empty());
    assert_eq!(world.count("SELECT count(*) FROM chancery_quota"), 0);
}

#[tokio::test]
async fn held_and_refused_again_is_not_judged_for_ever() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let stranger = chancery_core::keys::Secret::ed25519(&[66; 32]);
    let delivery = signed(&draft(ORDERS, "order-000001", "{}"), &stranger, NOW);
    assert_eq!(
        run_at(&ledger, &OK, &delivery, &snapshot(1), NOW).await,
        refused(Reason::UnknownKey)
    );
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 0);
    let left = ledger.to_judge_again(GROUP, ORDERS, &snapshot(2).digest, i64::MIN, 9).await;
    assert!(left.unwrap().is_empty());
}

// Retry topics and redrives stamp a new append time; a message is judged at its first.
#[tokio::test]
async fn the_first_append_time_stays() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let delivery = signed(&draft(ORDERS, "order-000001", "{}"), &newcomer(), NOW);
    let mut redriven = delivery.clone();
    redriven.appended = AppendTime::Broker(NOW + DAY_MS);
    redriven.position = "orders.created/redriven".into();
    for copy in [&delivery, &redriven] {
        run_at(&ledger, &OK, copy, &snapshot(1), NOW).await.unwrap();
    }
    // The late copy is parked on its own account and does not touch the held one.
    assert_eq!(
        run_at(&ledger, &OK, &redriven, &snapshot(2), NOW + DAY_MS).await,
        refused(Reason::LatePublish)
    );
    let kept = database.kept().list(&KeptFilter::default()).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].appended, &*kept[0].reason), (delivery.appended, "E202_UNKNOWN_KEY"));
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 1);
}

// A late copy is refused however often it comes; only an operator lets it run.
#[tokio::test]
async fn late_is_late_each_time_until_an_operator_releases_it() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let mut late = order(1);
    late.appended = AppendTime::Broker(NOW + DAY_MS);
    for _ in 0..3 {
        let settle = run_at(&ledger, &OK, &late, &snapshot(2), NOW + DAY_MS).await;
        assert_eq!(settle, refused(Reason::LatePublish));
    }
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 0);
    let row = database.kept().list(&KeptFilter::default()).unwrap()[0].row;
    assert_eq!(database.kept().release(row, "ann", NOW), Ok(true));
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 1);
    let records = world.records();
    let release = records.iter().find(|record| record.kind == RecordKind::Release).unwrap();
    assert_eq!(release.operator.as_deref(), Some("ann"));
    assert_eq!(database.kept().release(row, "ann", NOW), Ok(false));
}

#[tokio::test]
async fn parked_runs_when_it_is_driven_again() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let delivery = order(1);
    let park = Effect(Outcome::Park("ask Bob".into()));
    assert_eq!(run(&ledger, &park, &delivery).await, refused(Reason::HandlerRefused));
    assert_eq!(world.effects(), 0);
    let mut redriven = delivery.clone();
    redriven.position = "orders.created/again".into();
    redriven.appended = AppendTime::Broker(NOW + DAY_MS);
    let at = NOW + DAY_MS;
    assert_eq!(run_at(&ledger, &OK, &redriven, &snapshot(2), at).await, Ok(DONE));
    assert_eq!(world.effects(), 1);
    assert_eq!(world.count("SELECT count(*) FROM chancery_kept"), 0);
}

#[tokio::test]
async fn exhausted_runs_again_only_after_a_release() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let retry = Effect(Outcome::Retry("busy".into()));
    for minute in 0..4 {
        let settle = run_later(&ledger, &retry, &order(1), minute).await;
        assert!(matches!(settle, Ok(Settle::GiveBack(_))));
    }
    assert_eq!(run_later(&ledger, &retry, &order(1), 4).await, refused(Reason::Attempts));
    assert_eq!(run(&ledger, &OK, &order(1)).await, refused(Reason::Attempts));
    for kept in database.kept().list(&KeptFilter::default()).unwrap() {
        database.kept().release(kept.row, "ann", NOW).unwrap();
    }
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 1);
    assert_eq!(world.effects(), 1);
}

#[tokio::test]
async fn discarded_does_not_run_when_it_comes_again() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let delivery = order(1);
    run(&ledger, &Effect(Outcome::Park("no".into())), &delivery).await.unwrap();
    let row = database.kept().list(&KeptFilter::default()).unwrap()[0].row;
    assert_eq!(database.kept().discard(row, "ann", NOW), Ok(true));
    assert_eq!(run(&ledger, &OK, &delivery).await, refused(Reason::Duplicate));
    assert_eq!(world.effects(), 0);
    let records = world.records();
    assert_eq!(records[1].kind, RecordKind::Discard);
    // It was never done, and the record must not say so.
    let told = records[2].detail.clone().unwrap();
    assert!(told.contains("an operator gave it up"), "{told}");
}

// Anyone who can append can copy a signed header onto other bytes.
#[tokio::test]
async fn a_forged_copy_does_not_get_at_the_parked_message() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let delivery = order(1);
    run(&ledger, &Effect(Outcome::Park("no".into())), &delivery).await.unwrap();
    let mut other_body = delivery.clone();
    other_body.body = Some("{}".into());
    other_body.position = "orders.created/body".into();
    let mut other_key = delivery.clone();
    other_key.key = Some("k".into());
    other_key.position = "orders.created/key".into();
    assert_eq!(run(&ledger, &OK, &other_body).await, refused(Reason::BodyDigest));
    assert_eq!(run(&ledger, &OK, &other_key).await, refused(Reason::KeyMismatch));
    let kept = database.kept().list(&KeptFilter::default()).unwrap();
    assert_eq!(kept[0].reason, "E602_HANDLER_REFUSED");
    assert_eq!(database.kept().show(kept[0].row).unwrap().unwrap().1, delivery);
    assert_eq!(kept[1].reason, "E210_BODY_DIGEST");
    assert_eq!(kept.len(), 2);
    // Nor does the message's own end take the forgery away.
    assert_eq!(run(&ledger, &OK, &delivery).await, Ok(DONE));
    let left = database.kept().list(&KeptFilter::default()).unwrap();
    assert_eq!((left.len(), &*left[0].reason), (1, "E210_BODY_DIGEST"));
}

// A copy under a wrong record key that is kept first must not be what is kept of the message: it
// could never run.
#[tokio::test]
async fn a_forged_copy_that_came_first_does_not_stand_for_the_message() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let delivery = moved("a", 2);
    let mut forged = delivery.clone();
    forged.key = Some("b".into());
    forged.position = "orders.moved/forged".into();
    assert_eq!(run(&ledger, &OK, &forged).await, refused(Reason::KeyMismatch));
    assert_eq!(run(&ledger, &OK, &delivery).await, refused(Reason::Gap));
    let kept = database.kept().list(&KeptFilter::default()).unwrap();
    assert_eq!((kept.len(), &*kept[0].reason), (1, "E511_GAP"));
    assert_eq!(database.kept().show(kept[0].row).unwrap().unwrap().1, delivery);
    assert_eq!(run(&ledger, &OK, &moved("a", 1)).await, Ok(DONE));
    assert_eq!(judge_again(&ledger, MOVES, &snapshot(2)).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM chancery_kept"), 0);
    assert_eq!(world.count("SELECT count(*) FROM chancery_quota"), 0);
}

#[tokio::test]
async fn a_message_parked_here_is_not_touched_by_its_copy_on_another_stream() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let delivery = order(1);
    run(&ledger, &Effect(Outcome::Park("no".into())), &delivery).await.unwrap();
    let mut elsewhere = delivery.clone();
    elsewhere.stream = MOVES.into();
    assert_eq!(run(&ledger, &OK, &elsewhere).await, refused(Reason::WrongDestination));
    let kept = database.kept().list(&KeptFilter::default()).unwrap();
    assert_eq!((kept.len(), &*kept[0].reason), (2, "E602_HANDLER_REFUSED"));
}

#[tokio::test]
async fn the_same_id_with_other_content_is_quarantined_and_the_first_stands() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let first = order(1);
    let other = signed(&draft(ORDERS, "order-000001", r#"{"item":"coat"}"#), &world::shop(), NOW);
    let park = Effect(Outcome::Park("no".into()));
    assert_eq!(run(&ledger, &park, &first).await, refused(Reason::HandlerRefused));
    assert_eq!(run(&ledger, &OK, &other).await, refused(Reason::Equivocation));
    assert_eq!(run(&ledger, &OK, &first).await, Ok(DONE));
    assert_eq!(run(&ledger, &OK, &other).await, refused(Reason::Equivocation));
    let again =
        signed(&draft(ORDERS, "order-000001", r#"{"item":"hat"}"#), &world::shop(), NOW + 9);
    assert_eq!(run(&ledger, &OK, &again).await, refused(Reason::Duplicate));
    assert_eq!(world.effects(), 1);
    assert_eq!(database.kept().list(&KeptFilter::default()).unwrap().len(), 1);
}

#[tokio::test]
async fn a_gap_waits_and_drains_in_order() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    assert_eq!(run(&ledger, &OK, &moved("a", 1)).await, Ok(DONE));
    assert_eq!(run(&ledger, &OK, &moved("a", 3)).await, refused(Reason::Gap));
    assert_eq!(run(&ledger, &OK, &moved("a", 5)).await, refused(Reason::BehindParked));
    assert_eq!(run(&ledger, &OK, &moved("a", 4)).await, refused(Reason::BehindParked));
    assert_eq!(run(&ledger, &OK, &moved("b", 1)).await, Ok(DONE));
    assert_eq!(judge_again(&ledger, MOVES, &snapshot(2)).await, 0);
    assert_eq!(run(&ledger, &OK, &moved("a", 2)).await, Ok(DONE));
    assert_eq!(judge_again(&ledger, MOVES, &snapshot(2)).await, 3);
    let sql = rusqlite::Connection::open(world.path()).unwrap();
    let mut select = sql.prepare("SELECT event FROM effect ORDER BY rowid").unwrap();
    let order: Vec<String> =
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let a: Vec<&str> = order
        .iter()
        .filter(|id| id.contains("-a-"))
        .filter_map(|id| id.rsplit('0').next())
        .collect();
    assert_eq!(a, ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn fork_and_stale_versions_are_quarantined() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    for version in 1..=2 {
        assert_eq!(run(&ledger, &OK, &moved("a", version)).await, Ok(DONE));
    }
    assert_eq!(run(&ledger, &OK, &moved_as("move-other", "a", 2)).await, refused(Reason::Fork));
    assert_eq!(
        run(&ledger, &OK, &moved_as("move-oldest", "a", 1)).await,
        refused(Reason::StaleVersion)
    );
    assert_eq!(run(&ledger, &OK, &moved("a", 3)).await, Ok(DONE));
    assert_eq!(world.effects(), 3);
}

#[tokio::test]
async fn only_an_operator_gets_a_key_past_a_lost_version() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    assert_eq!(run(&ledger, &OK, &moved("a", 4)).await, refused(Reason::Gap));
    let key = SkipKey { group: GROUP, stream: MOVES, tenant: None, key: "a", version: 4 };
    let skip_to = |key: &SkipKey<'_>| database.kept().skip_to(key, "ann", NOW).unwrap();
    // A slip of the hand must not make honest messages stale.
    assert_eq!(skip_to(&SkipKey { version: 5, ..key }), Skipped::TooFar { highest: 4 });
    assert_eq!(skip_to(&SkipKey { key: "b", ..key }), Skipped::NothingWaits { last: 0 });
    assert_eq!(skip_to(&key), Skipped::GoesOn);
    assert_eq!(judge_again(&ledger, MOVES, &snapshot(2)).await, 1);
    assert_eq!(skip_to(&key), Skipped::Past { last: 4 });
    assert_eq!(skip_to(&SkipKey { version: 9, ..key }), Skipped::NothingWaits { last: 4 });
    assert_eq!(run(&ledger, &OK, &moved("a", 2)).await, refused(Reason::StaleVersion));
    assert!(world.records().iter().any(|record| record.operator.as_deref() == Some("ann")));
}

#[tokio::test]
async fn a_parked_version_holds_its_key_back_and_nothing_else() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let park = Effect(Outcome::Park("no".into()));
    assert_eq!(run(&ledger, &park, &moved("a", 1)).await, refused(Reason::HandlerRefused));
    assert_eq!(run(&ledger, &OK, &moved("a", 2)).await, refused(Reason::BehindParked));
    assert_eq!(judge_again(&ledger, MOVES, &snapshot(2)).await, 0);
    let row = database.kept().list(&KeptFilter::default()).unwrap()[0].row;
    database.kept().release(row, "ann", NOW).unwrap();
    assert_eq!(judge_again(&ledger, MOVES, &snapshot(2)).await, 2);
}

// What is parked below the head can never run; it must not hold its key back for ever.
#[tokio::test]
async fn a_version_that_was_skipped_holds_nothing_back() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let park = Effect(Outcome::Park("no".into()));
    assert_eq!(run(&ledger, &park, &moved("a", 1)).await, refused(Reason::HandlerRefused));
    let key = SkipKey { group: GROUP, stream: MOVES, tenant: None, key: "a", version: 2 };
    let too_far = SkipKey { version: 3, ..key };
    let skipped = database.kept().skip_to(&too_far, "ann", NOW);
    assert_eq!(skipped, Ok(Skipped::TooFar { highest: 2 }));
    assert_eq!(database.kept().skip_to(&key, "ann", NOW), Ok(Skipped::GoesOn));
    assert_eq!(run(&ledger, &OK, &moved("a", 2)).await, Ok(DONE));
    assert_eq!(run(&ledger, &OK, &moved("a", 3)).await, Ok(DONE));
}

#[tokio::test]
async fn a_flood_of_strangers_stops_no_honest_message() {
    let world = World::new();
    let limits = Limits {
        stranger_rows_max: 3,
        stranger_buckets_max: 2,
        stranger_records_max: 4,
        ..Limits::default()
    };
    let database = world.open_with(limits);
    let ledger = Transactional::new(&database).unwrap();
    let mut kept = 0;
    for number in 0..40u8 {
        // Each under a key of its own, to have a bucket of its own.
        let stranger = chancery_core::keys::Secret::ed25519(&[100 + number % 20; 32]);
        let id = format!("flood-{number:06}");
        let delivery = signed(&draft(ORDERS, &id, "{}"), &stranger, NOW);
        match run(&ledger, &OK, &delivery).await.unwrap() {
            Settle::Leave => {}
            Settle::Acknowledge(Settled::Refused(Reason::UnknownKey)) => kept += 1,
            other => panic!("{other:?}"),
        }
    }
    // Two buckets of two messages each (the same two keys come twice), one shared by all others.
    assert_eq!(kept, 7);
    let own = world.records().len();
    assert_eq!(own, 4);
    let park = Effect(Outcome::Park("no".into()));
    for number in 1..=10 {
        assert_eq!(run(&ledger, &park, &order(number)).await, refused(Reason::HandlerRefused));
    }
    assert_eq!(run(&ledger, &OK, &order(11)).await, Ok(DONE));
    database.housekeep(NOW + MINUTE_MS).unwrap();
    let records = world.records();
    let sum = records.last().unwrap();
    assert_eq!((sum.kind, sum.count), (RecordKind::Sum, Some(36)));
    assert_eq!(sum.reason.as_deref(), Some("E202_UNKNOWN_KEY"));
    let numbers: Vec<u64> = records.iter().map(|record| record.wseq).collect();
    assert_eq!(numbers, (1..=records.len() as u64).collect::<Vec<_>>());
}

// What was signed for another stream is authentic and still nobody's business here: whoever replays
// it must not fill its producer's room. Nor does it help to send few and large ones.
// Whoever can append can repeat one signed message for ever: the evidence must not grow with it.
#[tokio::test]
async fn a_flood_of_copies_is_summed_up() {
    let world = World::new();
    let database = world.open_with(Limits { stranger_records_max: 3, ..Limits::default() });
    let ledger = Transactional::new(&database).unwrap();
    let (done, parked) = (order(1), order(2));
    run(&ledger, &OK, &done).await.unwrap();
    run(&ledger, &Effect(Outcome::Park("no".into())), &parked).await.unwrap();
    for number in 0..20 {
        for message in [&done, &parked] {
            let mut copy = message.clone();
            copy.position = format!("orders.created/copy-{number}");
            copy.appended = AppendTime::Broker(NOW + DAY_MS);
            run(&ledger, &Effect(Outcome::Park("no".into())), &copy).await.unwrap();
        }
    }
    assert_eq!(world.records().len(), 2 + 2 * 3);
    assert_eq!(database.housekeep(NOW + MINUTE_MS), Ok(true));
    let sums = world.records().into_iter().filter(|record| record.kind == RecordKind::Sum);
    assert_eq!(sums.map(|sum| sum.count).collect::<Vec<_>>(), [Some(17); 2]);
}

#[tokio::test]
async fn misdirected_and_large_messages_have_little_room() {
    let world = World::new();
    let limits = Limits { stranger_rows_max: 2, bytes_max: 6_000, ..Limits::default() };
    let ledger = Transactional::new(&world.open_with(limits)).unwrap();
    for number in 1..=3 {
        let mut replayed = order(number);
        replayed.stream = MOVES.into();
        let settle = run(&ledger, &OK, &replayed).await;
        let full = number > 2;
        let kept = refused(Reason::WrongDestination);
        assert_eq!(settle, if full { Ok(Settle::Leave) } else { kept });
    }
    let large = format!(r#"{{"item":"{}"}}"#, "x".repeat(6_000));
    let large = signed(&draft(ORDERS, "order-large", &large), &world::shop(), NOW);
    let park = Effect(Outcome::Park("no".into()));
    assert_eq!(run(&ledger, &park, &large).await, Ok(Settle::Leave));
    assert_eq!(run(&ledger, &park, &order(9)).await, refused(Reason::HandlerRefused));
}

#[tokio::test]
async fn an_honest_producers_room_has_an_end_too() {
    let world = World::new();
    let database = world.open_with(Limits { rows_max: 2, ..Limits::default() });
    let ledger = Transactional::new(&database).unwrap();
    let park = Effect(Outcome::Park("no".into()));
    let [first, second, third] = [1, 2, 3].map(order);
    for delivery in [&first, &second] {
        assert_eq!(run(&ledger, &park, delivery).await, refused(Reason::HandlerRefused));
    }
    assert_eq!(run(&ledger, &park, &third).await, Ok(Settle::Leave));
    assert_eq!(run(&ledger, &park, &first).await, refused(Reason::HandlerRefused));
    let row = database.kept().list(&KeptFilter::default()).unwrap()[0].row;
    database.kept().discard(row, "ann", NOW).unwrap();
    assert_eq!(run(&ledger, &park, &third).await, refused(Reason::HandlerRefused));
}

#[tokio::test]
async fn expiry_is_only_raised_and_forgetting_waits_for_it() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let horizon_ms = snapshot(2).policy.times.horizon_ms();
    let again = signed(
        &draft(ORDERS, "order-000001", r#"{"item":"hat"}"#),
        &world::shop(),
        NOW + 5 * DAY_MS,
    );
    assert_eq!(run(&ledger, &OK, &order(1)).await, Ok(DONE));
    let expires = || world.count("SELECT expires FROM chancery_ledger");
    let first = expires();
    let later = NOW + 5 * DAY_MS;
    assert_eq!(run_at(&ledger, &OK, &again, &snapshot(2), later).await, refused(Reason::Duplicate));
    assert_eq!(expires(), first + 5);
    assert_eq!(
        run_at(&ledger, &OK, &order(1), &snapshot(2), later).await,
        refused(Reason::Duplicate)
    );
    assert_eq!(expires(), first + 5);
    let (early, late) = (order(2), world::ask(&again));
    let late = chancery_core::claim::ClaimRequest {
        remember_until: late.remember_until,
        ..world::ask(&early)
    };
    ledger.failed(&late, later).await.unwrap();
    assert_eq!(run_at(&ledger, &OK, &early, &snapshot(2), NOW).await, Ok(DONE));
    assert_eq!(world.count("SELECT min(expires) FROM chancery_ledger"), first + 5);
    database.housekeep(Timestamp(later.0 + horizon_ms)).unwrap();
    assert_eq!(world.count("SELECT count(*) FROM chancery_ledger"), 2);
    database.housekeep(Timestamp(later.0 + horizon_ms + 2 * DAY_MS)).unwrap();
    assert_eq!(world.count("SELECT count(*) FROM chancery_ledger"), 0);
}

#[tokio::test]
async fn held_too_long_is_parked_for_a_person() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let delivery = signed(&draft(ORDERS, "order-000001", "{}"), &newcomer(), NOW);
    run_at(&ledger, &OK, &delivery, &snapshot(1), NOW).await.unwrap();
    database.housekeep(NOW + 15 * DAY_MS).unwrap();
    assert_eq!(database.kept().list(&KeptFilter::default()).unwrap()[0].disposition, "hold");
    database.housekeep(NOW + 16 * DAY_MS).unwrap();
    let kept = database.kept().list(&KeptFilter::default()).unwrap();
    assert_eq!((&*kept[0].disposition, &*kept[0].reason), ("park", "E605_HOLD_EXPIRED"));
    assert_eq!(world.records().last().unwrap().reason.as_deref(), Some("E605_HOLD_EXPIRED"));
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 0);
    database.kept().release(kept[0].row, "ann", NOW).unwrap();
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 1);
}

#[tokio::test]
async fn the_bundle_version_only_rises() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let mark = |version, byte| BundleMark { version, digest: [byte; 32] };
    let given = [mark(3, 1), mark(2, 2), mark(7, 3), mark(0, 4), mark(7, 5)];
    let newest = [mark(3, 1), mark(3, 1), mark(7, 3), mark(7, 3), mark(7, 3)];
    for (given, newest) in given.into_iter().zip(newest) {
        assert_eq!(ledger.raise_bundle(given).await, Ok(newest));
    }
    let other = Transactional::new(&world.open()).unwrap();
    assert_eq!(other.raise_bundle(mark(1, 9)).await, Ok(mark(7, 3)));
}
