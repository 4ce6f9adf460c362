// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transactional ledger: one message is one `BEGIN IMMEDIATE … COMMIT` of the user's database,
//! with the claim, the effects, what the handler publishes, the outcome and its evidence.

use std::fmt;

use chancery::ports::{Begun, Kept, KeptMessage, Ledger, Stored, Unit};
use chancery_core::claim::ClaimRequest;
use chancery_core::order::KeyState;
use chancery_core::record::Record;
use chancery_core::snapshot::BundleMark;
use chancery_core::{Fault, FaultKind, Timestamp};

use super::claims::{self, Ids};
use super::common::{Claimed, Common, Running};
use super::database::Database;
use super::findings;
use super::owners::InHand;
use super::tx::Tx;
use super::write::CommitError;

/// A ledger whose handlers write in the very transaction that marks the event as done.
/// Clones are one owner.
#[derive(Clone)]
pub struct Transactional(Common);

impl Transactional {
    /// A ledger in `database`. It is one owner: what it has in hand when it dies is counted.
    ///
    /// # Errors
    /// A fault if the folder beside the database cannot be written.
    pub fn new(database: &Database) -> Result<Transactional, Fault> {
        Common::new(database).map(Transactional)
    }
}

impl Ledger for Transactional {
    type Unit = Transaction;

    async fn begin(&self, ask: &ClaimRequest, now: Timestamp) -> Result<Begun<Transaction>, Fault> {
        let common = &self.0;
        let Running { write, ids, row } = match common.claim(ask, now).await? {
            Claimed::Known(known) => return Ok(Begun::Known(known)),
            Claimed::Run(running) => *running,
        };
        let read = write.sql().and_then(|sql| claims::key_state(sql, ask, &ids, row.as_ref()));
        let state = common.tell(read)?;
        let in_hand = common.owner.take(&ids.mark(ask))?;
        Ok(Begun::Run(Transaction {
            in_hand,
            attempts: row.map_or(0, |row| row.attempts),
            tx: Tx::new(write, ask.identity, now),
            now,
            ask: ask.clone(),
            ids,
            state,
            common: common.clone(),
        }))
    }

    async fn keep(&self, kept: &Kept<'_>, record: Record) -> Result<Stored, Fault> {
        self.0.keep(kept, record).await
    }

    async fn failed(&self, ask: &ClaimRequest, now: Timestamp) -> Result<u32, Fault> {
        self.0.failed(ask, now).await
    }

    async fn note(&self, record: Record) -> Result<(), Fault> {
        self.0.note(record).await
    }

    async fn to_judge_again(
        &self,
        group: &str,
        stream: &str,
        snapshot: &[u8; 32],
        after: i64,
        max: usize,
    ) -> Result<Vec<KeptMessage>, Fault> {
        self.0.to_judge_again(group, stream, snapshot, after, max)
    }

    async fn raise_bundle(&self, bundle: BundleMark) -> Result<BundleMark, Fault> {
        self.0.raise_bundle(bundle).await
    }
}

/// One message's open transaction. Dropping it rolls back.
pub struct Transaction {
    in_hand: InHand,
    tx: Tx,
    ask: ClaimRequest,
    ids: Ids,
    attempts: u32,
    state: KeyState,
    now: Timestamp,
    common: Common,
}

impl Unit for Transaction {
    type Lent = Tx;

    fn key_state(&self) -> &KeyState {
        &self.state
    }

    fn lend(&mut self) -> &mut Tx {
        self.tx.write.lend(true);
        &mut self.tx
    }

    async fn finish(self, mut record: Record) -> Result<(), Fault> {
        let Transaction { in_hand, tx, ask, ids, attempts, now, common, .. } = self;
        let mut write = tx.write;
        write.lend(false);
        if !write.is_open() {
            let detail = "the handler ended the transaction that it was lent (`OR ROLLBACK`?); \
                          nothing of it is committed";
            let kind = FaultKind::HandlerEndedTransaction;
            drop((in_hand, write));
            return blame(&common, &ask, now, Fault { kind, detail: detail.to_owned() }).await;
        }
        let done = |sql: &rusqlite::Connection| {
            claims::done(sql, &ask, &ids)?;
            findings::count(sql, &record)
        };
        common.tell(write.sql().and_then(done))?;
        record.attempts = attempts;
        write.record(record);
        drop(in_hand);
        match write.try_commit() {
            Ok(()) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault),
            Err(CommitError::Constraint(fault)) => blame(&common, &ask, now, fault).await,
        }
    }
}

/// A fault of the handler's making counts as an attempt, or the message would stop its consumer
/// for ever.
async fn blame(
    common: &Common,
    ask: &ClaimRequest,
    now: Timestamp,
    fault: Fault,
) -> Result<(), Fault> {
    common.failed(ask, now).await?;
    Err(fault)
}

impl fmt::Debug for Transactional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactional").field("path", &self.0.shared.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("position", &self.ask.position).finish_non_exhaustive()
    }
}
