// SPDX-License-Identifier: MIT OR Apache-2.0
//! What handlers publish: drafts committed with the effect, signed and appended afterwards.

use bytes::Bytes;
use chancery::ports::Sink;
use chancery::{PublishError, Publisher};
use chancery_core::seal::{Content, Draft};
use chancery_core::text::b64u;
use chancery_core::{Fault, FaultKind, Misuse, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::database::Database;

/// Drafts that are signed and appended at once.
const BATCH_MAX: usize = 64;

/// The drafts of a database that wait for a relay.
#[derive(Clone, Copy, Debug)]
pub struct Outbox<'d>(pub(crate) &'d Database);

/// A draft that no reader could admit, set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedDraft {
    /// Its row.
    pub row: i64,
    /// The draft.
    pub draft: Draft,
    /// Code and detail of the refusal.
    pub refused: String,
}

impl Outbox<'_> {
    /// The oldest drafts that wait, at most `max`.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn take(&self, max: usize) -> Result<Vec<(i64, Draft)>, Fault> {
        self.0.0.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT row, draft, body FROM chancery_outbox WHERE refused IS NULL
                 ORDER BY row LIMIT ?1",
            )?;
            let rows = select.query_map([max], |row| Ok((row.get(0)?, read(row, 1)?)))?;
            rows.collect()
        })
    }

    /// Deletes drafts that the broker has confirmed.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn done(&self, rows: &[i64]) -> Result<(), Fault> {
        self.each(rows, "DELETE FROM chancery_outbox WHERE row = ?1").await
    }

    /// The drafts that were refused.
    ///
    /// # Errors
    /// A fault of the database.
    pub fn refused(&self) -> Result<Vec<RefusedDraft>, Fault> {
        self.0.0.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT row, draft, body, refused FROM chancery_outbox
                 WHERE refused IS NOT NULL ORDER BY row",
            )?;
            let rows = select.query_map([], |row| {
                Ok(RefusedDraft { row: row.get(0)?, draft: read(row, 1)?, refused: row.get(3)? })
            })?;
            rows.collect()
        })
    }

    /// Lets refused drafts be tried again, once policy or schemas have changed.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn retry(&self, rows: &[i64]) -> Result<(), Fault> {
        self.each(rows, "UPDATE chancery_outbox SET refused = NULL WHERE row = ?1").await
    }

    async fn refuse(&self, row: i64, why: &str) -> Result<(), Fault> {
        let write = self.0.0.write().await?;
        let refuse = "UPDATE chancery_outbox SET refused = ?2 WHERE row = ?1";
        self.0.0.tell(write.sql().and_then(|sql| sql.execute(refuse, params![row, why])))?;
        write.commit()
    }

    async fn each(&self, rows: &[i64], statement: &str) -> Result<(), Fault> {
        let write = self.0.0.write().await?;
        for row in rows {
            self.0.0.tell(write.sql().and_then(|sql| sql.execute(statement, [row])))?;
        }
        write.commit()
    }
}

/// Signs and appends the drafts that wait, in order, and deletes each once the broker has
/// confirmed it; gives how many. A draft that no reader could admit is set aside with its reason
/// and holds nothing back. A crash in between appends a draft again: readers skip the copy.
///
/// # Errors
/// A fault of the database, the broker, or the publisher's key: what was not confirmed still
/// waits.
pub async fn relay<K: Sink>(database: &Database, publisher: &Publisher<K>) -> Result<usize, Fault> {
    let outbox = database.outbox();
    let mut appended = 0;
    loop {
        let (rows, drafts): (Vec<i64>, Vec<Draft>) = outbox.take(BATCH_MAX)?.into_iter().unzip();
        if rows.is_empty() {
            return Ok(appended);
        }
        match publisher.publish_all(&drafts).await {
            Ok(_) => {
                outbox.done(&rows).await?;
                appended += rows.len();
            }
            Err(PublishError::Fault(fault)) => return Err(fault),
            Err(PublishError::Misuse(misuse)) => return Err(key_may_not_sign(&misuse)),
            Err(PublishError::Refused(_)) => {
                appended += one_by_one(outbox, publisher, &rows, &drafts).await?;
            }
        }
    }
}

/// A batch with a refused draft in it: nothing of it was sent.
async fn one_by_one<K: Sink>(
    outbox: Outbox<'_>,
    publisher: &Publisher<K>,
    rows: &[i64],
    drafts: &[Draft],
) -> Result<usize, Fault> {
    let mut appended = 0;
    for (row, draft) in rows.iter().zip(drafts) {
        match publisher.publish(draft).await {
            Ok(_) => {
                outbox.done(&[*row]).await?;
                appended += 1;
            }
            Err(PublishError::Fault(fault)) => return Err(fault),
            Err(PublishError::Misuse(misuse)) => return Err(key_may_not_sign(&misuse)),
            Err(PublishError::Refused(refusal)) => {
                outbox.refuse(*row, &refusal.to_string()).await?;
            }
        }
    }
    Ok(appended)
}

// The drafts wait for a key that may sign; publishing them would only have readers hold them.
fn key_may_not_sign(misuse: &Misuse) -> Fault {
    Fault { kind: FaultKind::BundleStale, detail: misuse.to_string() }
}

/// Gives a draft without an id one that follows from the event and the draft's number in it, so
/// that handling the event again tells the same event again.
pub(crate) fn with_id(mut draft: Draft, identity: &[u8; 32], number: u64) -> Draft {
    if draft.id.is_empty() {
        let mut hash = Sha256::new();
        hash.update(b"chancery/outbox/1\n");
        hash.update(identity);
        hash.update(number.to_be_bytes());
        draft.id = b64u(hash.finalize().split_at(16).0);
    }
    draft
}

pub(crate) fn put(sql: &Connection, draft: &Draft, now: Timestamp) -> rusqlite::Result<()> {
    let (row, body) = DraftRow::of(draft);
    let text = serde_json::to_string(&row)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    sql.prepare_cached(
        "INSERT INTO chancery_outbox (stream, draft, body, created) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![draft.stream, text, &body[..], now.0])?;
    Ok(())
}

fn read(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Draft> {
    let text: String = row.get(at)?;
    let body: Vec<u8> = row.get(at + 1)?;
    let draft: DraftRow = serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error))
    })?;
    Ok(draft.into_draft(Bytes::from(body)))
}

/// A draft as it is stored, but for its body.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftRow {
    v: u32,
    stream: String,
    id: String,
    event_type: String,
    schema_version: u32,
    tenant: Option<String>,
    version: Option<u64>,
    occurred_at: String,
    request: Option<String>,
    actor: Option<String>,
    traceparent: Option<String>,
    deadline: Option<i64>,
    causes: Vec<[u8; 32]>,
    content: ContentRow,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum ContentRow {
    Payload,
    Envelope,
    Opaque(String),
}

impl DraftRow {
    fn of(draft: &Draft) -> (DraftRow, Bytes) {
        let (content, body) = match &draft.content {
            Content::Payload(body) => (ContentRow::Payload, body.clone()),
            Content::Envelope(body) => (ContentRow::Envelope, body.clone()),
            Content::Opaque(kind, body) => (ContentRow::Opaque(kind.clone()), body.clone()),
        };
        let draft = draft.clone();
        let row = DraftRow {
            v: 1,
            stream: draft.stream,
            id: draft.id,
            event_type: draft.event_type,
            schema_version: draft.schema_version,
            tenant: draft.tenant,
            version: draft.version,
            occurred_at: draft.occurred_at,
            request: draft.request,
            actor: draft.actor,
            traceparent: draft.traceparent,
            deadline: draft.deadline.map(|at| at.0),
            causes: draft.causes,
            content,
        };
        (row, body)
    }

    fn into_draft(self, body: Bytes) -> Draft {
        Draft {
            stream: self.stream,
            id: self.id,
            event_type: self.event_type,
            schema_version: self.schema_version,
            tenant: self.tenant,
            version: self.version,
            occurred_at: self.occurred_at,
            request: self.request,
            actor: self.actor,
            traceparent: self.traceparent,
            deadline: self.deadline.map(Timestamp),
            causes: self.causes,
            content: match self.content {
                ContentRow::Payload => Content::Payload(body),
                ContentRow::Envelope => Content::Envelope(body),
                ContentRow::Opaque(kind) => Content::Opaque(kind, body),
            },
        }
    }
}
