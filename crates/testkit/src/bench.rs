// SPDX-License-Identifier: MIT OR Apache-2.0
//! What verification costs on a broker: guarded against raw, by the same client, in the same
//! batches, with the same acknowledgements, in turns within one run (docs/performance.md).
//!
//! An adapter names its [`Bench`] and calls [`run`] in `benches/guarded.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a test that several crates share"
)]

use std::future::Future;
use std::time::{Duration, Instant};

use chancery::core::bundle::KeyEntry;
use chancery::core::keys::Secret;
use chancery::core::seal::{Sealed, Stamp, Unsigned, build, sign_all};
use chancery::core::time::DAY_MS;
use chancery::publisher::Content;
use chancery::{Clock, Event, Sink, Snapshot, Source, SystemClock, Timestamp};
use chancery_core::{Reader, screen};

use crate::conformance::{Fixture, STREAM};
use crate::world::{World, order, secret};

/// A broker to measure: beside what the conformance suite needs, its client alone.
pub trait Bench: Fixture {
    /// Appends with the client library alone, `batch` at a time, each batch confirmed as durably
    /// as the adapter has it confirmed before the next.
    fn raw_append(
        place: &str,
        messages: Vec<Sealed>,
        batch: usize,
    ) -> impl Future<Output = ()> + Send;

    /// Receives and acknowledges so many messages with the client library alone, in batches of
    /// `batch` as the adapter does.
    fn raw_receive(
        place: &str,
        group: &str,
        messages: usize,
        batch: usize,
    ) -> impl Future<Output = ()> + Send;
}

const GROUP: &str = "billing";
const BATCH: usize = 64;
const PAYLOAD_BYTES: usize = 1024;
const KEYS: u64 = 64;
const SHARED: [u8; 32] = [0x5a; 32];

/// How a message is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signing {
    Batched,
    Single,
    Hmac,
}

impl Signing {
    const ALL: [Signing; 3] = [Signing::Batched, Signing::Single, Signing::Hmac];

    fn title(self) -> &'static str {
        match self {
            Signing::Batched => "Ed25519, batched",
            Signing::Single => "Ed25519, single",
            Signing::Hmac => "HMAC-SHA256",
        }
    }
}

/// Seconds of one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    raw_append: f64,
    append: f64,
    raw_receive: f64,
    receive: f64,
    /// Of `receive`: in `screen`.
    screen: f64,
    /// Of `append`: building and signing.
    seal: f64,
}

/// Measures, and prints a table. Without `--bench` (a test run) a few messages go once round.
pub fn run<B: Bench>(broker: &str) {
    let measured = std::env::args().any(|arg| arg == "--bench");
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (rounds, messages) = match measured {
        true => (number("CHANCERY_BENCH_ROUNDS", 5), number("CHANCERY_BENCH_MESSAGES", 6_400)),
        false => (1, 2 * BATCH),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    println!("{messages} messages of {PAYLOAD_BYTES} B in batches of {BATCH}, {rounds} rounds\n");
    println!(
        "| {broker} | publish raw/s | guarded/s | ratio | sealing | consume raw/s | guarded/s | \
         ratio | screening |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for signing in Signing::ALL {
        let all: Vec<Round> =
            (0..rounds).map(|_| runtime.block_on(round::<B>(signing, messages))).collect();
        print(signing, messages, &all);
    }
}

fn print(signing: Signing, messages: usize, all: &[Round]) {
    let median = |of: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let per_second = |of: fn(&Round) -> f64| messages as f64 / median(&of);
    let us = |of: fn(&Round) -> f64| 1e6 * median(&of) / messages as f64;
    println!(
        "| {} | {:.0} | {:.0} | {:.2} | {:.1} µs | {:.0} | {:.0} | {:.2} | {:.1} µs |",
        signing.title(),
        per_second(|r| r.raw_append),
        per_second(|r| r.append),
        median(&|r| r.raw_append / r.append),
        us(|r| r.seal),
        per_second(|r| r.raw_receive),
        per_second(|r| r.receive),
        median(&|r| r.raw_receive / r.receive),
        us(|r| r.screen),
    );
}

async fn round<B: Bench>(signing: Signing, messages: usize) -> Round {
    let now = SystemClock.now();
    let snapshot = shop(now);
    let (raw, guarded) = (B::fresh(), B::fresh());
    let (raw_append, (append, seal)) = (
        raw_append::<B>(&raw.name, &snapshot, now, messages).await,
        guarded_append::<B>(&guarded.name, &snapshot, now, (signing, messages)).await,
    );
    let begun = Instant::now();
    B::raw_receive(&raw.name, GROUP, messages, BATCH).await;
    let raw_receive = begun.elapsed().as_secs_f64();
    let (receive, screen) = guarded_receive::<B>(&guarded.name, &snapshot, messages).await;
    Round { raw_append, append, raw_receive, receive, screen, seal }
}

/// What whoever signs nothing would send: the same keys and bodies.
async fn raw_append<B: Bench>(
    place: &str,
    snapshot: &Snapshot,
    now: Timestamp,
    messages: usize,
) -> f64 {
    let bare = (0..messages).map(|nth| {
        let sealed = draft(snapshot, now, nth).sign(&secret("svc-orders", 1));
        Sealed { fields: Vec::new(), ..sealed }
    });
    let bare: Vec<Sealed> = bare.collect();
    let begun = Instant::now();
    B::raw_append(place, bare, BATCH).await;
    begun.elapsed().as_secs_f64()
}

/// Seconds in all, and of these in building and signing.
async fn guarded_append<B: Bench>(
    place: &str,
    snapshot: &Snapshot,
    now: Timestamp,
    (signing, messages): (Signing, usize),
) -> (f64, f64) {
    let sink = B::sink(place).await;
    let own = secret("svc-orders", 1);
    let shared = Secret::hmac_sha256(&SHARED).unwrap();
    let mut sealing = Duration::ZERO;
    let begun = Instant::now();
    for first in (0..messages).step_by(BATCH) {
        let at = Instant::now();
        let batch = first..messages.min(first + BATCH);
        let built: Vec<Unsigned> = batch.map(|nth| draft(snapshot, now, nth)).collect();
        let sealed = match signing {
            Signing::Batched => sign_all(built, &own, |s, k| sink.partition(s, k)),
            Signing::Single => built.into_iter().map(|one| one.sign(&own)).collect(),
            Signing::Hmac => built.into_iter().map(|one| one.sign(&shared)).collect(),
        };
        sealing += at.elapsed();
        sink.append(&sealed).await.unwrap();
    }
    (begun.elapsed().as_secs_f64(), sealing.as_secs_f64())
}

/// Seconds in all, and of these in `screen`. Each message must be admitted.
async fn guarded_receive<B: Bench>(
    place: &str,
    snapshot: &Snapshot,
    messages: usize,
) -> (f64, f64) {
    let reader = Reader { service: "svc-billing".into(), group: GROUP.into() };
    let (mut seen, mut screening) = (0, Duration::ZERO);
    let begun = Instant::now();
    let mut source = B::source(place, STREAM, GROUP).await;
    while seen < messages {
        let batch = source.receive(BATCH, Duration::from_secs(20)).await.unwrap();
        assert!(!batch.is_empty(), "{seen} of {messages} messages came");
        let mut receipts = Vec::with_capacity(batch.len());
        let at = Instant::now();
        for (delivery, receipt) in batch {
            if let Err(refusal) = screen(&delivery, snapshot, &reader, SystemClock.now()) {
                panic!("{refusal}");
            }
            receipts.push(receipt);
        }
        screening += at.elapsed();
        seen += receipts.len();
        source.acknowledge(receipts).await.unwrap();
    }
    (begun.elapsed().as_secs_f64(), screening.as_secs_f64())
}

fn draft(snapshot: &Snapshot, now: Timestamp, nth: usize) -> Unsigned {
    let number = u64::try_from(nth).unwrap();
    let mut event: Event = order(number, "acme");
    let head = format!(r#"{{"order_id":"o_{}","note":""#, number % KEYS);
    let filler = "x".repeat(PAYLOAD_BYTES.saturating_sub(head.len() + 2));
    event.content = Content::Payload(format!("{head}{filler}\"}}").into());
    let stamp = Stamp { service: "svc-orders", now, lane: [9; 16], sequence: number + 1 };
    build(&event, &stamp, snapshot).unwrap()
}

/// The shop, whose stream takes shared keys too, with keys that are good at this moment.
fn shop(now: Timestamp) -> Snapshot {
    let mut world = World::shop();
    let shared = Secret::hmac_sha256(&SHARED).unwrap();
    let (from, until) = (now + -DAY_MS, now + 365 * DAY_MS);
    world.keys.push(KeyEntry::new(&shared, "svc-orders", from, until));
    world.policy = world.policy.replace("key: order_id", "key: order_id\n    shared_keys: true");
    let sources =
        chancery::core::snapshot::Sources { secrets: vec![SHARED.to_vec()], ..world.sources() };
    Snapshot::build(&sources).unwrap()
}
