// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery status`

use std::collections::BTreeMap;

use chancery::core::policy::{Rung, Stream as Rules};
use chancery::{Broker, Lag};
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, Report, table, warn};
use crate::project::{self, Project};
use crate::wire::{self, AnyBroker, Stats};

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
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    group: String,
    service: String,
    /// `null`: the broker does not say, or not to this service.
    lag: Option<u64>,
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
        let mut lags = Lags { project: &project, brokers: BTreeMap::new(), failed: Vec::new() };
        let streams = wire::runtime()?.block_on(streams(&project, &snapshot, &mut lags))?;
        let status = Status {
            bundle_version: snapshot.bundle_version,
            bundle_expires: snapshot.bundle_expires.to_string(),
            streams,
            services: services(&project, &snapshot)?,
        };
        ctx.show(&status)?;
        lags.end()
    }
}

/// What each service is told by the broker. A service whose credentials are not here is told
/// nothing; a broker that fails is told of at the end, after everything that is known.
struct Lags<'p> {
    project: &'p Project,
    brokers: BTreeMap<String, Option<AnyBroker>>,
    failed: Vec<Failure>,
}

impl Lags<'_> {
    async fn of(&mut self, service: &str, stream: &str, group: &str) -> Lag {
        if !self.brokers.contains_key(service) {
            let broker = AnyBroker::connect(self.project, service).await;
            let broker = broker.map_err(|failure| self.unknown(service, failure)).ok();
            self.brokers.insert(service.to_owned(), broker);
        }
        let Some(Some(broker)) = self.brokers.get(service) else { return Lag::default() };
        let lag = broker.lag(stream, group).await;
        lag.map_err(|fault| self.unknown(service, fault.into())).unwrap_or_default()
    }

    fn unknown(&mut self, service: &str, failure: Failure) {
        warn(&format!("chancery: not seen as {service}: {}", failure.what));
        self.failed.push(failure);
    }

    /// That others' credentials are not here is as it should be; that nobody's are is not.
    fn end(self) -> Result {
        let nobody = self.brokers.values().all(Option::is_none);
        let mut failed = self.failed.into_iter();
        let grave = failed.find(|failure| nobody || failure.exit != Exit::Misuse);
        grave.map_or(Ok(Exit::Ok), Err)
    }
}

async fn streams(
    project: &Project,
    snapshot: &chancery::Snapshot,
    lags: &mut Lags<'_>,
) -> Result<Vec<Stream>> {
    let mut streams = Vec::new();
    for (name, rules) in &snapshot.policy.streams {
        let mut groups = Vec::new();
        for (group, service) in &rules.handled_by {
            let Lag { messages: lag, oldest_ms } = lags.of(service, name, group).await;
            let stats = match project.database(service).is_file() {
                true => wire::database(project, service)?.stats()?,
                false => Stats::default(),
            };
            let [hold, park, quarantine] = kept(&stats, name);
            let unproven = unproven(&stats, group, name, rules);
            let (group, service) = (group.clone(), service.clone());
            groups.push(Group { group, service, lag, oldest_ms, hold, park, quarantine, unproven });
        }
        streams.push(Stream { stream: name.clone(), groups });
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
                row.push(group.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string()));
                let counts = [group.hold, group.park, group.quarantine];
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
