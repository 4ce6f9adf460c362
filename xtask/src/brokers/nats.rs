// SPDX-License-Identifier: MIT OR Apache-2.0
//! NATS with JetStream: built by the Go toolchain from the module registry.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::place::{Fixture, Place, Up};
use super::process::{answers, output};
use super::{SERVICES, install, private_file};

/// The newest server that was seen to build.
const VERSION: &str = "2.15.2";
const SERVER: &str = "github.com/nats-io/nats-server/v2@v2.15.2";
const KEYS: &str = "github.com/nats-io/nkeys/nk@v0.4.11";
const HARDENED: &str = include_str!("nats/nats.conf");
const AS_FOUND: &str = include_str!("nats/as-found.conf");
/// A request a line: a subject, and what is sent there.
const STREAMS_AS_FOUND: &str = include_str!("nats/as-found.streams");

pub(super) fn up(place: &Place) -> Result<Up, String> {
    let server = install::go(place, "nats-server", SERVER)?;
    let (port, monitor) = (place.port("client")?, place.port("monitor")?);
    let (port_text, monitor_text) = (port.to_string(), monitor.to_string());
    let mut values = vec![("port", port_text.as_str()), ("monitor", &monitor_text)];
    let keys;
    let (config, url) = match place.fixture {
        Fixture::Hardened => {
            let nk = install::go(place, "nk", KEYS)?;
            let each = SERVICES.iter().map(|service| Ok((*service, client(place, service, &nk)?)));
            keys = each.collect::<Result<Vec<(&str, String)>, String>>()?;
            values.extend(keys.iter().map(|(service, public)| (*service, public.as_str())));
            (HARDENED, format!("tls://localhost:{port}"))
        }
        Fixture::AsFound => (AS_FOUND, format!("nats://localhost:{port}")),
    };
    let path = place.configure("nats.conf", config, &values)?;
    place.start(Command::new(server).arg("-c").arg(path), || answers(monitor, "/healthz"))?;
    if place.fixture == Fixture::AsFound {
        ask_as_anybody(port, STREAMS_AS_FOUND)?;
    }
    let monitor = format!("http://localhost:{monitor}");
    Ok(Up::new(VERSION, &[("client", url), ("monitor", monitor)]))
}

/// What a service has in hand: its seed, the CA. Gives its public key. A seed stays the same from
/// one start to the next.
fn client(place: &Place, service: &str, nk: &Path) -> Result<String, String> {
    let seed = place.client_certificate(service)?.join("user.nk");
    if !seed.exists() {
        private_file(&seed, &output(Command::new(nk).args(["-gen", "user"]))?)?;
    }
    let public = output(Command::new(nk).arg("-inkey").arg(&seed).arg("-pubout"))?;
    Ok(public.trim().to_owned())
}

/// Makes streams in the name of nobody, who is let in: the protocol is text.
fn ask_as_anybody(port: u16, requests: &str) -> Result<(), String> {
    let told = |error: std::io::Error| format!("streams: {error}");
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(told)?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).map_err(told)?;
    let mut lines = BufReader::new(socket.try_clone().map_err(told)?).lines();
    socket.write_all(b"CONNECT {\"verbose\":false}\r\nSUB answers 1\r\n").map_err(told)?;
    for (subject, body) in requests.lines().filter_map(|line| line.split_once(' ')) {
        let length = body.len();
        write!(socket, "PUB {subject} answers {length}\r\n{body}\r\n").map_err(told)?;
        let answer =
            lines.find(|line| line.as_ref().map_or(true, |line| line.starts_with(['{', '-'])));
        let answer = answer.ok_or("streams: no answer")?.map_err(told)?;
        if answer.starts_with('-') || answer.contains("\"error\":") {
            return Err(format!("{subject}: {answer}"));
        }
    }
    Ok(())
}
