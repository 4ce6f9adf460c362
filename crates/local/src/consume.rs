// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receiving.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery::{Clock, Source, SystemClock};
use chancery_core::{Delivery, Fault};
use rusqlite::Transaction;

use crate::config::{Database, check_group, check_stream};
use crate::convert::load;
use crate::lease::{self, Batch, View};
use crate::owner::{Owner, dead};
use crate::produce::{blocking, stream_id};

/// How often a waiting receiver looks.
const POLL: Duration = Duration::from_millis(20);
/// A living receiver that is silent for longer loses what it has.
const LEASE: Duration = Duration::from_secs(60);

/// One receiver of a group. Dropping it gives back what it has, at once.
///
/// While its process lives, its lease is renewed by everything that it does; one that hangs for
/// longer than its lease loses its messages to others.
pub struct LocalSource {
    shared: Arc<Mutex<Receiver>>,
}

/// Settles one delivery of one message.
#[derive(Debug)]
pub struct LocalReceipt {
    subscription: i64,
    owner: i64,
    offset: i64,
    deliveries: u32,
}

impl LocalReceipt {
    /// The message's offset on its stream.
    pub fn offset(&self) -> i64 {
        self.offset
    }
}

impl LocalSource {
    pub(crate) fn open(
        mut database: Database,
        stream: &str,
        group: &str,
    ) -> Result<LocalSource, Fault> {
        check_stream(stream)?;
        check_group(group)?;
        let owner = Owner::new(&database.dir)?;
        let until = now() + millis(LEASE);
        let (stream_id, subscription, owner_id) = database.write("subscribe", |tx| {
            let id = stream_id(tx, stream)?;
            let subscription = lease::subscription(tx, id, group)?;
            tx.execute("INSERT INTO owner (name, until) VALUES (?1, ?2)", (&owner.name, until))?;
            Ok((id, subscription, tx.last_insert_rowid()))
        })?;
        let view = View { stream: stream_id, subscription, owner: owner_id, now: now() };
        let receiver = Receiver {
            database,
            owner,
            view,
            stream: stream.to_owned(),
            lease: LEASE,
            renewed: Instant::now(),
            fresh_first: false,
            unclaimed: Vec::new(),
            seen: None,
            due: None,
            unsettled: false,
        };
        Ok(LocalSource { shared: Arc::new(Mutex::new(receiver)) })
    }

    /// Loses its messages after this much silence instead of a minute; longer than a handler may
    /// take.
    pub fn with_lease(self, lease: Duration) -> LocalSource {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).lease = lease;
        self
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Receiver) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let shared = Arc::clone(&self.shared);
        blocking(move || work(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    // The work goes on when this future is dropped: what it took waits in `unclaimed`.
    async fn look(&self, max: usize) -> Result<Vec<(Delivery, LocalReceipt)>, Fault> {
        self.run(move |receiver| receiver.look(max)).await?;
        let mut receiver = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let max = max.min(receiver.unclaimed.len());
        Ok(receiver.unclaimed.drain(..max).collect())
    }
}

impl Source for LocalSource {
    type Receipt = LocalReceipt;

    async fn receive(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Delivery, LocalReceipt)>, Fault> {
        let started = Instant::now();
        loop {
            let batch = self.look(max).await?;
            let left = wait.saturating_sub(started.elapsed());
            if !batch.is_empty() || left.is_zero() {
                return Ok(batch);
            }
            tokio::time::sleep(left.min(POLL)).await;
        }
    }

    async fn acknowledge(&mut self, receipts: Vec<LocalReceipt>) -> Result<(), Fault> {
        if receipts.is_empty() {
            return Ok(());
        }
        self.run(move |receiver| {
            receiver.settle("acknowledge", |tx, view| {
                receipts.iter().try_for_each(|r| {
                    lease::settle_unless_held(tx, r.subscription, r.offset, Some(r.owner), view.now)
                })
            })
        })
        .await
    }

    async fn give_back(&mut self, receipt: LocalReceipt, delay: Duration) -> Result<(), Fault> {
        self.run(move |receiver| {
            receiver.settle("give back", |tx, view| {
                let mine =
                    View { subscription: receipt.subscription, owner: receipt.owner, ..*view };
                let delivery = (receipt.offset, receipt.deliveries);
                lease::give_back(tx, &mine, delivery, view.now.saturating_add(millis(delay)))
            })
        })
        .await
    }

    async fn pass_over(&mut self, receipts: Vec<(LocalReceipt, Duration)>) -> Result<(), Fault> {
        if receipts.is_empty() {
            return Ok(());
        }
        self.run(move |receiver| {
            receiver.settle("pass over", |tx, view| {
                receipts.iter().try_for_each(|(receipt, delay)| {
                    let mine =
                        View { subscription: receipt.subscription, owner: receipt.owner, ..*view };
                    let delivery = (receipt.offset, receipt.deliveries);
                    lease::pass_over(tx, &mine, delivery, view.now.saturating_add(millis(*delay)))
                })
            })
        })
        .await
    }
}

impl std::fmt::Debug for LocalSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalSource").finish_non_exhaustive()
    }
}

struct Receiver {
    database: Database,
    owner: Owner,
    view: View,
    stream: String,
    lease: Duration,
    renewed: Instant,
    /// Returned and fresh messages take turns at the front, so that neither can starve the other.
    fresh_first: bool,
    unclaimed: Vec<(Delivery, LocalReceipt)>,
    /// SQLite's `data_version` when nothing was found; it tells of other connections' commits.
    seen: Option<i64>,
    /// When a message that was given back is due, in milliseconds, as of `seen`.
    due: Option<i64>,
    /// A settlement failed: nobody knows any more what was in whose hands.
    unsettled: bool,
}

impl Receiver {
    fn look(&mut self, max: usize) -> Result<(), Fault> {
        self.view.now = now();
        if self.unsettled {
            self.let_go()?;
        }
        if !self.unclaimed.is_empty() || max == 0 {
            return Ok(());
        }
        self.renew_if_stale()?;
        self.release_the_dead()?;
        let (view, seen, due) = (self.view, self.seen, self.due);
        let (version, has_work) = self.database.read("look for messages", |tx| {
            let version: i64 = tx.pragma_query_value(None, "data_version", |row| row.get(0))?;
            let quiet = seen == Some(version) && due.is_none_or(|due| view.now < due);
            Ok((version, !quiet && lease::has_work(tx, &view)?))
        })?;
        let more = has_work && self.take(max)?;
        if more || !self.unclaimed.is_empty() {
            self.seen = None;
            return Ok(());
        }
        self.due = self.database.read("look for messages", |tx| lease::next_due(tx, &view))?;
        self.seen = Some(version);
        Ok(())
    }

    /// Takes what may be taken; tells whether there are more that were not looked at.
    fn take(&mut self, max: usize) -> Result<bool, Fault> {
        let (view, stream, fresh_first) = (self.view, self.stream.as_str(), self.fresh_first);
        let until = view.now.saturating_add(millis(self.lease));
        let name = self.owner.name.as_str();
        let doing = format!("take messages of {stream}");
        let (taken, more) = self.database.write(&doing, |tx| {
            let mut batch = Batch::new(max);
            if fresh_first {
                lease::take_fresh(tx, &view, &mut batch)?;
            }
            lease::take_returned(tx, &view, &mut batch)?;
            if !fresh_first {
                lease::take_fresh(tx, &view, &mut batch)?;
            }
            if batch.taken.is_empty() {
                return Ok((Vec::new(), batch.more));
            }
            renew(tx, view.owner, name, until)?;
            batch.taken.sort_unstable();
            Ok((deliveries(tx, &view, stream, &batch.taken)?, batch.more))
        })?;
        self.fresh_first = !fresh_first;
        self.unclaimed = taken;
        Ok(more)
    }

    fn settle(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>, &View) -> rusqlite::Result<()>,
    ) -> Result<(), Fault> {
        self.view.now = now();
        let (view, name) = (self.view, self.owner.name.as_str());
        let until = view.now.saturating_add(millis(self.lease));
        let settled = self.database.write(doing, |tx| {
            renew(tx, view.owner, name, until)?;
            work(tx, &view)
        });
        self.unsettled |= settled.is_err();
        settled?;
        self.renewed = Instant::now();
        self.seen = None;
        Ok(())
    }

    /// Gives back all that this receiver has, so that it comes again.
    fn let_go(&mut self) -> Result<(), Fault> {
        let view = self.view;
        self.database
            .write("give everything back", |tx| lease::release_owner(tx, view.owner, view.now))?;
        self.unclaimed.clear();
        (self.unsettled, self.seen) = (false, None);
        self.renew()
    }

    fn renew_if_stale(&mut self) -> Result<(), Fault> {
        if self.renewed.elapsed() < self.lease / 4 {
            return Ok(());
        }
        self.renew()
    }

    fn renew(&mut self) -> Result<(), Fault> {
        self.settle("renew a lease", |_, _| Ok(()))
    }

    fn release_the_dead(&mut self) -> Result<(), Fault> {
        let (view, dir) = (self.view, self.database.dir.clone());
        let found =
            self.database.read("look for owners", |tx| dead(tx, &dir, view.owner, view.now))?;
        if found.is_empty() {
            return Ok(());
        }
        self.database.write("release a dead owner's messages", |tx| {
            for owner in &found {
                if !owner.is_back(tx)? {
                    lease::release_owner(tx, owner.id, view.now)?;
                }
            }
            Ok(())
        })?;
        self.seen = None;
        found.into_iter().for_each(crate::owner::Dead::bury);
        Ok(())
    }
}

// An owner that was silent for too long was forgotten; it is entered again under its own id.
fn renew(tx: &Transaction<'_>, id: i64, name: &str, until: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO owner (id, name, until) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET until = excluded.until",
    )?
    .execute((id, name, until))?;
    Ok(())
}

fn deliveries(
    tx: &Transaction<'_>,
    view: &View,
    stream: &str,
    taken: &[(i64, u32)],
) -> rusqlite::Result<Vec<(Delivery, LocalReceipt)>> {
    let mut out = Vec::with_capacity(taken.len());
    for &(offset, deliveries) in taken {
        let View { subscription, owner, .. } = *view;
        let receipt = LocalReceipt { subscription, owner, offset, deliveries };
        let delivery = load(tx, (view.stream, stream), offset, deliveries)?;
        out.extend(delivery.map(|delivery| (delivery, receipt)));
    }
    Ok(out)
}

// Processes share leases and delays, so they are on the clock that all of them have.
fn now() -> i64 {
    SystemClock.now().0
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
