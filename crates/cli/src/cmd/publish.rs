// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery publish STREAM`: standard input's lines become messages, in order, in batches.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use chancery::core::seal::Unsigned;
use chancery::{Fault, PublishError, Published, Publisher, Refusal, Sink, Snapshot};
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::out::{self, Colour, Ctx, paint, warn};
use crate::project::{self, Project, reload};
use crate::wire;

mod draft;
mod lines;

use draft::Drafts;
use lines::{Line, Lines};

/// Lines that are read ahead and appended together.
const BATCH_MAX: usize = 64;

/// Sign and append one message per line of standard input.
///
/// A line is the payload, byte for byte; the envelope is built round it. One id is printed per
/// line that the broker has confirmed. A line that no reader could admit is reported and does not
/// stop the others.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The stream.
    stream: String,
    /// The publishing service; by default the stream's owner whose key is here.
    #[arg(long = "as", value_name = "SERVICE")]
    service: Option<String>,
    /// The event type, where the stream carries several.
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "envelope")]
    event_type: Option<String>,
    /// The schema version; by default the newest that the stream carries.
    #[arg(long, value_name = "N", conflicts_with = "envelope", value_parser = clap::value_parser!(u32).range(1..=999))]
    schema_version: Option<u32>,
    /// The payload's member that is the event id; by default ids are random.
    #[arg(long, value_name = "FIELD", conflicts_with = "envelope")]
    id: Option<String>,
    /// The payload's member that is the ordering version: 1, 2, 3… per key.
    #[arg(long, value_name = "FIELD")]
    version: Option<String>,
    /// The payload's member that is the tenant, or `=TENANT` for all lines.
    #[arg(long, value_name = "FIELD|=T", conflicts_with = "envelope")]
    tenant: Option<String>,
    /// Also send the attributes of CloudEvents 1.0 as header fields, for consumers that read those.
    #[arg(long)]
    cloud_events: bool,
    /// Lines are whole envelopes.
    #[arg(long)]
    envelope: bool,
    /// Append lines that are refused to this file, as they are.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        out::stdout_for_data()?;
        let project = Project::open(ctx)?;
        let snapshots = reload::watched(&project)?;
        let snapshot = snapshots.current();
        let service = self.publishing_service(&project, &snapshot)?;
        let secret = project.signing_key(&service, &snapshot)?;
        let drafts = Drafts::new(&self, &service, &snapshot)?;
        let rejects = self.rejects.as_ref().map(open_rejects).transpose()?;
        let lane = project::random()?;
        wire::runtime()?.block_on(async {
            let broker = wire::AnyBroker::connect(&project, &service).await?;
            let publisher = Publisher::new(broker, snapshots.clone(), &service, secret, lane)?
                .cloud_events(self.cloud_events);
            let mut pump = Pump { ctx, publisher, drafts, rejects, refused: 0 };
            pump.run(Lines::of_stdin()?).await?;
            Ok(Exit::found(pump.refused > 0))
        })
    }

    /// `--as`, or the only owner of the stream that can sign here.
    fn publishing_service(&self, project: &Project, snapshot: &Snapshot) -> Result<String> {
        let stream = project::stream(snapshot, &self.stream)?;
        if let Some(service) = &self.service {
            project::service(snapshot, service)?;
            if snapshot.policy.may_publish(service, stream) {
                return Ok(service.clone());
            }
            let at = format!("policy.yaml, streams.{}.owner", self.stream);
            let fix = format!("it says {}; publish as that", stream.owner.join(", "));
            return Err(Failure::misuse(format!("`{service}` may not publish here"), at, fix));
        }
        let keys = project.keys()?;
        let owners = snapshot.policy.services.keys();
        let owners = owners.filter(|service| snapshot.policy.may_publish(service, stream));
        let here: Vec<&String> =
            owners.filter(|service| keys.iter().any(|key| key.signs_for(service))).collect();
        match here.as_slice() {
            [only] => Ok((*only).clone()),
            [] => {
                let what = format!("holds no key of an owner of `{}`", self.stream);
                let fix = format!("copy the key of {} here", stream.owner.join(" or "));
                Err(Failure::misuse(what, project.keys_dir().display().to_string(), fix))
            }
            several => {
                let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
                let what = format!("{} own `{}`", names.join(" and "), self.stream);
                Err(Failure::misuse(what, "--as", "say which of them publishes"))
            }
        }
    }
}

fn open_rejects(path: &PathBuf) -> Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| Failure::io(path, &error))
}

struct Pump<'c, K> {
    ctx: &'c Ctx,
    publisher: Publisher<K>,
    drafts: Drafts,
    rejects: Option<File>,
    refused: u64,
}

/// A confirmed line, or a refused one, for `--json`.
#[derive(Serialize)]
#[serde(untagged)]
enum Told<'t> {
    Published { line: u64, id: &'t str, message: String, position: &'t str },
    Refused { line: u64, reason: &'static str, detail: &'t str },
}

impl<K: Sink> Pump<'_, K> {
    async fn run(&mut self, mut lines: Lines) -> Result<()> {
        while let Some(batch) = lines.batch(BATCH_MAX).await? {
            let first = batch.first().map_or(0, |line| line.number);
            let (numbers, built) = self.build_all(batch).map_err(|why| not_sent(first, why))?;
            if built.is_empty() {
                continue;
            }
            let published = self.publisher.append(built).await;
            let published = published.map_err(|fault| unconfirmed(&numbers, fault))?;
            self.tell(&numbers, &published).map_err(|why| untold(&numbers, why))?;
        }
        Ok(())
    }

    /// Those that can be sent, with their numbers; the others are told of.
    fn build_all(&mut self, batch: Vec<Line>) -> Result<(Vec<u64>, Vec<Unsigned>)> {
        let (mut numbers, mut built) = (Vec::new(), Vec::new());
        for line in batch {
            match self.build(&line)? {
                Ok(message) => {
                    numbers.push(line.number);
                    built.push(message);
                }
                Err(refusal) => self.reject(&line, &refusal)?,
            }
        }
        Ok((numbers, built))
    }

    fn build(&self, line: &Line) -> Result<Result<Unsigned, Refusal>> {
        let draft = match self.drafts.draft(line)? {
            Ok(draft) => draft,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match self.publisher.build(&draft) {
            Ok(built) => Ok(Ok(built)),
            Err(PublishError::Refused(refusal)) => Ok(Err(refusal)),
            Err(other) => Err(other.into()),
        }
    }

    fn tell(&self, numbers: &[u64], published: &[Published]) -> Result<()> {
        let mut out = Vec::new();
        for (line, published) in numbers.iter().zip(published) {
            if self.ctx.json {
                let message = chancery::core::text::b64u(&published.message_id);
                let (id, position) = (&*published.event_id, &*published.position);
                let told = Told::Published { line: *line, id, message, position };
                serde_json::to_writer(&mut out, &told).map_err(Failure::bug)?;
            } else {
                out.extend_from_slice(published.event_id.as_bytes());
            }
            out.push(b'\n');
        }
        self.ctx.write(&out)
    }

    fn reject(&mut self, line: &Line, refusal: &Refusal) -> Result<()> {
        self.refused += 1;
        let at = paint(Colour::Yellow, &format!("line {}:", line.number));
        // A schema may have several complaints, one a line.
        warn(&format!("{at} {}", refusal.to_string().replace('\n', "\n  ")));
        if self.ctx.json {
            let (reason, detail) = (refusal.reason.code(), &*refusal.detail);
            self.ctx.json_line(&Told::Refused { line: line.number, reason, detail })?;
        }
        let Some(file) = &mut self.rejects else { return Ok(()) };
        let mut bytes = line.bytes.clone();
        bytes.push(b'\n');
        file.write_all(&bytes).map_err(|error: io::Error| Failure::pipe("--rejects", &error))
    }
}

/// It stopped before anything of these lines was sent; all before them is published.
fn not_sent(first: u64, failure: Failure) -> Failure {
    Failure {
        fix: format!("then publish again from line {first}; not what is before it"),
        ..failure
    }
}

/// The broker has these lines, and whoever wanted their ids does not know.
fn untold(numbers: &[u64], failure: Failure) -> Failure {
    let (first, last) = ends(numbers);
    Failure {
        fix: format!(
            "lines {first} to {last} are published, though their ids could not be written; \
             publish again from line {}, not what is before it",
            last + 1
        ),
        ..failure
    }
}

fn ends(numbers: &[u64]) -> (u64, u64) {
    let (first, last) = (numbers.first().copied(), numbers.last().copied());
    (first.unwrap_or_default(), last.unwrap_or_default())
}

/// The broker failed: what was before these lines is confirmed, of them nothing is known.
fn unconfirmed(numbers: &[u64], fault: Fault) -> Failure {
    let (first, last) = ends(numbers);
    let failure = Failure::from(fault);
    Failure {
        at: format!("lines {first} to {last} are not confirmed"),
        fix: format!(
            "publish again from line {first}; with the same ids (--id) readers skip the copies"
        ),
        ..failure
    }
}
