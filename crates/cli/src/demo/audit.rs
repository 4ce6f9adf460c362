// SPDX-License-Identifier: MIT OR Apache-2.0
//! After the fact: what the evidence says of each attack, and what the shop's tables hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use chancery::Fault;
use chancery::core::evidence::{Signer, VerifierKey};
use chancery::core::record::{Record, RecordKind};
use chancery_stores::log::{Disk, LogReader, Sealer, verify_dir};
use chancery_stores::sqlite::evidence::SqliteEvidence;
use rusqlite::Connection;

use super::attacks::Attack;
use super::faults::Added;
use super::honest::Plan;
use super::services::{GROUPS, Group};
use super::verdict::{AttackResult, Evidence, FaultResult, Honest};

/// Longest wait for an attack to be refused.
const PATIENCE: Duration = Duration::from_secs(30);

/// The records of all groups, read from the sealed logs.
pub(super) struct Log {
    /// Group → position → what was decided about the message there.
    decided: BTreeMap<&'static str, BTreeMap<String, Vec<Record>>>,
    records: u64,
    broken: Option<String>,
}

/// Where each reading group met an attack.
pub(super) type Landed = BTreeMap<&'static str, String>;

/// What each group has decided so far, looked at while it runs.
pub(super) struct Watch {
    groups: Vec<(Group, Connection, i64)>,
}

impl Watch {
    /// From now on.
    pub(super) fn begin(dir: &Path) -> Result<Watch, Fault> {
        let open = |group: Group| {
            let connection = Connection::open(group.database(dir)).map_err(Fault::store)?;
            let newest = "SELECT coalesce(max(seq), 0) FROM chancery_evidence";
            let newest = connection.query_row(newest, [], |row| row.get(0));
            Ok((group, connection, newest.map_err(Fault::store)?))
        };
        Ok(Watch { groups: GROUPS.into_iter().map(open).collect::<Result<_, Fault>>()? })
    }

    /// Waits until every group of a stream has refused something new, and tells where that is.
    /// One that never does has nothing on record of the attack: it got through.
    pub(super) async fn landed(&mut self, stream: &str) -> Result<Landed, Fault> {
        let until = Instant::now() + PATIENCE;
        let mut landed = Landed::new();
        for (group, connection, seen) in self.groups.iter_mut().filter(|(g, ..)| g.stream == stream)
        {
            while !landed.contains_key(group.name) && Instant::now() < until {
                match refused(connection, seen)? {
                    Some(position) => drop(landed.insert(group.name, position)),
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
        Ok(landed)
    }
}

/// The first refusal after `seen`, which moves on to it.
fn refused(connection: &Connection, seen: &mut i64) -> Result<Option<String>, Fault> {
    let new = "SELECT seq, record FROM chancery_evidence WHERE seq > ?1 ORDER BY seq";
    let mut select = connection.prepare_cached(new).map_err(Fault::store)?;
    let mut rows = select.query([*seen]).map_err(Fault::store)?;
    while let Some(row) = rows.next().map_err(Fault::store)? {
        *seen = row.get(0).map_err(Fault::store)?;
        let record: Vec<u8> = row.get(1).map_err(Fault::store)?;
        let record = Record::decode(&record).ok_or_else(|| Fault::evidence("not a record"))?;
        let message = record.message.filter(|_| record.kind != RecordKind::Done);
        if let Some(message) = message {
            return Ok(Some(message.position));
        }
    }
    Ok(None)
}

/// Seals every group's log, verifies the files, and reads the records back from them.
pub(super) fn seal_and_read(dir: &Path) -> Result<Log, Fault> {
    let mut log = Log { decided: BTreeMap::new(), records: 0, broken: None };
    for group in GROUPS {
        let folder = dir.join("evidence").join(group.name);
        let key = seal(dir, &folder, &group)?;
        let report = verify_dir(&folder, &key, None, |_, _| {}).map_err(Fault::evidence)?;
        if !report.is_sound() {
            log.broken = Some(format!("; the log of {} does not hold", group.name));
        }
        let disk = Disk::new(&folder);
        let reader = LogReader::open(&disk, &key).map_err(Fault::evidence)?;
        let decided = log.decided.entry(group.name).or_default();
        for entry in reader.records() {
            let (_, bytes) = entry.map_err(Fault::evidence)?;
            let record = Record::decode(&bytes).ok_or_else(|| Fault::evidence("not a record"))?;
            log.records += 1;
            if let Some(message) = &record.message {
                decided.entry(message.position.clone()).or_default().push(record);
            }
        }
    }
    Ok(log)
}

fn seal(dir: &Path, folder: &Path, group: &Group) -> Result<VerifierKey, Fault> {
    let seed = super::shop::random().map_err(Fault::evidence)?;
    let name = format!("shop.example/{}", group.name);
    let signer = Signer::from_seed(&name, &seed).map_err(Fault::evidence)?;
    let disk = Disk::new(folder);
    let pending = SqliteEvidence::open(&group.database(dir)).map_err(Fault::evidence)?;
    let mut sealer = Sealer::open(&disk, pending, &signer).map_err(Fault::evidence)?;
    while sealer.seal_once().map_err(Fault::evidence)?.records > 0 {}
    Ok(signer.verifier().clone())
}

impl Log {
    /// What became of an attack. It is refused if every group that read it has it on record as
    /// refused for the attack's own reason, and nowhere as done.
    pub(super) fn attack(&self, attack: &Attack, landed: &Landed) -> AttackResult {
        let readers = GROUPS.iter().filter(|group| group.stream == attack.stream);
        let at = |group: &Group| landed.get(group.name).map_or("", String::as_str);
        let records: Vec<&[Record]> = readers.map(|group| self.about(group, at(group))).collect();
        let refused = !records.is_empty()
            && records.iter().all(|records| {
                records.iter().all(|record| record.kind != RecordKind::Done)
                    && records.last().and_then(|record| record.reason.as_deref())
                        == Some(attack.reason.code())
            });
        let shown = records.into_iter().find_map(|records| records.last());
        let said = |member: Option<&String>| member.cloned().unwrap_or_else(|| "-".to_owned());
        AttackResult {
            name: attack.name,
            refused,
            step: said(shown.and_then(|record| record.step.as_ref())),
            reason: said(shown.and_then(|record| record.reason.as_ref())),
            expected: attack.reason.code(),
        }
    }

    fn about(&self, group: &Group, position: &str) -> &[Record] {
        let decided = self.decided.get(group.name).and_then(|decided| decided.get(position));
        decided.map(Vec::as_slice).unwrap_or_default()
    }

    /// The faults, the poison message looked up: it must be on record as parked.
    pub(super) fn faults(&self, mut faults: Vec<FaultResult>, added: &Added) -> Vec<FaultResult> {
        let code = chancery::Reason::Attempts.code();
        let parked = self.decided.get("report").is_some_and(|decided| {
            decided.values().flatten().any(|record| {
                let about = record.message.as_ref().and_then(|message| message.h.as_deref());
                let poison = format!(r#""okey":"{}""#, added.poison);
                record.kind == RecordKind::Park
                    && record.reason.as_deref() == Some(code)
                    && about.is_some_and(|h| h.contains(&poison))
            })
        });
        if let Some(fault) = faults.first_mut() {
            fault.survived &= parked;
        }
        faults
    }

    /// How many records, and whether they hold.
    pub(super) fn evidence(&self) -> Evidence {
        Evidence {
            records: self.records,
            verified: self.broken.is_none(),
            detail: self.broken.clone().unwrap_or_else(|| {
                format!(" in {} logs, each under a signed checkpoint", self.decided.len())
            }),
        }
    }
}

/// Counts effects in the shop's own tables against the producers' own list.
pub(super) fn honest(dir: &Path, plan: Plan, added: &Added) -> Result<Honest, Fault> {
    let plan = Plan { orders: plan.orders + added.orders, ..plan };
    let mut there = BTreeMap::new();
    for group in GROUPS {
        there.extend(effects(dir, &group)?);
    }
    let mut honest = Honest { published: plan.events(), ..Honest::default() };
    let mut owed = BTreeSet::new();
    for event in plan.owed() {
        let mut once = true;
        for effect in event {
            if effect == ("sale", added.poison.clone()) {
                continue;
            }
            match there.get(&effect).copied().unwrap_or(0) {
                0 => honest.lost += 1,
                1 => {}
                _ => honest.doubled += 1,
            }
            once &= there.get(&effect) == Some(&1);
            owed.insert(effect);
        }
        honest.handled += u64::from(once);
    }
    honest.foreign = there.keys().filter(|effect| !owed.contains(*effect)).count() as u64;
    Ok(honest)
}

/// How many effects a group has on its table.
pub(super) fn count(dir: &Path, group: &Group) -> Result<u64, Fault> {
    let connection = Connection::open(group.database(dir)).map_err(Fault::store)?;
    let count = format!("SELECT count(*) FROM {}", group.table);
    let count: i64 = connection.query_row(&count, [], |row| row.get(0)).map_err(Fault::store)?;
    Ok(count.unsigned_abs())
}

/// An effect, by its table and key, and how often it is there.
type Counted = ((&'static str, String), u64);

fn effects(dir: &Path, group: &Group) -> Result<Vec<Counted>, Fault> {
    let connection = Connection::open(group.database(dir)).map_err(Fault::store)?;
    let count = format!("SELECT key, count(*) FROM {} GROUP BY key", group.table);
    let mut select = connection.prepare(&count).map_err(Fault::store)?;
    let rows = select.query_map([], |row| Ok(((group.table, row.get(0)?), row.get(1)?)));
    rows.and_then(Iterator::collect).map_err(Fault::store)
}
