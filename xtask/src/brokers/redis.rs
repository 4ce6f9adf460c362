// SPDX-License-Identifier: MIT OR Apache-2.0
//! Redis as Debian packages it, run as a plain process.

use std::path::Path;
use std::process::Command;

use super::place::{Fixture, Place, Up, secret};
use super::process::{listens, output};
use super::{SERVICES, install, private_file};

const SERVER: &str = "/usr/bin/redis-server";
const HARDENED: &str = include_str!("redis/redis.conf");
const USERS: &str = include_str!("redis/users.acl");
const AS_FOUND: &str = include_str!("redis/as-found.conf");

pub(super) fn up(place: &Place) -> Result<Up, String> {
    let packages = ["redis-server", "redis-tools"];
    install::apt(place, Path::new(SERVER), "Debian's Redis, 8 MB", &packages)?;
    let port = place.port("resp")?;
    let (config, scheme) = match place.fixture {
        Fixture::Hardened => (HARDENED, "rediss"),
        Fixture::AsFound => (AS_FOUND, "redis"),
    };
    if place.fixture == Fixture::Hardened {
        let each = SERVICES.iter().map(|service| Ok((*service, client(place, service, port)?)));
        let passwords = each.collect::<Result<Vec<(&str, String)>, String>>()?;
        let passwords: Vec<_> = passwords.iter().map(|(name, it)| (*name, it.as_str())).collect();
        place.configure("users.acl", USERS, &passwords)?;
    }
    place.folder("data")?;
    let config = place.configure("redis.conf", config, &[("port", &port.to_string())])?;
    place.start(Command::new(SERVER).arg(config), || listens(port))?;
    let version = output(Command::new(SERVER).arg("--version"))?;
    let version = version.split("v=").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(Up::new(version.unwrap_or("unknown"), &[("resp", format!("{scheme}://localhost:{port}"))]))
}

/// What a service has in hand: certificate and key, its password, and both in a URI; gives the
/// password.
fn client(place: &Place, service: &str, port: u16) -> Result<String, String> {
    let folder = place.client_certificate(service)?;
    let password = secret(&folder.join("password"))?;
    let uri = format!("rediss://{service}:{password}@localhost:{port}\n");
    private_file(&folder.join("uri"), &uri)?;
    Ok(password)
}
