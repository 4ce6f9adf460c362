// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies that whoever can append can make: none stands for the message, or changes what is kept.

use chancery::{Outcome, Reason};
use chancery_core::time::{DAY_MS, MINUTE_MS};
use chancery_core::{AppendTime, Delivery, Field, Snapshot};
use chancery_stores::sqlite::{KeptFilter, Limits, Transactional};

use super::set_aside::{DONE, OK, judge_again, refused};
use super::world::{
    self, Effect, MOVES, NOW, ORDERS, World, draft, moved, newcomer, order, run, run_at, signed,
    snapshot,
};

/// The order 1, of a schema version that only a later snapshot knows.
fn from_the_future() -> (Delivery, Snapshot) {
    let mut sources = world::sources(3);
    sources.schemas.insert((ORDERS.to_owned(), 2), br#"{"type": "object"}"#.to_vec());
    let later = Snapshot::build(&sources).unwrap();
    let mut draft = draft(ORDERS, "order-000001", r#"{"item":"hat"}"#);
    draft.schema_version = 2;
    (world::signed_by(&later, &draft, &world::shop(), NOW), later)
}

/// Copies of the signed bytes that whoever can append can make, each at this place.
fn forgeries(delivery: &Delivery, position: &str) -> [(Delivery, Reason); 2] {
    let mut key = delivery.clone();
    key.key = Some("b".into());
    key.position = position.into();
    let mut field = key.clone();
    field.key.clone_from(&delivery.key);
    field.fields.push(Field::new("ce_id", "x"));
    [(key, Reason::KeyMismatch), (field, Reason::EnvelopeMismatch)]
}

// Threat: a copy that can never run is kept first, and what is held for newer schemas, and never
// had a claim, is taken for it: acknowledged and lost.
#[tokio::test]
async fn a_forged_copy_that_came_first_does_not_stand_for_what_is_held() {
    let (delivery, later) = from_the_future();
    // Where the position is the client's word, the copy has the same.
    for position in ["orders.created/forged", &delivery.position] {
        let mut copies = forgeries(&delivery, position).to_vec();
        let mut other_login = delivery.clone();
        other_login.position = position.into();
        other_login.fields.push(Field::new("chancery-sender", "mallory"));
        copies.push((other_login, Reason::Grant));
        for (forged, reason) in copies {
            let world = World::new();
            let database = world.open();
            let ledger = Transactional::new(&database).unwrap();
            let settle = run(&ledger, &OK, &forged).await;
            assert_ne!(settle, Ok(DONE), "{reason:?}");
            assert_ne!(run(&ledger, &OK, &delivery).await, Ok(DONE));
            let kept = database.kept().list(&KeptFilter::default()).unwrap();
            assert!(kept.iter().any(|kept| kept.disposition == "hold"), "{reason:?}: {kept:?}");
            assert_eq!(judge_again(&ledger, ORDERS, &later).await, 1, "{reason:?}");
            assert_eq!(world.effects(), 1);
        }
    }
}

// Threat: a copy from another login, or with a sender that a client made up, is kept for what the
// honest message is held for too, and stands for it.
#[tokio::test]
async fn a_copy_of_another_sender_does_not_stand_for_what_is_held_for_a_grant() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let mut sources = world::sources(2);
    sources.policy = sources.policy.replace("owner: shop", "owner: billing");
    let earlier = Snapshot::build(&sources).unwrap();
    let delivery = order(1);
    let mut forged = delivery.clone();
    forged.fields.push(Field::new("chancery-sender", "mallory"));
    for copy in [&forged, &delivery] {
        assert_eq!(run_at(&ledger, &OK, copy, &earlier, NOW).await, refused(Reason::Grant));
    }
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 1);
    assert_eq!(world.effects(), 1);
}

// Threat: where the position is the client's word, a copy under the same one undoes what the
// ledger says of the honest message: held, released or holding its key back.
#[tokio::test]
async fn a_forged_copy_under_the_same_position_changes_nothing_that_is_kept() {
    let (delivery, later) = from_the_future();
    for (forged, _) in forgeries(&delivery, &delivery.position) {
        let world = World::new();
        let database = world.open();
        let ledger = Transactional::new(&database).unwrap();
        run(&ledger, &OK, &delivery).await.unwrap();
        run(&ledger, &OK, &forged).await.unwrap();
        let kept = database.kept().list(&KeptFilter::default()).unwrap();
        assert_eq!((kept.len(), &*kept[0].disposition), (1, "hold"));
        assert_eq!(judge_again(&ledger, ORDERS, &later).await, 1);
    }
    let parked = moved("a", 1);
    for (forged, reason) in forgeries(&parked, &parked.position) {
        let world = World::new();
        let database = world.open();
        let ledger = Transactional::new(&database).unwrap();
        let park = Effect(Outcome::Park("no".into()));
        assert_eq!(run(&ledger, &park, &parked).await, refused(Reason::HandlerRefused));
        assert_eq!(run(&ledger, &OK, &forged).await, refused(reason));
        assert_eq!(run(&ledger, &OK, &moved("a", 2)).await, refused(Reason::BehindParked));
        let row = database.kept().list(&KeptFilter::default()).unwrap()[0].row;
        database.kept().release(row, "ann", NOW).unwrap();
        assert_eq!(run(&ledger, &OK, &forged).await, refused(reason));
        assert_eq!(judge_again(&ledger, MOVES, &snapshot(2)).await, 2, "{reason:?}");
    }
}

// The same with a late copy, which has a claim.
#[tokio::test]
async fn a_late_copy_under_the_same_position_does_not_park_what_is_held() {
    let world = World::new();
    let ledger = Transactional::new(&world.open()).unwrap();
    let delivery = signed(&draft(ORDERS, "order-000001", "{}"), &newcomer(), NOW);
    run_at(&ledger, &OK, &delivery, &snapshot(1), NOW).await.unwrap();
    let mut late = delivery.clone();
    late.appended = AppendTime::Broker(NOW + DAY_MS);
    let settle = run_at(&ledger, &OK, &late, &snapshot(2), NOW + DAY_MS).await;
    assert_eq!(settle, refused(Reason::LatePublish));
    assert_eq!(judge_again(&ledger, ORDERS, &snapshot(2)).await, 1);
}

// Threat: where the position is the client's word, a copy passes for the broker's own redelivery.
#[tokio::test]
async fn a_flood_of_copies_under_the_same_position_is_summed_up() {
    let world = World::new();
    let database = world.open_with(Limits { stranger_records_max: 3, ..Limits::default() });
    let ledger = Transactional::new(&database).unwrap();
    let done = order(1);
    assert_eq!(run(&ledger, &OK, &done).await, Ok(DONE));
    for _ in 0..20 {
        assert_eq!(run(&ledger, &OK, &done).await, refused(Reason::Duplicate));
    }
    assert_eq!(world.records().len(), 1 + 3);
    assert_eq!(database.housekeep(NOW + MINUTE_MS), Ok(true));
    assert_eq!(world.records().last().unwrap().count, Some(17));
}
