// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of messages when the server is killed. In a test program of its own: whoever else
//! meets the server meets its death.

use std::time::Duration;

use tokio::sync::Mutex;

use super::{AGAIN, Shop, Stand, Store, ids, publish_surely};
use crate::conformance::matrix::acknowledgements_survive;
use crate::conformance::{self, Fixture, STREAM};
use crate::servers::Server;

static ALONE: Mutex<()> = Mutex::const_new(());

/// `kill -9`, and up again on the same data.
async fn crash(server: &'static str) {
    let crashed = tokio::task::spawn_blocking(move || {
        let server = Server::hardened(server);
        server.kill();
        server.start();
    });
    crashed.await.unwrap();
}

/// Appended means written where a crash does not reach it.
pub async fn what_was_appended_survives<F: Fixture, S: Store>(server: &'static str) {
    let _alone = ALONE.lock().await;
    let place = F::fresh();
    let texts: Vec<String> = (0..60).map(|n| format!("{n:02}")).collect();
    let all: Vec<(Option<&str>, &str)> = texts.iter().map(|text| (Some("k"), &**text)).collect();
    for batch in all.chunks(20) {
        conformance::append::<F>(&place.name, batch).await;
    }
    crash(server).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    assert_eq!(conformance::finish(&mut source, 60).await, texts);
}

/// Acknowledged means that it does not come again, not even then; where the broker cannot promise
/// that, the copies come in order, and the ledger skips them.
pub async fn what_was_acknowledged_stays_so<F: Fixture, S: Store>(server: &'static str) {
    let _alone = ALONE.lock().await;
    let place = F::fresh();
    let all = [(Some("k"), "1"), (Some("k"), "2"), (Some("k"), "3")];
    conformance::append::<F>(&place.name, &all).await;
    let mut source = F::source(&place.name, STREAM, "g").await;
    assert_eq!(conformance::finish(&mut source, 2).await, ["1", "2"]);
    crash(server).await;
    drop(source);
    let mut source = F::source(&place.name, STREAM, "g").await;
    let mut rest = Vec::new();
    while rest.last().is_none_or(|body| body != "3") {
        rest.extend(conformance::finish(&mut source, 1).await);
    }
    assert!(["1", "2", "3"].ends_with(&rest.iter().map(|body| &**body).collect::<Vec<_>>()));
    assert!(rest == ["3"] || !acknowledgements_survive(server), "{rest:?} came again");
}

/// Killed twice while a producer and a consumer are at work.
pub async fn a_server_that_is_killed_does_everything_once<F: Fixture, S: Store>(
    server: &'static str,
) {
    let _alone = ALONE.lock().await;
    let mut stand = Stand::<F, S>::fresh();
    let ids = ids(&["a", "b", "c"], 80);
    let all = ids.len();
    stand.published.clone_from(&ids);
    let produces = async {
        let publisher = stand.publisher(F::sink(&stand.place).await, 0);
        for batch in ids.chunks(6) {
            publish_surely(&publisher, batch).await;
            tokio::time::sleep(AGAIN).await;
        }
    };
    let shop = Shop::slow(Duration::from_millis(2));
    let consumes = stand.consume(&shop, |stand| stand.settled() >= all);
    let kills = async {
        for part in 1..3 {
            while stand.settled() < all * part / 3 {
                tokio::time::sleep(AGAIN).await;
            }
            crash(server).await;
        }
    };
    tokio::join!(produces, consumes, kills);
    stand.all_is_done_once();
}
