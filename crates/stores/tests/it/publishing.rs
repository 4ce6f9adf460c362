// SPDX-License-Identifier: MIT OR Apache-2.0
//! A publisher's key is looked at each time: bundles change while a publisher runs.

use std::sync::Arc;

use chancery::core::time::DAY_MS;
use chancery::{PublishError, Publisher, Snapshots};
use chancery_local::Broker;
use chancery_testkit::world::{BEGINNING, TestClock, World, order, secret};

struct Stand {
    _dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    snapshots: Snapshots,
    broker: Broker,
    publisher: Publisher<Broker>,
}

fn stand() -> Stand {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(BEGINNING));
    let broker = Broker::open(&dir.path().join("broker")).unwrap().with_clock(clock.clone());
    let snapshots = World::shop().snapshots();
    let (sink, key) = (broker.clone(), secret("svc-orders", 1));
    let publisher =
        Publisher::with_clock(sink, snapshots.clone(), "svc-orders", key, [1; 16], clock.clone());
    Stand { publisher: publisher.unwrap(), _dir: dir, clock, snapshots, broker }
}

impl Stand {
    async fn is_refused(&self, why: &str) {
        let before = self.broker.browse("orders.created", 1, 100).unwrap().len();
        match self.publisher.publish(&order(7, "acme")).await {
            Err(PublishError::Misuse(misuse)) => {
                assert!(misuse.to_string().contains(why), "{misuse}")
            }
            other => panic!("published with a key that may not sign: {other:?}"),
        }
        assert_eq!(self.broker.browse("orders.created", 1, 100).unwrap().len(), before);
    }
}

#[tokio::test]
async fn an_expired_key_signs_nothing_more() {
    let stand = stand();
    stand.publisher.publish(&order(1, "acme")).await.unwrap();
    stand.clock.advance(366 * DAY_MS);
    stand.is_refused("has expired").await;
}

#[tokio::test]
async fn a_key_that_was_taken_out_or_compromised_signs_nothing_more() {
    let stand = stand();
    stand.publisher.publish(&order(1, "acme")).await.unwrap();
    let mut world = World { version: 2, ..World::shop() };
    for key in world.keys.iter_mut().filter(|key| key.principal == "svc-orders") {
        key.compromised_at = Some(BEGINNING.0);
    }
    assert!(stand.snapshots.replace(&world.sources()).unwrap());
    stand.is_refused("compromised").await;
    world.version = 3;
    world.keys.retain(|key| key.principal != "svc-orders");
    assert!(stand.snapshots.replace(&world.sources()).unwrap());
    stand.is_refused("not in the trust bundle").await;
}
