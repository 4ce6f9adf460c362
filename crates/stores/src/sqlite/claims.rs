// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ledger's rows: what is known of an event, and whether it may run.

use std::time::Duration;

use chancery::ports::Known;
use chancery::receive::{BACKOFF_MAX, backoff};
use chancery_core::claim::{ClaimRequest, Standing};
use chancery_core::order::{Head, KeyState};
use chancery_core::time::DAY_MS;
use chancery_core::{Disposition, Timestamp};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow, params};

use super::database::{Limits, Shared};
use super::owners::Mark;

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It was here and is not done: failed, or its owner died.
    Open,
    /// An owner has it under a lease.
    Claimed,
    /// Its effect is committed.
    Done,
    /// Set aside, to run later.
    Parked,
    /// Set aside, to be judged again.
    Held,
    /// Set aside, never to run.
    Quarantined,
    /// Given up by an operator.
    Discarded,
}

impl State {
    const ALL: [State; 7] = [
        State::Open,
        State::Claimed,
        State::Done,
        State::Parked,
        State::Held,
        State::Quarantined,
        State::Discarded,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Claimed => "claimed",
            State::Done => "done",
            State::Parked => "parked",
            State::Held => "held",
            State::Quarantined => "quarantined",
            State::Discarded => "discarded",
        }
    }

    pub(crate) fn of(disposition: Disposition) -> State {
        match disposition {
            Disposition::Hold => State::Held,
            Disposition::Quarantine => State::Quarantined,
            Disposition::Skip | Disposition::Park | Disposition::Defer => State::Parked,
        }
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(*self as i64))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<State> {
        let number = value.as_i64()?;
        let found = State::ALL.into_iter().find(|state| *state as i64 == number);
        found.ok_or(FromSqlError::OutOfRange(number))
    }
}

/// The names that this database gives an event and its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    /// The event, per group.
    pub(crate) id: [u8; 16],
    /// What it says.
    pub(crate) content: [u8; 16],
    /// Its ordering key, on ordered streams: what judges it.
    pub(crate) key: Option<[u8; 16]>,
    /// The same, if it may move the key's head and hold others back.
    pub(crate) moves: Option<[u8; 16]>,
}

impl Ids {
    pub(crate) fn of(ask: &ClaimRequest, shared: &Shared) -> Ids {
        let key = ask.key.as_deref().filter(|_| ask.ordered);
        let key =
            key.map(|key| key_id(shared, &ask.group, &ask.stream, ask.tenant.as_deref(), key));
        Ids {
            id: shared.hash("id", &[Some(&ask.identity)]),
            content: shared.hash("content", &[Some(&ask.content)]),
            key,
            moves: key.filter(|_| ask.standing == Standing::Sound),
        }
    }

    pub(crate) fn mark(&self, ask: &ClaimRequest) -> Mark {
        Mark {
            id: self.id,
            content: self.content,
            message_id: ask.message_id,
            expires: expiry_day(ask),
            timely: ask.late_ms.is_none(),
        }
    }
}

/// An ordering key's scope is group, stream and tenant.
pub(crate) fn key_id(
    shared: &Shared,
    group: &str,
    stream: &str,
    tenant: Option<&str>,
    key: &str,
) -> [u8; 16] {
    let [group, stream, key] = [group, stream, key].map(|part| Some(part.as_bytes()));
    shared.hash("key", &[group, stream, tenant.map(str::as_bytes), key])
}

/// The first day on which a row may be forgotten.
fn expiry_day(ask: &ClaimRequest) -> i64 {
    day(ask.remember_until).saturating_add(1)
}

pub(crate) fn day(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// One event's row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) state: State,
    pub(crate) content: [u8; 16],
    pub(crate) message_id: [u8; 32],
    pub(crate) position: String,
    pub(crate) token: i64,
    pub(crate) lease_until: Option<i64>,
    pub(crate) owner: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) deaths: u32,
    /// Whether a copy was here in time, or an operator has let it run: then a late one is no fault.
    pub(crate) timely: bool,
}

impl Row {
    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
        Ok(Row {
            state: row.get(0)?,
            content: row.get(1)?,
            message_id: row.get(2)?,
            position: row.get(3)?,
            token: row.get(4)?,
            lease_until: row.get(5)?,
            owner: row.get(6)?,
            attempts: row.get(7)?,
            deaths: row.get(8)?,
            timely: row.get(9)?,
        })
    }

    /// Who has it under a lease that is not over.
    pub(crate) fn holder(&self, now: Timestamp) -> Option<&str> {
        let leased = self.state == State::Claimed && self.lease_until.is_some_and(|t| t > now.0);
        self.owner.as_deref().filter(|_| leased)
    }

    /// What this row says to a claim; `None`: it may run.
    pub(crate) fn answer(
        &self,
        ids: &Ids,
        now: Timestamp,
        holder_lives: bool,
        limits: &Limits,
    ) -> Option<Known> {
        if self.content != ids.content {
            return Some(Known::Equivocal { message_id: self.message_id });
        }
        let (message_id, position) = (self.message_id, self.position.clone());
        match self.state {
            State::Done => return Some(Known::Done { message_id, position }),
            State::Discarded => return Some(Known::Discarded { position }),
            _ => {}
        }
        if holder_lives {
            let until = self.lease_until.unwrap_or(now.0);
            return Some(Known::Busy { retry_in_ms: until.saturating_sub(now.0) });
        }
        if self.attempts >= limits.attempts_max || self.deaths >= limits.deaths_max {
            let (attempts, deaths) = (self.attempts, self.deaths);
            return Some(Known::Exhausted { attempts, deaths });
        }
        self.backs_off_ms(now).map(|retry_in_ms| Known::Busy { retry_in_ms })
    }

    /// How long it still waits after a failed attempt. A wait that is longer than any was written
    /// by a clock that has been set back since.
    fn backs_off_ms(&self, now: Timestamp) -> Option<i64> {
        let until = self.lease_until.filter(|_| self.state == State::Open)?;
        let left_ms = until.saturating_sub(now.0);
        (1..=millis(BACKOFF_MAX)).contains(&left_ms).then_some(left_ms)
    }
}

/// The row of an event.
pub(crate) fn row(sql: &Connection, id: &[u8; 16]) -> rusqlite::Result<Option<Row>> {
    sql.prepare_cached(
        "SELECT state, content, message_id, position, token, lease_until, owner, attempts, deaths,
                timely
         FROM chancery_ledger WHERE id = ?1",
    )?
    .query_row([id], Row::read)
    .optional()
}

/// What the ledger knows of the event's key, and whether the event was here before.
pub(crate) fn key_state(
    sql: &Connection,
    ask: &ClaimRequest,
    ids: &Ids,
    row: Option<&Row>,
) -> rusqlite::Result<KeyState> {
    let outstanding = row.is_some_and(|row| row.timely);
    let latched = !ask.standing.is_signed() && latched(sql, ask)?;
    let head = ids.key.map(|key| head(sql, &key)).transpose()?.flatten();
    let Some(key) = ids.moves else {
        return Ok(KeyState { outstanding, head, behind: false, latched });
    };
    let last = head.map_or(0, |head| head.version);
    // What is at or below the head can never run, so it holds nothing back.
    let behind = sql
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM chancery_kept WHERE okey = ?1 AND version > ?2
                 AND version < ?3 AND disposition IN ('park', 'hold'))",
        )?
        .query_row(params![key, last, ask.version.unwrap_or(0)], |row| row.get(0))?;
    Ok(KeyState { outstanding, head, behind, latched })
}

/// Whether the producer that is claimed has ever signed on this stream.
fn latched(sql: &Connection, ask: &ClaimRequest) -> rusqlite::Result<bool> {
    sql.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM chancery_latch
             WHERE grp = ?1 AND stream = ?2 AND producer = ?3)",
    )?
    .query_row(params![ask.group, ask.stream, ask.producer], |row| row.get(0))
}

/// Remembers for good that a producer signs on a stream.
fn latch(sql: &Connection, ask: &ClaimRequest) -> rusqlite::Result<()> {
    if ask.standing.is_signed() {
        sql.prepare_cached(
            "INSERT INTO chancery_latch (grp, stream, producer) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![ask.group, ask.stream, ask.producer])?;
    }
    Ok(())
}

/// Stands for the message that an operator's skip has not.
const NO_MESSAGE: [u8; 16] = [0; 16];

/// The last message committed for a key.
pub(crate) fn head(sql: &Connection, key: &[u8; 16]) -> rusqlite::Result<Option<Head>> {
    sql.prepare_cached("SELECT version, message, term FROM chancery_key WHERE id = ?1")?
        .query_row([key], |row| {
            let message = Some(row.get(1)?).filter(|message| *message != NO_MESSAGE);
            Ok(Head { version: row.get(0)?, message, term: row.get(2)? })
        })
        .optional()
}

/// Moves a key's head, and lets judge again what waited for that.
pub(crate) fn set_head(sql: &Connection, key: &[u8; 16], head: &Head) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "INSERT INTO chancery_key (id, version, message, term) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE
         SET version = excluded.version, message = excluded.message, term = excluded.term",
    )?
    .execute(params![key, head.version, head.message.unwrap_or(NO_MESSAGE), head.term])?;
    sql.prepare_cached(
        "UPDATE chancery_kept SET due = 1 WHERE okey = ?1 AND version <= ?2 + 1
         AND reason IN ('E511_GAP', 'E604_BEHIND_PARKED')",
    )?
    .execute(params![key, head.version])?;
    Ok(())
}

/// The event is done: its row, its key's head, and nothing of it is kept any longer.
pub(crate) fn done(sql: &Connection, ask: &ClaimRequest, ids: &Ids) -> rusqlite::Result<()> {
    put(sql, ask, ids, State::Done, true)?;
    sql.prepare_cached(
        "UPDATE chancery_ledger SET deaths = 0, attempts = 0, message_id = ?2, position = ?3
         WHERE id = ?1 AND (deaths > 0 OR attempts > 0 OR message_id <> ?2 OR position <> ?3)",
    )?
    .execute(params![ids.id, ask.message_id, ask.position])?;
    sql.prepare_cached(
        "DELETE FROM chancery_kept
         WHERE ledger = ?1 AND content = ?2 AND disposition IN ('hold', 'park')",
    )?
    .execute(params![ids.id, ids.content])?;
    super::kept::forget(sql, &ask.group, &ask.stream, &ask.message_id)?;
    if let (Some(key), Some(version)) = (&ids.moves, ask.version) {
        let mut message = [0; 16];
        message.copy_from_slice(ask.message_id.split_at(16).0);
        let message = Some(message);
        set_head(sql, key, &Head { version, message, term: ask.term.unwrap_or(0) })?;
    }
    Ok(())
}

/// An attempt failed; gives the attempts so far.
pub(crate) fn failed(
    sql: &Connection,
    ask: &ClaimRequest,
    ids: &Ids,
    held_by_another: bool,
    now: Timestamp,
) -> rusqlite::Result<u32> {
    put(sql, ask, ids, State::Open, !held_by_another)?;
    // A held message that got this far is to be tried again, whatever it was held for.
    sql.prepare_cached(
        "UPDATE chancery_kept SET due = 1
         WHERE grp = ?1 AND stream = ?2 AND message_id = ?3 AND disposition = 'hold'",
    )?
    .execute(params![ask.group, ask.stream, ask.message_id])?;
    let attempts: Option<u32> = sql
        .prepare_cached(
            "UPDATE chancery_ledger SET attempts = attempts + 1
             WHERE id = ?1 AND content = ?2 AND state NOT IN (?3, ?4) RETURNING attempts",
        )?
        .query_row(params![ids.id, ids.content, State::Done, State::Discarded], |row| row.get(0))
        .optional()?;
    let attempts = attempts.unwrap_or_default();
    sql.prepare_cached(
        "UPDATE chancery_ledger SET lease_until = ?3 WHERE id = ?1 AND content = ?2 AND state = ?4",
    )?
    .execute(params![ids.id, ids.content, now.0 + millis(backoff(attempts)), State::Open])?;
    Ok(attempts)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The event was set aside; gives the attempts that came before.
pub(crate) fn set_aside(
    sql: &Connection,
    ask: &ClaimRequest,
    ids: &Ids,
    state: State,
    held_by_another: bool,
) -> rusqlite::Result<u32> {
    put(sql, ask, ids, state, !held_by_another)?;
    let row = row(sql, &ids.id)?.filter(|row| row.content == ids.content);
    Ok(row.map_or(0, |row| row.attempts))
}

/// Claims the event under a lease; gives the token.
pub(crate) fn lease(
    sql: &Connection,
    ask: &ClaimRequest,
    ids: &Ids,
    owner: &str,
    until: Timestamp,
) -> rusqlite::Result<i64> {
    put(sql, ask, ids, State::Claimed, true)?;
    sql.prepare_cached(
        "UPDATE chancery_ledger SET token = token + 1, owner = ?2, lease_until = ?3
         WHERE id = ?1 RETURNING token",
    )?
    .query_row(params![ids.id, owner, until.0], |row| row.get(0))
}

/// Ends a claim that nothing came of, if it is still this one.
pub(crate) fn release(sql: &Connection, id: &[u8; 16], token: i64) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "UPDATE chancery_ledger SET state = ?3, owner = NULL, lease_until = NULL
         WHERE id = ?1 AND token = ?2 AND state = ?4",
    )?
    .execute(params![id, token, State::Open, State::Claimed])?;
    Ok(())
}

/// Counts a death, once per owner.
pub(crate) fn count_death(sql: &Connection, owner: &str, mark: &Mark) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "INSERT INTO chancery_ledger (id, state, content, message_id, position, timely, expires)
         VALUES (?1, ?2, ?3, ?4, '', ?5, ?6) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![
        mark.id,
        State::Open,
        mark.content,
        mark.message_id,
        mark.timely,
        mark.expires
    ])?;
    sql.prepare_cached(
        "UPDATE chancery_ledger SET deaths = deaths + 1, dead_owner = ?2
         WHERE id = ?1 AND dead_owner IS NOT ?2 AND state NOT IN (?3, ?4)",
    )?
    .execute(params![mark.id, owner, State::Done, State::Discarded])?;
    Ok(())
}

/// A copy that came later must be remembered longer: its own time to be replayed begins later.
pub(crate) fn raise_expiry(
    sql: &Connection,
    ask: &ClaimRequest,
    ids: &Ids,
) -> rusqlite::Result<bool> {
    let raised = sql
        .prepare_cached(
            "UPDATE chancery_ledger SET expires = ?2, signed = max(ifnull(signed, ?3), ?3)
             WHERE id = ?1 AND expires < ?2",
        )?
        .execute(params![ids.id, expiry_day(ask), ask.signed.map(|at| at.0)])?;
    Ok(raised > 0)
}

/// Writes the row, and that its producer signs. What is final stays, what has other content stays; expiry is only raised,
/// `timely` only gained.
fn put(
    sql: &Connection,
    ask: &ClaimRequest,
    ids: &Ids,
    state: State,
    end_claim: bool,
) -> rusqlite::Result<()> {
    latch(sql, ask)?;
    sql.prepare_cached(
        "INSERT INTO chancery_ledger
             (id, state, content, message_id, position, timely, expires, signed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?11)
         ON CONFLICT (id) DO UPDATE SET
             signed = max(ifnull(signed, excluded.signed), ifnull(excluded.signed, signed)),
             state = iif(?8, excluded.state, state),
             owner = iif(?8, NULL, owner),
             lease_until = iif(?8, NULL, lease_until),
             timely = max(timely, excluded.timely),
             expires = max(expires, excluded.expires)
         WHERE content = excluded.content AND state NOT IN (?9, ?10)",
    )?
    .execute(params![
        ids.id,
        state,
        ids.content,
        ask.message_id,
        ask.position,
        ask.late_ms.is_none(),
        expiry_day(ask),
        end_claim,
        State::Done,
        State::Discarded,
        ask.signed.map(|at| at.0)
    ])?;
    Ok(())
}
