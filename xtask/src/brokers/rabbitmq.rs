// SPDX-License-Identifier: MIT OR Apache-2.0
//! RabbitMQ as Debian packages it, run as a plain process and not as a service of the system.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::place::{Fixture, Place, Up, secret};
use super::process::{listens, output};
use super::{SERVICES, install, private_file};

/// Debian's wrappers change the user and drop the environment; this is the program itself.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const PIKA: &str = "pika-1.4.4";
const HARDENED: [&str; 2] =
    [include_str!("rabbitmq/rabbitmq.conf"), include_str!("rabbitmq/definitions.json")];
const AS_FOUND: [&str; 2] =
    [include_str!("rabbitmq/as-found.conf"), include_str!("rabbitmq/as-found.json")];

pub(super) fn up(place: &Place) -> Result<Up, String> {
    install::apt(place, Path::new(SERVER), "Debian's RabbitMQ, 57 MB", &["rabbitmq-server"])?;
    // What the tests attack with: another library than ours.
    let pika = install::pip(place, PIKA, "pika, a stock client", &["pika==1.4.4"])?;
    private_file(&place.home.join("stock-client"), &format!("{}/bin/python\n", pika.display()))?;
    let [port, management, distribution, names] =
        [place.port("amqp")?, place.port("management")?, place.port("dist")?, place.port("epmd")?];
    configure(place, port, management)?;
    // The names of Erlang's nodes are kept by a daemon; ours is a child like any other, or the
    // first node would start one that nobody stops.
    let mut epmd = Command::new("epmd");
    epmd.args(["-port", &names.to_string()]).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    place.beside("epmd", &epmd, || listens(names))?;
    let path = |name: &str| place.home.join(name);
    let mut server = Command::new(SERVER);
    server
        .arg("-noinput")
        .env("RABBITMQ_ALLOW_INPUT", "1")
        .env("HOME", path("home"))
        .env("RABBITMQ_NODENAME", "chancery@localhost")
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("ERL_EPMD_PORT", names.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
        .env("RABBITMQ_CONFIG_FILES", path("conf.d"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config"))
        .env("RABBITMQ_CONF_ENV_FILE", path("none.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", path("data"))
        .env("RABBITMQ_LOG_BASE", path("logs"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", path("generated"))
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
        );
    // The listeners are the last that a node starts.
    place.start(&server, || listens(port) && listens(management))?;
    let (amqp, http) = match place.fixture {
        Fixture::Hardened => ("amqps", "https"),
        Fixture::AsFound => ("amqp", "http"),
    };
    let package =
        output(Command::new("dpkg-query").args(["-Wf", "${Version}", "rabbitmq-server"]))?;
    let version = package.split(['-', '+']).next().unwrap_or(&package);
    Ok(Up::new(
        version,
        &[
            ("amqp", format!("{amqp}://localhost:{port}/{}", vhost(place))),
            ("management", format!("{http}://localhost:{management}")),
        ],
    ))
}

fn vhost(place: &Place) -> &'static str {
    match place.fixture {
        Fixture::Hardened => "shop",
        Fixture::AsFound => "%2f",
    }
}

fn configure(place: &Place, port: u16, management: u16) -> Result<(), String> {
    for folder in ["home", "conf.d", "data", "logs", "generated"] {
        place.folder(folder)?;
    }
    let cookie = place.home.join("home/.erlang.cookie");
    secret(&cookie)?;
    let only_read = std::fs::Permissions::from_mode(0o400);
    let set = std::fs::set_permissions(&cookie, only_read);
    set.map_err(|error| format!("{}: {error}", cookie.display()))?;
    private_file(&place.home.join("enabled_plugins"), "[rabbitmq_management].\n")?;
    let [config, definitions] = match place.fixture {
        Fixture::Hardened => HARDENED,
        Fixture::AsFound => AS_FOUND,
    };
    let (port_text, management) = (port.to_string(), management.to_string());
    let values = [("port", port_text.as_str()), ("management", &management)];
    place.configure("rabbitmq.conf", config, &values)?;
    let mut passwords = vec![];
    if place.fixture == Fixture::Hardened {
        for service in SERVICES {
            passwords.push((service, client(place, service, port)?));
        }
    }
    let values: Vec<(&str, &str)> = passwords.iter().map(|(name, it)| (*name, &**it)).collect();
    place.configure("definitions.json", definitions, &values).map(drop)
}

/// What a service has in hand: its URI, the CA; gives its password, which stays the same from one
/// start to the next.
fn client(place: &Place, service: &str, port: u16) -> Result<String, String> {
    let folder = place.client_certificate(service)?;
    let password = secret(&folder.join("password"))?;
    let uri = format!("amqps://{service}:{password}@localhost:{port}/{}\n", vhost(place));
    private_file(&folder.join("uri"), &uri)?;
    Ok(password)
}
