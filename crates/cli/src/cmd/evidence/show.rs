// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records for people, and the search for those of one event.

use std::collections::VecDeque;
use std::path::PathBuf;

use chancery::core::evidence::{ProofBundle, VerifierKey};
use chancery::core::record::{MessageRecord, Record, RecordKind};
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, Report, plain, warn};
use crate::project::{self, Project};
use crate::wire::{self, Disk, LogReader};

/// The logs of a project that have published anything.
pub(crate) struct Logs(Vec<Log>);

struct Log {
    service: String,
    folder: PathBuf,
    disk: Disk,
    key: VerifierKey,
}

/// One record and its place.
#[derive(Clone, Serialize)]
pub(crate) struct Entry {
    /// The service whose log it is in.
    pub(crate) log: String,
    /// Its index there.
    pub(crate) index: u64,
    /// The event id that the message's header claims; verified if the record is `done`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<String>,
    /// The record.
    pub(crate) record: Record,
}

impl Logs {
    /// Those of all services, or of one.
    pub(crate) fn open(project: &Project, service: Option<&str>) -> Result<Logs> {
        let mut logs = Vec::new();
        for service in project::handlers(&project.snapshot()?, service)? {
            let folder = project.evidence_dir(&service);
            if folder.join("checkpoint").is_file() {
                let (disk, key) = (Disk::new(&folder), super::verifier(project, &service)?);
                logs.push(Log { service, folder, disk, key });
            }
        }
        Ok(Logs(logs))
    }

    /// Shows the last records, or those of an event.
    pub(crate) fn show(&self, ctx: &Ctx, event: Option<&str>, last: usize) -> Result {
        let entries = match event {
            Some(event) => self.of(event)?,
            None => self.last(last)?,
        };
        if let (Some(event), true) = (event, entries.is_empty()) {
            warn(&format!("chancery: nothing sealed is about `{}`", plain(event)));
            return Ok(Exit::Findings);
        }
        if entries.is_empty() {
            warn("chancery: nothing is sealed yet");
        }
        for entry in &entries {
            ctx.show(entry)?;
        }
        Ok(Exit::Ok)
    }

    /// The records about an event, by event id, message id or position, in order.
    pub(crate) fn of(&self, event: &str) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        self.each(|entry| {
            if entry.is_about(event) {
                found.push(entry);
            }
        })?;
        Ok(found)
    }

    fn last(&self, count: usize) -> Result<Vec<Entry>> {
        let mut last = VecDeque::new();
        self.each(|entry| {
            last.push_back(entry);
            if last.len() > count {
                last.pop_front();
            }
        })?;
        Ok(last.into())
    }

    /// The proof of an event's outcome, or of the record with that index.
    pub(crate) fn bundle(&self, event: &str, index: Option<u64>) -> Result<ProofBundle> {
        let found = self.of(event)?;
        let wanted = match index {
            Some(index) => found.iter().find(|entry| entry.index == index),
            None => {
                let done = found.iter().rev().find(|entry| entry.record.kind == RecordKind::Done);
                done.or(found.last())
            }
        };
        let Some(entry) = wanted else {
            let what = format!("nothing sealed is about `{}`", plain(event));
            let fix = "`chancery evidence seal` seals what is committed; `evidence show` lists it";
            return Err(Failure::misuse(what, "--event", fix));
        };
        let log = self.0.iter().find(|log| log.service == entry.log);
        let log = log.ok_or_else(|| Failure::bug("a record without its log"))?;
        let failed = |error| wire::log_failure(&log.folder, &error);
        let reader = LogReader::open(&log.disk, &log.key).map_err(failed)?;
        reader.bundle(entry.index).map_err(failed)
    }

    fn each(&self, mut seen: impl FnMut(Entry)) -> Result<()> {
        for log in &self.0 {
            let failed = |error| wire::log_failure(&log.folder, &error);
            let reader = LogReader::open(&log.disk, &log.key).map_err(failed)?;
            for record in reader.records() {
                let (index, bytes) = record.map_err(failed)?;
                if let Some(record) = Record::decode(&bytes) {
                    seen(Entry::of(&log.service, index, &record));
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    /// A record at its place.
    pub(crate) fn of(log: &str, index: u64, record: &Record) -> Entry {
        let event = record.message.as_ref().and_then(event_of);
        Entry { log: log.to_owned(), index, event, record: record.clone() }
    }

    fn is_about(&self, wanted: &str) -> bool {
        let message = self.record.message.as_ref();
        self.event.as_deref() == Some(wanted)
            || message.is_some_and(|m| m.position == wanted || m.id.as_deref() == Some(wanted))
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let Entry { log, index, record, .. } = self;
        let mut line = format!("{log} #{index}  {}  {}", record.at, kind(record.kind));
        if let Some(message) = &record.message {
            let event = self.event.as_deref().unwrap_or("-");
            line.push_str(&format!("  {}  {}", plain(&message.position), plain(event)));
        }
        for told in [&record.reason, &record.detail, &record.effects].into_iter().flatten() {
            line.push_str(&format!("  {}", plain(told)));
        }
        if let Some(operator) = &record.operator {
            line.push_str(&format!("  by {}", plain(operator)));
        }
        line + "\n"
    }
}

/// The event id that a message's header claims.
pub(crate) fn event_of(message: &MessageRecord) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Id {
        id: String,
    }
    serde_json::from_str::<Id>(message.h.as_deref()?).ok().map(|header| header.id)
}

/// The word that records use.
pub(crate) fn kind(kind: RecordKind) -> String {
    let word = serde_json::to_value(kind).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Report for Entry {
    fn text(&self) -> String {
        self.line()
    }
}
