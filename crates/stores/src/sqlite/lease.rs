// SPDX-License-Identifier: MIT OR Apache-2.0
//! The leased ledger, for effects outside the database: the claim is committed first, the handler
//! honours its key and fence, and only the highest token can finish.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chancery::ports::{Begun, Kept, KeptMessage, Ledger, Stored, Unit};
use chancery_core::claim::ClaimRequest;
use chancery_core::order::KeyState;
use chancery_core::record::Record;
use chancery_core::seal::Draft;
use chancery_core::snapshot::BundleMark;
use chancery_core::text::b64u;
use chancery_core::time::MINUTE_MS;
use chancery_core::{Fault, Timestamp};
use sha2::{Digest, Sha256};

use super::claims::{self, Ids, State};
use super::common::{Claimed, Common, Running};
use super::database::{Database, Shared};
use super::owners::InHand;
use super::{findings, outbox};

/// How long a claim lasts, in milliseconds: twice a handler's default time.
const LEASE_MS: i64 = MINUTE_MS;
/// Longest wait to give a claim back that nothing came of, in milliseconds; then its lease ends it.
const RELEASE_WAIT_MS: u64 = 200;

/// A ledger whose handlers act outside the database: at least once, always under the same key.
/// Clones are one owner.
#[derive(Clone)]
pub struct Leased {
    common: Common,
    lease_ms: i64,
}

/// What a handler is lent: what makes its effect idempotent and fences its past self off.
#[derive(Debug)]
pub struct Lease {
    /// The same for every attempt at this event, base64url. Give it to the other side as its
    /// idempotency key, and have it kept as long as the ledger remembers.
    pub key: String,
    /// Grows with each claim of this event. Where the other side can compare, have it refuse a
    /// lower one than it has seen.
    pub fence: u64,
    /// When others may claim the event.
    pub until: Timestamp,
    identity: [u8; 32],
    drafts: Vec<Draft>,
}

impl Lease {
    /// Publishes once the event is finished, in its commit. Without an id the draft gets one that
    /// is the same each time this event is handled. Gives the id.
    pub fn publish(&mut self, draft: Draft) -> String {
        let number = self.drafts.len() as u64 + 1;
        let draft = outbox::with_id(draft, &self.identity, number);
        let id = draft.id.clone();
        self.drafts.push(draft);
        id
    }
}

impl Leased {
    /// A ledger in `database` that claims for a minute.
    ///
    /// # Errors
    /// A fault if the folder beside the database cannot be written.
    pub fn new(database: &Database) -> Result<Leased, Fault> {
        Ok(Leased { common: Common::new(database)?, lease_ms: LEASE_MS })
    }

    /// Claims for this long; take more than a handler may last.
    pub fn lease(mut self, lease: Duration) -> Leased {
        self.lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        self
    }
}

impl Ledger for Leased {
    type Unit = LeasedUnit;

    async fn begin(&self, ask: &ClaimRequest, now: Timestamp) -> Result<Begun<LeasedUnit>, Fault> {
        let common = &self.common;
        let Running { write, ids, row } = match common.claim(ask, now).await? {
            Claimed::Known(known) => return Ok(Begun::Known(known)),
            Claimed::Run(running) => *running,
        };
        let until = now + self.lease_ms;
        let claim = |sql: &rusqlite::Connection| {
            let state = claims::key_state(sql, ask, &ids, row.as_ref())?;
            let token = claims::lease(sql, ask, &ids, &common.owner.name, until)?;
            Ok((state, token))
        };
        let (state, token) = common.tell(write.sql().and_then(claim))?;
        let in_hand = common.owner.take(&ids.mark(ask))?;
        write.commit()?;
        let lease = Lease {
            key: effect_key(ask),
            fence: u64::try_from(token).unwrap_or(0),
            until,
            identity: ask.identity,
            drafts: Vec::new(),
        };
        let claim = Claim { shared: common.shared.clone(), id: ids.id, token, open: true };
        Ok(Begun::Run(LeasedUnit {
            lease,
            ask: ask.clone(),
            ids,
            attempts: row.map_or(0, |row| row.attempts),
            state,
            now,
            claim,
            in_hand,
        }))
    }

    async fn keep(&self, kept: &Kept<'_>, record: Record) -> Result<Stored, Fault> {
        self.common.keep(kept, record).await
    }

    async fn failed(&self, ask: &ClaimRequest, now: Timestamp) -> Result<u32, Fault> {
        self.common.failed(ask, now).await
    }

    async fn note(&self, record: Record) -> Result<(), Fault> {
        self.common.note(record).await
    }

    async fn to_judge_again(
        &self,
        group: &str,
        stream: &str,
        snapshot: &[u8; 32],
        after: i64,
        max: usize,
    ) -> Result<Vec<KeptMessage>, Fault> {
        self.common.to_judge_again(group, stream, snapshot, after, max)
    }

    async fn raise_bundle(&self, bundle: BundleMark) -> Result<BundleMark, Fault> {
        self.common.raise_bundle(bundle).await
    }
}

/// One message under a lease. Dropping it gives the claim back.
pub struct LeasedUnit {
    lease: Lease,
    ask: ClaimRequest,
    ids: Ids,
    attempts: u32,
    state: KeyState,
    now: Timestamp,
    claim: Claim,
    in_hand: InHand,
}

/// A committed claim, given back unless it was finished.
struct Claim {
    shared: Arc<Shared>,
    id: [u8; 16],
    token: i64,
    open: bool,
}

impl Unit for LeasedUnit {
    type Lent = Lease;

    fn key_state(&self) -> &KeyState {
        &self.state
    }

    fn lend(&mut self) -> &mut Lease {
        &mut self.lease
    }

    async fn finish(self, mut record: Record) -> Result<(), Fault> {
        let LeasedUnit { lease, ask, ids, attempts, state, now, mut claim, in_hand } = self;
        let shared = claim.shared.clone();
        let mut write = shared.write().await?;
        let still_ours = |sql: &rusqlite::Connection| {
            let row = claims::row(sql, &ids.id)?;
            let head = ids.key.map(|key| claims::head(sql, &key)).transpose()?.flatten();
            let claimed =
                row.is_some_and(|row| row.state == State::Claimed && row.token == claim.token);
            Ok(claimed && head == state.head)
        };
        if !shared.tell(write.sql().and_then(still_ours))? {
            return Err(Fault::store(
                "the lease was over and another owner has claimed the event, or moved its key; \
                 give handlers less time than the lease",
            ));
        }
        let finish = |sql: &rusqlite::Connection| {
            for draft in &lease.drafts {
                outbox::put(sql, draft, now)?;
            }
            claims::done(sql, &ask, &ids)?;
            findings::count(sql, &record)
        };
        shared.tell(write.sql().and_then(finish))?;
        record.attempts = attempts;
        write.record(record);
        drop(in_hand);
        write.commit()?;
        claim.open = false;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let Ok(write) = self.shared.write_within(RELEASE_WAIT_MS) else { return };
        let released = write.sql().and_then(|sql| claims::release(sql, &self.id, self.token));
        if released.is_ok() {
            // Not given back now, it is when the lease is over.
            let _ = write.commit();
        }
    }
}

/// SHA-256 over group, identity and generation.
fn effect_key(ask: &ClaimRequest) -> String {
    let mut hash = Sha256::new();
    hash.update(b"chancery/effect/1\n");
    hash.update((ask.group.len() as u64).to_be_bytes());
    hash.update(ask.group.as_bytes());
    hash.update(ask.identity);
    hash.update(0u64.to_be_bytes());
    b64u(&hash.finalize())
}

impl fmt::Debug for Leased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased").field("lease_ms", &self.lease_ms).finish_non_exhaustive()
    }
}

impl fmt::Debug for LeasedUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedUnit").field("lease", &self.lease).finish_non_exhaustive()
    }
}
