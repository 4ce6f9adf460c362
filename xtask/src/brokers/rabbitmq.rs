// SPDX-License-Identifier: MIT OR Apache-2.0
//! RabbitMQ as Debian packages it, run as plain processes and not as services of the system: 3.10
//! of Debian 12 on the host, 4.0 of Debian 13 in a root of its own.
//!
//! One TLS listener takes both passwords and client certificates: the settings of TLS and the
//! mechanisms are a node's, not a listener's. So who has any certificate of the CA may still log
//! in with anybody's password; a user who has none (`clear_password`) is safe from that.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
/// What only the hardened 4.0 has: tokens, and a time on each message.
const ONLY_4: &str = include_str!("rabbitmq/only-4.conf");
const TOKEN: &str = include_str!("rabbitmq/token.sh");
const ENTER: &str = include_str!("rabbitmq/enter.sh");
const PLUGINS: &str = "rabbitmq_management,rabbitmq_auth_mechanism_ssl,\
                       rabbitmq_consistent_hash_exchange,rabbitmq_shovel";

/// What a service's tokens allow: as its permissions in `definitions.json`.
const SCOPES: [(&str, &str); 6] = [
    ("admin", "rabbitmq.configure:shop/* rabbitmq.read:shop/* rabbitmq.write:shop/*"),
    ("auditor", "rabbitmq.tag:monitoring"),
    ("orders", "rabbitmq.write:shop/orders.created/* rabbitmq.write:shop/payments.approve/*"),
    ("billing", "rabbitmq.read:shop/orders.created.billing"),
    ("payout", "rabbitmq.read:shop/payments.approve.payout"),
    ("mallory", "rabbitmq.read:elsewhere/*"),
];

/// Where a server's programs are.
struct Install {
    /// The folder that is its root; `None`: the host's own.
    root: Option<PathBuf>,
    version: String,
}

/// RabbitMQ 3.10.
pub(super) fn up(place: &Place) -> Result<Up, String> {
    install::apt(place, Path::new(SERVER), "Debian's RabbitMQ, 57 MB", &["rabbitmq-server"])?;
    let query = ["-Wf", "${Version}", "rabbitmq-server"];
    let version = output(Command::new("dpkg-query").args(query))?;
    start(place, &Install { root: None, version })
}

/// RabbitMQ 4.0.
pub(super) fn up4(place: &Place) -> Result<Up, String> {
    let root = debian13(place)?;
    let query = ["dpkg-query", "-Wf", "${Version}", "rabbitmq-server"];
    let version = output(Command::new("chroot").arg(&root).args(query))?;
    start(place, &Install { root: Some(root), version })
}

fn start(place: &Place, install: &Install) -> Result<Up, String> {
    // What the tests attack with: another library than ours.
    let pika = install::pip(place, PIKA, "pika, a stock client", &["pika==1.4.4"])?;
    private_file(&place.home.join("stock-client"), &format!("{}/bin/python\n", pika.display()))?;
    let [port, management, distribution, names] =
        [place.port("amqp")?, place.port("management")?, place.port("dist")?, place.port("epmd")?];
    configure(place, port, management)?;
    // The names of Erlang's nodes are kept by a daemon; ours is a child like any other, or the
    // first node would start one that nobody stops.
    let mut epmd = install.program(place, "epmd")?;
    epmd.args(["-port", &names.to_string()]).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    place.beside("epmd", &epmd, || listens(names))?;
    let mut server = install.program(place, SERVER)?;
    server.arg("-noinput").env("RABBITMQ_ALLOW_INPUT", "1");
    environment(&mut server, place, distribution, names);
    // The listeners are the last that a node starts.
    place.start(&server, || listens(port) && listens(management))?;
    let (amqp, http) = match place.fixture {
        Fixture::Hardened => ("amqps", "https"),
        Fixture::AsFound => ("amqp", "http"),
    };
    let version = install.version.split(['-', '+']).next().unwrap_or_default();
    Ok(Up::new(
        version,
        &[
            ("amqp", format!("{amqp}://localhost:{port}/{}", vhost(place))),
            ("management", format!("{http}://localhost:{management}")),
        ],
    ))
}

fn environment(command: &mut Command, place: &Place, distribution: u16, names: u16) {
    let path = |name: &str| place.home.join(name);
    command
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
}

impl Install {
    /// A program of it. In another root it sees the host's network and the folder of our servers.
    fn program(&self, place: &Place, program: &str) -> Result<Command, String> {
        let Some(root) = &self.root else { return Ok(Command::new(program)) };
        let ours = place.cache.with_file_name("");
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh"]);
        command.arg(place.configure("enter.sh", ENTER, &[])?).arg(root).arg(ours).arg(program);
        Ok(command)
    }
}

/// A root with Debian 13 and its RabbitMQ.
fn debian13(place: &Place) -> Result<PathBuf, String> {
    let tool = Path::new("/usr/sbin/debootstrap");
    install::apt(
        place,
        tool,
        "debootstrap, which makes a root of another Debian",
        &["debootstrap"],
    )?;
    output(Command::new("unshare").args(["-m", "--propagation", "private", "true"])).map_err(
        |error| format!("{error}; RabbitMQ 4 needs root with CAP_SYS_ADMIN (unshare, chroot)"),
    )?;
    let what = "RabbitMQ 4.0 of Debian 13 in a root of its own (510 MB; a minute, once)";
    install::cached(place, "debian13-rabbitmq", what, |root| {
        let mut debootstrap = Command::new(tool);
        debootstrap.args(["--variant=minbase", "--include=ca-certificates", "trixie"]);
        output(debootstrap.arg(root))?;
        write(&root.join("etc/apt/sources.list.d/security.list"), &security()?, 0o644)?;
        write(&root.join("usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", 0o755)?;
        let apt = |args: &[&str]| {
            let mut apt = Command::new("chroot");
            apt.arg(root).args(["apt-get", "-q", "-y"]).args(args);
            output(apt.env("DEBIAN_FRONTEND", "noninteractive"))
        };
        apt(&["update"])?;
        apt(&["install", "--no-install-recommends", "rabbitmq-server"])?;
        apt(&["clean"]).map(drop)
    })
}

/// Security updates of the new root, from where this machine gets its own.
fn security() -> Result<String, String> {
    let format = ["indextargets", "--format", "$(REPO_URI) $(RELEASE)"];
    let listed = output(Command::new("apt-get").args(format))?;
    let mut sources = listed.lines().filter_map(|line| line.split_once(' '));
    let found = sources.find(|(_, release)| release.ends_with("-security"));
    let (mirror, _) = found.ok_or("apt knows no source of security updates; add Debian's")?;
    Ok(format!("deb {mirror} trixie-security main\n"))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let written = std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

fn is_4(place: &Place) -> bool {
    place.name == "rabbitmq4"
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
    let hardened = place.fixture == Fixture::Hardened;
    let plugins = match (hardened, is_4(place)) {
        (false, _) => "rabbitmq_management".to_owned(),
        (true, false) => PLUGINS.to_owned(),
        (true, true) => format!("{PLUGINS},rabbitmq_auth_backend_oauth2"),
    };
    private_file(&place.home.join("enabled_plugins"), &format!("[{plugins}].\n"))?;
    let [config, definitions] = if hardened { HARDENED } else { AS_FOUND };
    let mut config = config.to_owned();
    if hardened && is_4(place) {
        issuer(place)?;
        config += ONLY_4;
    }
    let (port_text, management_text) = (port.to_string(), management.to_string());
    let values = [("port", port_text.as_str()), ("management", &management_text)];
    place.configure("rabbitmq.conf", &config, &values)?;
    let mut passwords = vec![];
    if hardened {
        for service in SERVICES {
            passwords.push((service, client(place, service, port, management)?));
        }
    }
    let values: Vec<(&str, &str)> = passwords.iter().map(|(name, it)| (*name, &**it)).collect();
    place.configure("definitions.json", definitions, &values).map(drop)
}

/// What a service has in hand: its certificate, its URI, the management interface's URL and, on
/// 4.0, a program that prints its tokens. Gives its password, which stays the same from one start
/// to the next.
fn client(place: &Place, service: &str, port: u16, management: u16) -> Result<String, String> {
    let folder = place.client_certificate(service)?;
    let password = secret(&folder.join("password"))?;
    let uri = format!("amqps://{service}:{password}@localhost:{port}/{}\n", vhost(place));
    private_file(&folder.join("uri"), &uri)?;
    let url = format!("https://{service}:{password}@localhost:{management}\n");
    private_file(&folder.join("management"), &url)?;
    if is_4(place) {
        let scope = SCOPES.iter().find(|(name, _)| *name == service);
        let scope = scope.map(|(_, scope)| *scope).unwrap_or_default();
        let values = [("service", service), ("scope", scope)];
        place.configure(&format!("clients/{service}/token.sh"), TOKEN, &values)?;
    }
    Ok(password)
}

/// The key of an issuer of tokens. There is no issuer: a service's program signs in its place.
fn issuer(place: &Place) -> Result<(), String> {
    let [key, public] = ["issuer.key", "issuer.pem"].map(|name| place.home.join(name));
    if public.exists() {
        return Ok(());
    }
    private_file(&key, "")?;
    output(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))?;
    let mut openssl = Command::new("openssl");
    openssl.args(["rsa", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public);
    output(&mut openssl).map(drop)
}
