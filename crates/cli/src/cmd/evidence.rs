// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery evidence show|verify|seal|bundle|check`

use std::path::PathBuf;

use chancery_core::evidence::bundle::BUNDLE_BYTES_MAX;
use chancery_core::evidence::{ProofBundle, VerifierKey};
use chancery_core::record::Record;
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::files;
use crate::out::{Ctx, Report};
use crate::project::{self, Project, Purpose};
use crate::wire;

mod show;
mod verify;

pub(crate) use show::{Entry, Logs, event_of};

/// See, verify and hand out what is on record.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Records of one event, or the last ones.
    Show {
        /// Event id, message id or position.
        #[arg(allow_hyphen_values = true)]
        event: Option<String>,
        /// Only the log of this service.
        #[arg(long)]
        service: Option<String>,
        /// So many records, the newest.
        #[arg(long, default_value_t = 20, value_name = "N")]
        last: usize,
    },
    /// Check every record, tile and signature of a log, from its files alone.
    Verify(verify::Args),
    /// Put what is committed under a signed checkpoint now.
    Seal {
        /// Only the log of this service.
        #[arg(long)]
        service: Option<String>,
    },
    /// Write a record with its proof, to be checked by anybody, offline.
    Bundle {
        /// Event id, message id or position.
        #[arg(long, allow_hyphen_values = true)]
        event: String,
        /// Only the log of this service.
        #[arg(long)]
        service: Option<String>,
        /// The record's index, where the event has several; by default its outcome.
        #[arg(long)]
        index: Option<u64>,
    },
    /// Check a bundle with a key that you have from elsewhere. Needs no project.
    Check {
        /// The bundle.
        file: PathBuf,
        /// The log's verifier key, `name+id+key`.
        #[arg(long, value_name = "VERIFIER")]
        key: String,
    },
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        match self.verb {
            Verb::Show { event, service, last } => {
                let logs = Logs::open(&Project::open(ctx)?, service.as_deref())?;
                logs.show(ctx, event.as_deref(), last)
            }
            Verb::Verify(args) => args.run(ctx),
            Verb::Seal { service } => seal(ctx, service.as_deref()),
            Verb::Bundle { event, service, index } => {
                let logs = Logs::open(&Project::open(ctx)?, service.as_deref())?;
                ctx.write(logs.bundle(&event, index)?.encode().as_bytes())?;
                Ok(Exit::Ok)
            }
            Verb::Check { file, key } => check(ctx, &file, &key),
        }
    }
}

/// The verifier key of a service's log, from its key file.
pub(crate) fn verifier(project: &Project, service: &str) -> Result<VerifierKey> {
    let key = project.key(Purpose::Evidence, &project.evidence_origin(service))?;
    Ok(key.signer()?.verifier().clone())
}

fn parse_key(text: &str) -> Result<VerifierKey> {
    text.parse().map_err(|error: chancery_core::evidence::NoteError| {
        let fix = "copy it whole from `chancery keys ls` of those who keep the log";
        Failure::misuse(error.to_string(), "--key", fix)
    })
}

#[derive(Serialize)]
struct Sealed {
    sealed: Vec<SealedLog>,
}

#[derive(Serialize)]
struct SealedLog {
    service: String,
    records: u64,
}

fn seal(ctx: &Ctx, service: Option<&str>) -> Result {
    let project = Project::open(ctx)?;
    let mut sealed = Vec::new();
    for service in project::handlers(&project.snapshot()?, service)? {
        if project.database(&service).is_file() {
            let records = wire::seal(&project, &service, true)?;
            sealed.push(SealedLog { service, records });
        }
    }
    ctx.show(&Sealed { sealed })?;
    Ok(Exit::Ok)
}

impl Report for Sealed {
    fn text(&self) -> String {
        let line = |log: &SealedLog| format!("{}: {} records sealed\n", log.service, log.records);
        self.sealed.iter().map(line).collect()
    }
}

#[derive(Default, Serialize)]
struct Checked {
    proven: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Record>,
}

fn check(ctx: &Ctx, file: &std::path::Path, key: &str) -> Result {
    let key = parse_key(key)?;
    let bytes = files::read(file, BUNDLE_BYTES_MAX)?;
    let bundle = ProofBundle::decode(&bytes);
    let proven = bundle.as_ref().map_err(Clone::clone).and_then(|bundle| bundle.verify(&key));
    let checked = match proven {
        Err(error) => Checked { why_not: Some(error.to_string()), ..Checked::default() },
        Ok(proven) => Checked {
            proven: true,
            why_not: None,
            log: Some(proven.checkpoint.origin.clone()),
            index: Some(proven.index),
            size: Some(proven.checkpoint.size),
            record: Record::decode(proven.record),
        },
    };
    let exit = Exit::found(!checked.proven);
    ctx.show(&checked)?;
    Ok(exit)
}

impl Report for Checked {
    fn text(&self) -> String {
        if let Some(why) = &self.why_not {
            return format!("not proven: {why}\n");
        }
        let (index, size) = (self.index.unwrap_or(0), self.size.unwrap_or(0));
        let log = self.log.as_deref().unwrap_or_default();
        let mut text = format!("proven: record {index} of the {size} that {log} has signed\n");
        if let Some(record) = &self.record {
            let entry = Entry::of(log, index, record);
            text.push_str(&entry.line());
        }
        text
    }
}
