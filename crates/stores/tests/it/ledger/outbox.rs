// SPDX-License-Identifier: MIT OR Apache-2.0
//! What handlers publish is committed with the effect, once, and appended afterwards, in order.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chancery::ports::Sink;
use chancery::{Clock, Fault, Outcome, Publisher, Snapshots, Timestamp};
use chancery_core::seal::{Content, Draft, Sealed};
use chancery_stores::sqlite::{Transactional, Tx, relay};

use super::world::{
    Effect, NOW, ORDERS, With, World, draft, order, run, run_later, shop, snapshot,
};

#[derive(Clone, Default)]
struct Broker {
    ids: Arc<Mutex<Vec<String>>>,
    down: Arc<Mutex<bool>>,
}

impl Sink for Broker {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        // A broker that fails after it has taken everything.
        let mut ids = self.ids.lock().unwrap();
        ids.extend(messages.iter().map(|message| message.event_id.clone()));
        if *self.down.lock().unwrap() {
            return Err(Fault::broker("down"));
        }
        Ok(messages.iter().map(|message| message.event_id.clone()).collect())
    }
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn publisher(broker: &Broker) -> Publisher<Broker> {
    let snapshots = Snapshots::new(snapshot(2));
    let clock = Arc::new(Stopped);
    Publisher::with_clock(broker.clone(), snapshots, "shop", shop(), [5; 16], clock).unwrap()
}

fn full() -> Draft {
    Draft {
        request: Some("r".into()),
        actor: Some("a".into()),
        traceparent: None,
        deadline: Some(Timestamp(7)),
        causes: vec![[1; 32], [255; 32]],
        tenant: Some("t".into()),
        version: Some(u64::MAX),
        content: Content::Opaque("text/plain".into(), Bytes::from_static(b"\x00\xff")),
        ..draft(ORDERS, "full-000001", "")
    }
}

#[tokio::test]
async fn a_draft_survives_byte_for_byte_and_a_rerun_does_not_double_it() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let told = ids.clone();
    let publishes = With(move |tx: &mut Tx| {
        let first = tx.publish(draft(ORDERS, "", "{}")).unwrap();
        assert_ne!(tx.publish(draft(ORDERS, "", "{}")).unwrap(), first);
        told.lock().unwrap().push(first);
        tx.publish(full()).unwrap();
        if told.lock().unwrap().len() == 1 {
            panic!("after publishing");
        }
    });
    let delivery = order(1);
    for minute in 0..2 {
        run_later(&ledger, &publishes, &delivery, minute).await.unwrap();
    }
    let ids = ids.lock().unwrap().clone();
    assert_eq!(ids[0], ids[1]);
    let rows = database.outbox().take(9).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].1.id, ids[0]);
    assert_eq!(rows[2].1, full());
}

#[tokio::test]
async fn the_relay_appends_in_order_and_a_refused_draft_holds_nothing_back() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let publishes = With(|tx: &mut Tx| {
        for number in 0..150 {
            let stream = if number == 70 { "no.such.stream" } else { ORDERS };
            tx.publish(draft(stream, &format!("sent-{number:06}"), "{}")).unwrap();
        }
    });
    run(&ledger, &publishes, &order(1)).await.unwrap();
    let broker = Broker::default();
    assert_eq!(relay(&database, &publisher(&broker)).await, Ok(149));
    let wanted = (0..150).filter(|n| *n != 70).map(|n| format!("sent-{n:06}"));
    assert_eq!(*broker.ids.lock().unwrap(), wanted.collect::<Vec<_>>());
    let refused = database.outbox().refused().unwrap();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].refused.starts_with("E301_GRANT"), "{}", refused[0].refused);
    assert_eq!(relay(&database, &publisher(&broker)).await, Ok(0));
    database.outbox().retry(&[refused[0].row]).await.unwrap();
    let stats = database.stats().unwrap();
    assert_eq!((stats.outbox_pending, stats.outbox_refused), (1, 0));
}

#[tokio::test]
async fn what_the_broker_did_not_confirm_still_waits() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    let publishes = With(|tx: &mut Tx| {
        tx.publish(draft(ORDERS, "sent-000001", "{}")).unwrap();
    });
    run(&ledger, &publishes, &order(1)).await.unwrap();
    let broker = Broker::default();
    *broker.down.lock().unwrap() = true;
    assert!(relay(&database, &publisher(&broker)).await.is_err());
    *broker.down.lock().unwrap() = false;
    assert_eq!(relay(&database, &publisher(&broker)).await, Ok(1));
    assert_eq!(*broker.ids.lock().unwrap(), ["sent-000001", "sent-000001"]);
}

#[tokio::test]
async fn what_was_undone_is_not_published() {
    let world = World::new();
    let database = world.open();
    let ledger = Transactional::new(&database).unwrap();
    struct Undone;
    impl chancery::Handler<super::world::Payload, Tx> for Undone {
        async fn handle(
            &self,
            _: &chancery::Admitted<super::world::Payload>,
            tx: &mut Tx,
        ) -> Outcome {
            tx.publish(draft(ORDERS, "", "{}")).unwrap();
            Outcome::Park("no".into())
        }
    }
    run(&ledger, &Undone, &order(1)).await.unwrap();
    run(&ledger, &Effect(Outcome::Done), &order(2)).await.unwrap();
    assert!(database.outbox().take(9).unwrap().is_empty());
    let stats = database.stats().unwrap();
    assert_eq!((stats.ledger["parked"], stats.ledger["done"], stats.evidence_pending), (1, 1, 2));
    assert_eq!(stats.kept[&(ORDERS.to_owned(), "park".to_owned())], 1);
}
