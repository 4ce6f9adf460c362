// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people have in hand, read and checked before anything connects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chancery::{SecretFrom, SecretText};
use chancery_core::Misuse;
use serde::Deserialize;

use crate::connect::nkey::Nkey;
use crate::connect::tls::{Tls, Wrong};

mod context;
mod identity;

const PORT: u16 = 4222;

/// The mapping under `broker:`, as the user writes it. Files are relative to its own folder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `tls://HOST:PORT[,HOST:PORT…]`; `nats:` alone, or nothing, is the context's.
    pub url: Option<String>,
    /// Allows `nats://`: no TLS, everybody on the way reads and changes what is sent.
    pub insecure: bool,
    /// A context of the nats program: its name, or a path of its file.
    pub context: Option<String>,
    /// Credentials with a JWT and its seed (`.creds`).
    pub creds: Option<PathBuf>,
    /// An nkey's seed (`SU…`).
    pub nkey: Option<SecretFrom>,
    /// Our certificate, PEM, with its chain.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<SecretFrom>,
    /// The CA of the servers, PEM; left out, the system's.
    pub ca: Option<PathBuf>,
    /// TLS begins before the server's greeting (`handshake_first` of the server).
    pub handshake_first: bool,
    /// Prefix of the subjects on which we are answered; `_INBOX` if left out. Give each service
    /// one of its own, that nobody else may subscribe to: `_INBOX.{service}`.
    pub inbox: Option<String>,
    /// The JetStream domain.
    pub domain: Option<String>,
    /// Streams with names of their own.
    pub streams: BTreeMap<String, Address>,
}

/// Where a stream is, if not under its own name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Address {
    /// The JetStream stream; `orders_created` for `orders.created`.
    pub stream: Option<String>,
    /// Its subject, without the last token, which is the record key; the stream's own name if
    /// left out.
    pub subject: Option<String>,
    /// Durable consumers of groups; the group's own name if left out.
    pub consumers: BTreeMap<String, String>,
}

/// What [`Config::read`] gives: nothing is missing to connect.
#[derive(Clone)]
pub struct Settings {
    pub(crate) servers: Vec<(String, u16)>,
    pub(crate) tls: Option<Tls>,
    pub(crate) handshake_first: bool,
    pub(crate) identity: Identity,
    pub(crate) inbox: String,
    /// Prefix of the JetStream API.
    pub(crate) api: String,
    streams: BTreeMap<String, Address>,
}

/// Who we are to the server.
#[derive(Clone)]
pub(crate) enum Identity {
    Nobody,
    /// The name in our certificate.
    Certificate,
    Nkey(Nkey),
    Jwt {
        jwt: SecretText,
        key: Nkey,
        /// Its name, which is no secret.
        name: String,
        /// Seconds of Unix time.
        expires: Option<i64>,
    },
}

/// A stream's names on the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) stream: String,
    pub(crate) subject: String,
}

impl Config {
    /// Reads the files that are named, and checks what can be checked without connecting.
    ///
    /// # Errors
    /// Misuse that names the setting, and what to do.
    pub fn read(mut self, folder: &Path) -> Result<Settings, Misuse> {
        if let Some(name) = self.context.take() {
            self.url = self.url.take().filter(|url| url != "nats:");
            self.take_context(&name, folder)?;
        }
        let url = self.url.take().filter(|url| url != "nats:").ok_or_else(|| {
            let fix = "write `tls://HOST:PORT`, or name a context that has a url";
            Misuse::new("no server is named", "broker.url", fix)
        })?;
        let (secure, servers) = servers(&url)?;
        if !secure && !self.insecure {
            let what = "`nats://` is not encrypted: everybody on the way reads and changes it";
            let fix = "write `tls://`; if nobody else is on that network, add `insecure: true`";
            return Err(Misuse::new(what, "broker.url", fix));
        }
        if !secure && (self.cert.is_some() || self.handshake_first) {
            let what = "it needs TLS, and broker.url has none";
            return Err(Misuse::new(what, "broker.cert", "write `tls://` in broker.url"));
        }
        let tls = if secure { Some(self.tls(folder)?) } else { None };
        let identity = identity::of(&self, folder)?;
        let inbox = self.inbox.unwrap_or_else(|| "_INBOX".into());
        if !is_subject(&inbox) {
            let fix = "write it without wildcards: `_INBOX.billing`";
            return Err(Misuse::new("it is no subject", "broker.inbox", fix));
        }
        let api = match self.domain.filter(|domain| !domain.is_empty()) {
            None => "$JS.API".to_owned(),
            Some(domain) if is_name(&domain) => format!("$JS.{domain}.API"),
            Some(_) => {
                let fix = "write the domain's name as the server has it";
                return Err(Misuse::new("it is no JetStream domain", "broker.domain", fix));
            }
        };
        check_streams(&self.streams)?;
        let (handshake_first, streams) = (self.handshake_first, self.streams);
        Ok(Settings { servers, tls, handshake_first, identity, inbox, api, streams })
    }
}

impl Config {
    fn tls(&self, folder: &Path) -> Result<Tls, Misuse> {
        let read = |path: &PathBuf, at| SecretFrom::File(path.clone()).read(folder, at);
        let ca = self.ca.as_ref().map(|ca| read(ca, "broker.ca")).transpose()?;
        let own = match (&self.cert, &self.key) {
            (None, None) => None,
            (Some(cert), Some(key)) => {
                Some((read(cert, "broker.cert")?, key.read(folder, "broker.key")?))
            }
            _ => {
                let what = "a certificate and its key belong together";
                return Err(Misuse::new(
                    what,
                    "broker.cert",
                    "give both, broker.cert and broker.key",
                ));
            }
        };
        let own = own.as_ref().map(|(cert, key)| (cert.reveal(), key.reveal()));
        Tls::new(ca.as_ref().map(SecretText::reveal), own).map_err(|wrong| {
            let (at, what) = match wrong {
                Wrong::Ca(what) => ("broker.ca", what),
                Wrong::Cert(what) => ("broker.cert", what),
                Wrong::Key(what) => ("broker.key", what),
            };
            Misuse::new(what, at, "give it as PEM: CAs, a certificate with its chain, its own key")
        })
    }
}

impl Settings {
    /// Where a stream is.
    pub(crate) fn names(&self, stream: &str) -> Names {
        let address = self.streams.get(stream);
        let of = |pick: fn(&Address) -> Option<&String>| address.and_then(pick).cloned();
        Names {
            stream: of(|it| it.stream.as_ref()).unwrap_or_else(|| stream.replace('.', "_")),
            subject: of(|it| it.subject.as_ref()).unwrap_or_else(|| stream.to_owned()),
        }
    }

    /// A group's durable consumer.
    pub(crate) fn consumer(&self, stream: &str, group: &str) -> String {
        let named = self.streams.get(stream).and_then(|address| address.consumers.get(group));
        named.cloned().unwrap_or_else(|| group.to_owned())
    }
}

impl Identity {
    /// How the server knows us, if we can say.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Identity::Nobody | Identity::Certificate => None,
            Identity::Nkey(key) => Some(key.public()),
            Identity::Jwt { key, name, .. } => Some(format!("{name} ({})", key.public())),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("servers", &self.servers).field("tls", &self.tls.is_some());
        shown.field("identity", &self.identity.name()).finish_non_exhaustive()
    }
}

/// Whether it has TLS, and the servers.
fn servers(url: &str) -> Result<(bool, Vec<(String, u16)>), Misuse> {
    let bad = |what: &str| Misuse::new(what, "broker.url", "write `tls://HOST:PORT[,HOST:PORT…]`");
    let (secure, rest) = match url.split_once("://") {
        Some(("tls", rest)) => (true, rest),
        Some(("nats", rest)) => (false, rest),
        _ => return Err(bad("it does not begin with `tls://` or `nats://`")),
    };
    let mut servers = Vec::new();
    for server in rest.trim_end_matches('/').split(',') {
        let scheme = if secure { "tls://" } else { "nats://" };
        let server = server.trim().strip_prefix(scheme).unwrap_or(server.trim());
        if server.contains('@') {
            let fix = "take it out, and give one of broker.nkey, creds, cert: a password in an \
                       address ends up in logs, and a server that asks for one is not safe enough";
            return Err(Misuse::new("a user or a token is in it", "broker.url", fix));
        }
        if server.contains("://") || server.contains('/') {
            return Err(bad("its servers have different schemes, or paths"));
        }
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') && !host.ends_with(':') => {
                (host, port.parse().map_err(|_| bad("its port is no number"))?)
            }
            _ => (server, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("a server has no name"));
        }
        servers.push((host.to_owned(), port));
    }
    Ok((secure, servers))
}

fn check_streams(streams: &BTreeMap<String, Address>) -> Result<(), Misuse> {
    for (stream, address) in streams {
        let at = |member: &str| format!("broker.streams.{stream}.{member}");
        let names = address.stream.iter().map(|name| (name, at("stream")));
        let consumers = address.consumers.values().map(|name| (name, at("consumers")));
        if let Some((name, at)) = names.chain(consumers).find(|(name, _)| !is_name(name)) {
            let what = format!("`{}` is no name of JetStream", name.escape_default());
            return Err(Misuse::new(what, at, "leave out white space and any of `.*>/\\`"));
        }
        if let Some(subject) = address.subject.as_ref().filter(|subject| !is_subject(subject)) {
            let what = format!("`{}` is no subject without wildcards", subject.escape_default());
            let fix = "write it without its last token, the record key: `orders.created`";
            return Err(Misuse::new(what, at("subject"), fix));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
    !name.is_empty() && !name.contains(bad)
}

fn is_subject(subject: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "*>".contains(c);
    subject.split('.').all(|token| !token.is_empty()) && !subject.contains(bad)
}

#[cfg(test)]
mod tests;
