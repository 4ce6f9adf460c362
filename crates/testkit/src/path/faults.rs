// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of messages while something of ours, or between us, fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chancery::core::claim::ClaimRequest;
use chancery::core::record::Record;
use chancery::core::snapshot::BundleMark;
use chancery::core::{Fault, Timestamp};
use chancery::ports::{KeptMessage, Stored};
use chancery::{Begun, ConsumeError, Kept, Ledger};

use super::cases::Witness;
use super::{AGAIN, GROUP, Shop, Stand, Store, ids, publish_surely};
use crate::conformance::{Fixture, STREAM};
use crate::proxy::Proxy;

/// A ledger that is down while `down` is set: nothing is claimed, kept or counted.
struct Moody<L> {
    ledger: L,
    down: Arc<AtomicBool>,
}

impl<L> Moody<L> {
    fn up(&self) -> Result<&L, Fault> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(Fault::store("it is down")),
            false => Ok(&self.ledger),
        }
    }
}

impl<L: Ledger> Ledger for Moody<L> {
    type Unit = L::Unit;

    async fn begin(&self, ask: &ClaimRequest, now: Timestamp) -> Result<Begun<L::Unit>, Fault> {
        self.up()?.begin(ask, now).await
    }

    async fn keep(&self, kept: &Kept<'_>, record: Record) -> Result<Stored, Fault> {
        self.up()?.keep(kept, record).await
    }

    async fn failed(&self, ask: &ClaimRequest, now: Timestamp) -> Result<u32, Fault> {
        self.up()?.failed(ask, now).await
    }

    async fn note(&self, record: Record) -> Result<(), Fault> {
        self.ledger.note(record).await
    }

    async fn to_judge_again(
        &self,
        group: &str,
        stream: &str,
        snapshot: &[u8; 32],
        after: i64,
        max: usize,
    ) -> Result<Vec<KeptMessage>, Fault> {
        self.ledger.to_judge_again(group, stream, snapshot, after, max).await
    }

    async fn raise_bundle(&self, bundle: BundleMark) -> Result<BundleMark, Fault> {
        self.ledger.raise_bundle(bundle).await
    }
}

/// More failures than any broker's delivery limit: nothing is acknowledged, nothing goes to a
/// dead-letter queue, and all of it is done when the ledger is back.
pub async fn a_ledger_that_is_down_costs_nothing<F: Fixture, S: Store>() {
    let mut stand = Stand::<F, S>::fresh();
    stand.publish(&ids(&["a", "b", "park"], 3)).await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let counted = acknowledged.clone();
    let witness = Witness {
        source: F::source(&stand.place, STREAM, GROUP).await,
        acknowledged: 0,
        check: Box::new(move |all| counted.store(all, Ordering::SeqCst)),
    };
    let down = Arc::new(AtomicBool::new(true));
    let ledger = Moody { ledger: S::ledger(&stand.folder, None), down: down.clone() };
    let mut consumer = stand.consumer(witness, ledger, stand.world.snapshots());
    let shop = Shop::default();
    for _ in 0..30 {
        let ended = consumer.run(&shop, std::future::pending()).await;
        assert!(matches!(ended, Err(ConsumeError::Fault(_))), "{ended:?}");
    }
    assert_eq!(acknowledged.load(Ordering::SeqCst), 0);
    assert_eq!(stand.settled(), 0);
    down.store(false, Ordering::SeqCst);
    stand.run(&mut consumer, &shop, |stand| stand.settled() >= 9).await;
    stand.all_is_done_once_but(|id| id.starts_with("park"));
}

/// A database that may not grow is a fault; once there is room everything is done once.
pub async fn a_full_ledger_costs_nothing<F: Fixture, S: Store>() {
    const EACH: usize = 150;
    let mut stand = Stand::<F, S>::fresh();
    stand.publish(&ids(&["a", "b"], EACH)).await;
    let source = F::source(&stand.place, STREAM, GROUP).await;
    let ledger = S::ledger(&stand.folder, Some(100));
    let mut consumer = stand.consumer(source, ledger, stand.world.snapshots());
    let shop = Shop::default();
    for _ in 0..5 {
        let ended = consumer.run(&shop, std::future::pending()).await;
        assert!(matches!(ended, Err(ConsumeError::Fault(_))), "{ended:?}");
    }
    let done = stand.settled();
    assert!(done > 0 && done < 2 * EACH, "{done} were done before it was full");
    drop(consumer);
    stand.consume(&shop, |stand| stand.settled() >= 2 * EACH).await;
    stand.all_is_done_once();
}

/// Receivers come and go while messages are in their hands.
pub async fn a_group_that_changes_does_everything_once<F: Fixture, S: Store>() {
    const EACH: usize = 40;
    let mut stand = Stand::<F, S>::fresh();
    stand.publish(&ids(&["a", "b", "c", "d", "e"], EACH)).await;
    let shop = Shop::slow(Duration::from_millis(5));
    let all = |stand: &Stand<F, S>| stand.settled() >= 5 * EACH;
    let comes_and_goes = async {
        for part in 1..4 {
            stand.consume(&shop, |stand| stand.settled() >= part * EACH).await;
        }
        stand.consume(&shop, all).await;
    };
    let comes_later = async {
        while stand.settled() < EACH / 2 {
            tokio::time::sleep(AGAIN).await;
        }
        stand.consume(&shop, all).await;
    };
    tokio::join!(comes_and_goes, comes_later);
    stand.all_is_done_once();
}

/// Cut, stalled and refused again and again on both sides.
pub async fn a_network_that_fails_does_everything_once<F: Fixture, S: Store>() {
    if !F::FEATURES.server {
        return;
    }
    let direct = Stand::<F, S>::fresh();
    let (proxy, through) = F::proxied(&direct.place).await.expect("a proxy before the server");
    let mut stand = Stand::<F, S>::at(&through, &direct.folder);
    let ids = ids(&["a", "b", "c"], 60);
    let all = ids.len();
    stand.published.clone_from(&ids);
    let produces = async {
        let publisher = stand.publisher(F::sink(&through).await, 0);
        for batch in ids.chunks(9) {
            publish_surely(&publisher, batch).await;
            tokio::time::sleep(AGAIN).await;
        }
    };
    let shop = Shop::slow(Duration::from_millis(2));
    let consumes = stand.consume(&shop, |stand| stand.settled() >= all);
    let work = async { tokio::join!(produces, consumes) };
    tokio::select! {
        _ = work => {}
        () = storm(&proxy) => unreachable!("a storm has no end"),
    }
    stand.all_is_done_once();
}

async fn storm(proxy: &Proxy) {
    let calm = Duration::from_secs(2);
    loop {
        tokio::time::sleep(calm).await;
        proxy.cut();
        tokio::time::sleep(calm).await;
        proxy.stall();
        tokio::time::sleep(calm / 2).await;
        proxy.resume().await;
        tokio::time::sleep(calm).await;
        proxy.refuse().await;
        tokio::time::sleep(calm / 4).await;
        proxy.resume().await;
    }
}
