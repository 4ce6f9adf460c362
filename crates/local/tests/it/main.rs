// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedded broker, judged by the suite of all brokers and by its own promises.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;

use chancery_local::{Broker, LocalSource};
use chancery_testkit::conformance::{Features, Fixture, Place, Raw, features};

mod administers;
mod refuses;

struct Local;

impl Fixture for Local {
    type Sink = Broker;
    type Source = LocalSource;
    const FEATURES: Features = features::LOCAL;

    fn fresh() -> Place {
        let dir = tempfile::tempdir().unwrap();
        Place { name: dir.path().to_str().unwrap().to_owned(), guard: Box::new(dir) }
    }

    async fn sink(place: &str) -> Broker {
        Broker::open(Path::new(place)).unwrap()
    }

    async fn source(place: &str, stream: &str, group: &str) -> LocalSource {
        Broker::open(Path::new(place)).unwrap().subscribe(stream, group).unwrap()
    }

    async fn raw(place: &str, stream: &str, message: Raw) {
        let broker = Broker::open(Path::new(place)).unwrap();
        let (key, body) = (message.key.as_deref(), message.body.as_deref());
        broker.append_raw(stream, &message.fields, key, body).unwrap();
    }
}

chancery_testkit::conformance!(Local);
chancery_testkit::path_suite!(Local);
