// SPDX-License-Identifier: MIT OR Apache-2.0
//! `amqps://USER:PASSWORD@HOST:PORT/VHOST`, and what is like it. No error of it shows the text.

use std::fmt;

use chancery::SecretText;

/// A URI's parts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(crate) scheme: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretText>,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The path: without one, the virtual host `/`.
    pub(crate) vhost: String,
}

impl Uri {
    /// Parses an AMQP URI or a URL of the management interface; query and fragment are not of
    /// them.
    pub(crate) fn parse(text: &str) -> Option<Uri> {
        let (scheme, rest) = text.split_once("://")?;
        let port = match scheme {
            "amqps" => 5671,
            "amqp" => 5672,
            "https" => 15671,
            "http" => 15672,
            _ => return None,
        };
        if rest.contains(['?', '#', ' ']) {
            return None;
        }
        let (authority, vhost) = match rest.split_once('/') {
            Some((authority, path)) => (authority, decoded(path)?),
            None => (rest, "/".to_owned()),
        };
        let (login, at) = match authority.rsplit_once('@') {
            Some((login, at)) => (Some(login), at),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Err(user)) => (Some(decoded(user)?), None),
            Some(Ok((user, password))) => {
                (Some(decoded(user)?), Some(SecretText::new(decoded(password)?)))
            }
        };
        let (host, port) = place(at, port)?;
        Some(Uri { scheme: scheme.to_owned(), user, password, host, port, vhost })
    }

    /// `HOST:PORT`, for people.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// An IPv6 address stands in brackets.
fn place(at: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match at.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some(""))?)
        }
        None => at.split_once(':').unwrap_or((at, "")),
    };
    let port = if port.is_empty() { default } else { port.parse().ok()? };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme, self.place(), self.vhost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_uri() {
        let uri = Uri::parse("amqps://or%2Fders:p%40ss:w@broker.example:5673/shop%2F1").unwrap();
        assert_eq!(uri.user.as_deref(), Some("or/ders"));
        assert_eq!(uri.password.as_ref().map(SecretText::reveal), Some("p@ss:w"));
        assert_eq!((uri.host.as_str(), uri.port), ("broker.example", 5673));
        assert_eq!(uri.vhost, "shop/1");
        let short = Uri::parse("amqps://[::1]").unwrap();
        assert_eq!((short.host.as_str(), short.port, short.vhost.as_str()), ("::1", 5671, "/"));
        assert_eq!(Uri::parse("amqp://a:1/").unwrap().vhost, "");
    }

    #[test]
    fn what_is_no_uri() {
        for text in [
            "",
            "amqps:broker",
            "kafka://broker",
            "amqps://",
            "amqps://:5671",
            "amqps://a:port",
            "amqps://a:99999",
            "amqps://[::1",
            "amqps://[::1]5",
            "amqps://a/%zz",
            "amqps://a/%f",
            "amqps://a/%ff",
            "amqps://a/v?verify=verify_none",
        ] {
            assert_eq!(Uri::parse(text), None, "{text}");
        }
    }

    // Threat: a password in a log.
    #[test]
    fn debug_shows_no_credentials() {
        let shown = format!("{:?}", Uri::parse("amqps://orders:hunter2@a/v").unwrap());
        assert_eq!(shown, "amqps://a:5671/v");
    }
}
