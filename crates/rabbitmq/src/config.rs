// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people write under `broker:` and what they have in hand, read and checked before anything
//! connects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chancery::SecretFrom;
use chancery_core::Misuse;
use rustls::ClientConfig;
use serde::Deserialize;

mod uri;

pub(crate) use chancery::SecretText as Secret;
pub(crate) use uri::Uri;

use crate::connect::tls;

/// The mapping under `broker:` as the user writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `amqps://HOST:PORT/VHOST`, without credentials.
    pub url: String,
    /// Allows `amqp://`: everybody on the way reads and changes what they like.
    #[serde(default)]
    pub insecure: bool,
    /// Certificates (PEM) of the only authorities to believe; without it, the system's.
    pub ca: Option<PathBuf>,
    /// User and password, as an AMQP URI of the same server.
    pub uri: Option<SecretFrom>,
    /// OAuth 2: where a current access token is; read again before it expires.
    pub token: Option<SecretFrom>,
    /// A client certificate; alone, it is the identity (EXTERNAL).
    pub certificate: Option<Certificate>,
    /// The name that the broker knows this service by: set on all that is appended. The broker
    /// refuses another's.
    pub user_id: Option<String>,
    /// The producer behind each user of the broker. With it, a message is refused unless the
    /// broker vouches for its sender and that is who signed it.
    #[serde(default)]
    pub users: BTreeMap<String, String>,
    /// Whose word the append time is.
    #[serde(default)]
    pub append_time: Stamped,
    /// The management interface with an auditor's credentials: `https://USER:PASSWORD@HOST:PORT`.
    pub management: Option<SecretFrom>,
    /// Most messages that a receiver has in hand, unacknowledged. All of them are in memory, and
    /// must be settled within the server's `consumer_timeout`.
    #[serde(default = "window")]
    pub window: u16,
    /// Where streams are that are not found under their own names.
    #[serde(default)]
    pub streams: BTreeMap<String, Address>,
}

/// A client certificate in PEM: its chain, and its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate, then what signed it.
    pub chain: PathBuf,
    /// Its private key.
    pub key: SecretFrom,
}

/// Whose word the append time of this broker's messages is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Stamped {
    /// Nobody's.
    #[default]
    None,
    /// The broker's, by `message_interceptors.incoming.set_header_timestamp.overwrite = true`.
    /// It is the operator's word that it is set: without it, clients choose their times.
    Broker,
}

/// Where a stream is on the broker.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The exchange; by default named as the stream.
    pub exchange: Option<String>,
    /// The routing key of every message; the record key then travels in the header
    /// `ordering-key`, which a consistent-hash exchange can hash on.
    pub routing_key: Option<String>,
    /// Queues of groups; by default `STREAM.GROUP`.
    #[serde(default)]
    pub queues: BTreeMap<String, String>,
}

fn window() -> u16 {
    256
}

/// A [`Config`] whose files were read.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) server: Uri,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Whether a client certificate is shown.
    pub(crate) certificate: bool,
    pub(crate) identity: Identity,
    pub(crate) user_id: Option<String>,
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) append_time: Stamped,
    pub(crate) management: Option<Management>,
    pub(crate) window: u16,
    pub(crate) streams: BTreeMap<String, Address>,
}

/// The management interface, and how to speak with it.
#[derive(Clone, Debug)]
pub(crate) struct Management {
    pub(crate) url: Uri,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// How this service proves who it is.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// PLAIN.
    Password { user: String, password: Secret },
    /// An OAuth 2 token in the password's place.
    Token(TokenSource),
    /// EXTERNAL: the client certificate.
    Certificate,
}

/// Where a current token is.
#[derive(Clone, Debug)]
pub(crate) struct TokenSource {
    from: SecretFrom,
    folder: PathBuf,
}

impl TokenSource {
    /// Reads it; a program may be run for it.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        self.from.read(&self.folder, "broker.token").map_err(|misuse| misuse.to_string())
    }
}

impl Config {
    /// Reads the files that it names, those with relative names in `folder`, and checks what can
    /// be checked without connecting.
    ///
    /// # Errors
    /// Misuse: the first setting that is wrong, without any secret.
    pub fn read(self, folder: &Path) -> Result<Settings, Misuse> {
        let server = self.server()?;
        let identity = self.identity(folder, &server)?;
        let tls = (server.scheme == "amqps").then(|| self.tls(folder)).transpose()?;
        let management = self.management.as_ref().map(|from| self.management(from, folder));
        let management = management.transpose()?;
        if self.window == 0 {
            let what = "a window of no messages never receives any";
            return Err(Misuse::new(what, "broker.window", "give it 1 to 65535"));
        }
        if self.user_id.as_ref().is_some_and(|user| user.len() > SHORT_BYTES_MAX) {
            let fix = "write the name that the broker knows this service by";
            return Err(Misuse::new("a user of more than 255 bytes", "broker.user_id", fix));
        }
        self.addresses()?;
        Ok(Settings {
            server,
            tls,
            certificate: self.certificate.is_some(),
            identity,
            user_id: self.user_id,
            users: self.users,
            append_time: self.append_time,
            management,
            window: self.window,
            streams: self.streams,
        })
    }

    fn server(&self) -> Result<Uri, Misuse> {
        let at = "broker.url";
        let url = Uri::parse(&self.url).ok_or_else(|| {
            Misuse::new("this is no URL of RabbitMQ", at, "write amqps://HOST:PORT/VHOST")
        })?;
        if url.user.is_some() || url.password.is_some() {
            let fix = "keep the URI in a file and write `uri: {file: PATH}`";
            return Err(Misuse::new("there are credentials in the configuration", at, fix));
        }
        if url.vhost.len() > SHORT_BYTES_MAX {
            let what = format!("a virtual host of {} bytes", url.vhost.len());
            return Err(Misuse::new(what, at, "its name has at most 255"));
        }
        match (url.scheme.as_str(), self.insecure) {
            ("amqps", _) | ("amqp", true) => Ok(url),
            ("amqp", false) => {
                let what = "amqp:// sends passwords and messages in the clear";
                Err(Misuse::new(what, at, "write amqps://, or `insecure: true` beside it"))
            }
            _ => Err(Misuse::new("the scheme is not one of RabbitMQ", at, "write amqps://")),
        }
    }

    fn identity(&self, folder: &Path, server: &Uri) -> Result<Identity, Misuse> {
        match (&self.uri, &self.token, &self.certificate) {
            (Some(uri), None, _) => password(uri, folder, server),
            (None, Some(token), _) => {
                let source = TokenSource { from: token.clone(), folder: folder.to_owned() };
                token.read(folder, "broker.token")?;
                Ok(Identity::Token(source))
            }
            (None, None, Some(_)) => Ok(Identity::Certificate),
            (None, None, None) => {
                let fix = "write one of `uri:`, `token:` and `certificate:`";
                Err(Misuse::new("nothing says who this service is", "broker", fix))
            }
            (Some(_), Some(_), _) => {
                let what = "both `uri:` and `token:` say who this service is";
                Err(Misuse::new(what, "broker", "keep one of them"))
            }
        }
    }

    fn tls(&self, folder: &Path) -> Result<Arc<ClientConfig>, Misuse> {
        let ca =
            self.ca.as_deref().map(|ca| read_pem(&folder.join(ca), "broker.ca")).transpose()?;
        let certificate = self.certificate.as_ref().map(|certificate| {
            let at = "broker.certificate.chain";
            let chain = read_pem(&folder.join(&certificate.chain), at)?;
            Ok((chain, certificate.key.read(folder, "broker.certificate.key")?))
        });
        let certificate = certificate.transpose()?;
        let shown = certificate.as_ref().map(|(chain, key)| (&**chain, key.reveal().as_bytes()));
        let config = tls::client(ca.as_deref(), shown);
        config.map_err(|(at, what)| Misuse::new(what, at, "name a good file in PEM"))
    }

    fn management(&self, from: &SecretFrom, folder: &Path) -> Result<Management, Misuse> {
        let at = "broker.management";
        let text = from.read(folder, at)?;
        let url = Uri::parse(text.reveal());
        let url = url.filter(|url| url.user.is_some() && url.password.is_some());
        let url = url.ok_or_else(|| {
            let fix = "it must hold https://USER:PASSWORD@HOST:PORT";
            Misuse::new("this is no URL with credentials", at, fix)
        })?;
        match (url.scheme.as_str(), self.insecure) {
            ("https", _) => Ok(Management { tls: Some(self.tls(folder)?), url }),
            ("http", true) => Ok(Management { url, tls: None }),
            _ => Err(Misuse::new("the scheme is not https", at, "write https://")),
        }
    }

    fn addresses(&self) -> Result<(), Misuse> {
        for (stream, address) in &self.streams {
            let names = [&address.exchange, &address.routing_key].into_iter().flatten();
            for name in names.chain(address.queues.values()) {
                if name.is_empty() || name.len() > SHORT_BYTES_MAX {
                    let what = format!("a name of {} bytes", name.len());
                    let at = format!("broker.streams.{stream}");
                    return Err(Misuse::new(what, at, "give it 1 to 255"));
                }
            }
        }
        Ok(())
    }
}

/// Longest name, routing key and user of AMQP 0-9-1, in bytes.
pub(crate) const SHORT_BYTES_MAX: usize = 255;

// A password must not go to another server than the one that it is for.
fn password(from: &SecretFrom, folder: &Path, server: &Uri) -> Result<Identity, Misuse> {
    let at = "broker.uri";
    let text = from.read(folder, at)?;
    let uri = Uri::parse(text.reveal()).ok_or_else(|| {
        Misuse::new("this is no AMQP URI", at, "it must hold amqps://USER:PASSWORD@HOST:PORT/VHOST")
    })?;
    let same = (&uri.scheme, &uri.host, uri.port, &uri.vhost)
        == (&server.scheme, &server.host, server.port, &server.vhost);
    if !same {
        let what = "the URI is of another server or virtual host than `url`";
        return Err(Misuse::new(what, at, "name the same scheme, host, port and virtual host"));
    }
    match (uri.user, uri.password) {
        (Some(user), Some(password)) => Ok(Identity::Password { user, password }),
        _ => {
            let fix = "it must hold amqps://USER:PASSWORD@HOST:PORT/VHOST";
            Err(Misuse::new("the URI has no user and password", at, fix))
        }
    }
}

fn read_pem(path: &Path, at: &str) -> Result<Vec<u8>, Misuse> {
    let from = SecretFrom::File(path.to_owned());
    let text = from.read(Path::new(""), at)?;
    if !text.reveal().contains("-----BEGIN CERTIFICATE-----") {
        let what = format!("{} has no certificate in PEM", path.display());
        return Err(Misuse::new(what, at, "name a file with `-----BEGIN CERTIFICATE-----`"));
    }
    Ok(text.reveal().as_bytes().to_vec())
}

impl Settings {
    /// The exchange of a stream.
    pub(crate) fn exchange(&self, stream: &str) -> String {
        let address = self.streams.get(stream);
        let named = address.and_then(|address| address.exchange.clone());
        named.unwrap_or_else(|| stream.to_owned())
    }

    /// The queue of a group's share.
    pub(crate) fn queue(&self, stream: &str, group: &str) -> String {
        let address = self.streams.get(stream);
        let named = address.and_then(|address| address.queues.get(group).cloned());
        named.unwrap_or_else(|| format!("{stream}.{group}"))
    }

    /// The routing key of a stream whose record keys travel in a header.
    pub(crate) fn routing_key(&self, stream: &str) -> Option<&str> {
        self.streams.get(stream)?.routing_key.as_deref()
    }
}

#[cfg(test)]
mod tests;
