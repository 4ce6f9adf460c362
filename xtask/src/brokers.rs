// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask brokers`: the real servers, on loopback, in a folder of their own:
//! `CHANCERY_BROKERS_DIR`, by default `target/brokers`. Of each there are two, *hardened* and *as
//! found*, and both may run at once. Nothing becomes a service of the system; a second `up` finds
//! what runs and leaves it.

use std::path::Path;

use crate::run::{say, warn};

mod elasticmq;
mod install;
mod kafka;
mod nats;
mod pki;
mod place;
mod postgres;
mod process;
mod rabbitmq;
mod redis;
mod sqs;

use place::{Fixture, Place, Up};

/// Who connects: `auditor` may look at everything and touch nothing, `mallory` has good credentials
/// and no rights.
const SERVICES: [&str; 6] = ["admin", "auditor", "orders", "billing", "payout", "mallory"];

/// A server, and how it is installed, configured and started in its place. What runs already is
/// left as it is, and what was made is found again: ports, passwords, data.
struct Server {
    name: &'static str,
    up: fn(&Place) -> Result<Up, String>,
}

const SERVERS: &[Server] = &[
    Server { name: "kafka", up: kafka::up },
    Server { name: "nats", up: nats::up },
    Server { name: "rabbitmq", up: rabbitmq::up },
    Server { name: "rabbitmq4", up: rabbitmq::up4 },
    Server { name: "sqs", up: sqs::up },
    Server { name: "elasticmq", up: elasticmq::up },
    Server { name: "postgres", up: postgres::up },
    Server { name: "redis", up: redis::up },
];

const HARDENED: &[Fixture] = &[Fixture::Hardened];
const AS_FOUND: &[Fixture] = &[Fixture::AsFound];
const BOTH: &[Fixture] = &[Fixture::Hardened, Fixture::AsFound];

pub(crate) fn brokers(args: &[&str]) -> Result<(), String> {
    match args {
        ["status"] => status(),
        ["status", "--json"] => status_json(),
        ["up", "--as-found", names @ ..] => each(AS_FOUND, names, up),
        ["up", names @ ..] => each(HARDENED, names, up),
        ["down", "--as-found", names @ ..] => each(AS_FOUND, names, down),
        ["down", names @ ..] => each(BOTH, names, down),
        ["kill", "--as-found", names @ ..] => each(AS_FOUND, names, kill),
        ["kill", names @ ..] => each(HARDENED, names, kill),
        _ => Err("brokers: write `up`, `down`, `kill` or `status`; see cargo xtask help".into()),
    }
}

/// Servers that run for as long as this lives, and those that ran before for longer.
pub(crate) struct Lent {
    started: Vec<Place>,
}

/// Makes every server run, of both fixtures.
pub(crate) fn lend() -> Result<Lent, String> {
    let mut started = places()?;
    started.retain(|place| place.running().is_none());
    let lent = Lent { started };
    each(BOTH, &[], up)?;
    Ok(lent)
}

impl Drop for Lent {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            for place in &self.started {
                scope.spawn(|| {
                    if let Err(why) = place.stop() {
                        warn(&format!("xtask: {}: {why}", place.name));
                    }
                });
            }
        });
    }
}

/// Runs a verb on servers, all at once: most of their time is waiting.
fn each(
    fixtures: &[Fixture],
    names: &[&str],
    verb: impl Fn(&Server, &Place) -> Result<(), String> + Sync,
) -> Result<(), String> {
    if let Some(unknown) = names.iter().find(|name| SERVERS.iter().all(|s| s.name != **name)) {
        let known: Vec<&str> = SERVERS.iter().map(|server| server.name).collect();
        return Err(format!("`{unknown}` is not a server; there are: {}", known.join(", ")));
    }
    let wishes = place::wishes()?;
    if let Some(unknown) = wishes.iter().find(|it| SERVERS.iter().all(|s| s.name != it.server)) {
        return Err(format!("CHANCERY_PORTS: `{}` is not a server", unknown.server));
    }
    let chosen = SERVERS.iter().filter(|s| names.is_empty() || names.contains(&s.name));
    let one = |server: &Server, fixture| {
        let place = Place::of(server.name, fixture)?;
        let _held = place.lock()?;
        verb(server, &place).map_err(|why| format!("{} ({}): {why}", server.name, fixture.name()))
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = chosen
            .flat_map(|server| fixtures.iter().map(move |fixture| (server, *fixture)))
            .map(|(server, fixture)| scope.spawn(move || one(server, fixture)))
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.filter_map(|done| done.unwrap_or_else(|_| Err("a bug".into())).err()).collect()
    });
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn up(server: &Server, place: &Place) -> Result<(), String> {
    if place.running().is_some() {
        return place.say("runs already");
    }
    place.say("starting")?;
    pki::make(&place.pki)?;
    let up = (server.up)(place)?;
    place.note(&up)?;
    let endpoints = up.endpoints.iter().map(|(name, url)| format!("{name} {url}"));
    let endpoints: Vec<String> = endpoints.collect();
    place.say(&format!("{}; {}", up.version, endpoints.join(", ")))
}

fn down(_: &Server, place: &Place) -> Result<(), String> {
    if place.stop()? { place.say("stopped") } else { Ok(()) }
}

/// As a crash would: `up` starts it again on its data and ports.
fn kill(_: &Server, place: &Place) -> Result<(), String> {
    place.kill();
    place.say("killed")
}

/// Every place that was ever made.
fn places() -> Result<Vec<Place>, String> {
    let all = SERVERS.iter().flat_map(|server| {
        [Fixture::Hardened, Fixture::AsFound].map(|fixture| Place::of(server.name, fixture))
    });
    all.collect()
}

fn status() -> Result<(), String> {
    for place in places()? {
        match place.running() {
            Some(up) => {
                place.say(&up.version)?;
                for (name, url) in &up.endpoints {
                    say(&format!("  {name} {url}\n"))?;
                }
                say(&format!("  credentials in {}\n", place.home.join("clients").display()))?;
            }
            None => place.say("does not run")?,
        }
    }
    Ok(())
}

fn status_json() -> Result<(), String> {
    let all = places()?;
    let all: Vec<String> = all.iter().map(json).collect();
    say(&format!("{{\"servers\":[{}]}}\n", all.join(",")))
}

fn json(place: &Place) -> String {
    let runs = place.running().is_some();
    let (version, endpoints) = place.made().map_or(("null".into(), vec![]), |up| {
        let named = |(name, url): &(String, String)| (name.clone(), quoted(url));
        (quoted(&up.version), up.endpoints.iter().map(named).collect())
    });
    let credentials = place.credentials().into_iter().map(|(service, files)| {
        let files = files.iter().map(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, quoted(&file.display().to_string()))
        });
        (service, object(files))
    });
    object([
        ("name".into(), quoted(place.name)),
        ("fixture".into(), quoted(place.fixture.name())),
        ("running".into(), runs.to_string()),
        ("version".into(), version),
        ("endpoints".into(), object(endpoints)),
        ("clients".into(), quoted(&place.home.join("clients").display().to_string())),
        ("credentials".into(), object(credentials)),
    ])
}

fn object(members: impl IntoIterator<Item = (String, String)>) -> String {
    let members = members.into_iter().map(|(name, value)| format!("{}:{value}", quoted(&name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

// Names and paths of ours: nothing in them needs an escape but the backslash and the quote.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Makes a folder that is its owner's alone.
fn private_folder(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("{}: {error}", folder.display()))
}

/// Writes a file that is its owner's alone.
fn private_file(path: &Path, text: &str) -> Result<(), String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("{}: {error}", path.display()))
}
