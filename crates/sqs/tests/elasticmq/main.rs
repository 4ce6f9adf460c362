// SPDX-License-Identifier: MIT OR Apache-2.0
//! A second opinion (`cargo xtask brokers up elasticmq`): a server that was not made from the same
//! reading of SQS, that moves dead letters back, and that keeps its messages when it is killed. It
//! knows neither users nor TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use chancery::window::Windowed;
use chancery::{Broker, Sink};
use chancery_core::Field;
use chancery_core::seal::Sealed;
use chancery_sqs::{SqsBroker, SqsWire};
use chancery_testkit::conformance::features::SQS;
use chancery_testkit::conformance::{Features, Fixture, Place, Raw, STREAM, message, take};
use chancery_testkit::proxy::Proxy;

#[path = "../real/stock.rs"]
mod stock;

use stock::{Change, Corner, ELASTICMQ};

struct ElasticMq;

impl Fixture for ElasticMq {
    type Sink = SqsBroker;
    type Source = Windowed<SqsWire>;
    const FEATURES: Features = Features {
        // The limit of before 2025, base64 and a header of ours within it.
        body_bytes_max: 184 << 10,
        // Nobody is refused here, and there is no TLS.
        server: false,
        death: Duration::from_secs(18),
        ..SQS
    };
    const FLOOD: usize = 300;

    fn fresh() -> Place {
        let corner = Corner::fresh(&ELASTICMQ);
        Place { name: corner.name(), guard: Box::new(corner.made()) }
    }

    async fn sink(place: &str) -> SqsBroker {
        Corner::of(place).connect("admin").await.unwrap()
    }

    async fn source(place: &str, stream: &str, group: &str) -> Windowed<SqsWire> {
        let broker = Corner::of(place).connect("admin").await.unwrap();
        broker.subscribe(stream, group).await.unwrap()
    }

    async fn raw(place: &str, _: &str, message: Raw) {
        let corner = Corner::of(place);
        for group in stock::GROUPS {
            corner.send(&corner.queue(group), &message).await;
        }
    }

    async fn proxied(place: &str) -> Option<(Proxy, String)> {
        let corner = Corner::of(place);
        let proxy = Proxy::to(corner.port()).await;
        let through = corner.through(proxy.port()).name();
        Some((proxy, through))
    }
}

chancery_testkit::conformance!(ElasticMq);

#[tokio::test]
async fn a_dead_letter_that_is_moved_back_is_the_message_that_it_was() {
    let made = Corner::fresh(&ELASTICMQ).made();
    let corner = &made.0;
    let sdk = corner.admin().await;
    let arn_of = async |url: &str| {
        let asked = sdk.get_queue_attributes().queue_url(url);
        let asked = asked.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
        asked.attributes.unwrap()[&QueueAttributeName::QueueArn].clone()
    };
    // It moves nothing from a FIFO queue.
    let standard = |group: &str| corner.queue(group).replace(".fifo", "");
    let dead = corner.make(&standard("dead"), &[]).await;
    let dead_arn = arn_of(&dead).await;
    let policy = format!("{{\"deadLetterTargetArn\": \"{dead_arn}\", \"maxReceiveCount\": \"2\"}}");
    let name = standard("live");
    let live = corner.make(&name, &[(QueueAttributeName::RedrivePolicy, &policy)]).await;
    let mut config = corner.config("admin", Change::default());
    config.streams.get_mut(STREAM).unwrap().queues = [("g".to_owned(), name)].into();
    let fields = vec![Field::new("chancery", "{\"a\":\"~\"}"), Field::new("chancery-sig", "1;k:s")];
    let sealed = Sealed { fields: fields.clone(), ..message(None, "{}") };
    let settings = config.read(std::path::Path::new("/")).unwrap();
    let broker = SqsBroker::connect(settings).await.unwrap();
    broker.append(&[sealed]).await.unwrap();
    for _ in 0..3 {
        sdk.receive_message().queue_url(&live).visibility_timeout(0).send().await.unwrap();
    }
    let taken = sdk.receive_message().queue_url(&dead).visibility_timeout(0).send().await.unwrap();
    assert_eq!(taken.messages().len(), 1, "it was not given up");
    let task = sdk.start_message_move_task().source_arn(dead_arn);
    task.destination_arn(arn_of(&live).await).send().await.unwrap();
    let mut source = broker.subscribe(STREAM, "g").await.unwrap();
    let (delivery, receipt) = take(&mut source, 1).await.remove(0);
    assert_eq!(delivery.fields, fields);
    assert_eq!(delivery.body.as_deref(), Some(&b"{}"[..]));
    chancery::Source::acknowledge(&mut source, vec![receipt]).await.unwrap();
    drop(source);
    for url in [live, dead] {
        sdk.delete_queue().queue_url(url).send().await.unwrap();
    }
}
