// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of messages when consumers die with them in hand.

use std::path::Path;
use std::time::Duration;

use super::{Shop, Stand, Store, ids};
use crate::conformance::Fixture;
use crate::conformance::child::{Process, task};

/// Owners that may die with a message in hand before it is parked.
const DEATHS_MAX: u32 = 5;

/// Whether the long runs were asked for (`cargo xtask test --soak`).
fn soak() -> bool {
    std::env::var_os("CHANCERY_SOAK").is_some()
}

/// What a child does: `consume N`, until so many are settled. Nothing at all in the parent.
pub fn child<F: Fixture, S: Store>() {
    let Some((task, place)) = task().filter(|(_, place)| F::has(place)) else { return };
    let (place, folder) = place.split_once('\n').unwrap();
    let until: usize = task.strip_prefix("consume ").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stand = Stand::<F, S>::at(place, Path::new(folder));
        let shop = Shop::slow(Duration::from_micros(500));
        stand.consume(&shop, |stand| stand.settled() >= until).await;
    });
}

fn consumer<F: Fixture, S: Store>(stand: &Stand<F, S>, until: usize) -> Process {
    Process::start_test("path_child", &stand.name(), &format!("consume {until}"))
}

/// `kill -9` at any moment, of one of two.
pub async fn killed_consumers_do_everything_once<F: Fixture, S: Store>() {
    let rounds: usize = if soak() { 60 } else { 6 };
    let each = 20;
    let mut stand = Stand::<F, S>::fresh();
    let all = 2 * each * rounds;
    let published = ids(&["a", "b"], each * rounds);
    let mut other = consumer(&stand, all);
    for (round, part) in published.chunks(2 * each).enumerate() {
        let victim = consumer(&stand, all);
        stand.publish(part).await;
        // Another moment each time, the start and the middle among them.
        tokio::time::sleep(Duration::from_millis(37 * (round as u64 * 7 % 13))).await;
        drop(std::mem::replace(&mut other, victim));
    }
    stand.consume(&Shop::default(), |stand| stand.settled() >= all).await;
    drop(other);
    stand.all_is_done_once();
    assert_eq!(S::kept(&stand.folder), []);
}

/// One poison message among honest ones, in batches of 100: it takes as many consumers with it as
/// it may, and is parked; nobody else waits for ever, is lost, doubled or parked with it.
pub async fn a_message_that_aborts_its_consumer_stops_nothing_else<F: Fixture, S: Store>() {
    let each = if soak() { 1_000 } else { 30 };
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut stand = Stand::<F, S>::fresh();
    let honest = ids(&keys, each);
    let (before, after) = honest.split_at(honest.len() / 3);
    stand.publish(before).await;
    stand.publish(&ids(&["abort"], 1)).await;
    stand.publish(after).await;
    let mut deaths = 0;
    while !consumer(&stand, honest.len() + 1).ended_well() {
        deaths += 1;
        assert!(deaths <= DEATHS_MAX, "it goes on and on");
    }
    assert_eq!(deaths, DEATHS_MAX);
    assert_eq!(S::kept(&stand.folder), [("park".into(), "E601_ATTEMPTS".into())]);
    stand.all_is_done_once_but(|id| id.starts_with("abort"));
}
