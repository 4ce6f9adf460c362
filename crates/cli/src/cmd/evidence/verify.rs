// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery evidence verify`: a log from its files, against its key, and against the database
//! where there is one.

use std::path::{Path, PathBuf};

use chancery::core::evidence::VerifierKey;
use chancery::core::evidence::note::NOTE_BYTES_MAX;
use chancery::core::record::Record;
use chancery::core::text::hex;
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::files;
use crate::out::{Ctx, Progress, Report};
use crate::project::{self, Project};
use crate::wire::{self, Break, Disk, LogReader};

/// Check every record, tile and signature of a log, from its files alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the log of this service.
    #[arg(long, conflicts_with = "dir")]
    service: Option<String>,
    /// A log in this folder, outside any project.
    #[arg(long, value_name = "DIR", requires = "key")]
    dir: Option<PathBuf>,
    /// The log's verifier key; by default that of the key file.
    #[arg(long, value_name = "VERIFIER")]
    key: Option<String>,
    /// An older checkpoint of this log, kept elsewhere: shows a tail that was cut off.
    #[arg(long, value_name = "FILE")]
    at_least: Option<PathBuf>,
}

#[derive(Serialize)]
struct Verified {
    logs: Vec<LogState>,
}

/// How one log was found.
#[derive(Serialize)]
struct LogState {
    log: String,
    sound: bool,
    /// Records under the checkpoint.
    records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    /// When the last record under the checkpoint was made: nothing after it is excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Records that are committed and not sealed, where there is a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_sealed: Option<u64>,
    findings: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let note = |path: &PathBuf| files::read_text(path, NOTE_BYTES_MAX);
        let at_least = self.at_least.as_ref().map(note).transpose()?;
        let key = self.key.as_deref().map(super::parse_key).transpose()?;
        let logs = match (&self.dir, key) {
            (Some(dir), Some(key)) => vec![verify(key.name(), dir, &key, at_least.as_deref())?],
            (_, key) => self.of_project(&Project::open(ctx)?, key.as_ref(), at_least.as_deref())?,
        };
        let exit = Exit::found(logs.iter().any(|log| !log.sound));
        ctx.show(&Verified { logs })?;
        Ok(exit)
    }

    fn of_project(
        &self,
        project: &Project,
        key: Option<&VerifierKey>,
        at_least: Option<&str>,
    ) -> Result<Vec<LogState>> {
        let mut services = project::handlers(&project.snapshot()?, self.service.as_deref())?;
        if let Some(key) = key {
            services.retain(|service| project.evidence_origin(service) == key.name());
        }
        let mut logs = Vec::new();
        for service in services {
            let folder = project.evidence_dir(&service);
            let known = wire::known(project, &service)?;
            let newest = known.as_ref().and_then(|known| known.newest);
            let unused = newest.is_none() && !folder.exists();
            if unused && known.is_none() && self.service.is_none() {
                continue;
            }
            let own;
            let key = match key {
                Some(key) => key,
                None => {
                    own = super::verifier(project, &service)?;
                    &own
                }
            };
            let mut log = match unused {
                true => LogState::empty(&service),
                false => verify(&service, &folder, key, at_least)?,
            };
            log.not_sealed = known.as_ref().map(|known| known.waiting);
            log.compare(newest);
            logs.push(log);
        }
        if logs.is_empty() && key.is_some() {
            let fix = "compare it with `chancery keys ls`";
            return Err(Failure::misuse("is of no log of this project", "--key", fix));
        }
        Ok(logs)
    }
}

fn verify(
    name: &str,
    folder: &Path,
    key: &VerifierKey,
    at_least: Option<&str>,
) -> Result<LogState> {
    let mut progress = Progress::new("verified");
    let report = wire::verify_dir(folder, key, at_least, |done, of| progress.at(done, of));
    drop(progress);
    let report = report.map_err(|error| wire::log_failure(folder, &error))?;
    let mut log = LogState {
        sound: report.is_sound(),
        records: report.records,
        findings: report.breaks.iter().map(told).collect(),
        ..LogState::empty(name)
    };
    if let Some(checkpoint) = &report.checkpoint {
        log.root = Some(hex(&checkpoint.root));
        log.until = last_record(folder, key, checkpoint.size);
    }
    let untold = report.breaks_count.saturating_sub(report.breaks.len() as u64);
    if untold > 0 {
        log.findings.push(format!("and {untold} more"));
    }
    Ok(log)
}

fn last_record(folder: &Path, key: &VerifierKey, size: u64) -> Option<String> {
    let disk = Disk::new(folder);
    let reader = LogReader::open(&disk, key).ok()?;
    let bundle = reader.bundle(size.checked_sub(1)?).ok()?;
    Record::decode(&bundle.record).map(|record| record.at)
}

impl LogState {
    fn empty(name: &str) -> LogState {
        LogState {
            log: name.to_owned(),
            sound: true,
            records: 0,
            root: None,
            until: None,
            not_sealed: None,
            findings: Vec::new(),
        }
    }

    /// The database must not know of more than the files show.
    fn compare(&mut self, newest: Option<(u64, [u8; 32])>) {
        let Some((size, root)) = newest else { return };
        let finding = if size > self.records {
            format!("the database has signed {size} records, the files show {}", self.records)
        } else if size == self.records && self.root.as_ref().is_some_and(|r| *r != hex(&root)) {
            format!("files and database have different trees of {size} records")
        } else {
            return;
        };
        self.sound = false;
        self.findings.push(finding);
    }
}

fn told(found: &Break) -> String {
    match found {
        Break::NoCheckpoint => "there is no checkpoint: never sealed, or removed".to_owned(),
        Break::Checkpoint(error) => format!("checkpoint: {error}"),
        Break::Tile { tile, fault } => format!("{tile}: {}", format!("{fault:?}").to_lowercase()),
        Break::Record { index } => format!("record {index} is not the one that was sealed"),
        Break::Gap { index, writer, records } => format!(
            "{records} records of writer {} are missing before record {index}: taken away before \
             they were sealed",
            crate::out::plain(writer)
        ),
        Break::Root => "the records do not lead to the signed root".to_owned(),
        Break::RolledBack { expected } => {
            format!("ends before {expected} records: its tail was cut off")
        }
        Break::OtherHistory { expected } => {
            format!("has another history than the checkpoint of {expected} records")
        }
    }
}

impl Report for Verified {
    fn text(&self) -> String {
        let mut text = String::new();
        for log in &self.logs {
            let verdict = if log.sound { "sound" } else { "BROKEN" };
            text.push_str(&format!("{}: {verdict}; {} records sealed", log.log, log.records));
            if let Some(waiting) = log.not_sealed {
                text.push_str(&format!(", {waiting} committed and not sealed yet"));
            }
            text.push('\n');
            for finding in &log.findings {
                text.push_str(&format!("  {finding}\n"));
            }
            if let Some(until) = &log.until {
                text.push_str(&format!("  nothing after {until} can be excluded\n"));
            }
        }
        if self.logs.is_empty() {
            text.push_str("nothing is on record yet\n");
        }
        text
    }
}
