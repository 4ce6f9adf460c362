// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folders of one server: its ports, configuration, data and processes, and what its clients
//! have in hand.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;
use super::{private_file, private_folder};
use crate::run::say;

/// The process that clients talk to, of those that a server has.
const SERVER: &str = "server";
/// Below those that the kernel gives to outgoing connections: a server that is down keeps its port.
const PORTS: Range<u16> = 21_000..29_000;

/// How a server is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fixture {
    /// TLS, an identity for each service, least privilege.
    Hardened,
    /// Broken in the ways that people break them, for audits to be judged on; loopback all the
    /// same.
    AsFound,
}

impl Fixture {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fixture::Hardened => "hardened",
            Fixture::AsFound => "as-found",
        }
    }
}

/// Where one server of one fixture lives.
pub(super) struct Place {
    pub(super) fixture: Fixture,
    /// The server's name.
    pub(super) name: &'static str,
    /// Downloads, by version: they survive everything.
    pub(super) cache: PathBuf,
    /// Keys and certificates of the development CA, for all servers.
    pub(super) pki: PathBuf,
    /// Configuration, data and logs of this server.
    pub(super) home: PathBuf,
}

/// What `up` has made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Up {
    /// The version of the server that runs.
    pub(super) version: String,
    /// Where clients connect, by the listener's name.
    pub(super) endpoints: Vec<(String, String)>,
}

impl Up {
    pub(super) fn new(version: &str, endpoints: &[(&str, String)]) -> Up {
        let named = endpoints.iter().map(|(name, url)| ((*name).to_owned(), url.clone()));
        Up { version: version.to_owned(), endpoints: named.collect() }
    }
}

impl Place {
    pub(super) fn of(name: &'static str, fixture: Fixture) -> Result<Place, String> {
        let at = std::env::var_os("CHANCERY_BROKERS_DIR").map(PathBuf::from);
        let at = at.unwrap_or_else(|| {
            Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("brokers")
        });
        let root = std::path::absolute(&at).map_err(|e| format!("{}: {e}", at.display()))?;
        let place = Place {
            fixture,
            name,
            cache: root.join("cache"),
            pki: root.join("pki"),
            home: root.join(fixture.name()).join(name),
        };
        for folder in [&place.cache, &place.pki, &place.home] {
            private_folder(folder)?;
        }
        Ok(place)
    }

    /// Tells of this server.
    pub(super) fn say(&self, what: &str) -> Result<(), String> {
        match self.fixture {
            Fixture::Hardened => say(&format!("{}: {what}\n", self.name)),
            Fixture::AsFound => say(&format!("{} as found: {what}\n", self.name)),
        }
    }

    /// Held while this server is changed; another `up` or `down` of it waits.
    pub(super) fn lock(&self) -> Result<File, String> {
        lock(&self.home.join("lock"), || self.say("waits: another `cargo xtask brokers` is at it"))
    }

    /// The port of a listener: what `CHANCERY_PORTS` says, or what it had before, or one that is
    /// free.
    pub(super) fn port(&self, listener: &str) -> Result<u16, String> {
        let wishes = self.wishes()?;
        let wish = wishes.iter().find(|wish| wish.listener == listener);
        let root = self.cache.with_file_name("lock");
        let _held = lock(&root, || Ok(()))?;
        let path = self.home.join("ports");
        let mut ports = Named::read(&path);
        let number = match wish {
            Some(wish) => wish.port,
            None => match ports.find(listener) {
                Some(port) => {
                    return port.parse().map_err(|_| format!("{}: {port}", path.display()));
                }
                None => self.free_port()?,
            },
        };
        ports.set(listener, &number.to_string());
        private_file(&path, &ports.text())?;
        Ok(number)
    }

    fn wishes(&self) -> Result<Vec<Wish>, String> {
        let mut all = wishes()?;
        all.retain(|wish| wish.fixture == self.fixture && wish.server == self.name);
        Ok(all)
    }

    /// Every wish for a port must be for a listener that there is.
    fn all_wishes_are_heard(&self) -> Result<(), String> {
        let ports = Named::read(&self.home.join("ports"));
        match self.wishes()?.iter().find(|wish| ports.find(&wish.listener).is_none()) {
            None => Ok(()),
            Some(wish) => {
                let known: Vec<&str> = ports.0.iter().map(|(name, _)| name.as_str()).collect();
                let (wanted, known) = (&wish.listener, known.join(", "));
                Err(format!("CHANCERY_PORTS: no listener is `{wanted}`; there are: {known}"))
            }
        }
    }

    /// A port that nobody has, and that no server of ours has had.
    fn free_port(&self) -> Result<u16, String> {
        let root = self.cache.with_file_name("");
        let homes = [Fixture::Hardened, Fixture::AsFound]
            .iter()
            .filter_map(|fixture| fs::read_dir(root.join(fixture.name())).ok())
            .flat_map(|homes| homes.flatten());
        let taken: Vec<String> = homes
            .flat_map(|home| Named::read(&home.path().join("ports")).0)
            .map(|(_, port)| port)
            .collect();
        let free = |port: &u16| {
            !taken.contains(&port.to_string())
                && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
        };
        // Each folder begins elsewhere: two that start at once do not look at the same ports.
        let mut hash = DefaultHasher::new();
        root.hash(&mut hash);
        let begin = (hash.finish() % PORTS.len() as u64) as usize;
        let mut ports = PORTS.cycle().skip(begin).take(PORTS.len());
        ports.find(free).ok_or_else(|| format!("no port in {PORTS:?} is free"))
    }

    /// Writes a configuration file of the server: `{home}`, `{pki}` and `{NAME}` of the values are
    /// filled in.
    pub(super) fn configure(
        &self,
        file: &str,
        template: &str,
        values: &[(&str, &str)],
    ) -> Result<PathBuf, String> {
        let (home, pki) = (self.home.display().to_string(), self.pki.display().to_string());
        let mut text = template.to_owned();
        for (name, value) in [("home", home.as_str()), ("pki", pki.as_str())].iter().chain(values) {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        let path = self.home.join(file);
        private_file(&path, &text)?;
        Ok(path)
    }

    /// A folder below the server's own.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.home.join(name);
        private_folder(&folder)?;
        Ok(folder)
    }

    /// The folder with what a service has in hand, the CA's certificate already in it.
    pub(super) fn client(&self, service: &str) -> Result<PathBuf, String> {
        let folder = self.folder(&format!("clients/{service}"))?;
        copy(&self.pki.join("ca.pem"), &folder.join("ca.pem"))?;
        Ok(folder)
    }

    /// The same, with the service's certificate and key: `client.pem`, `client.key`, and both in
    /// `client.p12` under the password in `client.p12.password`.
    pub(super) fn client_certificate(&self, service: &str) -> Result<PathBuf, String> {
        let folder = self.client(service)?;
        super::pki::client(&self.pki, service)?;
        for ending in ["pem", "key", "p12", "p12.password"] {
            let from = self.pki.join("clients").join(format!("{service}.{ending}"));
            copy(&from, &folder.join(format!("client.{ending}")))?;
        }
        Ok(folder)
    }

    /// Makes a process run beside the server, and waits until it is ready: what the server needs
    /// and clients do not see.
    pub(super) fn beside(
        &self,
        process: &str,
        command: &Command,
        ready: impl Fn() -> bool,
    ) -> Result<(), String> {
        let folder = self.folder(&format!("processes/{process}"))?;
        Process::at(folder).start(command, ready).map_err(|why| format!("{process}: {why}"))
    }

    /// Makes the server run, and waits until it is ready; last in `up`.
    pub(super) fn start(&self, command: &Command, ready: impl Fn() -> bool) -> Result<(), String> {
        self.all_wishes_are_heard()?;
        let folder = self.folder(&format!("processes/{SERVER}"))?;
        Process::at(folder).start(command, ready)
    }

    /// What `up` has made, if it came to its end and all of it runs.
    pub(super) fn running(&self) -> Option<Up> {
        let all = self.processes();
        let runs = !all.is_empty() && all.iter().all(Process::runs);
        runs.then(|| self.made()).flatten()
    }

    /// What the last `up` has made, whether it runs or not.
    pub(super) fn made(&self) -> Option<Up> {
        let version = fs::read_to_string(self.home.join("version")).ok()?;
        let endpoints = Named::read(&self.home.join("endpoints")).0;
        Some(Up { version: version.trim().to_owned(), endpoints })
    }

    /// Writes down what was made.
    pub(super) fn note(&self, up: &Up) -> Result<(), String> {
        let endpoints = Named(up.endpoints.clone());
        private_file(&self.home.join("endpoints"), &endpoints.text())?;
        private_file(&self.home.join("version"), &format!("{}\n", up.version))
    }

    /// The server, then what it needs beside itself, which may outlive a server that was killed.
    fn processes(&self) -> Vec<Process> {
        let folders = fs::read_dir(self.home.join("processes"));
        let mut folders: Vec<PathBuf> =
            folders.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        folders.sort_by_key(|folder| !folder.ends_with(SERVER));
        folders.into_iter().map(Process::at).collect()
    }

    /// Stops all of it; gives whether anything ran.
    pub(super) fn stop(&self) -> Result<bool, String> {
        let all = self.processes();
        let ran = all.iter().any(Process::runs);
        all.iter().try_for_each(Process::stop)?;
        Ok(ran)
    }

    /// Kills the server, as a crash would; what is beside it goes on.
    pub(super) fn kill(&self) {
        Process::at(self.home.join("processes").join(SERVER)).kill();
    }

    /// Every file of every client, by service.
    pub(super) fn credentials(&self) -> Vec<(String, Vec<PathBuf>)> {
        let listed = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            paths
        };
        let services = listed(&self.home.join("clients")).into_iter();
        services
            .map(|folder| {
                let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (name, listed(&folder))
            })
            .collect()
    }
}

/// The text in a file that is its owner's alone; made at random if there is none, and the same
/// from then on.
pub(super) fn secret(path: &Path) -> Result<String, String> {
    if !path.exists() {
        let mut bytes = [0; 20];
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        read.map_err(|error| format!("/dev/urandom: {error}"))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        private_file(path, &text)?;
    }
    let text = fs::read_to_string(path);
    text.map(|text| text.trim().to_owned()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Waits for a lock that is given back when what is returned is dropped.
pub(super) fn lock(path: &Path, told: impl FnOnce() -> Result<(), String>) -> Result<File, String> {
    let why = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::options().create(true).append(true).open(path).map_err(why)?;
    if file.try_lock().is_err() {
        told()?;
        file.lock().map_err(why)?;
    }
    Ok(file)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|error| format!("{}: {error}", from.display()))
}

/// A port that somebody wants a listener to have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) fixture: Fixture,
    pub(super) server: String,
    listener: String,
    port: u16,
}

/// What `CHANCERY_PORTS` says: `kafka.scram=9093,as-found/nats.client=4222`.
pub(super) fn wishes() -> Result<Vec<Wish>, String> {
    let text = std::env::var("CHANCERY_PORTS").unwrap_or_default();
    let each = text.split(',').map(str::trim).filter(|wish| !wish.is_empty());
    each.map(|wish| {
        Wish::read(wish)
            .ok_or_else(|| format!("CHANCERY_PORTS: `{wish}`; write SERVER.LISTENER=PORT"))
    })
    .collect()
}

impl Wish {
    fn read(wish: &str) -> Option<Wish> {
        let (whose, port) = wish.split_once('=')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let (fixture, whose) = match whose.split_once('/') {
            Some(("hardened", whose)) => (Fixture::Hardened, whose),
            Some(("as-found", whose)) => (Fixture::AsFound, whose),
            Some(_) => return None,
            None => (Fixture::Hardened, whose),
        };
        let (server, listener) = whose.split_once('.')?;
        Some(Wish { fixture, server: server.to_owned(), listener: listener.to_owned(), port })
    }
}

/// Lines `name=value`.
#[derive(Default)]
struct Named(Vec<(String, String)>);

impl Named {
    fn read(path: &Path) -> Named {
        let text = fs::read_to_string(path).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Named(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    fn text(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_wished_for_by_fixture_server_and_listener() {
        let wish = |text, fixture, server: &str, listener: &str, port| {
            let (server, listener) = (server.to_owned(), listener.to_owned());
            assert_eq!(Wish::read(text), Some(Wish { fixture, server, listener, port }), "{text}");
        };
        wish("kafka.scram=9093", Fixture::Hardened, "kafka", "scram", 9093);
        wish("hardened/nats.client=4222", Fixture::Hardened, "nats", "client", 4222);
        wish("as-found/kafka.plain=9092", Fixture::AsFound, "kafka", "plain", 9092);
    }

    // A wish that is not understood must not become another port than the user's.
    #[test]
    fn a_wish_that_is_none_is_refused() {
        for wrong in [
            "kafka",
            "kafka.scram",
            "kafka=9093",
            "kafka.scram=",
            "kafka.scram=0",
            "kafka.scram=65536",
            "kafka.scram=-1",
            "soft/kafka.scram=9093",
            "kafka.scram:9093",
        ] {
            assert_eq!(Wish::read(wrong), None, "{wrong}");
        }
    }

    fn place(root: &Path, name: &'static str) -> Place {
        let home = root.join("hardened").join(name);
        private_folder(&home).unwrap();
        let (cache, pki) = (root.join("cache"), root.join("pki"));
        Place { fixture: Fixture::Hardened, name, cache, pki, home }
    }

    // A server that is down must find its port again: clients and tests have it written down.
    #[test]
    fn a_port_stays_and_is_nobody_elses_while_its_server_is_down() {
        let root =
            std::env::temp_dir().join(format!("chancery-xtask-ports-{}", std::process::id()));
        let (kafka, nats) = (place(&root, "kafka"), place(&root, "nats"));
        let scram = kafka.port("scram").unwrap();
        let others = [kafka.port("mtls").unwrap(), nats.port("scram").unwrap()];
        assert!(!others.contains(&scram) && others[0] != others[1]);
        assert_eq!(kafka.port("scram"), Ok(scram));
        assert_eq!(place(&root, "kafka").port("mtls"), Ok(others[0]));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_was_made_is_read_as_it_was_written() {
        let root = std::env::temp_dir().join(format!("chancery-xtask-made-{}", std::process::id()));
        let kafka = place(&root, "kafka");
        assert!(kafka.made().is_none());
        let listeners = [("scram", "kafka://localhost:1?a=b".to_owned()), ("mtls", String::new())];
        let up = Up::new("4.3.1", &listeners);
        kafka.note(&up).unwrap();
        assert_eq!(kafka.made(), Some(up));
        assert!(kafka.running().is_none(), "noted is not running");
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_secret_stays_the_same_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let name = format!("chancery-xtask-secret-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let first = secret(&path).unwrap();
        assert_eq!(first.len(), 40);
        assert_eq!(secret(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        assert_ne!(secret(&path).unwrap(), first);
        fs::remove_file(&path).unwrap();
    }
}
