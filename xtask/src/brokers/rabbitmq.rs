// SPDX-License-Identifier: MIT OR Apache-2.0
//! RabbitMQ as Debian packages it, run as a plain process and not as a service of the system.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::process::{Running, free_port, output};
use super::{Place, pki, private_file, private_folder};
use crate::run::say;

/// What Debian 12 has; another of the 3.x line does too.
pub(super) const VERSION: &str = "3";
/// Debian's wrappers change the user and drop the environment; this is the program itself.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONFIG: &str = include_str!("rabbitmq/rabbitmq.conf");
const DEFINITIONS: &str = include_str!("rabbitmq/definitions.json");
const SERVICES: [&str; 6] = ["admin", "auditor", "orders", "billing", "payout", "mallory"];
/// Keeps apt from starting services; it is there only while we install.
const NO_SERVICES: &str = "/usr/sbin/policy-rc.d";

pub(super) fn up(place: &Place) -> Result<Running, String> {
    install()?;
    pki::make(&place.pki)?;
    let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
    let [port, management, distribution, names] = ports;
    let url = format!("amqps://localhost:{port}/shop");
    configure(place, port, management, &url)?;
    let home = &place.home;
    // The names of Erlang's nodes are kept by a daemon; ours is a child like any other, or the
    // first node would start one that nobody stops.
    let keeper = home.join("epmd");
    private_folder(&keeper)?;
    let mut epmd = Command::new("epmd");
    epmd.args(["-port", &names.to_string()]).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    Running::start(&mut epmd, &keeper, format!("epmd:{names}"))?.note(&keeper)?;
    let path = |name: &str| home.join(name);
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
    let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    Running::start(&mut server, home, url)?.wait_for(home, listens)
}

fn configure(place: &Place, port: u16, management: u16, url: &str) -> Result<(), String> {
    let home = &place.home;
    for folder in ["home", "conf.d", "data", "logs", "generated"] {
        private_folder(&home.join(folder))?;
    }
    let cookie = home.join("home/.erlang.cookie");
    if !cookie.exists() {
        private_file(&cookie, random()?.trim())?;
        let only_read = std::fs::Permissions::from_mode(0o400);
        let set = std::fs::set_permissions(&cookie, only_read);
        set.map_err(|error| format!("{}: {error}", cookie.display()))?;
    }
    private_file(&home.join("enabled_plugins"), "[rabbitmq_management].\n")?;
    let config = CONFIG
        .replace("{port}", &port.to_string())
        .replace("{management}", &management.to_string())
        .replace("{home}", &home.display().to_string())
        .replace("{pki}", &place.pki.display().to_string());
    private_file(&home.join("rabbitmq.conf"), &config)?;
    let mut definitions = DEFINITIONS.to_owned();
    for service in SERVICES {
        let password = client(place, service, url, management)?;
        definitions =
            definitions.replace(&format!("\"{{{service}}}\""), &format!("\"{password}\""));
    }
    private_file(&home.join("definitions.json"), &definitions)
}

/// What a service has in hand: its URI, the CA; gives its password, which stays the same from one
/// start to the next.
fn client(place: &Place, service: &str, url: &str, management: u16) -> Result<String, String> {
    let folder = place.home.join("clients").join(service);
    private_folder(&folder)?;
    let kept = folder.join("password");
    if !kept.exists() {
        private_file(&kept, random()?.trim())?;
    }
    let password = read(&kept)?;
    let at = url.trim_start_matches("amqps://");
    private_file(&folder.join("uri"), &format!("amqps://{service}:{password}@{at}\n"))?;
    private_file(&folder.join("management"), &format!("https://localhost:{management}\n"))?;
    let (ca, copy) = (place.pki.join("ca.pem"), folder.join("ca.pem"));
    std::fs::copy(&ca, &copy).map_err(|error| format!("{}: {error}", ca.display()))?;
    Ok(password)
}

fn random() -> Result<String, String> {
    output(Command::new("openssl").args(["rand", "-hex", "20"]))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn install() -> Result<(), String> {
    if Path::new(SERVER).exists() {
        return Ok(());
    }
    say("rabbitmq: installing Debian's rabbitmq-server (22 packages, 57 MB; needs root)\n")?;
    let ours = !Path::new(NO_SERVICES).exists();
    if ours {
        std::fs::write(NO_SERVICES, "#!/bin/sh\nexit 101\n")
            .and_then(|()| {
                std::fs::set_permissions(NO_SERVICES, std::fs::Permissions::from_mode(0o755))
            })
            .map_err(|error| {
                format!("{NO_SERVICES}: {error}; run as root, or install rabbitmq-server yourself")
            })?;
    }
    let apt = |args: &[&str]| {
        output(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let package = ["install", "-y", "--no-install-recommends", "rabbitmq-server"];
    let installed = apt(&["update", "-q"]).and_then(|_| apt(&package));
    if ours {
        let _ = std::fs::remove_file(NO_SERVICES);
    }
    installed.map(drop)
}
