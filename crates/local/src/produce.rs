// SPDX-License-Identifier: MIT OR Apache-2.0
//! Appending.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery::{Clock, Sink, SystemClock};
use chancery_core::seal::Sealed;
use chancery_core::{Fault, Field, Timestamp};
use rusqlite::Transaction;

use crate::config::{Database, RETENTION_MS, check_stream};
use crate::consume::LocalSource;
use crate::convert::{check_sizes, encode_fields};

/// Old messages are looked for once in so many appends.
const APPENDS_PER_EXPIRY: u64 = 1_000;

/// The embedded broker in a directory. Clones share one connection.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retention_ms: i64,
}

struct Shared {
    database: Mutex<Database>,
    appends: AtomicU64,
}

/// A message as any client may append it; nothing in it is believed.
#[derive(Clone, Copy)]
pub struct RawMessage<'m> {
    /// Header fields in order, duplicates kept.
    pub fields: &'m [Field],
    /// Record key: messages of one key stay in order and with one receiver.
    pub key: Option<&'m [u8]>,
    /// Body; `None` is a null value, not an empty one.
    pub body: Option<&'m [u8]>,
}

impl Broker {
    /// Opens the broker in `dir`; makes the directory (0700) and its file if they are missing.
    ///
    /// # Errors
    /// A fault that says what is wrong with the directory or the file, and what to do: no access,
    /// damaged, another program's, a newer version's.
    pub fn open(dir: &Path) -> Result<Broker, Fault> {
        let database = Mutex::new(Database::open(dir)?);
        Ok(Broker {
            shared: Arc::new(Shared { database, appends: AtomicU64::new(0) }),
            clock: Arc::new(SystemClock),
            retention_ms: RETENTION_MS,
        })
    }

    /// Stamps appends by another clock. Leases and delays stay on the machine's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Broker {
        self.clock = clock;
        self
    }

    /// Keeps messages for this long instead of seven days.
    pub fn with_retention(mut self, retention: Duration) -> Broker {
        self.retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// Lets this broker's connection grow the file to so many bytes and no further.
    ///
    /// # Errors
    /// A fault of the file.
    pub fn with_quota(self, bytes_max: u64) -> Result<Broker, Fault> {
        self.database().read("its size is limited", |tx| {
            let page: u64 = tx.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = (bytes_max / page.max(1)).clamp(1, u64::from(u32::MAX));
            tx.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })?;
        Ok(self)
    }

    /// Receives a stream as a group. A new group starts at the beginning; the stream and the
    /// group are made if they are missing.
    ///
    /// # Errors
    /// A fault of the names, the file or the lock file.
    pub fn subscribe(&self, stream: &str, group: &str) -> Result<LocalSource, Fault> {
        let database = self.database().another()?;
        LocalSource::open(database, stream, group)
    }

    /// The ordinary append, as any client makes it; gives the offset: 1, 2, 3… per stream.
    /// Durable once it returns. Blocks for the disk.
    ///
    /// # Errors
    /// A fault if a name or size is out of bounds or the file cannot be written; then nothing was
    /// appended.
    pub fn append_raw(
        &self,
        stream: &str,
        fields: &[Field],
        key: Option<&[u8]>,
        body: Option<&[u8]>,
    ) -> Result<i64, Fault> {
        self.append_all([(stream, RawMessage { fields, key, body })].into_iter())
            .map(|offsets| offsets.first().copied().unwrap_or_default())
    }

    /// The ordinary append of many messages in one transaction; gives their offsets.
    ///
    /// # Errors
    /// As [`Broker::append_raw`]; all or none are appended.
    pub fn append_many(
        &self,
        stream: &str,
        messages: &[RawMessage<'_>],
    ) -> Result<Vec<i64>, Fault> {
        self.append_all(messages.iter().map(|message| (stream, *message)))
    }

    pub(crate) fn database(&self) -> MutexGuard<'_, Database> {
        self.shared.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_all<'m>(
        &self,
        messages: impl Iterator<Item = (&'m str, RawMessage<'m>)> + Clone,
    ) -> Result<Vec<i64>, Fault> {
        for (stream, message) in messages.clone() {
            check_stream(stream)?;
            check_sizes(&message)?;
        }
        let now = self.clock.now();
        let offsets = self.database().write("append", |tx| {
            messages.map(|(stream, message)| insert(tx, stream, &message, now)).collect()
        })?;
        let appends = self.shared.appends.fetch_add(1, Ordering::Relaxed);
        if appends.is_multiple_of(APPENDS_PER_EXPIRY) {
            // The append is durable: a failure to tidy up must not look like a failure of it.
            let _ = self.expire_some(now);
        }
        Ok(offsets)
    }
}

impl Sink for Broker {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        let (broker, messages) = (self.clone(), messages.to_vec());
        let append = move || {
            let raw = messages.iter().map(|sealed| (sealed.stream.as_str(), raw(sealed)));
            let offsets = broker.append_all(raw)?;
            let positions = messages.iter().zip(offsets);
            Ok(positions.map(|(sealed, offset)| format!("{}/{offset}", sealed.stream)).collect())
        };
        blocking(append).await
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("dir", &self.database().dir).finish_non_exhaustive()
    }
}

/// Runs work that waits for the disk where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let ended = |error| Fault::broker(format!("the broker's work was cut off: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

/// The stream's id; it is made if it is missing.
pub(crate) fn stream_id(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    tx.prepare_cached("INSERT INTO stream (name) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([name])?;
    tx.prepare_cached("SELECT id FROM stream WHERE name = ?1")?.query_row([name], |row| row.get(0))
}

/// Takes the stream's next offset.
pub(crate) fn next_offset(tx: &Transaction<'_>, stream: i64) -> rusqlite::Result<i64> {
    tx.prepare_cached("UPDATE stream SET next = next + 1 WHERE id = ?1 RETURNING next - 1")?
        .query_row([stream], |row| row.get(0))
}

fn insert(
    tx: &Transaction<'_>,
    stream: &str,
    message: &RawMessage<'_>,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let stream = stream_id(tx, stream)?;
    let offset = next_offset(tx, stream)?;
    tx.prepare_cached(
        "INSERT INTO message (stream, offset, appended, stored, key, fields, body)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        stream,
        offset,
        now.0,
        message.key,
        encode_fields(message.fields),
        message.body,
    ))?;
    Ok(offset)
}

fn raw(sealed: &Sealed) -> RawMessage<'_> {
    RawMessage { fields: &sealed.fields, key: sealed.key.as_deref(), body: Some(&sealed.body) }
}
