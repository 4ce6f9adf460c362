// SPDX-License-Identifier: MIT OR Apache-2.0
//! Apache Kafka, one node under KRaft, assembled by Maven from the project's own artifacts; beside
//! it an OpenID issuer, whose tokens it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::{Fixture, Place, Up, secret};
use super::process::{listens, output};
use super::{SERVICES, install, pki, private_file};

mod clients;

const VERSION: &str = "4.3.1";
const ARTIFACTS: [&str; 3] = [
    "org.apache.kafka:kafka_2.13:4.3.1",
    "org.apache.kafka:kafka-tools:4.3.1",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
];
/// MirrorMaker is a program of its own, which tests run.
const MIRROR: [&str; 2] =
    ["org.apache.kafka:connect-mirror:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"];
const ISSUER: [&str; 1] = ["no.nav.security:mock-oauth2-server:2.2.1"];
/// A cluster's id is any 16 bytes; a fixed one makes its data recognizable.
const CLUSTER: &str = "Y2hhbmNlcnkta2Fma2ExMg";
const SERVER: &str = include_str!("kafka/server.properties");
const SERVER_AS_FOUND: &str = include_str!("kafka/as-found.properties");
const SETUP: &str = include_str!("kafka/hardened.setup");
const SETUP_AS_FOUND: &str = include_str!("kafka/as-found.setup");
const SETUP_PROGRAM: &str = include_str!("kafka/Setup.java");
const LOGGING: &str = include_str!("kafka/log4j2.properties");
const ISSUER_CONFIG: &str = include_str!("kafka/issuer.json");

/// The ports of the hardened node, and where its issuer is.
struct Listeners {
    scram: u16,
    oauth: u16,
    mtls: u16,
    issuer: String,
}

pub(super) fn up(place: &Place) -> Result<Up, String> {
    let what = format!("Apache Kafka {VERSION} (54 MB, by Maven; a minute, once)");
    let jars = install::maven(place, &format!("kafka-{VERSION}"), &what, &ARTIFACTS)?;
    private_file(&place.home.join("log4j2.properties"), LOGGING)?;
    match place.fixture {
        Fixture::Hardened => hardened(place, &jars),
        Fixture::AsFound => as_found(place, &jars),
    }
}

fn hardened(place: &Place, jars: &Path) -> Result<Up, String> {
    let mirror = format!("kafka-mirror-{VERSION}");
    install::maven(place, &mirror, "MirrorMaker (36 MB)", &MIRROR)?;
    pki::peer(&place.pki, "broker")?;
    let file = |name: &str| fs::read_to_string(place.pki.join(name)).map_err(|e| e.to_string());
    private_file(&place.home.join("node.pem"), &(file("broker.key")? + &file("broker.pem")?))?;
    let issuer = issuer(place)?;
    let port = |name: &'static str| place.port(name).map(|port| (name, port));
    let ports = [port("scram")?, port("oauth")?, port("mtls")?, port("behind")?];
    let [scram, oauth, mtls, behind] = ports.map(|(_, port)| port);
    let proxy = place.port("proxy")?;
    let inner = [("proxy", proxy), ("controller", place.port("controller")?)];
    let numbers = ports.iter().chain(&inner).map(|(name, port)| (*name, port.to_string()));
    let numbers: Vec<(&str, String)> = numbers.collect();
    let mut values: Vec<(&str, &str)> = numbers.iter().map(|(name, it)| (*name, &**it)).collect();
    values.push(("issuer", &issuer));
    let config = place.configure("server.properties", SERVER, &values)?;
    format(place, jars, &config)?;
    let trusted = format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer}/jwks");
    let store = format!("-Djavax.net.ssl.trustStore={}", authority(place)?.display());
    let mut server = java(place, jars, &["-Xmx512m", &trusted, &store]);
    server.arg("kafka.Kafka").arg(&config);
    place.start(&server, || ports.iter().all(|(_, port)| listens(*port)))?;
    let listeners = Listeners { scram, oauth, mtls, issuer: issuer.clone() };
    let mut script = format!(
        "connect localhost:{mtls} {}\n{SETUP}",
        place.home.join("clients/admin/mtls.properties").display()
    );
    for service in SERVICES {
        script += &clients::make(place, service, &listeners)?;
    }
    setup(place, jars, &script)?;
    let at = |port: u16| format!("kafka://localhost:{port}");
    let endpoints = [
        ("scram", at(scram)),
        ("oauth", at(oauth)),
        ("mtls", at(mtls)),
        ("behind", at(behind)),
        ("proxy", format!("localhost:{proxy}")),
        ("issuer", issuer),
    ];
    Ok(Up::new(VERSION, &endpoints))
}

fn as_found(place: &Place, jars: &Path) -> Result<Up, String> {
    let [plain, sasl] = [place.port("plain")?, place.port("sasl")?];
    let [plain_text, sasl_text, controller] =
        [plain, sasl, place.port("controller")?].map(|port| port.to_string());
    let values =
        [("plain", plain_text.as_str()), ("sasl", &sasl_text), ("controller", &controller)];
    let config = place.configure("server.properties", SERVER_AS_FOUND, &values)?;
    format(place, jars, &config)?;
    let mut server = java(place, jars, &["-Xmx512m"]);
    server.arg("kafka.Kafka").arg(&config);
    place.start(&server, || listens(plain) && listens(sasl))?;
    for service in SERVICES {
        clients::make_as_found(place, service, sasl)?;
    }
    setup(place, jars, &format!("connect-plain localhost:{plain}\n{SETUP_AS_FOUND}"))?;
    let at = |port: u16| format!("kafka://localhost:{port}");
    Ok(Up::new(VERSION, &[("plain", at(plain)), ("sasl", at(sasl))]))
}

/// The issuer asks nobody for a client's secret. What it can look at is the scope: that of a
/// service is its secret here, and a token for any other has no audience.
fn issuer(place: &Place) -> Result<String, String> {
    let jars = install::maven(place, "issuer-2.2.1", "an OpenID issuer (29 MB)", &ISSUER)?;
    let port = place.port("issuer")?;
    let password = secret(&place.home.join("node.p12.password"))?;
    pki::bundle(&place.pki, "broker", &place.home.join("node"))?;
    let mut mappings = vec![];
    for service in SERVICES {
        let scope = secret(&place.client(service)?.join("scope"))?;
        mappings.push(format!(
            "{{ \"requestParam\": \"scope\", \"match\": \"{scope}\", \
             \"claims\": {{ \"sub\": \"{service}\", \"aud\": [\"kafka\"] }} }}"
        ));
    }
    let values = [("password", password.as_str()), ("mappings", &mappings.join(",\n"))];
    let config = place.configure("issuer.json", ISSUER_CONFIG, &values)?;
    let mut server = java(place, &jars, &["-Xmx128m", "-XX:TieredStopAtLevel=1"]);
    server.arg("no.nav.security.mock.oauth2.StandaloneMockOAuth2ServerKt");
    server.env("JSON_CONFIG_PATH", config).env("SERVER_PORT", port.to_string());
    server.env("SERVER_HOSTNAME", "localhost");
    place.beside("issuer", &server, || listens(port))?;
    Ok(format!("https://localhost:{port}/shop"))
}

/// The CA in the only form in which Java takes one for the issuer's keys. Certificates can be read
/// from a JKS store without its password.
fn authority(place: &Place) -> Result<PathBuf, String> {
    let (store, password) = (place.home.join("ca.jks"), place.home.join("node.p12.password"));
    if !store.exists() {
        let mut keytool = Command::new("keytool");
        keytool.args(["-importcert", "-noprompt", "-alias", "ca", "-storetype", "JKS"]);
        keytool.arg("-file").arg(place.pki.join("ca.pem")).arg("-keystore").arg(&store);
        output(keytool.arg("-storepass:file").arg(password))?;
    }
    Ok(store)
}

/// Makes the node's data folder what Kafka calls formatted, once.
fn format(place: &Place, jars: &Path, config: &Path) -> Result<(), String> {
    if place.home.join("data/meta.properties").exists() {
        return Ok(());
    }
    let mut tool = java(place, jars, &["-XX:TieredStopAtLevel=1"]);
    tool.args(["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", CLUSTER, "-c"]);
    output(tool.arg(config)).map(drop)
}

/// Makes topics, users, grants and stores.
fn setup(place: &Place, jars: &Path, script: &str) -> Result<(), String> {
    let (program, steps) = (place.home.join("Setup.java"), place.home.join("setup"));
    private_file(&program, SETUP_PROGRAM)?;
    private_file(&steps, script)?;
    let mut java = java(place, jars, &["-XX:TieredStopAtLevel=1"]);
    output(java.arg(program).arg(steps)).map(drop)
}

fn java(place: &Place, jars: &Path, options: &[&str]) -> Command {
    let mut java = Command::new("java");
    let logging: PathBuf = place.home.join("log4j2.properties");
    java.args(["-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true"]).args(options);
    java.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    java.arg("-cp").arg(format!("{}/*", jars.display()));
    java
}
