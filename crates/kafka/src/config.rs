// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people have in hand, read and checked before anything connects: a URL, and the
//! `client.properties` that every Kafka tool takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chancery_core::Misuse;
use serde::Deserialize;
use zeroize::Zeroizing;

mod identity;
mod jks;
mod pem;
mod properties;
mod stores;

pub(crate) use identity::{Issuer, Sasl, Security, Tls, TokenFrom};

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// `broker:` of a configuration, as the user writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `kafka://host:port[,host:port…]`. It alone says where the brokers are.
    pub url: String,
    /// A Java client's properties: who connects, and whom it trusts. Settings that are not about
    /// security are not taken from it.
    pub properties: Option<PathBuf>,
    /// Whether a connection without TLS is wanted.
    #[serde(default)]
    pub insecure: bool,
    /// Streams that are not found under their own names.
    #[serde(default)]
    pub streams: BTreeMap<String, Address>,
}

/// Where a stream is, other than under its own name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Its topic; the stream's name.
    pub topic: Option<String>,
    /// What consumer groups are called; `{group}` stands for the group's name.
    pub group: Option<String>,
    /// Topics that MirrorMaker copies the stream to, which are read as well.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

/// What [`Config::read`] has read and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) servers: String,
    pub(crate) security: Security,
    pub(crate) streams: BTreeMap<String, Address>,
}

impl Config {
    /// Reads the files that it names, relative to `folder`, and checks what can be checked without
    /// connecting.
    ///
    /// # Errors
    /// Misuse: what is wrong, in which setting, and what to do. Never a secret.
    pub fn read(self, folder: &Path) -> Result<Settings, Misuse> {
        let servers = servers(&self.url)?;
        for (stream, address) in &self.streams {
            address.check(stream)?;
        }
        let security = match &self.properties {
            Some(path) => {
                let path = folder.join(path);
                let bytes = file(&path, "broker.properties")?;
                let at = path.display().to_string();
                let found = properties::read(&bytes).map_err(|why| {
                    Misuse::new(why, at.clone(), "write it as java.util.Properties reads it")
                })?;
                let home = path.parent().unwrap_or(folder);
                Security::read(&found, home, &at)?
            }
            None => Security::plain(),
        };
        if security.tls.is_none() && !self.insecure {
            return Err(Misuse::new(
                "the connection is without TLS: whoever is on the way reads and changes messages, \
                 and learns the password",
                self.properties.map_or("broker".into(), |path| path.display().to_string()),
                "set `security.protocol` to SASL_SSL or SSL in the file that `properties` names; \
                 or write `insecure: true`",
            ));
        }
        Ok(Settings { servers, security, streams: self.streams })
    }
}

impl Address {
    fn check(&self, stream: &str) -> Result<(), Misuse> {
        let topics = self.topic.iter().chain(&self.mirrors);
        let bad = topics.chain(&self.group).find(|name| {
            let bare = name.replace("{group}", "");
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            name.is_empty() || name.len() > 249 || !bare.chars().all(plain)
        });
        match bad {
            None => Ok(()),
            Some(name) => Err(Misuse::new(
                format!("`{}` is no name for Kafka", name.escape_default()),
                format!("broker.streams.{stream}"),
                "use 1 to 249 of A-Za-z0-9._-",
            )),
        }
    }
}

impl Settings {
    pub(crate) fn topic(&self, stream: &str) -> String {
        let given = self.streams.get(stream).and_then(|address| address.topic.clone());
        given.unwrap_or_else(|| stream.to_owned())
    }

    pub(crate) fn mirrors(&self, stream: &str) -> Vec<String> {
        self.streams.get(stream).map(|address| address.mirrors.clone()).unwrap_or_default()
    }

    pub(crate) fn group(&self, stream: &str, group: &str) -> String {
        let given = self.streams.get(stream).and_then(|address| address.group.as_deref());
        given.map_or_else(|| group.to_owned(), |name| name.replace("{group}", group))
    }
}

/// `host:port,…`, without the scheme.
fn servers(url: &str) -> Result<String, Misuse> {
    // Not quoted: somebody may have put a password into it.
    let wrong = |what: &str| {
        let fix = "write kafka://HOST:PORT, or several: kafka://HOST:PORT,HOST:PORT";
        Misuse::new(what, "broker.url", fix)
    };
    let rest = url.strip_prefix("kafka://").ok_or_else(|| wrong("it is no URL of kafka:"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        let what = "credentials do not belong into a URL; name `properties`";
        return Err(wrong(what));
    }
    for server in rest.split(',') {
        let (host, port) = server.rsplit_once(':').ok_or_else(|| wrong("a host has no port"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let named = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
        if bare.is_empty() || !bare.chars().all(named) || (bare == host && host.contains(':')) {
            return Err(wrong("a host's name is none"));
        }
        if port.parse::<u16>().ok().filter(|port| *port != 0).is_none() {
            return Err(wrong("a port is none"));
        }
    }
    Ok(rest.to_owned())
}

/// A file's bytes; `at` names the setting in what goes wrong.
fn file(path: &Path, at: &str) -> Result<Zeroizing<Vec<u8>>, Misuse> {
    use std::io::Read;
    let told = |error: std::io::Error| {
        let fix = "correct the path, or its rights";
        Misuse::new(format!("{}: {error}", path.display()), at, fix)
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(told)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("{}: more than {FILE_BYTES_MAX} bytes", path.display());
        return Err(Misuse::new(what, at, "name the right file"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
