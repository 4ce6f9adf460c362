// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every [`Source`] and [`Sink`] owes, one function per promise. An adapter names its
//! [`Fixture`] and calls `chancery_testkit::conformance!(ItsFixture);` in its tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this is a test that several crates share"
)]

use std::any::Any;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chancery::{Sink, Source};
use chancery_core::seal::Sealed;
use chancery_core::{Delivery, Fault, Field};

use crate::proxy::Proxy;

pub mod cases;
pub mod child;
pub mod features;
pub mod keys;
pub mod limits;
pub mod matrix;
pub mod network;
pub mod processes;
pub mod refused;

pub use features::{Features, Share};

/// A broker to judge.
pub trait Fixture: 'static {
    /// Its appending side.
    type Sink: Sink;
    /// Its receiving side.
    type Source: Source;
    /// What it can honestly do.
    const FEATURES: Features;
    /// A flood: as many messages of one key as it takes within seconds.
    const FLOOD: usize = 3_000;

    /// An empty broker, or an unused corner of one.
    fn fresh() -> Place;

    /// Whether a place is of this fixture: a child process asks, where a test has several.
    fn has(place: &str) -> bool {
        let _ = place;
        true
    }

    /// Appends there, from any process.
    fn sink(place: &str) -> impl Future<Output = Self::Sink> + Send;

    /// Receives there, from any process.
    fn source(place: &str, stream: &str, group: &str) -> impl Future<Output = Self::Source> + Send;

    /// Appends as any client of the broker may, without this product.
    fn raw(place: &str, stream: &str, message: Raw) -> impl Future<Output = ()> + Send;

    /// A proxy before the server, and the name under which [`Fixture::sink`] and
    /// [`Fixture::source`] meet the same place through it alone. `None`: there is no server.
    fn proxied(place: &str) -> impl Future<Output = Option<(Proxy, String)>> + Send {
        let _ = place;
        std::future::ready(None)
    }

    /// Does something that must fail, and gives how it failed; `None` if it went well.
    fn wrong(place: &str, wrong: Wrong) -> impl Future<Output = Option<Fault>> + Send {
        let _ = (place, wrong);
        std::future::ready(None)
    }
}

/// What goes wrong at a server, and must be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A service connects with a password, key or token that is not its own.
    Credential,
    /// It connects to a server whose certificate is expired, or of an authority it does not know.
    Certificate,
    /// It connects to a port where nobody listens.
    Host,
    /// A service without the right appends to [`STREAM`].
    Append,
    /// A service without the right receives from [`STREAM`] as `g`.
    Receive,
    /// A service that may do all receives from [`NOWHERE`] as `g`.
    Stream,
}

/// A stream that nobody has made.
pub const NOWHERE: &str = "no.such.stream";

/// The groups that cases use; brokers without history make their queues for [`STREAM`] in
/// [`Fixture::fresh`].
pub const GROUPS: [&str; 5] = ["g", "billing", "audit", "first", "late"];

/// Where a fresh broker is. It is removed when this is dropped.
pub struct Place {
    /// What [`Fixture::sink`] and [`Fixture::source`] need to find it.
    pub name: String,
    /// Keeps it there.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// A message as any client may append it.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// Header fields.
    pub fields: Vec<Field>,
    /// Record key.
    pub key: Option<Vec<u8>>,
    /// Body, or null.
    pub body: Option<Vec<u8>>,
}

/// The stream that cases use.
pub const STREAM: &str = "orders.created";
/// Long enough for anything that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to believe that nothing comes.
pub const SILENCE: Duration = Duration::from_millis(150);

/// A message to append, not signed: adapters look at none of it.
pub fn message(key: Option<&str>, body: &str) -> Sealed {
    Sealed {
        stream: STREAM.into(),
        event_id: format!("event-{body}"),
        message_id: [7; 32],
        fields: vec![Field::new("x", "1"), Field::new("y", Bytes::new())],
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// Appends messages of (key, body) in order.
pub async fn append<F: Fixture>(place: &str, messages: &[(Option<&str>, &str)]) -> Vec<String> {
    let sealed: Vec<Sealed> = messages.iter().map(|(key, body)| message(*key, body)).collect();
    F::sink(place).await.append(&sealed).await.unwrap()
}

/// What a source hands over.
pub type Received<S> = (Delivery, <S as Source>::Receipt);

/// Receives exactly `n` messages, or panics.
pub async fn take<S: Source>(source: &mut S, n: usize) -> Vec<Received<S>> {
    let started = Instant::now();
    let mut out = Vec::new();
    while out.len() < n {
        let left = PATIENCE.saturating_sub(started.elapsed());
        assert!(!left.is_zero(), "{} of {n} messages came", out.len());
        out.extend(source.receive(n - out.len(), left).await.unwrap());
    }
    out
}

/// Receives and acknowledges exactly `n` messages, batch by batch, or panics; gives their bodies.
/// (A source need not give more of a key to a receiver that has not settled what it has of it.)
pub async fn finish<S: Source>(source: &mut S, n: usize) -> Vec<String> {
    let started = Instant::now();
    let mut bodies = Vec::new();
    while bodies.len() < n {
        let left = PATIENCE.saturating_sub(started.elapsed());
        assert!(!left.is_zero(), "{} of {n} messages came", bodies.len());
        for (delivery, receipt) in source.receive(n - bodies.len(), left).await.unwrap() {
            bodies.push(body(&delivery));
            source.acknowledge(vec![receipt]).await.unwrap();
        }
    }
    bodies
}

/// Panics if anything comes.
pub async fn silent<S: Source>(source: &mut S) {
    let batch = source.receive(10, SILENCE).await.unwrap();
    let bodies: Vec<String> = batch.iter().map(|(delivery, _)| body(delivery)).collect();
    assert!(bodies.is_empty(), "{bodies:?} came");
}

/// Whether what an append was told names the place where a reader found the message. A broker that
/// keeps a copy for each group tells of every copy, a space between.
pub fn names(told: &str, found: &str) -> bool {
    told.split(' ').any(|one| one == found)
}

/// A delivery's body as text.
pub fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.body.as_deref().unwrap_or_default().to_vec()).unwrap()
}

/// Bodies of deliveries in order.
pub fn bodies<R>(batch: &[(Delivery, R)]) -> Vec<String> {
    batch.iter().map(|(delivery, _)| body(delivery)).collect()
}

/// The same, without order.
pub fn set(bodies: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    bodies.into_iter().collect()
}

/// Every case as a test of its own, and the entry point for child processes.
#[macro_export]
macro_rules! conformance {
    ($fixture:ty) => {
        $crate::conformance!($fixture, cases:
            positions_are_given_in_order, header_fields_arrive_as_they_were,
            null_and_empty_bodies_differ, groups_are_independent,
            a_new_group_starts_at_the_beginning, acknowledged_messages_do_not_come_again,
            given_back_messages_come_after_their_delay, giving_back_is_no_failure,
            a_dropped_receiver_gives_back, a_cancelled_receive_loses_nothing,
            the_broker_stamps_the_time, an_empty_stream_waits_and_then_wakes,
            the_server_is_one_that_is_named);
        $crate::conformance!($fixture, keys:
            a_key_keeps_its_order, a_key_is_with_one_receiver, a_delayed_key_holds_back_its_own,
            a_delay_inside_a_key_is_kept,
            what_is_passed_over_holds_nothing_back, a_key_moves_as_a_whole,
            keyless_messages_are_independent, a_blocked_key_does_not_stop_others,
            returned_and_new_messages_take_turns, a_random_walk_keeps_every_promise);
        $crate::conformance!($fixture, processes:
            killed_receivers_lose_nothing, processes_share_without_loss_or_doubling);
        $crate::conformance!($fixture, limits:
            the_largest_message_arrives_whole, a_larger_one_is_a_fault_that_loses_nothing,
            the_longest_header_and_signature_arrive, many_fields_arrive,
            appending_again_is_safe, control_fields_are_not_appended,
            a_batch_keeps_its_order_and_its_positions);
        $crate::conformance!($fixture, network:
            a_receiver_that_is_cut_loses_nothing, an_append_that_is_cut_is_a_fault_or_done,
            a_stalled_append_is_a_fault_in_time, a_stalled_receiver_goes_on,
            a_server_that_comes_back_is_found_again, a_dropped_receiver_leaves_nothing_running);
        $crate::conformance!($fixture, refused:
            a_wrong_credential_is_told, a_wrong_certificate_is_told, an_unreachable_host_is_told,
            who_may_not_append_is_told, who_may_not_receive_is_told, an_unknown_stream_is_told);

        #[test]
        fn conformance_child() {
            $crate::conformance::child::run::<$fixture>();
        }
    };
    ($fixture:ty, $module:ident: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$module::$case::<$fixture>().await;
            }
        )*
    };
}
