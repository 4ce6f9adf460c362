// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker as each service meets it: connection, identity, clock, and what its streams are
//! really set to.

use std::collections::BTreeSet;

use chancery::core::time::MINUTE_MS;
use chancery::{Broker, Live, Snapshot};
use tokio::task::JoinSet;

use super::{Check, State};
use crate::exit::{Exit, Failure, Result};
use crate::project::{self, Project, Purpose, now};
use crate::wire::AnyBroker;

/// What was found.
pub(super) struct Met {
    pub(super) checks: Vec<Check>,
    pub(super) seen: Vec<Seen>,
}

/// One service's look at one stream.
pub(super) struct Seen {
    pub(super) service: String,
    pub(super) stream: String,
    /// Where it reads; a publisher has none.
    pub(super) group: Option<String>,
    pub(super) live: Live,
}

/// The one that was named, or those whose keys are here.
pub(super) fn services(
    project: &Project,
    snapshot: &Snapshot,
    only: Option<&str>,
) -> Result<Vec<String>> {
    if let Some(service) = only {
        project::service(snapshot, service)?;
        return Ok(vec![service.to_owned()]);
    }
    let files = project.keys().unwrap_or_default();
    let here = |service: &&String| {
        let log = project.evidence_origin(service);
        files.iter().any(|file| {
            file.signs_for(service) || (file.purpose == Purpose::Evidence && file.name == log)
        })
    };
    Ok(snapshot.policy.services.keys().filter(here).cloned().collect())
}

/// Meets the broker as each of them, all at once.
pub(super) async fn meet(
    project: &Project,
    snapshot: &Snapshot,
    services: Vec<String>,
) -> Result<Met> {
    let mut meetings = JoinSet::new();
    for service in services {
        let (project, tasks) = (project.clone(), tasks(snapshot, &service));
        meetings.spawn(async move {
            let met = look(&project, &service, &tasks).await;
            (service, met)
        });
    }
    let mut all = meetings.join_all().await;
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut met = Met { checks: Vec::new(), seen: Vec::new() };
    let silent = project.broker_dir().is_some();
    for (service, looked) in all {
        let Looked { checks, seen } =
            looked.unwrap_or_else(|failure| Looked::failed(&service, failure));
        // The embedded broker knows no services: its folder has been looked at already.
        met.checks.extend(checks.into_iter().filter(|check| !silent || check.state != State::Ok));
        met.seen.extend(seen);
    }
    Ok(met)
}

/// What a service does: stream, and the group as which it reads it.
fn tasks(snapshot: &Snapshot, service: &str) -> BTreeSet<(String, Option<String>)> {
    let policy = &snapshot.policy;
    let mut tasks = BTreeSet::new();
    for (name, stream) in &policy.streams {
        let groups = stream.handled_by.iter().filter(|(_, handler)| *handler == service);
        tasks.extend(groups.map(|(group, _)| (name.clone(), Some(group.clone()))));
        if policy.may_publish(service, stream) {
            tasks.insert((name.clone(), None));
        }
    }
    tasks
}

#[derive(Default)]
struct Looked {
    checks: Vec<Check>,
    seen: Vec<Seen>,
}

impl Looked {
    fn failed(service: &str, failure: Failure) -> Looked {
        let state = if failure.exit == Exit::Misuse { State::Unknown } else { State::Bad };
        let says = format!("{service}: {}", failure.what);
        Looked { checks: vec![Check::not(state, "broker", says, &failure.fix)], seen: Vec::new() }
    }
}

async fn look(
    project: &Project,
    service: &str,
    tasks: &BTreeSet<(String, Option<String>)>,
) -> Result<Looked> {
    let broker = AnyBroker::connect(project, service).await?;
    let mut looked = Looked::default();
    for (stream, group) in tasks {
        match broker.inspect(stream, group.as_deref()).await {
            Ok(live) => looked.seen.push(Seen {
                service: service.to_owned(),
                stream: stream.clone(),
                group: group.clone(),
                live,
            }),
            Err(fault) => {
                let says = format!("{service}: {stream}: {}", fault.detail);
                let fix = "see what it says; then run this again";
                looked.checks.push(Check::not(State::Bad, "broker", says, fix));
            }
        }
    }
    let over = if project.broker(service).is_insecure() { "without TLS" } else { "over TLS" };
    let live = looked.seen.first().map(|seen| &seen.live);
    let server = live.map_or("connected", |live| live.server.as_str());
    let says = match live.and_then(|live| live.identity.as_ref()) {
        Some(identity) => format!("{service}: {server} {over}, known there as {identity}"),
        None => format!("{service}: {server} {over}"),
    };
    looked.checks.insert(0, Check::ok("broker", says));
    looked.checks.extend(clock(&broker).await);
    Ok(looked)
}

/// How far the broker's clock is from ours, where it tells the time.
async fn clock(broker: &AnyBroker) -> Option<Check> {
    let asked = now();
    let theirs = broker.time().await.ok().flatten()?;
    let ours = now();
    // Within the time that the answer took nothing can be said.
    let off_ms = (theirs - ours).max(0) - (asked - theirs).max(0);
    let says = format!("the broker's is {off_ms} ms from this one");
    Some(match off_ms.abs() {
        0..MINUTE_MS => Check::ok("clock", says),
        _ => Check::not(State::Bad, "clock", says, "set both by NTP; freshness is judged by them"),
    })
}
