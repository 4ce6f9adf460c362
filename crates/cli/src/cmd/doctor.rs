// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery doctor`: what could break, and what is promised as things are.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chancery::core::time::{DAY_MS, MINUTE_MS};
use chancery::{Snapshot, Timestamp};
use serde::Serialize;

use crate::exit::{Exit, Result};
use crate::out::{Ctx, Report};
use crate::project::{self, KeyFile, Project, now};
use crate::{files, wire};

mod broker;
mod promise;

/// Days before an end of which `doctor` begins to warn.
const WARN_DAYS: i64 = 30;
/// A healthy disk confirms a MiB much faster.
const SYNC_MAX: Duration = Duration::from_secs(2);

/// Check clock, keys, bundle, disk and databases; say what is promised per stream.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Meet the broker as this service only; by default as each whose keys are here.
    #[arg(long = "as", value_name = "SERVICE")]
    service: Option<String>,
}

#[derive(Serialize)]
struct Examined {
    checks: Vec<Check>,
    horizon: promise::Horizon,
    streams: Vec<promise::Promise>,
}

#[derive(Serialize)]
struct Check {
    state: State,
    check: &'static str,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// Not known is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Bad,
    Unknown,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let project = Project::open(ctx)?;
        let mut checks = keys(&project);
        let snapshot = match project.snapshot() {
            Ok(snapshot) => snapshot,
            Err(failure) => {
                // Without a snapshot the rest has no ground; what was found is told first.
                let examined = checks.iter().filter(|check| check.state != State::Ok);
                examined.for_each(|check| crate::out::warn(check.text().trim_end()));
                return Err(failure);
            }
        };
        checks.push(clock(&project, &snapshot));
        checks.push(bundle(&snapshot));
        checks.extend(signing(&project, &snapshot));
        checks.push(disk(&project));
        checks.extend(databases(&project, &snapshot)?);
        checks.extend(evidence(&project, &snapshot)?);
        let services = broker::services(&project, &snapshot, self.service.as_deref())?;
        let met = wire::runtime()?.block_on(broker::meet(&project, &snapshot, services))?;
        checks.extend(met.checks);
        let streams = promise::all(&project, &snapshot, &met.seen);
        let bad = checks.iter().any(|check| matches!(check.state, State::Bad | State::Unknown));
        let bad = bad || streams.iter().any(promise::Promise::is_broken);
        let horizon = promise::Horizon::of(&snapshot.policy.times);
        ctx.show(&Examined { checks, horizon, streams })?;
        Ok(Exit::found(bad))
    }
}

impl Check {
    fn ok(check: &'static str, says: impl Into<String>) -> Check {
        Check { state: State::Ok, check, says: says.into(), fix: None }
    }

    fn not(state: State, check: &'static str, says: impl Into<String>, fix: &str) -> Check {
        Check { state, check, says: says.into(), fix: Some(fix.to_owned()) }
    }

    fn text(&self) -> String {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Bad => "BAD",
            State::Unknown => "UNKNOWN",
        };
        let mut text = format!("{state:7}  {:8}  {}\n", self.check, self.says);
        if let Some(fix) = &self.fix {
            text.push_str(&format!("{:7}  {:8}  fix: {fix}\n", "", ""));
        }
        text
    }
}

fn keys(project: &Project) -> Vec<Check> {
    let folder = project.keys_dir();
    let mut checks = Vec::new();
    match std::fs::metadata(&folder).map(|metadata| metadata.permissions().mode() & 0o777) {
        Ok(mode) if mode & 0o077 == 0 => checks.push(Check::ok("keys", "the folder is private")),
        Ok(mode) => {
            let says = format!("{} has mode {mode:03o}", folder.display());
            let fix = format!("chmod 700 {}", folder.display());
            checks.push(Check::not(State::Bad, "keys", says, &fix));
        }
        Err(error) => {
            let says = format!("{}: {error}", folder.display());
            checks.push(Check::not(State::Unknown, "keys", says, "check the path"));
        }
    }
    for name in files::list(&folder).unwrap_or_default() {
        if let Err(failure) = KeyFile::read(&folder.join(name)) {
            let says = format!("{}: {}", failure.at, failure.what);
            checks.push(Check::not(State::Bad, "keys", says, &failure.fix));
        }
    }
    checks
}

/// Nothing here can tell the true time; what is on record must not be in the future.
fn clock(project: &Project, snapshot: &Snapshot) -> Check {
    let fix = "set the clock of this machine (NTP); freshness is judged by it";
    let now = now();
    let issued = project.bundle().map(|bundle| Timestamp(bundle.issued));
    if let Ok(issued) = issued
        && issued - now > snapshot.policy.times.skew_ms
    {
        let says = format!("it is {now} here, the trust bundle was made at {issued}");
        return Check::not(State::Bad, "clock", says, fix);
    }
    match newest_append(project, snapshot) {
        Ok(Some(at)) if at - now > MINUTE_MS => {
            let says = format!("it is {now} here, the broker took a message at {at}");
            Check::not(State::Bad, "clock", says, fix)
        }
        Ok(_) => Check::ok("clock", format!("{now}; nothing on record is later")),
        Err(failure) => Check::not(State::Unknown, "clock", failure.what, &failure.fix),
    }
}

fn newest_append(project: &Project, snapshot: &Snapshot) -> Result<Option<Timestamp>> {
    let Some(broker) = wire::local(project)? else { return Ok(None) };
    let mut newest = None;
    for stream in broker.streams()? {
        if snapshot.policy.streams.contains_key(&stream.name) {
            let last = broker.browse(&stream.name, stream.next_offset - 1, 1)?;
            newest = newest.max(last.last().and_then(|delivery| delivery.appended.at()));
        }
    }
    Ok(newest)
}

fn bundle(snapshot: &Snapshot) -> Check {
    let (expires, version) = (snapshot.bundle_expires, snapshot.bundle_version);
    let says = format!("version {version}, until {expires}");
    match (expires - now()) / DAY_MS {
        days if days < 0 || expires < now() => {
            Check::not(State::Bad, "bundle", says, "chancery keys renew")
        }
        days if days < WARN_DAYS => Check::not(State::Warn, "bundle", says, "chancery keys renew"),
        _ => Check::ok("bundle", says),
    }
}

/// The keys of those who publish, where their secrets are here.
fn signing(project: &Project, snapshot: &Snapshot) -> Vec<Check> {
    let policy = &snapshot.policy;
    let publishers = policy.services.keys().filter(|service| {
        policy.streams.values().any(|stream| policy.may_publish(service, stream))
    });
    let files = project.keys().unwrap_or_default();
    let here = publishers.filter(|service| files.iter().any(|file| file.signs_for(service)));
    here.map(|service| {
        let fix = format!("chancery keys rotate {service}");
        let key = project.signing_key(service, snapshot);
        let until = key.map(|key| snapshot.keys.get(&key.kid()).map(|key| key.sign_until));
        match until {
            Ok(Some(until)) if until - now() > WARN_DAYS * DAY_MS => {
                Check::ok("signing", format!("{service} can sign until {until}"))
            }
            Ok(Some(until)) => {
                let says = format!("{service} can sign until {until}");
                Check::not(State::Warn, "signing", says, &fix)
            }
            Ok(None) => Check::not(State::Unknown, "signing", format!("{service}: no key"), &fix),
            Err(failure) => {
                let says = format!("{service}: {}: {}", failure.at, failure.what);
                Check::not(State::Bad, "signing", says, &failure.fix)
            }
        }
    })
    .collect()
}

/// Writes a MiB where the embedded broker, or the ledgers, write, and waits for the disk.
fn disk(project: &Project) -> Check {
    let ledgers = || project.database("service").parent().map(Path::to_owned);
    let folder = project.broker_dir().or_else(ledgers).unwrap_or_default();
    let written = files::make_folder(&folder, 0o700).and_then(|()| {
        let began = Instant::now();
        probe(&folder).map_err(|error| crate::exit::Failure::io(&folder, &error))?;
        Ok(began.elapsed())
    });
    match written {
        Ok(took) if took < SYNC_MAX => {
            Check::ok("disk", format!("1 MiB written and synced in {} ms", took.as_millis()))
        }
        Ok(took) => {
            let says = format!("1 MiB took {} ms to write and sync", took.as_millis());
            Check::not(State::Warn, "disk", says, "every message waits for the disk; use a faster")
        }
        Err(failure) => {
            let says = format!("{}: {}", failure.at, failure.what);
            Check::not(State::Bad, "disk", says, &failure.fix)
        }
    }
}

fn probe(folder: &Path) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".probe-").tempfile_in(folder)?;
    file.write_all(&vec![0; 1 << 20])?;
    file.as_file().sync_all()
}

fn databases(project: &Project, snapshot: &Snapshot) -> Result<Vec<Check>> {
    let mut paths: Vec<PathBuf> = broker_file(project).into_iter().collect();
    for service in project::handlers(snapshot, None)? {
        paths.push(project.database(&service));
    }
    let check = |path: &PathBuf| {
        let name = path.display();
        let damage = wire::damage(path);
        match damage.first() {
            None => Check::ok("database", format!("{name} is whole")),
            Some(first) => {
                let fix = "stop everything, copy the file away, restore it from a backup";
                Check::not(State::Bad, "database", format!("{name}: {first}"), fix)
            }
        }
    };
    let mut checks: Vec<Check> = paths.iter().filter(|path| path.is_file()).map(check).collect();
    checks.extend(messages(project)?);
    Ok(checks)
}

/// The file in which the embedded broker keeps its messages.
fn broker_file(project: &Project) -> Option<PathBuf> {
    project.broker_dir().map(|folder| folder.join("broker.db"))
}

/// Whether every message in the embedded broker can be read: one that cannot stops its stream.
fn messages(project: &Project) -> Result<Vec<Check>> {
    let Some(file) = broker_file(project).filter(|file| file.is_file()) else {
        return Ok(Vec::new());
    };
    let unreadable =
        |broker: Option<wire::Local>| broker.map_or(Ok(Vec::new()), |b| b.unreadable(10));
    let found = match wire::local(project).and_then(|broker| Ok(unreadable(broker)?)) {
        Ok(found) => found,
        Err(failure) => {
            return Ok(vec![Check::not(State::Bad, "messages", failure.what, &failure.fix)]);
        }
    };
    let bad = found.iter().map(|message| {
        let wire::Unreadable { position, row, why } = message;
        let says = format!("{position} (row {row} of `message`) stops its stream: {why}");
        let fix = format!(
            "stop everything, copy {file} away and restore it from a backup; or give this message \
             up for good: sqlite3 {file} \"DELETE FROM message WHERE rowid = {row}\"",
            file = file.display()
        );
        Check::not(State::Bad, "messages", says, &fix)
    });
    let bad: Vec<Check> = bad.collect();
    Ok(if bad.is_empty() { vec![Check::ok("messages", "all can be read")] } else { bad })
}

/// Whether each log's last checkpoint is one that the database has signed. Only `evidence verify`
/// reads the records too.
fn evidence(project: &Project, snapshot: &Snapshot) -> Result<Vec<Check>> {
    let fix = "`chancery evidence verify` says more; `chancery why E704` what to do";
    let mut checks = Vec::new();
    for service in project::handlers(snapshot, None)? {
        let published = wire::published(project, &service);
        let known = wire::known(project, &service).map(|known| known.and_then(|k| k.newest));
        checks.push(match (published, known) {
            (Ok(None), Ok(None)) => continue,
            (Ok(published), Ok(known)) if published == known => {
                let size = known.map_or(0, |(size, _)| size);
                Check::ok("evidence", format!("{service}: {size} records are sealed"))
            }
            (Ok(published), Ok(known)) => {
                let size = |at: Option<(u64, [u8; 32])>| at.map_or(0, |(size, _)| size);
                let (files, database) = (size(published), size(known));
                // A sealer that is at it right now has signed a little more than is published.
                let state = if files < database { State::Warn } else { State::Bad };
                let says = format!(
                    "{service}: the files show {files} sealed records, the database knows {database}"
                );
                Check::not(state, "evidence", says, fix)
            }
            (Err(failure), _) | (_, Err(failure)) => {
                let says = format!("{service}: {}", failure.what);
                Check::not(State::Bad, "evidence", says, fix)
            }
        });
    }
    Ok(checks)
}

impl Report for Examined {
    fn text(&self) -> String {
        let mut text: String = self.checks.iter().map(Check::text).collect();
        text.push('\n');
        text.push_str(&self.horizon.text());
        text.push('\n');
        for stream in &self.streams {
            text.push_str(&stream.text());
        }
        text
    }
}
