// SPDX-License-Identifier: MIT OR Apache-2.0
//! NATS with JetStream: built by the Go toolchain from the module registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Running, answers, free_port, output};
use super::{Place, pki, private_file, private_folder};
use crate::run::say;

/// The newest server that was seen to build.
pub(super) const VERSION: &str = "2.15.2";
const SERVER: &str = "github.com/nats-io/nats-server/v2@v2.15.2";
const KEYS: &str = "github.com/nats-io/nkeys/nk@v0.4.11";
const CONFIG: &str = include_str!("nats/nats.conf");
/// Who connects: `mallory` has good credentials and no rights.
const SERVICES: [&str; 6] = ["admin", "orders", "billing", "payout", "auditor", "mallory"];

pub(super) fn up(place: &Place) -> Result<Running, String> {
    let server = installed(&place.cache, "nats-server", SERVER)?;
    let nk = installed(&place.cache, "nk", KEYS)?;
    pki::make(&place.pki)?;
    let (port, monitor) = (free_port()?, free_port()?);
    let url = format!("tls://localhost:{port}");
    let mut config = CONFIG
        .replace("{port}", &port.to_string())
        .replace("{monitor}", &monitor.to_string())
        .replace("{home}", &place.home.display().to_string())
        .replace("{pki}", &place.pki.display().to_string());
    for service in SERVICES {
        let public = client(place, service, &nk, &url)?;
        config = config.replace(&format!("{{{service}}}"), &public);
    }
    let path = place.home.join("nats.conf");
    private_file(&path, &config)?;
    let mut command = Command::new(server);
    let running = Running::start(command.arg("-c").arg(&path), &place.home, url)?;
    running.wait_for(&place.home, || answers(monitor, "/healthz"))
}

/// What a service has in hand: its seed, the CA, where to connect. Gives its public key. A seed
/// stays the same from one start to the next.
fn client(place: &Place, service: &str, nk: &Path, url: &str) -> Result<String, String> {
    let folder = place.home.join("clients").join(service);
    private_folder(&folder)?;
    let seed = folder.join("user.nk");
    if !seed.exists() {
        private_file(&seed, &output(Command::new(nk).args(["-gen", "user"]))?)?;
    }
    private_file(&folder.join("url"), &format!("{url}\n"))?;
    let (ca, copy) = (place.pki.join("ca.pem"), folder.join("ca.pem"));
    std::fs::copy(&ca, &copy).map_err(|error| format!("{}: {error}", ca.display()))?;
    let public = output(Command::new(nk).arg("-inkey").arg(&seed).arg("-pubout"))?;
    Ok(public.trim().to_owned())
}

fn installed(cache: &Path, name: &str, module: &str) -> Result<PathBuf, String> {
    let version = module.rsplit_once('@').map_or("", |(_, version)| version);
    let folder = cache.join(format!("{name}-{version}"));
    let program = folder.join(name);
    if !program.exists() {
        say(&format!("nats: building {module} (about a minute, once)\n"))?;
        let mut go = Command::new("go");
        go.args(["install", module]).env("GOBIN", &folder).env("GOTOOLCHAIN", "local");
        output(&mut go)?;
    }
    Ok(program)
}
