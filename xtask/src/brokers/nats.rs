// SPDX-License-Identifier: MIT OR Apache-2.0
//! NATS with JetStream: built by the Go toolchain from the module registry. Hardened there are
//! three servers, since who is who is one setting for all of a server: by nkey (the one that is
//! meant by default), by client certificate, by the JWTs of an operator.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::place::{Fixture, Place, Up};
use super::process::{answers, output};
use super::{SERVICES, install, private_file};

mod jwt;

/// The newest server that was seen to build.
const VERSION: &str = "2.15.2";
const SERVER: &str = "github.com/nats-io/nats-server/v2@v2.15.2";
const TOOL: &str = "github.com/nats-io/natscli/nats@v0.5.1";
const KEYS: &str = "github.com/nats-io/nkeys/nk@v0.4.11";
/// Clients of others, for tests: this and the nats program, by name in `tools`.
const PYTHON: &str = "nats-py-2.16.0";
const PYTHON_PACKAGES: &[&str] = &["nats-py==2.16.0", "nkeys==0.2.1"];
const HARDENED: &str = include_str!("nats/nats.conf");
const AS_FOUND: &str = include_str!("nats/as-found.conf");
/// A request a line: a subject, and what is sent there.
const STREAMS_AS_FOUND: &str = include_str!("nats/as-found.streams");
/// Streams, their subjects, who reads them.
const STREAMS: [(&str, &str, &str); 2] = [
    ("orders_created", "orders.created", "billing"),
    ("payments_approve", "payments.approve", "payout"),
];

struct Tools {
    server: PathBuf,
    nats: PathBuf,
    nk: PathBuf,
}

pub(super) fn up(place: &Place) -> Result<Up, String> {
    match place.fixture {
        Fixture::Hardened => hardened(place),
        Fixture::AsFound => as_found(place),
    }
}

fn tools(place: &Place) -> Result<Tools, String> {
    let tools = Tools {
        server: install::go(place, "nats-server", SERVER)?,
        nats: install::go(place, "nats", TOOL)?,
        nk: install::go(place, "nk", KEYS)?,
    };
    let python = install::pip(place, PYTHON, "a client in Python", PYTHON_PACKAGES)?;
    let others = place.folder("tools")?;
    name(&tools.nats, &others.join("nats"))?;
    name(&python.join("bin/python"), &others.join("python"))?;
    Ok(tools)
}

fn hardened(place: &Place) -> Result<Up, String> {
    let tools = tools(place)?;
    let (mut by_key, mut by_name) = (String::new(), String::new());
    for service in SERVICES {
        let public = client(place, service, &tools.nk)?;
        let rights = permissions(service);
        by_key += &format!("      {{ nkey: \"{public}\", {rights} }}\n");
        by_name += &format!("      {{ user: \"{service}\", {rights} }}\n");
    }
    let shop = |users: &str| {
        format!(
            "accounts {{\n  SHOP {{\n    jetstream: enabled\n    users: [\n{users}    ]\n  }}\n}}"
        )
    };
    let admin = place.folder("clients/admin")?;
    let mut endpoints = Vec::new();
    let mut start = |how: &'static str, who: &str, login: &[(&str, &str)]| {
        let verify = if how == "mtls" { "verify_and_map: true, " } else { "" };
        // The nkey server is the one that clients mean; its names are the plain ones.
        let [client, monitor] = match how {
            "nkey" => ["client".to_owned(), "monitor".to_owned()],
            _ => [how.to_owned(), format!("{how}-monitor")],
        };
        let (port, monitor_port) = (place.port(&client)?, place.port(&monitor)?);
        let (port_text, monitor_text) = (port.to_string(), monitor_port.to_string());
        let values = [
            ("how", how),
            ("port", &port_text),
            ("monitor", &monitor_text),
            ("verify", verify),
            ("who", who),
        ];
        let config = place.configure(&format!("{how}.conf"), HARDENED, &values)?;
        let mut server = Command::new(&tools.server);
        server.arg("-c").arg(config);
        let ready = || answers(monitor_port, "/healthz");
        match how {
            "nkey" => place.start(&server, ready)?,
            _ => place.beside(how, &server, ready)?,
        }
        let url = format!("tls://localhost:{port}");
        let mut nats = vec!["-s".to_owned(), url.clone(), "--tlsca".to_owned()];
        nats.push(admin.join("ca.pem").display().to_string());
        for (flag, file) in login {
            nats.extend([(*flag).to_owned(), admin.join(file).display().to_string()]);
        }
        streams(place, &tools.nats, &nats)?;
        endpoints.push((client, url));
        endpoints.push((monitor, format!("http://localhost:{monitor_port}")));
        Ok::<(), String>(())
    };
    start("mtls", &shop(&by_name), &[("--tlscert", "client.pem"), ("--tlskey", "client.key")])?;
    start("jwt", &jwt::trust(place, &tools.nats)?, &[("--creds", "user.creds")])?;
    start("nkey", &shop(&by_key), &[("--nkey", "user.nk")])?;
    endpoints.sort();
    Ok(Up { version: VERSION.to_owned(), endpoints })
}

fn as_found(place: &Place) -> Result<Up, String> {
    let server = install::go(place, "nats-server", SERVER)?;
    let (port, monitor) = (place.port("client")?, place.port("monitor")?);
    let values = [("port", port.to_string()), ("monitor", monitor.to_string())];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, it)| (*name, it.as_str())).collect();
    let path = place.configure("nats.conf", AS_FOUND, &values)?;
    place.start(Command::new(server).arg("-c").arg(path), || answers(monitor, "/healthz"))?;
    ask_as_anybody(port, STREAMS_AS_FOUND)?;
    let url = format!("nats://localhost:{port}");
    let monitor = format!("http://localhost:{monitor}");
    Ok(Up::new(VERSION, &[("client", url), ("monitor", monitor)]))
}

/// What a service has in hand: its seed, its certificate, the CA. Gives its public key. A seed
/// stays the same from one start to the next.
fn client(place: &Place, service: &str, nk: &Path) -> Result<String, String> {
    let seed = place.client_certificate(service)?.join("user.nk");
    if !seed.exists() {
        private_file(&seed, &output(Command::new(nk).args(["-gen", "user"]))?)?;
    }
    let public = output(Command::new(nk).arg("-inkey").arg(&seed).arg("-pubout"))?;
    Ok(public.trim().to_owned())
}

/// The subjects that a service may publish to, and those that it may subscribe to.
fn rights(service: &str) -> (Vec<String>, Vec<String>) {
    let inbox = vec![format!("_INBOX.{service}.>")];
    let api = |verbs: &[&str]| verbs.iter().map(|verb| format!("$JS.API.{verb}")).collect();
    let publish: Vec<String> = match service {
        "admin" => return (vec![">".into()], vec![">".into()]),
        "orders" => STREAMS
            .iter()
            .flat_map(|(stream, subject, _)| {
                [format!("{subject}.*"), format!("$JS.API.STREAM.INFO.{stream}")]
            })
            .collect(),
        "auditor" => api(&[
            "INFO",
            "STREAM.NAMES",
            "STREAM.LIST",
            "STREAM.INFO.*",
            "CONSUMER.NAMES.*",
            "CONSUMER.LIST.*",
            "CONSUMER.INFO.*.*",
        ]),
        reader => {
            let own = STREAMS.iter().filter(|(.., who)| *who == reader);
            own.flat_map(|(stream, ..)| {
                let at = format!("{stream}.{reader}");
                [
                    format!("$JS.API.STREAM.INFO.{stream}"),
                    format!("$JS.API.CONSUMER.INFO.{at}"),
                    format!("$JS.API.CONSUMER.MSG.NEXT.{at}"),
                    format!("$JS.API.CONSUMER.UNPIN.{at}"),
                    format!("$JS.ACK.{at}.>"),
                ]
            })
            .collect()
        }
    };
    if publish.is_empty() { (publish, Vec::new()) } else { (publish, inbox) }
}

/// The same as a server's configuration has it; who has no right is denied all.
fn permissions(service: &str) -> String {
    let (publish, subscribe) = rights(service);
    let of = |subjects: Vec<String>| match subjects.is_empty() {
        true => "{ deny: \">\" }".to_owned(),
        false => format!("{{ allow: {subjects:?} }}"),
    };
    let (publish, subscribe) = (of(publish), of(subscribe));
    format!("permissions: {{ publish: {publish}, subscribe: {subscribe} }}")
}

/// Makes the streams and their consumers, unless they are there.
fn streams(place: &Place, nats: &Path, login: &[String]) -> Result<(), String> {
    let run = |line: &str| output(tool(place, nats)?.args(login).args(line.split(' ')));
    for (stream, subject, reader) in STREAMS {
        if run(&format!("consumer info {stream} {reader}")).is_ok() {
            continue;
        }
        run(&format!(
            "stream add {stream} --subjects {subject}.* --storage file --retention limits \
             --discard new --deny-delete --deny-purge --defaults"
        ))?;
        run(&format!(
            "consumer add {stream} {reader} --pull --ack explicit --deliver all --max-deliver=-1 \
             --wait 10s --max-pending 10000 --filter {subject}.* --pinned-groups chancery \
             --pinned-ttl 10s --defaults"
        ))?;
    }
    Ok(())
}

/// The nats program, which reads nothing of its user's.
fn tool(place: &Place, nats: &Path) -> Result<Command, String> {
    let own = place.folder("operator")?;
    let mut command = Command::new(nats);
    for name in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env(name, &own);
    }
    command.arg("--no-context");
    Ok(command)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A program under a name that does not change with its version.
fn name(program: &Path, name: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::remove_file(name);
    private_file(name, &format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display()))?;
    fs::set_permissions(name, fs::Permissions::from_mode(0o700))
        .map_err(|error| format!("{}: {error}", name.display()))
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
