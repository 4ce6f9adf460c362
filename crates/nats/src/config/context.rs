// SPDX-License-Identifier: MIT OR Apache-2.0
//! Contexts of the nats program: `$XDG_CONFIG_HOME/nats/context/NAME.json`.

use std::path::{Path, PathBuf};

use chancery::SecretFrom;
use chancery_core::Misuse;
use serde::Deserialize;

use super::Config;

/// What of a context concerns us; the rest of it is the nats program's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    url: String,
    user: String,
    password: String,
    token: String,
    user_jwt: String,
    user_seed: String,
    nsc: String,
    socks_proxy: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    inbox_prefix: String,
    jetstream_domain: String,
    tls_first: bool,
}

impl Config {
    /// Fills in from a context what the configuration itself does not say.
    pub(super) fn take_context(&mut self, name: &str, folder: &Path) -> Result<(), Misuse> {
        let path = place(name, folder)?;
        let at = "broker.context";
        let told = |error: &dyn std::fmt::Display| {
            let fix = "name a context that `nats context ls` shows, or a path of its file";
            Misuse::new(format!("{}: {error}", path.display()), at, fix)
        };
        let text = std::fs::read_to_string(&path).map_err(|error| told(&error))?;
        // Of what is not JSON no word is shown: there may be secrets in it.
        let context: Context = serde_json::from_str(&text).map_err(|_| told(&"not a context"))?;
        for (member, value) in [
            ("user", &context.user),
            ("password", &context.password),
            ("token", &context.token),
            ("user_jwt", &context.user_jwt),
            ("user_seed", &context.user_seed),
            ("nsc", &context.nsc),
            ("socks_proxy", &context.socks_proxy),
        ] {
            if !value.is_empty() {
                let what = format!("{}: its `{member}` is not supported", path.display());
                let fix = "give the context `creds`, `nkey` or `cert`: a file that stays here";
                return Err(Misuse::new(what, at, fix));
            }
        }
        let text = |value: String| Some(value).filter(|value| !value.is_empty());
        let file = |value: String| text(value).map(home);
        self.url = self.url.take().or(text(context.url));
        self.inbox = self.inbox.take().or(text(context.inbox_prefix));
        self.domain = self.domain.take().or(text(context.jetstream_domain));
        self.ca = self.ca.take().or(file(context.ca));
        self.handshake_first |= context.tls_first;
        if self.creds.is_none() && self.nkey.is_none() {
            self.creds = file(context.creds);
            self.nkey = file(context.nkey).map(SecretFrom::File);
        }
        if self.cert.is_none() {
            self.cert = file(context.cert);
            self.key = file(context.key).map(SecretFrom::File);
        }
        Ok(())
    }
}

/// A path if it looks like one, else the place of a context of that name.
fn place(name: &str, folder: &Path) -> Result<PathBuf, Misuse> {
    if name.contains('/') || name.ends_with(".json") {
        return Ok(folder.join(home(name.to_owned())));
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = set("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")));
    let config = config.ok_or_else(|| {
        let fix = "set HOME, or give the path of the context's file";
        Misuse::new("there is no home to look for contexts in", "broker.context", fix)
    })?;
    Ok(config.join("nats/context").join(format!("{name}.json")))
}

/// `~/…` as the nats program reads it.
fn home(path: String) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}
