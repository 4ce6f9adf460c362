// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who we are: an nkey, a JWT with its nkey, or the name in our certificate.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::{SecretFrom, SecretText};
use chancery_core::Misuse;
use serde::Deserialize;

use super::{Config, Identity};
use crate::connect::nkey::Nkey;

/// What of a user's JWT concerns us.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    name: String,
    exp: Option<i64>,
}

pub(super) fn of(config: &Config, folder: &Path) -> Result<Identity, Misuse> {
    match (&config.creds, &config.nkey) {
        (Some(_), Some(_)) => {
            let fix = "leave one of broker.creds and broker.nkey";
            Err(Misuse::new("two identities are given", "broker.creds", fix))
        }
        (Some(creds), None) => {
            let text = SecretFrom::File(creds.clone()).read(folder, "broker.creds")?;
            credentials(text.reveal())
        }
        (None, Some(seed)) => {
            let text = seed.read(folder, "broker.nkey")?;
            let first = text.reveal().lines().next().unwrap_or_default();
            Nkey::from_seed(first).map(Identity::Nkey).ok_or_else(|| {
                let fix = "give the seed of a user, `SU…`, as `nk -gen user` prints it";
                Misuse::new("it is no user's seed", "broker.nkey", fix)
            })
        }
        (None, None) if config.cert.is_some() => Ok(Identity::Certificate),
        (None, None) => Ok(Identity::Nobody),
    }
}

/// A `.creds` file: a JWT and a seed between lines of dashes.
fn credentials(text: &str) -> Result<Identity, Misuse> {
    let bad = |what: &str| {
        let fix = "give a file that `nats auth user credential` or `nsc generate creds` has made";
        Misuse::new(what, "broker.creds", fix)
    };
    let section = |name: &str| {
        let begins = |line: &&str| line.starts_with('-') && line.contains(name);
        let mut lines = text.lines().map(str::trim).skip_while(|line| !begins(line)).skip(1);
        lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
    };
    let jwt = section("BEGIN NATS USER JWT").ok_or_else(|| bad("there is no JWT in it"))?;
    let seed = section("BEGIN USER NKEY SEED").ok_or_else(|| bad("there is no seed in it"))?;
    let key = Nkey::from_seed(seed).ok_or_else(|| bad("its seed is no user's"))?;
    let claims = jwt.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    let claims = claims.ok_or_else(|| bad("its JWT cannot be read"))?;
    if claims.sub != key.public() {
        return Err(bad("its JWT and its seed are of different users"));
    }
    let expires = claims.exp.filter(|at| *at > 0);
    let (jwt, name) = (SecretText::new(jwt.to_owned()), claims.name);
    Ok(Identity::Jwt { jwt, key, name, expires })
}
