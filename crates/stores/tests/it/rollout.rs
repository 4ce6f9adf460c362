// SPDX-License-Identifier: MIT OR Apache-2.0
//! A rollout in simulated time. Producers get a rotated key, an event type, a tenant and a schema
//! version at once; their consumers get them ten minutes later; a stranger floods both streams
//! beyond every quota meanwhile. No honest message may end otherwise than done, on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chancery::core::evidence::Signer;
use chancery::core::keys::Secret;
use chancery::core::record::{Record, RecordKind};
use chancery::core::seal::Sealed;
use chancery::core::text::b64u;
use chancery::core::time::{DAY_MS, MINUTE_MS, SECOND_MS};
use chancery::core::{AppendTime, Field, Reader};
use chancery::{
    Admitted, ConsumeError, Consumer, Delivery, Event, Fault, Handler, Outcome, Publisher,
    Settings, Sink, Snapshots, Source,
};
use chancery_local::{Broker, LocalReceipt, LocalSource};
use chancery_stores::log::{Disk, LogReader};
use chancery_stores::sqlite::{Database, KeptFilter, Limits, Transactional, Tx};
use chancery_testkit::world::{BEGINNING, TestClock, World, account, order, secret};

use crate::kills::{Random, seal_and_verify};

const ORDERS: &str = "orders.created";
const ACCOUNTS: &str = "accounts.changed";
/// What a step of the simulation lasts.
const STEP_MS: i64 = 30 * SECOND_MS;
const STEPS_BEFORE: u32 = 4;
/// How late consumers learn of the rollout.
const LATE_MS: i64 = 10 * MINUTE_MS;
const STEPS_AFTER: u32 = 4;
const ORDERS_A_STEP: u64 = 10;
const ACCOUNTS_A_STEP: u64 = 6;
const STRANGERS_A_STEP: u64 = 120;
/// Longest real time that a step, or the end, may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_a_flood_ends_with_every_honest_message_done() {
    let seed: u64 = std::env::var("CHANCERY_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| chancery::Clock::now(&chancery::SystemClock).0.cast_unsigned());
    println!("rollout: CHANCERY_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let mut town = Town::new(dir.path(), seed);
    let consumers = [ORDERS, ACCOUNTS].map(|stream| town.consume(stream));

    for _ in 0..STEPS_BEFORE {
        town.step(&["before"], 0).await;
    }
    town.publish_one_of_each_kind().await;
    // The producer's instances are replaced one after the other, so all three kinds publish.
    for _ in 0..LATE_MS / STEP_MS {
        town.step(&["before", "new", "rotated"], STRANGERS_A_STEP).await;
    }
    town.assert_that_it_was_a_trial();
    assert!(town.snapshots.replace(&after().sources()).unwrap());
    for _ in 0..STEPS_AFTER {
        town.step(&["new", "rotated"], STRANGERS_A_STEP).await;
    }
    town.wait("everything honest is done", |town| town.effects().len() >= town.honest.len()).await;
    for consumer in consumers {
        consumer.stop().await;
    }
    town.assert_honest_all_done_once_and_in_order();
    town.assert_nothing_honest_is_set_aside();
    town.assert_strangers_are_within_their_quotas();
    town.assert_evidence();
}

/// What consumers know in the beginning.
fn before() -> World {
    World::shop()
}

/// The rollout: both producers' keys are rotated, `orders.created` carries another type, another
/// tenant and a second schema version, `accounts.changed` a second schema version.
fn after() -> World {
    let mut world = before().with_key("svc-orders", 2).with_key("svc-accounts", 2);
    world.version += 1;
    let policy = world.policy.replace("[acme, zen]", "[acme, zen, late]");
    world.policy =
        policy.replace("{orders.created: 1}", "{orders.created: 1..2, orders.corrected: 1}");
    for (typ, version, like) in
        [(ORDERS, 2, ORDERS), ("orders.corrected", 1, ORDERS), (ACCOUNTS, 2, ACCOUNTS)]
    {
        let schema = world.schemas[&(like.to_owned(), 1)].clone();
        world.schemas.insert((typ.to_owned(), version), schema);
    }
    // A month is left to the old keys, so that what they signed until now stays good.
    for key in &mut world.keys[..2] {
        key.sign_until = (BEGINNING + 30 * DAY_MS).0;
    }
    world
}

fn limits() -> Limits {
    Limits {
        stranger_rows_max: 40,
        stranger_buckets_max: 6,
        stranger_records_max: 10,
        ..Limits::default()
    }
}

/// One service's instances by generation: what they know and which key they sign with.
type Instances = BTreeMap<&'static str, Publisher<Remembers>>;

/// The broker, and what was last appended to it.
#[derive(Clone)]
struct Remembers {
    broker: Broker,
    last: Arc<Mutex<Vec<Sealed>>>,
}

impl Sink for Remembers {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        *self.last.lock().unwrap() = messages.to_vec();
        self.broker.append(messages).await
    }
}

/// A message as it lies in a stream: the stream, its fields, its body.
type Content = (String, Vec<(String, Bytes)>, Option<Bytes>);

fn content(stream: &str, fields: &[Field], body: Option<&Bytes>) -> Content {
    let fields = fields.iter().map(|field| (field.name.clone(), field.value.clone()));
    (stream.to_owned(), fields.collect(), body.cloned())
}

struct Town<'d> {
    dir: &'d Path,
    clock: Arc<TestClock>,
    broker: Broker,
    database: Database,
    snapshots: Snapshots,
    orders: Instances,
    accounts: Instances,
    random: Random,
    numbers: u64,
    versions: BTreeMap<String, u64>,
    /// Honest messages by content, with stream and id of their event.
    honest: BTreeMap<Content, (String, String)>,
    sealed: Vec<Sealed>,
    last: Arc<Mutex<Vec<Sealed>>>,
    appended: u64,
    received: Arc<AtomicU64>,
}

impl<'d> Town<'d> {
    fn new(dir: &'d Path, seed: u64) -> Town<'d> {
        let clock = Arc::new(TestClock::at(BEGINNING));
        let broker = Broker::open(&dir.join("broker")).unwrap().with_clock(clock.clone());
        let database = Database::open_with(dir.join("service.db"), limits()).unwrap();
        let table = "CREATE TABLE effect(stream TEXT, event TEXT)";
        database.connection().unwrap().execute_batch(table).unwrap();
        let last: Arc<Mutex<Vec<Sealed>>> = Arc::default();
        let instances = |service: &str| -> Instances {
            let generations =
                [("before", before(), 1), ("new", after(), 1), ("rotated", after(), 2)];
            let instance = |(name, world, number): (&'static str, World, u8)| {
                let (key, lane) = (secret(service, number), [name.len() as u8; 16]);
                let sink = Remembers { broker: broker.clone(), last: last.clone() };
                let made = Publisher::with_clock(
                    sink,
                    world.snapshots(),
                    service,
                    key,
                    lane,
                    clock.clone(),
                );
                (name, made.unwrap())
            };
            generations.into_iter().map(instance).collect()
        };
        Town {
            dir,
            orders: instances("svc-orders"),
            accounts: instances("svc-accounts"),
            clock,
            broker,
            database,
            snapshots: before().snapshots(),
            random: Random(seed | 1),
            numbers: 0,
            versions: BTreeMap::new(),
            honest: BTreeMap::new(),
            sealed: Vec::new(),
            last: Arc::clone(&last),
            appended: 0,
            received: Arc::default(),
        }
    }

    fn consume(&self, stream: &str) -> Running {
        let source = self.broker.subscribe(stream, "billing").unwrap();
        let source = Counting(source, self.received.clone());
        let ledger = Transactional::new(&self.database).unwrap();
        let reader = Reader { service: "svc-billing".into(), group: "billing".into() };
        let consumer =
            Consumer::new(source, ledger, self.snapshots.clone(), stream, reader).unwrap();
        let settings = Settings {
            poll: Duration::from_millis(50),
            left_wait_max: Duration::from_secs(2),
            ..Settings::default()
        };
        let mut consumer = consumer.clock(self.clock.clone()).settings(settings);
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let stopped = async move {
            while !asked.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let task = tokio::spawn(async move { consumer.run(&Effect, stopped).await.map(drop) });
        Running { stop, task }
    }

    /// Honest events of every generation, then a flood; time moves on once all have been seen.
    async fn step(&mut self, generations: &[&'static str], strangers: u64) {
        for _ in 0..ORDERS_A_STEP {
            let generation = *self.pick(generations);
            let event = self.an_order(generation);
            self.publish(generation, &event).await;
        }
        for _ in 0..ACCOUNTS_A_STEP {
            let generation = *self.pick(generations);
            let event = self.an_account(generation);
            self.publish(generation, &event).await;
        }
        self.flood(strangers);
        self.wait("all was seen", |town| town.received.load(Ordering::SeqCst) >= town.appended)
            .await;
        self.clock.advance(STEP_MS);
    }

    /// Each cause of being held, before a flood can have filled a bucket: the first of them is in
    /// its stream before any stranger can name the new key.
    async fn publish_one_of_each_kind(&mut self) {
        let mut orders = [(); 4].map(|()| {
            self.numbers += 1;
            order(self.numbers, "acme")
        });
        orders[1].event_type = "orders.corrected".to_owned();
        orders[2].tenant = Some("late".to_owned());
        orders[3].schema_version = 2;
        for (event, generation) in orders.iter().zip(["rotated", "new", "new", "new"]) {
            self.publish(generation, event).await;
        }
        let mut accounts =
            [("b", 1), ("b", 2), ("c", 1)].map(|(name, version)| account(name, version));
        accounts[2].schema_version = 2;
        for (event, generation) in accounts.iter().zip(["rotated", "before", "new"]) {
            self.publish(generation, event).await;
        }
    }

    /// What only the new snapshot knows comes only from instances that have it.
    fn an_order(&mut self, generation: &str) -> Event {
        self.numbers += 1;
        let new = generation != "before";
        let tenant = if new && self.random.below(4) == 0 { "late" } else { "acme" };
        let mut event = order(self.numbers, tenant);
        match self.random.below(3) {
            0 if new => event.schema_version = 2,
            1 if new => event.event_type = "orders.corrected".to_owned(),
            _ => {}
        }
        event
    }

    fn an_account(&mut self, generation: &str) -> Event {
        let name = format!("a{}", self.random.below(3));
        let version = self.versions.entry(name.clone()).or_insert(0);
        *version += 1;
        let mut event = account(&name, *version);
        if generation != "before" && self.random.below(2) == 0 {
            event.schema_version = 2;
        }
        event
    }

    async fn publish(&mut self, generation: &str, event: &Event) {
        let instances = if event.stream == ORDERS { &self.orders } else { &self.accounts };
        let publisher = &instances[generation];
        publisher.publish(event).await.unwrap();
        let sealed = self.last.lock().unwrap().pop().unwrap();
        let content = content(&sealed.stream, &sealed.fields, Some(&sealed.body));
        self.honest.insert(content, (event.stream.clone(), event.id.clone()));
        self.sealed.push(sealed);
        self.appended += 1;
    }

    fn pick<'p, T>(&mut self, among: &'p [T]) -> &'p T {
        &among[self.random.below(among.len() as u64) as usize]
    }

    fn flood(&mut self, messages: u64) {
        for _ in 0..messages {
            let stream = if self.random.below(2) == 0 { ORDERS } else { ACCOUNTS };
            let copied = self.pick_sealed();
            let forged = self.forge(stream, &copied);
            self.broker
                .append_raw(stream, &forged.fields, forged.key.as_deref(), forged.body.as_deref())
                .unwrap();
            self.appended += 1;
        }
    }

    fn pick_sealed(&mut self) -> Sealed {
        self.sealed[self.random.below(self.sealed.len() as u64) as usize].clone()
    }

    /// What anybody who can append may try. Keys, fields and bodies are copied from honest
    /// messages, future ones of the same record key among those who must not suffer from it.
    fn forge(&mut self, stream: &str, copied: &Sealed) -> Delivery {
        let mut forged = Delivery {
            stream: stream.to_owned(),
            position: String::new(),
            fields: copied.fields.clone(),
            key: copied.key.clone(),
            body: Some(copied.body.clone()),
            appended: AppendTime::Unknown,
            deliveries: 0,
        };
        let number = self.random.below(u64::MAX >> 33);
        match self.random.below(6) {
            // Unsigned, each another one.
            0 => {
                forged.fields.clear();
                forged.body = Some(format!(r#"{{"stranger":{number}}}"#).into());
            }
            // A key that no bundle knows, one of few or of many.
            1 => forged.fields[1] = signature(&secret("stranger", (number % 3) as u8), number),
            2 => forged.fields[1] = signature(&secret("stranger", number as u8), number),
            // The name of a key that the consumer knows, or will know.
            3 => {
                let service = if stream == ORDERS { "svc-orders" } else { "svc-accounts" };
                let number_of_key = 1 + u8::from(self.random.below(4) > 0);
                let kid = secret(service, number_of_key).kid();
                let mut block = signature(&secret("stranger", 0), number);
                let value = String::from_utf8(block.value.to_vec()).unwrap();
                let signed = value.split_once(':').unwrap().1;
                block.value = format!("1;{kid}:{signed}").into();
                forged.fields[1] = block;
            }
            // Signed by the producer, with another body.
            4 => forged.body = Some(format!(r#"{{"stranger":{number}}}"#).into()),
            // An honest message as it is: in its own stream a replay, in the other misdirected.
            _ => {}
        }
        forged
    }

    async fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < until,
                "not in time: {what}; {} of {} received, {} of {} done",
                self.received.load(Ordering::SeqCst),
                self.appended,
                self.effects().len(),
                self.honest.len()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn effects(&self) -> Vec<(String, String)> {
        let sql = self.database.connection().unwrap();
        let mut select = sql.prepare("SELECT stream, event FROM effect ORDER BY rowid").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// The honest messages that are set aside now: stream, id, code.
    fn honest_aside(&self) -> Vec<(String, String, String)> {
        let filter = KeptFilter { max: usize::MAX >> 1, ..KeptFilter::default() };
        let kept = self.database.kept();
        let rows = kept.list(&filter).unwrap().into_iter().filter_map(|entry| {
            let (_, message) = kept.show(entry.row).unwrap()?;
            let content = content(&message.stream, &message.fields, message.body.as_ref());
            let (stream, id) = self.honest.get(&content)?.clone();
            Some((stream, id, entry.reason))
        });
        rows.collect()
    }

    /// Just before consumers learn of the rollout: each cause of holding was there, quotas of
    /// strangers were overrun, and honest messages were left with the broker because of that.
    fn assert_that_it_was_a_trial(&self) {
        let aside = self.honest_aside();
        let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for (stream, _, reason) in &aside {
            *counts.entry((stream, reason)).or_default() += 1;
        }
        println!("set aside before the refresh: {counts:?}");
        let codes = [
            (ORDERS, "E202_UNKNOWN_KEY"),
            (ORDERS, "E303_TYPE"),
            (ORDERS, "E304_TENANT"),
            (ORDERS, "E402_SCHEMA_TOO_OLD"),
            (ACCOUNTS, "E202_UNKNOWN_KEY"),
            (ACCOUNTS, "E405_SCHEMA_UNKNOWN"),
            (ACCOUNTS, "E511_GAP"),
        ];
        for code in codes {
            assert!(counts.contains_key(&code), "{code:?} was not tried");
        }
        let left = self.honest.len() - aside.len() - self.effects().len();
        println!("left with the broker before the refresh: {left} honest");
        assert!(left > 0, "no honest message met a full bucket");
    }

    fn assert_honest_all_done_once_and_in_order(&self) {
        let mut seen = self.effects();
        let versions = seen.iter().filter(|(stream, _)| stream == ACCOUNTS);
        let mut heads: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, id) in versions {
            let (name, version) = id.rsplit_once('-').unwrap();
            let head = heads.entry(name).or_default();
            *head += 1;
            assert_eq!(version.parse(), Ok(*head), "{name} is out of order");
        }
        seen.sort();
        let mut wanted: Vec<_> = self.honest.values().cloned().collect();
        wanted.sort();
        assert_eq!(seen, wanted, "each honest event's effect once, and no other");
    }

    fn assert_nothing_honest_is_set_aside(&self) {
        assert_eq!(self.honest_aside(), []);
    }

    fn assert_strangers_are_within_their_quotas(&self) {
        let sql = self.database.connection().unwrap();
        let mut select = sql
            .prepare(
                "SELECT strangers, count(*), max(rows) FROM chancery_quota
                      WHERE strangers IS NOT NULL GROUP BY strangers",
            )
            .unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        let buckets: Vec<(String, u64, u64)> = rows.map(Result::unwrap).collect();
        println!("strangers' buckets: {buckets:?}");
        assert_eq!(buckets.len(), 2, "both streams were flooded");
        for (stream, buckets, fullest) in buckets {
            assert!(buckets <= limits().stranger_buckets_max + 1, "{stream}: {buckets} buckets");
            assert_eq!(fullest, limits().stranger_rows_max, "{stream}: no bucket was filled");
        }
        for stream in [ORDERS, ACCOUNTS] {
            let left = self.broker.lag(stream, "billing").unwrap().messages;
            assert!(left > 0, "{stream}: nothing was left with the broker");
        }
    }

    /// The log is sound; each honest message has one record of being done, and what was held and
    /// done later has both records; no operator has a part in it.
    fn assert_evidence(&self) {
        let signer = Signer::from_seed("test.example/rollout", &[7; 32]).unwrap();
        seal_and_verify(self.dir, &signer);
        let disk = Disk::new(self.dir.join("evidence"));
        let log = LogReader::open(&disk, signer.verifier()).unwrap();
        let records = log.records().map(|record| Record::decode(&record.unwrap().1).unwrap());
        let (mut done, mut held) = (Vec::new(), BTreeSet::new());
        for record in records {
            assert_eq!(record.operator, None);
            let id = record.message.and_then(|message| message.id);
            match record.kind {
                RecordKind::Done => done.extend(id),
                RecordKind::Hold => held.extend(id),
                _ => {}
            }
        }
        let mut honest: Vec<_> = self.sealed.iter().map(|s| b64u(&s.message_id)).collect();
        let (count, held) = (honest.len(), honest.iter().filter(|id| held.contains(*id)).count());
        println!("{count} honest messages, {held} of them held on the way");
        assert!(held > 20, "{held} were held");
        done.sort();
        honest.sort();
        assert_eq!(done, honest, "one record of being done for each honest message");
    }
}

/// A signature block by this key, over something else.
fn signature(key: &Secret, number: u64) -> Field {
    let signed = b64u(&key.sign(&number.to_be_bytes()));
    Field::new("chancery-sig", format!("1;{}:{signed}", key.kid()))
}

/// A consumer that runs.
struct Running {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<(), ConsumeError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap().unwrap();
    }
}

/// Counts what comes for the first time.
struct Counting(LocalSource, Arc<AtomicU64>);

impl Source for Counting {
    type Receipt = LocalReceipt;

    async fn receive(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, LocalReceipt)>, Fault> {
        let batch = self.0.receive(max, wait).await?;
        let fresh = batch.iter().filter(|(delivery, _)| delivery.deliveries == 1).count();
        self.1.fetch_add(fresh as u64, Ordering::SeqCst);
        Ok(batch)
    }

    async fn acknowledge(&mut self, receipts: Vec<LocalReceipt>) -> Result<(), Fault> {
        self.0.acknowledge(receipts).await
    }

    async fn give_back(&mut self, receipt: LocalReceipt, delay: Duration) -> Result<(), Fault> {
        self.0.give_back(receipt, delay).await
    }

    async fn pass_over(&mut self, receipts: Vec<(LocalReceipt, Duration)>) -> Result<(), Fault> {
        self.0.pass_over(receipts).await
    }
}

/// The effect is a row, in the message's transaction.
struct Effect;

impl Handler<serde_json::Value, Tx> for Effect {
    async fn handle(&self, event: &Admitted<serde_json::Value>, tx: &mut Tx) -> Outcome {
        let insert = "INSERT INTO effect(stream, event) VALUES (?1, ?2)";
        match tx.execute(insert, [event.stream(), event.id()]) {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Retry(error.to_string()),
        }
    }
}
