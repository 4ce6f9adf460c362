// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery status`

use serde::Serialize;

use crate::exit::{Exit, Result};
use crate::out::{Ctx, Report, table};
use crate::project::{self, Project};
use crate::wire;

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
            let kept = kept(project, service, name)?;
            let [hold, park, quarantine] = kept;
            let (group, service) = (group.clone(), service.clone());
            groups.push(Group { group, service, lag, oldest_ms, hold, park, quarantine });
        }
        streams.push(Stream { stream: name.clone(), messages, groups });
    }
    Ok(streams)
}

fn kept(project: &Project, service: &str, stream: &str) -> Result<[u64; 3]> {
    if !project.database(service).is_file() {
        return Ok([0; 3]);
    }
    let stats = wire::database(project, service)?.stats()?;
    let count =
        |word: &str| stats.kept.get(&(stream.to_owned(), word.to_owned())).copied().unwrap_or(0);
    Ok([count("hold"), count("park"), count("quarantine")])
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
        let (version, until) = (self.bundle_version, &self.bundle_expires);
        text + &format!("\nbundle version {version}, until {until}\n")
    }
}
