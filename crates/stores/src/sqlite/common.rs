// SPDX-License-Identifier: MIT OR Apache-2.0
//! What both ledgers do alike: all but the unit itself.

use std::sync::Arc;

use chancery::ports::{Kept, KeptMessage, Known, Stored};
use chancery_core::claim::ClaimRequest;
use chancery_core::record::Record;
use chancery_core::snapshot::BundleMark;
use chancery_core::{Fault, Timestamp};
use rusqlite::params;

use super::claims::{self, Ids, Row};
use super::database::{Database, Shared};
use super::owners::{Life, Owner};
use super::write::Write;
use super::{housekeeping, kept, tables};

/// A database and this process's life in it.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) shared: Arc<Shared>,
    pub(crate) owner: Arc<Owner>,
}

/// The answer to a claim, inside the transaction that read it.
pub(crate) enum Claimed {
    Run(Box<Running>),
    Known(Known),
}

/// An event that may run, the write lock held.
pub(crate) struct Running {
    pub(crate) write: Write,
    pub(crate) ids: Ids,
    pub(crate) row: Option<Row>,
}

impl Common {
    pub(crate) fn new(database: &Database) -> Result<Common, Fault> {
        let shared = database.0.clone();
        let owner = Owner::register(&shared.path)?;
        let dead = owner.dead()?;
        if !dead.is_empty() {
            let write = shared.write_blocking()?;
            count(write, dead)?;
        }
        Ok(Common { shared, owner })
    }

    pub(crate) async fn claim(&self, ask: &ClaimRequest, now: Timestamp) -> Result<Claimed, Fault> {
        self.housekeep(now).await?;
        let ids = Ids::of(ask, &self.shared);
        loop {
            let write = self.shared.write().await?;
            let row = self.tell(write.sql().and_then(|sql| claims::row(sql, &ids.id)))?;
            let Some(seen) = &row else {
                if let Some(until) = self.forgotten(&write, ask)? {
                    return Ok(Claimed::Known(Known::Forgotten { until }));
                }
                return Ok(Claimed::Run(Box::new(Running { write, ids, row })));
            };
            let life = self.life_of_holder(seen, &ids, now)?;
            if life == Life::Dead {
                drop(write);
                self.bury().await?;
                continue;
            }
            let limits = &self.shared.limits;
            let Some(known) = seen.answer(&ids, now, life == Life::Alive, limits) else {
                return Ok(Claimed::Run(Box::new(Running { write, ids, row })));
            };
            if matches!(known, Known::Done { .. } | Known::Discarded { .. }) {
                let raised = write.sql().and_then(|sql| claims::raise_expiry(sql, ask, &ids));
                if self.tell(raised)? {
                    write.commit()?;
                }
            }
            return Ok(Claimed::Known(known));
        }
    }

    pub(crate) async fn keep(&self, kept: &Kept<'_>, record: Record) -> Result<Stored, Fault> {
        self.housekeep(kept.now).await?;
        let mut write = self.shared.write().await?;
        let held_by_another = match kept.ask {
            Some(ask) => self.held_by_another(&write, ask, kept.now)?,
            None => false,
        };
        let stored = self.tell(kept::keep(&mut write, kept, record, held_by_another))?;
        write.commit()?;
        Ok(stored)
    }

    pub(crate) async fn failed(&self, ask: &ClaimRequest, now: Timestamp) -> Result<u32, Fault> {
        let write = self.shared.write().await?;
        let other = self.held_by_another(&write, ask, now)?;
        let ids = Ids::of(ask, &self.shared);
        let attempts = write.sql().and_then(|sql| claims::failed(sql, ask, &ids, other, now));
        let attempts = self.tell(attempts)?;
        write.commit()?;
        Ok(attempts)
    }

    pub(crate) async fn note(&self, record: Record) -> Result<(), Fault> {
        let mut write = self.shared.write().await?;
        write.record(record);
        write.commit()
    }

    pub(crate) fn to_judge_again(
        &self,
        group: &str,
        stream: &str,
        snapshot: &[u8; 32],
        after: i64,
        max: usize,
    ) -> Result<Vec<KeptMessage>, Fault> {
        self.shared.read(|sql| kept::to_judge_again(sql, group, stream, snapshot, after, max))
    }

    pub(crate) async fn raise_bundle(&self, bundle: BundleMark) -> Result<BundleMark, Fault> {
        let newest = |sql: &rusqlite::Connection| -> rusqlite::Result<BundleMark> {
            let version = tables::meta(sql, "bundle_version")?.unwrap_or(0);
            // A ledger of an earlier format knows no digest of its newest bundle.
            let digest = tables::meta(sql, "bundle_digest")?.unwrap_or(bundle.digest);
            Ok(BundleMark { version, digest })
        };
        let known = self.shared.read(newest)?;
        if known.version >= bundle.version {
            return Ok(known);
        }
        let write = self.shared.write().await?;
        let raise = |sql: &rusqlite::Connection| {
            // Another process may have come first.
            if newest(sql)?.version < bundle.version {
                let put = "INSERT INTO chancery_meta (name, value) VALUES (?1, ?2)
                           ON CONFLICT (name) DO UPDATE SET value = excluded.value";
                sql.execute(put, params!["bundle_version", bundle.version])?;
                sql.execute(put, params!["bundle_digest", bundle.digest])?;
            }
            newest(sql)
        };
        let raised = self.tell(write.sql().and_then(raise))?;
        write.commit()?;
        Ok(raised)
    }

    pub(crate) fn tell<T>(&self, result: rusqlite::Result<T>) -> Result<T, Fault> {
        self.shared.tell(result)
    }

    /// Until when the ledger has forgotten, if this was signed before then.
    fn forgotten(&self, write: &Write, ask: &ClaimRequest) -> Result<Option<Timestamp>, Fault> {
        let until = self.tell(write.sql().and_then(housekeeping::forgotten_until))?;
        Ok(until.filter(|until| ask.signed.is_some_and(|signed| signed <= *until)))
    }

    fn held_by_another(
        &self,
        write: &Write,
        ask: &ClaimRequest,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let ids = Ids::of(ask, &self.shared);
        let row = self.tell(write.sql().and_then(|sql| claims::row(sql, &ids.id)))?;
        let Some(row) = row else { return Ok(false) };
        Ok(self.life_of_holder(&row, &ids, now)? == Life::Alive)
    }

    fn life_of_holder(&self, row: &Row, ids: &Ids, now: Timestamp) -> Result<Life, Fault> {
        match row.holder(now) {
            None => Ok(Life::Gone),
            Some(me) if me == self.owner.name => {
                Ok(if self.owner.has(&ids.id) { Life::Alive } else { Life::Gone })
            }
            Some(other) => self.owner.life_of(other),
        }
    }

    async fn housekeep(&self, now: Timestamp) -> Result<(), Fault> {
        if !self.shared.housekeeping_is_due(now) {
            return Ok(());
        }
        self.bury().await?;
        let mut write = self.shared.write().await?;
        if self.tell(housekeeping::step(&mut write, now))? {
            write.commit()?;
        }
        Ok(())
    }

    async fn bury(&self) -> Result<(), Fault> {
        let dead = self.owner.dead()?;
        if dead.is_empty() { Ok(()) } else { count(self.shared.write().await?, dead) }
    }
}

/// Counts the deaths in one commit, then removes what the dead have left.
fn count(write: Write, dead: Vec<super::owners::Dead>) -> Result<(), Fault> {
    let shared = write.shared.clone();
    let marks = dead.iter().flat_map(|dead| dead.marks.iter().map(|mark| (&dead.name, mark)));
    for (name, mark) in marks {
        let counted = write.sql().and_then(|sql| claims::count_death(sql, name, mark));
        shared.tell(counted)?;
    }
    write.commit()?;
    dead.into_iter().for_each(super::owners::Dead::bury);
    Ok(())
}
