// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of messages while everything works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chancery::core::Delivery;
use chancery::core::Field;
use chancery::core::seal::Sealed;
use chancery::core::time::{DAY_MS, MINUTE_MS};
use chancery::{Fault, Sink, Source};

use super::{GROUP, Later, Shop, Stand, Store, ids, publish_surely};
use crate::conformance::{Fixture, Raw, STREAM};
use crate::world::{order_of, secret};

/// One effect for each event, in the order of its key, and none more after a restart.
pub async fn everything_is_done_once<F: Fixture, S: Store>() {
    let mut stand = Stand::<F, S>::fresh();
    stand.publish(&ids(&["a", "b", "c", "d", "e"], 30)).await;
    stand.consume(&Shop::default(), |stand| stand.settled() >= 150).await;
    stand.publish(&ids(&["later"], 3)).await;
    stand.consume(&Shop::default(), |stand| stand.settled() >= 153).await;
    stand.all_is_done_once();
}

/// Appends everything twice: another hand in the broker, or a retry that need not have been. Counts
/// the copies that are there: some brokers drop one, and tell where the first is.
struct Twice<K>(K, Arc<AtomicUsize>);

impl<K: Sink> Sink for Twice<K> {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        let first = self.0.append(messages).await?;
        let second = self.0.append(messages).await?;
        let copies = first.iter().zip(&second).filter(|(first, second)| first != second).count();
        self.1.fetch_add(copies, Ordering::Relaxed);
        Ok(second)
    }

    fn partition(&self, stream: &str, key: Option<&[u8]>) -> Option<u32> {
        self.0.partition(stream, key)
    }
}

/// Copies are skipped: the same bytes again, and the same event signed again by a producer that
/// has forgotten that it was sent.
pub async fn what_is_published_twice_is_done_once<F: Fixture, S: Store>() {
    let mut stand = Stand::<F, S>::fresh();
    let ids = ids(&["a", "b"], 8);
    let copies = Arc::new(AtomicUsize::new(0));
    let twice = Twice(F::sink(&stand.place).await, Arc::clone(&copies));
    publish_surely(&stand.publisher(twice, 0), &ids).await;
    stand.publish(&ids).await;
    let all = 2 * 16 + copies.load(Ordering::Relaxed);
    stand.consume(&Shop::default(), |stand| stand.outcomes() >= all).await;
    stand.all_is_done_once();
    assert_eq!(S::kept(&stand.folder), []);
}

/// A source that lets `check` see how many messages are about to be acknowledged.
pub(super) struct Witness<Q> {
    pub(super) source: Q,
    pub(super) acknowledged: usize,
    pub(super) check: Box<dyn Fn(usize) + Send>,
}

impl<Q: Source> Source for Witness<Q> {
    type Receipt = Q::Receipt;

    async fn receive(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, Q::Receipt)>, Fault> {
        self.source.receive(max, wait).await
    }

    async fn acknowledge(&mut self, receipts: Vec<Q::Receipt>) -> Result<(), Fault> {
        self.acknowledged += receipts.len();
        (self.check)(self.acknowledged);
        self.source.acknowledge(receipts).await
    }

    async fn give_back(&mut self, receipt: Q::Receipt, delay: Duration) -> Result<(), Fault> {
        self.source.give_back(receipt, delay).await
    }

    async fn pass_over(&mut self, receipts: Vec<(Q::Receipt, Duration)>) -> Result<(), Fault> {
        self.source.pass_over(receipts).await
    }
}

/// Done, skipped, parked, held, quarantined: each is on record before the broker's copy may go.
pub async fn what_is_refused_is_kept_before_it_is_acknowledged<F: Fixture, S: Store>() {
    let mut stand = Stand::<F, S>::fresh();
    stand.publish(&ids(&["a", "park"], 1)).await;
    stand.publish(&ids(&["b"], 2)).await;
    publish_surely(&stand.publisher(F::sink(&stand.place).await, 0), &ids(&["a"], 1)).await;
    append_with_new_key::<F, S>(&stand, "held-00000000").await;
    let unsigned = Raw {
        fields: vec![Field::new("from", "nobody")],
        key: Some(b"a".into()),
        body: Some(br#"{"order_id":"a"}"#.into()),
    };
    F::raw(&stand.place, STREAM, unsigned).await;
    let (place, folder) = (stand.place.clone(), stand.folder.clone());
    let on_record = move || Stand::<F, S>::at(&place, &folder).outcomes();
    let check = move |acknowledged: usize| {
        let on_record = on_record();
        assert!(on_record >= acknowledged, "{acknowledged} acknowledged, {on_record} on record");
    };
    let source = F::source(&stand.place, STREAM, GROUP).await;
    let source = Witness { source, acknowledged: 0, check: Box::new(check) };
    let ledger = S::ledger(&stand.folder, None);
    let mut consumer = stand.consumer(source, ledger, stand.world.snapshots());
    stand.run(&mut consumer, &Shop::default(), |stand| stand.outcomes() >= 7).await;
    stand.all_is_done_once_but(|id| id.starts_with("park"));
    let mut kept = S::kept(&stand.folder);
    kept.sort();
    let wanted = [
        ("hold", "E202_UNKNOWN_KEY"),
        ("park", "E602_HANDLER_REFUSED"),
        ("quarantine", "E201_UNSIGNED"),
    ];
    assert_eq!(kept, wanted.map(|(disposition, reason)| (disposition.into(), reason.into())));
}

/// Signed by a key that is newer than the consumer's bundle.
async fn append_with_new_key<F: Fixture, S: Store>(stand: &Stand<F, S>, id: &str) {
    let world = stand.world.clone().with_key("svc-orders", 2);
    let (sink, key) = (F::sink(&stand.place).await, secret("svc-orders", 2));
    let publisher =
        chancery::Publisher::new(sink, world.snapshots(), "svc-orders", key, [2; 16]).unwrap();
    let key = id.rsplit_once('-').unwrap().0;
    publisher.publish(&order_of(key, id)).await.unwrap();
}

/// A failing message is tried again where it stands: its key waits, the others do not.
pub async fn a_retry_keeps_the_order_of_its_key<F: Fixture, S: Store>() {
    let mut stand = Stand::<F, S>::fresh();
    stand.publish(&ids(&["retry", "a", "b"], 4)).await;
    stand.consume(&Shop::default(), |stand| stand.settled() >= 12).await;
    stand.all_is_done_once();
    let done = S::effects(&stand.folder);
    let last_other = done.iter().rposition(|id| !id.starts_with("retry")).unwrap();
    let last_retry = done.iter().rposition(|id| id.starts_with("retry")).unwrap();
    assert!(last_other < last_retry, "the others waited: {done:?}");
}

/// A bundle that comes late costs nothing: what was held is done as soon as it is good.
pub async fn what_was_held_is_done_once_its_key_is_known<F: Fixture, S: Store>() {
    let mut stand = Stand::<F, S>::fresh();
    append_with_new_key::<F, S>(&stand, "held-00000000").await;
    stand.published.push("held-00000000".into());
    let source = F::source(&stand.place, STREAM, GROUP).await;
    let snapshots = stand.world.snapshots();
    let ledger = S::ledger(&stand.folder, None);
    let mut consumer = stand.consumer(source, ledger, snapshots.clone());
    let shop = Shop::default();
    stand.run(&mut consumer, &shop, |stand| S::kept(&stand.folder).len() == 1).await;
    assert_eq!(S::effects(&stand.folder), Vec::<String>::new());
    let mut world = stand.world.clone().with_key("svc-orders", 2);
    world.version += 1;
    assert!(snapshots.replace(&world.sources()).unwrap());
    stand.run(&mut consumer, &shop, |stand| S::effects(&stand.folder).len() == 1).await;
    stand.all_is_done_once();
    assert_eq!(S::kept(&stand.folder), []);
}

/// Ten minutes of it, and three days: it was fresh when the broker took it.
pub async fn the_backlog_of_an_outage_is_not_refused<F: Fixture, S: Store>() {
    let mut stand = Stand::<F, S>::fresh();
    for (late_ms, until) in [(10 * MINUTE_MS, 40), (3 * DAY_MS, 80)] {
        let keys = [["a", "b"], ["c", "d"]][until / 40 - 1];
        stand.publish(&ids(&keys, 20)).await;
        let source = F::source(&stand.place, STREAM, GROUP).await;
        let ledger = S::ledger(&stand.folder, None);
        let consumer = stand.consumer(source, ledger, stand.world.snapshots());
        let mut consumer = consumer.clock(Arc::new(Later(late_ms)));
        stand.run(&mut consumer, &Shop::default(), |stand| stand.settled() >= until).await;
    }
    stand.all_is_done_once();
}

/// A message that somebody kept back and appends later is no backlog, where the broker's clock can
/// tell.
pub async fn what_was_signed_long_before_is_refused<F: Fixture, S: Store>() {
    if !F::FEATURES.append_time {
        return;
    }
    let stand = Stand::<F, S>::fresh();
    let publisher = stand.publisher(F::sink(&stand.place).await, -20 * MINUTE_MS);
    publish_surely(&publisher, &ids(&["a"], 1)).await;
    stand.consume(&Shop::default(), |stand| stand.settled() == 1).await;
    assert_eq!(S::effects(&stand.folder), Vec::<String>::new());
    assert_eq!(S::kept(&stand.folder), [("park".into(), "E505_LATE_PUBLISH".into())]);
}
