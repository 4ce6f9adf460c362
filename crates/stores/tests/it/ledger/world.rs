// SPDX-License-Identifier: MIT OR Apache-2.0
//! A shop that publishes, a billing service that handles, and a database between them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chancery::ports::{Ledger, Unit};
use chancery::receive::{Receiver, Settle, receive};
use chancery::{Fault, Handler, Outcome, Signals};
use chancery_core::bundle::{Bundle, KeyEntry};
use chancery_core::claim::ClaimRequest;
use chancery_core::keys::Secret;
use chancery_core::record::{Decider, Record};
use chancery_core::seal::{Content, Draft, Stamp, build};
use chancery_core::snapshot::Sources;
use chancery_core::time::{DAY_MS, MINUTE_MS};
use chancery_core::{Admitted, AppendTime, Delivery, Reader, Snapshot, Timestamp, screen};
use chancery_stores::sqlite::{Database, Limits, Tx};
use tempfile::TempDir;

pub(crate) const NOW: Timestamp = Timestamp(1_772_705_553_000);
pub(crate) const ORDERS: &str = "orders.created";
pub(crate) const MOVES: &str = "orders.moved";
pub(crate) const GROUP: &str = "billing";

const POLICY: &str = "
version: 1
domain: acme
environment: test
services: {shop: {}, billing: {}}
streams:
  orders.created: {kind: event, owner: shop, handled_by: {billing: billing}}
  orders.moved: {kind: event, owner: shop, handled_by: {billing: billing}, key: order, ordered: true}
";

pub(crate) type Payload = BTreeMap<String, String>;

pub(crate) fn shop() -> Secret {
    Secret::ed25519(&[1; 32])
}

/// A service that the bundle knows from the second version on.
pub(crate) fn newcomer() -> Secret {
    Secret::ed25519(&[3; 32])
}

/// The snapshot with this bundle version; the newcomer's key is in it from version 2 on.
pub(crate) fn snapshot(version: u64) -> Snapshot {
    Snapshot::build(&sources(version)).unwrap()
}

pub(crate) fn sources(version: u64) -> Sources {
    let root = Secret::ed25519(&[9; 32]);
    let (from, until) = (Timestamp(NOW.0 - 100 * DAY_MS), Timestamp(NOW.0 + 400 * DAY_MS));
    let mut keys = vec![KeyEntry::new(&shop(), "shop", from, until)];
    if version > 1 {
        keys.push(KeyEntry::new(&newcomer(), "shop", from, until));
    }
    let bundle = Bundle {
        v: 1,
        domain: "acme".into(),
        environment: "test".into(),
        version,
        issued: from.0,
        expires: until.0,
        keys,
    };
    let schema = br#"{"type": "object"}"#.to_vec();
    Sources {
        bundle: bundle.seal(&root).unwrap().into_bytes(),
        root: root.public(),
        policy: POLICY.into(),
        schemas: [ORDERS, MOVES]
            .into_iter()
            .map(|name| ((name.to_owned(), 1), schema.clone()))
            .collect(),
        secrets: Vec::new(),
    }
}

pub(crate) fn draft(stream: &str, id: &str, payload: &str) -> Draft {
    Draft {
        stream: stream.into(),
        id: id.into(),
        event_type: stream.into(),
        schema_version: 1,
        tenant: None,
        version: None,
        occurred_at: "2026-03-05T10:12:33Z".into(),
        request: None,
        actor: None,
        traceparent: None,
        deadline: None,
        causes: Vec::new(),
        content: Content::Payload(Bytes::copy_from_slice(payload.as_bytes())),
    }
}

/// Signed by `secret` at `at`, appended at once, at a place of its own.
pub(crate) fn signed(draft: &Draft, secret: &Secret, at: Timestamp) -> Delivery {
    signed_by(&snapshot(2), draft, secret, at)
}

/// The same by a producer that has this snapshot.
pub(crate) fn signed_by(
    snapshot: &Snapshot,
    draft: &Draft,
    secret: &Secret,
    at: Timestamp,
) -> Delivery {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let stamp = Stamp { service: "shop", now: at, lane: [7; 16], sequence: number };
    let sealed = build(draft, &stamp, snapshot).unwrap().sign(secret);
    Delivery {
        position: format!("{}/{number}", draft.stream),
        stream: sealed.stream,
        fields: sealed.fields,
        key: sealed.key,
        body: Some(sealed.body),
        appended: AppendTime::Broker(at),
        deliveries: 1,
    }
}

/// An order with this number, signed by the shop now.
pub(crate) fn order(number: u64) -> Delivery {
    let id = format!("order-{number:06}");
    signed(&draft(ORDERS, &id, r#"{"item":"hat"}"#), &shop(), NOW)
}

/// Version `version` of the order `key`, signed by the shop now.
pub(crate) fn moved(key: &str, version: u64) -> Delivery {
    moved_as(&format!("move-{key}-{version:06}"), key, version)
}

pub(crate) fn moved_as(id: &str, key: &str, version: u64) -> Delivery {
    let mut draft = draft(MOVES, id, &format!(r#"{{"order":"{key}"}}"#));
    draft.version = Some(version);
    signed(&draft, &shop(), NOW)
}

pub(crate) fn reader() -> Reader {
    Reader { service: "billing".into(), group: GROUP.into() }
}

pub(crate) fn decider() -> Decider {
    Decider { group: GROUP.into(), service: "billing".into(), build: "test".into() }
}

/// The claim of a message that screens well.
pub(crate) fn ask(delivery: &Delivery) -> ClaimRequest {
    let snapshot = snapshot(2);
    let horizon_ms = snapshot.policy.times.horizon_ms();
    let validated = screen(delivery, &snapshot, &reader(), NOW).unwrap();
    validated.claim(horizon_ms)
}

/// A folder with a database in it.
pub(crate) struct World {
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        let world = World { folder: TempDir::new().unwrap() };
        let sql = world.open().connection().unwrap();
        sql.execute_batch("CREATE TABLE effect (event TEXT NOT NULL)").unwrap();
        world
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("billing.db")
    }

    pub(crate) fn open(&self) -> Database {
        Database::open(self.path()).unwrap()
    }

    pub(crate) fn open_with(&self, limits: Limits) -> Database {
        Database::open_with(self.path(), limits).unwrap()
    }

    /// How often the effect of an event was committed.
    pub(crate) fn effects(&self) -> i64 {
        self.count("SELECT count(*) FROM effect")
    }

    pub(crate) fn count(&self, query: &str) -> i64 {
        let sql = rusqlite::Connection::open(self.path()).unwrap();
        sql.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// Every record, oldest first.
    pub(crate) fn records(&self) -> Vec<Record> {
        let sql = rusqlite::Connection::open(self.path()).unwrap();
        let mut select = sql.prepare("SELECT record FROM chancery_evidence ORDER BY seq").unwrap();
        let rows = select.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        rows.map(|bytes| Record::decode(&bytes.unwrap()).unwrap()).collect()
    }
}

/// The same, so many minutes later: every backoff is over.
pub(crate) async fn run_later<L, H>(
    ledger: &L,
    handler: &H,
    delivery: &Delivery,
    minutes: i64,
) -> Result<Settle, Fault>
where
    L: Ledger,
    H: Handler<Payload, <L::Unit as Unit>::Lent>,
{
    run_at(ledger, handler, delivery, &snapshot(2), NOW + minutes * MINUTE_MS).await
}

/// Receives one message now, against bundle version 2.
pub(crate) async fn run<L, H>(ledger: &L, handler: &H, delivery: &Delivery) -> Result<Settle, Fault>
where
    L: Ledger,
    H: Handler<Payload, <L::Unit as Unit>::Lent>,
{
    run_at(ledger, handler, delivery, &snapshot(2), NOW).await
}

pub(crate) async fn run_at<L, H>(
    ledger: &L,
    handler: &H,
    delivery: &Delivery,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Settle, Fault>
where
    L: Ledger,
    H: Handler<Payload, <L::Unit as Unit>::Lent>,
{
    let with = Receiver {
        ledger,
        handler,
        reader: &reader(),
        decider: &decider(),
        signals: &Signals::default(),
        attempts_max: 5,
        handler_timeout: Duration::from_secs(20),
    };
    receive::<Payload, L, H>(delivery, snapshot, &with, now).await
}

/// Writes one row per event, then does what it was told.
pub(crate) struct Effect(pub(crate) Outcome);

impl Handler<Payload, Tx> for Effect {
    async fn handle(&self, event: &Admitted<Payload>, tx: &mut Tx) -> Outcome {
        tx.execute("INSERT INTO effect (event) VALUES (?1)", [event.id()]).unwrap();
        self.0.clone()
    }
}

/// Runs a function with the transaction, then is done.
pub(crate) struct With<F>(pub(crate) F);

impl<F: Fn(&mut Tx) + Send + Sync + 'static> Handler<Payload, Tx> for With<F> {
    async fn handle(&self, event: &Admitted<Payload>, tx: &mut Tx) -> Outcome {
        tx.execute("INSERT INTO effect (event) VALUES (?1)", [event.id()]).unwrap();
        (self.0)(tx);
        Outcome::Done
    }
}
