// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole consumer, on the embedded broker and the ledger.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chancery::ports::{Kept, Ledger};
use chancery::{Clock, Consumer, Handler, Outcome, Reason, Refusal, Settings, Snapshots, Summary};
use chancery_core::record::{Record, RecordKind};
use chancery_core::{Admitted, Delivery, Timestamp};
use chancery_local::Broker;
use chancery_stores::sqlite::{Database, Transactional, Tx};
use tempfile::TempDir;

use super::world::{Effect, GROUP, NOW, ORDERS, Payload, World, decider, order, reader, snapshot};

/// Begins at [`NOW`].
struct Runs(Instant);

impl Clock for Runs {
    fn now(&self) -> Timestamp {
        NOW + i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

fn clock() -> Arc<Runs> {
    Arc::new(Runs(Instant::now()))
}

/// An empty broker.
fn broker() -> (TempDir, Broker) {
    let folder = TempDir::new().unwrap();
    let broker = Broker::open(folder.path()).unwrap().with_clock(clock());
    (folder, broker)
}

/// Consumes until nothing has come for a while.
async fn consume<H: Handler<Payload, Tx>>(
    broker: &Broker,
    database: &Database,
    handler: &H,
    handled_max: Option<u64>,
) -> Summary {
    let ledger = Transactional::new(database).unwrap();
    let source = broker.subscribe(ORDERS, GROUP).unwrap();
    let snapshots = Snapshots::new(snapshot(2));
    let settings = Settings {
        batch_max: 8,
        poll: Duration::from_millis(50),
        idle_exit: Some(Duration::from_secs(1)),
        handled_max,
        ..Settings::default()
    };
    let consumer = Consumer::new(source, ledger, snapshots, ORDERS, reader()).unwrap();
    let mut consumer = consumer.clock(clock()).settings(settings);
    consumer.run::<Payload, H>(handler, std::future::pending()).await.unwrap()
}

/// Held under the very snapshot in force, as an older build would have held it.
async fn held(database: &Database, delivery: &Delivery) {
    let ledger = Transactional::new(database).unwrap();
    let snapshot = snapshot(2).digest;
    let refusal = Refusal::new(Reason::Unsupported, "of a newer version");
    let kept = Kept {
        group: GROUP,
        delivery,
        refusal: &refusal,
        ask: None,
        snapshot: &snapshot,
        now: NOW,
    };
    ledger.keep(&kept, Record::new(RecordKind::Hold, &decider(), &snapshot, NOW)).await.unwrap();
}

// A newer build must not leave what an older one held, however much that is.
#[tokio::test]
async fn at_its_start_a_consumer_judges_all_held_messages_again() {
    let (world, (_folder, broker)) = (World::new(), broker());
    let database = world.open();
    for number in 0..200 {
        held(&database, &order(number)).await;
    }
    let ok = Effect(Outcome::Done);
    let summary = consume(&broker, &database, &ok, Some(3)).await;
    assert_eq!((summary.handled, world.effects()), (3, 3));
    consume(&broker, &database, &ok, None).await;
    assert_eq!(world.effects(), 200);
}

/// Fails twice.
#[derive(Default)]
struct Flaky(Mutex<Vec<Instant>>);

impl Handler<Payload, Tx> for Flaky {
    async fn handle(&self, _: &Admitted<Payload>, _: &mut Tx) -> Outcome {
        let mut tries = self.0.lock().unwrap();
        tries.push(Instant::now());
        if tries.len() > 2 { Outcome::Done } else { Outcome::Retry("not now".into()) }
    }
}

// Without the pause a moment's outage parks everything that a new key has just let go on.
#[tokio::test]
async fn a_kept_message_that_fails_is_tried_again_after_a_pause() {
    let (world, (_folder, broker)) = (World::new(), broker());
    let database = world.open();
    held(&database, &order(1)).await;
    let flaky = Flaky::default();
    let summary = consume(&broker, &database, &flaky, None).await;
    assert_eq!(summary.handled, 1);
    let tries = flaky.0.into_inner().unwrap();
    assert!(tries[1] - tries[0] >= Duration::from_millis(100));
    assert!(tries[2] - tries[1] >= Duration::from_millis(200));
}
