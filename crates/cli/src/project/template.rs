// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `chancery init` writes: a shop of three services, small enough for one slide.

use std::path::Path;

use chancery::core::bundle::{Bundle, KeyEntry};
use chancery::core::text::b64u;
use chancery::core::time::DAY_MS;

use super::trust::{BUNDLE_DAYS, KEY_DAYS};
use super::{KeyFile, Purpose, now};
use crate::exit::Result;
use crate::files::{self, OPEN};

/// The services of the example; each gets a message key.
const SERVICES: [&str; 3] = ["svc-orders", "svc-billing", "svc-payouts"];
/// Those that handle messages; each gets a key for its evidence log.
const HANDLERS: [&str; 2] = ["svc-billing", "svc-payouts"];

const POLICY: &str = include_str!("template/policy.yaml");
const CONFIG: &str = include_str!("template/chancery.yaml");
const IGNORE: &str = include_str!("template/gitignore");
const ORDER: &str = include_str!("template/orders.created.json");
const PAYOUT: &str = include_str!("template/payout.approve.json");

/// Writes a new project into the empty folder `dir`.
pub(crate) fn write(dir: &Path, domain: &str, environment: &str) -> Result<()> {
    for folder in ["schemas/orders.created", "schemas/payout.approve", "trust"] {
        files::make_folder(&dir.join(folder), 0o755)?;
    }
    for folder in ["keys", "data", "evidence"] {
        files::make_folder(&dir.join(folder), 0o700)?;
    }
    let keys = dir.join("keys");
    let scope = format!("{domain}/{environment}");
    let root = KeyFile::generate(&keys.join("root.key"), Purpose::Root, &scope)?;
    root.create()?;
    for service in HANDLERS {
        let path = keys.join(format!("{service}.evidence.key"));
        KeyFile::generate(&path, Purpose::Evidence, &format!("{scope}/{service}"))?.create()?;
    }
    let bundle = bundle(&keys, domain, environment)?.seal(&root.signing()?)?;
    let config = CONFIG.replace("ROOT", &b64u(&root.signing()?.public())).replace("SCOPE", &scope);
    let policy = POLICY.replace("DOMAIN", domain).replace("ENVIRONMENT", environment);
    for (name, text) in [
        ("trust/bundle.json", &*bundle),
        ("policy.yaml", &*policy),
        ("schemas/orders.created/1.json", ORDER),
        ("schemas/payout.approve/1.json", PAYOUT),
        (".gitignore", IGNORE),
        // Last: a folder without it is no project.
        ("chancery.yaml", &*config),
    ] {
        files::create(&dir.join(name), text.as_bytes(), OPEN)?;
    }
    Ok(())
}

fn bundle(keys: &Path, domain: &str, environment: &str) -> Result<Bundle> {
    let now = now();
    let mut entries = Vec::new();
    for service in SERVICES {
        let path = keys.join(format!("{service}.message.key"));
        let key = KeyFile::generate(&path, Purpose::Message, service)?;
        key.create()?;
        entries.push(KeyEntry::new(&key.signing()?, service, now, now + KEY_DAYS * DAY_MS));
    }
    Ok(Bundle {
        v: 1,
        domain: domain.to_owned(),
        environment: environment.to_owned(),
        version: 1,
        issued: now.0,
        expires: (now + BUNDLE_DAYS * DAY_MS).0,
        keys: entries,
    })
}
