// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server that is killed and comes back with what it has acknowledged. ElasticMQ keeps the queues
//! of its configuration and their messages, half a second after it has said so; which groups are in
//! somebody's hands it forgets, so order is asked of other tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a test that cannot go on has failed, and it does not need all that others do"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chancery::{Broker, Sink, Source};
use chancery_sqs::SqsBroker;
use chancery_testkit::conformance::{STREAM, body, message};

#[path = "../real/stock.rs"]
mod stock;

use stock::{Change, Corner, ELASTICMQ};

const N: usize = 60;
const KEYS: [&str; 3] = ["k", "l", "m"];
const WRITTEN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing_that_it_has_acknowledged() {
    let corner = Corner::fresh(&ELASTICMQ);
    let url = corner.url("orders_created-billing.fifo").await;
    corner.admin().await.purge_queue().queue_url(url).send().await.unwrap();
    let mut config = corner.config("admin", Change::default());
    let address = config.streams.get_mut(STREAM).unwrap();
    (address.queues, address.groups) = ([].into(), vec!["billing".to_owned()]);
    let broker = SqsBroker::connect(config.read(std::path::Path::new("/")).unwrap()).await.unwrap();
    let started = Instant::now();
    let append = async |n: usize| {
        let one = [message(Some(KEYS[n % 3]), &n.to_string())];
        while let Err(fault) = broker.append(&one).await {
            assert!(started.elapsed() < PATIENCE, "{fault}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    for n in 0..N / 2 {
        append(n).await;
    }
    let mut source = broker.subscribe(STREAM, "billing").await.unwrap();
    let (mut done, mut settled) = (BTreeSet::new(), BTreeSet::new());
    let mut finish = async |source: &mut chancery::window::Windowed<chancery_sqs::SqsWire>,
                            until| {
        while done.len() < until {
            assert!(started.elapsed() < PATIENCE, "{} of {until} came", done.len());
            let Ok(batch) = source.receive(4, Duration::from_secs(1)).await else { continue };
            for (delivery, receipt) in batch {
                let n: usize = body(&delivery).parse().unwrap();
                // An append that failed may have been done, and was repeated: that is a copy.
                let place = delivery.position;
                assert!(!settled.contains(&place), "{n} was acknowledged and came again");
                if source.acknowledge(vec![receipt]).await.is_ok() {
                    done.insert(n);
                    settled.insert(place);
                }
            }
        }
    };
    finish(&mut source, N / 6).await;
    tokio::time::sleep(WRITTEN).await;
    let server = corner.server();
    tokio::task::block_in_place(|| server.kill());
    let back = std::thread::spawn(move || server.start());
    for n in N / 2..N {
        append(n).await;
    }
    back.join().unwrap();
    finish(&mut source, N).await;
}
