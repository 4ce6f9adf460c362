// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask brokers up|down|status`: the real servers, on loopback, hardened, in a folder of
//! their own: `CHANCERY_BROKERS_DIR`, by default `target/brokers`. Nothing becomes a service of the
//! system; a second `up` finds what runs and leaves it.

use std::path::{Path, PathBuf};

use crate::run::say;

mod nats;
mod pki;
mod process;
mod rabbitmq;

use process::Running;

/// A server: what it is called, and how it starts in its folder.
struct Broker {
    name: &'static str,
    version: &'static str,
    up: fn(&Place) -> Result<Running, String>,
}

const BROKERS: [Broker; 2] = [
    Broker { name: "nats", version: nats::VERSION, up: nats::up },
    Broker { name: "rabbitmq", version: rabbitmq::VERSION, up: rabbitmq::up },
];

/// The folders of one server.
struct Place {
    /// Downloads, by version: they survive `down`.
    cache: PathBuf,
    /// Keys and certificates of the development CA, for all servers.
    pki: PathBuf,
    /// Configuration, data, logs, and `clients/SERVICE/` with what a service has in hand.
    home: PathBuf,
}

pub(crate) fn brokers(args: &[&str]) -> Result<(), String> {
    match args {
        ["up", names @ ..] => each(names, up),
        ["down", names @ ..] => each(names, down),
        ["status"] => each(&[], |broker| say(&status(broker)?.line())),
        ["status", "--json"] => {
            let all = BROKERS.iter().map(|broker| Ok(status(broker)?.json()));
            let all: Vec<String> = all.collect::<Result<_, String>>()?;
            say(&format!("{{\"brokers\":[{}]}}\n", all.join(",")))
        }
        _ => Err("brokers: write `up [NAME…]`, `down [NAME…]` or `status [--json]`".into()),
    }
}

fn each(names: &[&str], run: impl Fn(&Broker) -> Result<(), String>) -> Result<(), String> {
    if let Some(unknown) = names.iter().find(|name| BROKERS.iter().all(|b| b.name != **name)) {
        let known: Vec<&str> = BROKERS.iter().map(|broker| broker.name).collect();
        return Err(format!("`{unknown}` is not a broker; there are: {}", known.join(", ")));
    }
    BROKERS.iter().filter(|b| names.is_empty() || names.contains(&b.name)).try_for_each(run)
}

fn up(broker: &Broker) -> Result<(), String> {
    let place = place(broker)?;
    if let Some(running) = Running::find(&place.home) {
        return say(&format!("{}: runs already, {}\n", broker.name, running.url));
    }
    stop(&place)?;
    let running = (broker.up)(&place).map_err(|why| format!("{}: {why}", broker.name))?;
    running.note(&place.home)?;
    let clients = place.home.join("clients");
    say(&format!("{}: {} ({})\n", broker.name, running.url, clients.display()))
}

fn down(broker: &Broker) -> Result<(), String> {
    let place = place(broker)?;
    let ran = Running::find(&place.home).is_some();
    stop(&place)?;
    say(&format!("{}: {}\n", broker.name, if ran { "stopped" } else { "does not run" }))
}

/// A server, then what it needs beside itself, which may outlive a server that was killed.
fn stop(place: &Place) -> Result<(), String> {
    let both = [place.home.clone(), place.home.join("epmd")];
    both.iter().filter_map(|home| Running::find(home)).try_for_each(|running| running.stop())
}

struct Status<'b> {
    broker: &'b Broker,
    clients: PathBuf,
    running: Option<Running>,
}

fn status(broker: &Broker) -> Result<Status<'_>, String> {
    let home = place(broker)?.home;
    Ok(Status { broker, clients: home.join("clients"), running: Running::find(&home) })
}

impl Status<'_> {
    fn line(&self) -> String {
        let (name, version) = (self.broker.name, self.broker.version);
        match &self.running {
            Some(running) => format!(
                "{name} {version}: {}, credentials in {}\n",
                running.url,
                self.clients.display()
            ),
            None => format!("{name} {version}: does not run\n"),
        }
    }

    // Names and paths of ours: nothing in them needs an escape but the backslash and the quote.
    fn json(&self) -> String {
        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let url = self.running.as_ref().map_or("null".to_owned(), |running| quoted(&running.url));
        format!(
            "{{\"name\":{},\"version\":{},\"running\":{},\"url\":{url},\"clients\":{}}}",
            quoted(self.broker.name),
            quoted(self.broker.version),
            self.running.is_some(),
            quoted(&self.clients.display().to_string()),
        )
    }
}

fn place(broker: &Broker) -> Result<Place, String> {
    let at = std::env::var_os("CHANCERY_BROKERS_DIR");
    let at = at.map_or_else(|| PathBuf::from("target/brokers"), PathBuf::from);
    let root = std::path::absolute(&at).map_err(|error| format!("{}: {error}", at.display()))?;
    let place = Place {
        cache: root.join("cache"),
        pki: root.join("pki"),
        home: root.join("hardened").join(broker.name),
    };
    for folder in [&place.cache, &place.pki, &place.home] {
        private_folder(folder)?;
    }
    Ok(place)
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
