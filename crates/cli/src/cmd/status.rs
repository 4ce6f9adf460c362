// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery status`

use chancery::core::policy::{Rung, Stream as Rules};
use serde::Serialize;

use crate::exit::{Exit, Result};
use crate::out::{Ctx, Report, table};
use crate::project::{self, Project};
use crate::wire::{self, Stats};

/// How the project stands.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Status {
    bundle_version: u64,
    bundle_expires: String,
    streams: Vec<Stream>,
    services: Vec<Service>,
}

#[derive(Serialize)]
struct Stream {
    stream: String,
    messages: u64,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    group: String,
    service: String,
    lag: u64,
    oldest_ms: Option<i64>,
    hold: u64,
    park: u64,
    quarantine: u64,
    /// What ran below `enforce` so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    unproven: Option<Unproven>,
}

/// How far a stream is from `enforce`.
#[derive(Serialize)]
struct Unproven {
    rung: &'static str,
    ran: u64,
    would_refuse: u64,
    reasons: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    reason: &'static str,
    count: u64,
    last: String,
}

#[derive(Serialize)]
struct Service {
    service: String,
    sealed: u64,
    not_sealed: u64,
    done: u64,
    outbox: u64,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let project = Project::open(ctx)?;
        let snapshot = project.snapshot()?;
        let status = Status {
            bundle_version: snapshot.bundle_version,
            bundle_expires: snapshot.bundle_expires.to_string(),
            streams: streams(&project, &snapshot)?,
            services: services(&project, &snapshot)?,
        };
        ctx.show(&status)?;
        Ok(Exit::Ok)
    }
}

fn streams(project: &Project, snapshot: &chancery::Snapshot) -> Result<Vec<Stream>> {
    let broker = wire::broker(project)?;
    let known = broker.streams()?;
    let mut streams = Vec::new();
    for (name, rules) in &snapshot.policy.streams {
        let stats = known.iter().find(|stats| stats.name == *name);
        let messages = stats.map_or(0, |stats| stats.messages);
        let mut groups = Vec::new();
        for (group, service) in &rules.handled_by {
            // A group that never came has everything before it.
            let subscribed = stats.is_some_and(|stats| stats.groups.contains(group));
            let (lag, oldest_ms) = match subscribed {
                true => broker.lag(name, group).map(|lag| (lag.messages, lag.oldest_ms))?,
                false => (messages, None),
            };
            let stats = match project.database(service).is_file() {
                true => wire::database(project, service)?.stats()?,
                false => Stats::default(),
            };
            let [hold, park, quarantine] = kept(&stats, name);
            let unproven = unproven(&stats, group, name, rules);
            let (group, service) = (group.clone(), service.clone());
            groups.push(Group { group, service, lag, oldest_ms, hold, park, quarantine, unproven });
        }
        streams.push(Stream { stream: name.clone(), messages, groups });
    }
    Ok(streams)
}

fn kept(stats: &Stats, stream: &str) -> [u64; 3] {
    let count =
        |word: &str| stats.kept.get(&(stream.to_owned(), word.to_owned())).copied().unwrap_or(0);
    [count("hold"), count("park"), count("quarantine")]
}

fn unproven(stats: &Stats, group: &str, stream: &str, rules: &Rules) -> Option<Unproven> {
    if rules.rung == Rung::Enforce {
        return None;
    }
    let found = stats.findings.get(&(group.to_owned(), stream.to_owned()));
    let found = found.cloned().unwrap_or_default();
    let reasons = found.reasons.iter().map(|(reason, (count, last))| Found {
        reason: reason.code(),
        count: *count,
        last: last.to_string(),
    });
    Some(Unproven {
        rung: rules.rung.word(),
        ran: found.ran,
        would_refuse: found.would_refuse,
        reasons: reasons.collect(),
    })
}

fn services(project: &Project, snapshot: &chancery::Snapshot) -> Result<Vec<Service>> {
    let mut services = Vec::new();
    for service in project::handlers(snapshot, None)? {
        if !project.database(&service).is_file() {
            continue;
        }
        let stats = wire::database(project, &service)?.stats()?;
        let known = wire::known(project, &service)?;
        services.push(Service {
            sealed: known.and_then(|known| known.newest).map_or(0, |(size, _)| size),
            not_sealed: stats.evidence_pending,
            done: stats.ledger.get("done").copied().unwrap_or(0),
            outbox: stats.outbox_pending,
            service,
        });
    }
    Ok(services)
}

impl Unproven {
    fn text(&self, stream: &str, group: &str) -> String {
        let Unproven { rung, ran, would_refuse, reasons } = self;
        let mut text = format!(
            "\n{stream} as {group} is at `{rung}`: {ran} ran, `enforce` would have refused \
             {would_refuse}\n"
        );
        for Found { reason, count, last } in reasons {
            text.push_str(&format!("  {count} {reason}, last {last}\n"));
        }
        text
    }
}

impl Report for Status {
    fn text(&self) -> String {
        let mut rows = Vec::new();
        for stream in &self.streams {
            for group in &stream.groups {
                let mut row = vec![stream.stream.clone(), group.group.clone()];
                let counts = [group.lag, group.hold, group.park, group.quarantine];
                row.extend(counts.map(|count| count.to_string()));
                rows.push(row);
            }
        }
        let header = ["STREAM", "GROUP", "WAITING", "HELD", "PARKED", "QUARANTINED"];
        let mut text = table(&header, &rows);
        if !self.services.is_empty() {
            let row = |of: &Service| {
                let mut row = vec![of.service.clone()];
                row.extend([of.done, of.sealed, of.not_sealed].map(|count| count.to_string()));
                row
            };
            let rows: Vec<Vec<String>> = self.services.iter().map(row).collect();
            text.push('\n');
            text.push_str(&table(&["SERVICE", "DONE", "SEALED", "NOT SEALED"], &rows));
        }
        for stream in &self.streams {
            for group in &stream.groups {
                if let Some(unproven) = &group.unproven {
                    text.push_str(&unproven.text(&stream.stream, &group.group));
                }
            }
        }
        let (version, until) = (self.bundle_version, &self.bundle_expires);
        text + &format!("\nbundle version {version}, until {until}\n")
    }
}
