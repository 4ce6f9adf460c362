// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who connects and whom it trusts, from a Java client's properties. What concerns security and is
//! not understood is refused: passed over, it would be weaker than the user has written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chancery::SecretText;
use chancery_core::Misuse;
use zeroize::Zeroizing;

use super::properties::Jaas;
use super::stores::{Kind, Store};
use super::{file, pem, stores};

type Properties = BTreeMap<String, Zeroizing<String>>;

const MODULES: &str = "org.apache.kafka.common.security.";
/// These tune a Java client's waiting, or say what is the default anyhow.
const HARMLESS: [&str; 14] = [
    "sasl.login.connect.timeout.ms",
    "sasl.login.read.timeout.ms",
    "sasl.login.refresh.buffer.seconds",
    "sasl.login.refresh.min.period.seconds",
    "sasl.login.refresh.window.factor",
    "sasl.login.refresh.window.jitter",
    "sasl.login.retry.backoff.max.ms",
    "sasl.login.retry.backoff.ms",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.header.urlencode",
    "ssl.protocol",
    "ssl.enabled.protocols",
];

/// Identity and trust of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    pub(crate) tls: Option<Tls>,
    pub(crate) sasl: Option<Sasl>,
}

/// What TLS needs, as PEM.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// Whom it trusts; without, those that the system does.
    pub(crate) ca: Option<String>,
    /// A key, the chain of its certificate, the password of the key.
    pub(crate) own: Option<(SecretText, String, Option<SecretText>)>,
}

impl Tls {
    /// The name in our own certificate, and when it ends, in seconds since 1970.
    pub(crate) fn subject(&self) -> Option<(String, i64)> {
        let (_, chain, _) = self.own.as_ref()?;
        stores::subject(chain)
    }
}

/// How it says who it is.
#[derive(Clone, Debug)]
pub(crate) enum Sasl {
    /// A user and its password, by this mechanism.
    Password { mechanism: &'static str, user: String, password: SecretText },
    /// A token of an issuer.
    Token(TokenFrom),
}

/// Where tokens come from.
#[derive(Clone, Debug)]
pub(crate) enum TokenFrom {
    /// A file that somebody else keeps fresh.
    File(PathBuf),
    /// An issuer's token endpoint.
    Issuer(Issuer),
}

/// A token endpoint, asked by client credentials.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) client: String,
    pub(crate) secret: SecretText,
    pub(crate) scope: Option<String>,
    /// Whom it trusts to be the issuer, as PEM; without, those that the system does.
    pub(crate) ca: Option<String>,
}

impl Security {
    /// Neither TLS nor an identity.
    pub(crate) fn plain() -> Security {
        Security { tls: None, sasl: None }
    }

    /// Reads it from properties; files are relative to `home`, and `at` names the file that has
    /// them.
    pub(crate) fn read(found: &Properties, home: &Path, at: &str) -> Result<Security, Misuse> {
        let mut from = From { found, home, at, used: Vec::new() };
        let protocol = from.text("security.protocol").unwrap_or("PLAINTEXT").to_owned();
        let (tls, sasl) = match protocol.as_str() {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            _ => {
                let fix = "use SASL_SSL or SSL";
                return Err(from.wrong("security.protocol", "it is no protocol", fix));
            }
        };
        let tls = if tls { Some(from.tls()?) } else { None };
        let sasl = if sasl { Some(from.sasl()?) } else { None };
        from.nothing_left(tls.is_some(), sasl.is_some())?;
        Ok(Security { tls, sasl })
    }
}

struct From<'p> {
    found: &'p Properties,
    home: &'p Path,
    at: &'p str,
    used: Vec<&'static str>,
}

impl<'p> From<'p> {
    fn text(&mut self, key: &'static str) -> Option<&'p str> {
        self.used.push(key);
        self.found.get(key).map(|value| value.as_str())
    }

    fn secret(&mut self, key: &'static str) -> Option<SecretText> {
        self.text(key).map(|text| SecretText::new(text.to_owned()))
    }

    fn wrong(&self, key: &str, what: impl Into<String>, fix: impl Into<String>) -> Misuse {
        Misuse::new(what, format!("{}: {key}", self.at), fix)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn tls(&mut self) -> Result<Tls, Misuse> {
        match self.text("ssl.endpoint.identification.algorithm") {
            None | Some("https") => {}
            Some(_) => {
                return Err(self.wrong(
                    "ssl.endpoint.identification.algorithm",
                    "the name in the server's certificate would not be looked at: anybody whom the \
                     CA has certified could be the broker",
                    "remove the line, or write https",
                ));
            }
        }
        for key in ["ssl.protocol", "ssl.enabled.protocols"] {
            let versions = self.text(key).unwrap_or("TLSv1.3").split(',').map(str::trim);
            let versions: Vec<&str> = versions.collect();
            let known = versions.iter().all(|it| ["TLSv1.2", "TLSv1.3"].contains(it));
            let narrow = key == "ssl.enabled.protocols" && versions == ["TLSv1.3"];
            if !known || (narrow && self.found.contains_key(key)) {
                let what = "this client speaks TLSv1.3 and TLSv1.2, and is not told otherwise";
                return Err(self.wrong(key, what, "remove the line; set it at the broker"));
            }
        }
        let ca = self.trusted()?;
        let own = self.own()?;
        Ok(Tls { ca, own })
    }

    fn trusted(&mut self) -> Result<Option<String>, Misuse> {
        let keys = [
            "ssl.truststore.type",
            "ssl.truststore.location",
            "ssl.truststore.password",
            "ssl.truststore.certificates",
        ];
        let [kind, location, password, inline] = keys.map(|key| self.text(key));
        let key = if inline.is_some() { keys[3] } else { keys[1] };
        let Some(store) = self.store(key, (kind, location, password), inline)? else {
            return Ok(None);
        };
        if store.trusted.is_empty() {
            return Err(self.wrong(key, "it has no certificate to trust", "put the CA's into it"));
        }
        Ok(Some(store.trusted))
    }

    fn own(&mut self) -> Result<Option<(SecretText, String, Option<SecretText>)>, Misuse> {
        let keys = [
            "ssl.keystore.type",
            "ssl.keystore.location",
            "ssl.keystore.password",
            "ssl.keystore.certificate.chain",
            "ssl.keystore.key",
        ];
        let [kind, location, password, chain, key] = keys.map(|key| self.text(key));
        let key_password = self.secret("ssl.key.password");
        let both = match (chain, key) {
            (Some(chain), Some(key)) => Some(Zeroizing::new(format!("{key}\n{chain}"))),
            (None, None) => None,
            _ => {
                let what = "a key and the chain of its certificate go together";
                return Err(self.wrong(keys[4], what, "write both, or neither"));
            }
        };
        let at = if both.is_some() { keys[4] } else { keys[1] };
        let inline = both.as_ref().map(|both| both.as_str());
        let Some(store) = self.store(at, (kind, location, password), inline)? else {
            return Ok(None);
        };
        let (key, chain) = store
            .own
            .filter(|(_, chain)| !chain.is_empty())
            .ok_or_else(|| self.wrong(at, "it has no key with a certificate", "name another"))?;
        // What came out of a store is open already.
        let sealed = pem::blocks(&key)
            .is_some_and(|blocks| blocks.iter().any(|it| it.label.starts_with("ENCRYPTED")));
        if sealed && key_password.is_none() {
            let fix = "set ssl.key.password";
            return Err(self.wrong(at, "the key is under a password", fix));
        }
        let key = SecretText::new(key.to_string());
        Ok(Some((key, chain, key_password.filter(|_| sealed))))
    }

    /// A store, from its file or inline; `None` if neither is named.
    fn store(
        &self,
        at: &str,
        (kind, location, password): (Option<&str>, Option<&str>, Option<&str>),
        inline: Option<&str>,
    ) -> Result<Option<Store>, Misuse> {
        let known = kind.map_or(Some(Kind::Jks), Kind::named);
        let kind = known.ok_or_else(|| {
            let fix = "use PEM, PKCS12 or JKS";
            self.wrong(at, "its type is of no kind that is read", fix)
        })?;
        let read = match (inline, location) {
            (Some(_), Some(_)) => {
                let what = "there is both a file and text";
                return Err(self.wrong(at, what, "name one of them"));
            }
            (Some(text), None) => Store::pem(text),
            (None, Some(location)) => {
                let bytes = file(&self.path(location), &format!("{}: {at}", self.at))?;
                Store::read(kind, &bytes, password)
            }
            (None, None) => return Ok(None),
        };
        read.map(Some).map_err(|why| self.wrong(at, why, "correct the store, its type or password"))
    }

    fn sasl(&mut self) -> Result<Sasl, Misuse> {
        let mechanism = self.text("sasl.mechanism").unwrap_or("GSSAPI");
        let (mechanism, module) = match mechanism {
            "PLAIN" => ("PLAIN", "plain.PlainLoginModule"),
            "SCRAM-SHA-256" => ("SCRAM-SHA-256", "scram.ScramLoginModule"),
            "SCRAM-SHA-512" => ("SCRAM-SHA-512", "scram.ScramLoginModule"),
            "OAUTHBEARER" => ("OAUTHBEARER", "oauthbearer.OAuthBearerLoginModule"),
            _ => {
                let what = "this client has PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER";
                return Err(self.wrong("sasl.mechanism", what, "use SCRAM-SHA-512"));
            }
        };
        const JAAS: &str = "sasl.jaas.config";
        let line = self.text(JAAS).ok_or_else(|| {
            self.wrong(JAAS, "it is missing", format!("write {MODULES}{module} required …;"))
        })?;
        let jaas = Jaas::read(line)
            .map_err(|why| self.wrong(JAAS, why, format!("write {MODULES}{module} required …;")))?;
        if jaas.module != format!("{MODULES}{module}") {
            let what = format!("the login module is not the one of {mechanism}");
            return Err(self.wrong(JAAS, what, format!("use {MODULES}{module}")));
        }
        if mechanism == "OAUTHBEARER" {
            return self.token(&jaas).map(Sasl::Token);
        }
        self.only(&jaas, &["username", "password"])?;
        let (Some(user), Some(password)) =
            (jaas.options.get("username"), jaas.options.get("password"))
        else {
            let fix = "write username=\"…\" password=\"…\"";
            return Err(self.wrong(JAAS, "it has no username or no password", fix));
        };
        let password = SecretText::new(password.to_string());
        Ok(Sasl::Password { mechanism, user: user.to_string(), password })
    }

    fn token(&mut self, jaas: &Jaas) -> Result<TokenFrom, Misuse> {
        const HANDLER: &str = "sasl.login.callback.handler.class";
        let handlers = [
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
            "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler",
        ];
        if self.text(HANDLER).is_some_and(|handler| !handlers.contains(&handler)) {
            let what = "this client gets tokens by client credentials, or from a file";
            return Err(self.wrong(HANDLER, what, format!("use {}", handlers[0])));
        }
        self.only(
            jaas,
            &[
                "clientId",
                "clientSecret",
                "scope",
                "ssl.truststore.type",
                "ssl.truststore.location",
                "ssl.truststore.password",
                "ssl.truststore.certificates",
            ],
        )?;
        const URL: &str = "sasl.oauthbearer.token.endpoint.url";
        let fix = "write the issuer's token endpoint, https://…, or file:///… of a token";
        let url = self.text(URL).ok_or_else(|| self.wrong(URL, "it is missing", fix))?;
        if let Some(path) = url.strip_prefix("file://") {
            return Ok(TokenFrom::File(PathBuf::from(path)));
        }
        if !url.starts_with("https://") {
            let what = "the client's secret would travel without TLS";
            return Err(self.wrong(URL, what, fix));
        }
        let option = |name: &str| jaas.options.get(name).map(|value| value.as_str());
        let client = self.text("sasl.oauthbearer.client.credentials.client.id");
        let secret = self.text("sasl.oauthbearer.client.credentials.client.secret");
        let scope = self.text("sasl.oauthbearer.scope");
        let (Some(client), Some(secret)) =
            (client.or(option("clientId")), secret.or(option("clientSecret")))
        else {
            let fix = "write clientId=\"…\" clientSecret=\"…\"";
            return Err(self.wrong("sasl.jaas.config", "it has no clientId or clientSecret", fix));
        };
        let names = ["type", "location", "password", "certificates"];
        let [kind, location, password, inline] =
            names.map(|name| option(&format!("ssl.truststore.{name}")));
        let store = self.store("sasl.jaas.config", (kind, location, password), inline)?;
        Ok(TokenFrom::Issuer(Issuer {
            url: url.to_owned(),
            client: client.to_owned(),
            secret: SecretText::new(secret.to_owned()),
            scope: scope.or(option("scope")).map(str::to_owned),
            ca: store.map(|store| store.trusted),
        }))
    }

    fn only(&self, jaas: &Jaas, known: &[&str]) -> Result<(), Misuse> {
        match jaas.options.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let what = format!("the option `{name}` is not understood");
                Err(self.wrong("sasl.jaas.config", what, "remove it"))
            }
        }
    }

    /// Refuses what concerns security and was not used.
    fn nothing_left(&self, tls: bool, sasl: bool) -> Result<(), Misuse> {
        let unused = |area: &str, on: bool, key: &str| {
            on && key.starts_with(area) && !self.used.contains(&key) && !HARMLESS.contains(&key)
        };
        let left = self.found.keys().find(|key| {
            unused("ssl.", tls, key)
                || unused("sasl.", sasl, key)
                || unused("security.", true, key)
                || key.starts_with("config.providers")
        });
        match left {
            None => Ok(()),
            Some(key) => Err(self.wrong(
                key,
                "it concerns security, and this client does not understand it",
                "remove the line, if it can do without",
            )),
        }
    }
}
