// SPDX-License-Identifier: MIT OR Apache-2.0
//! What we say to prove who we are, and saying it again before it is too old.

use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lapin::Connection;
use lapin::auth::AuthProvider;
use lapin::types::{LongString, ShortString};

use super::trouble::Trouble;
use crate::config::{Identity, TokenSource};

/// Shortest time between two tokens.
const PAUSE: Duration = Duration::from_secs(1);

/// One login.
pub(super) struct Login {
    mechanism: &'static str,
    said: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    lifetime: Option<Duration>,
}

impl Login {
    /// Reads a token anew; a program may run for it.
    pub(super) async fn new(identity: &Identity) -> Result<Login, Trouble> {
        Ok(match identity.clone() {
            Identity::Certificate => {
                Login { mechanism: "EXTERNAL", said: Box::new(Vec::new), lifetime: None }
            }
            Identity::Password { user, password } => {
                let said = move || plain(&user, password.reveal());
                Login { mechanism: "PLAIN", said: Box::new(said), lifetime: None }
            }
            Identity::Token(source) => {
                let token = read(source).await?;
                let lifetime = lifetime(token.reveal());
                let said = move || plain("", token.reveal());
                Login { mechanism: "PLAIN", said: Box::new(said), lifetime }
            }
        })
    }

    /// How long it is good for, if that is known.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }
}

impl AuthProvider for Login {
    fn mechanism(&self) -> ShortString {
        self.mechanism.into()
    }

    fn auth_starter(&self) -> Result<LongString, String> {
        Ok((self.said)().into())
    }
}

fn plain(user: &str, password: &str) -> Vec<u8> {
    [b"\0", user.as_bytes(), b"\0", password.as_bytes()].concat()
}

async fn read(source: TokenSource) -> Result<crate::config::Secret, Trouble> {
    let read = tokio::task::spawn_blocking(move || source.read()).await;
    read.map_err(|_| "it cannot be read".to_owned()).and_then(|token| token).map_err(Trouble::Down)
}

/// Gives the broker a new token before each is over, while the connection is there.
pub(super) async fn keep_fresh(
    connection: Weak<Connection>,
    source: TokenSource,
    mut lifetime: Duration,
) {
    loop {
        tokio::time::sleep(before(lifetime)).await;
        let token = read(source.clone()).await;
        let Some(connection) = connection.upgrade() else { return };
        // Without a new token the old one is good until it is over; then the broker ends the
        // connection and the next one begins with what there is.
        lifetime = match token {
            Ok(token) => {
                let told = token.reveal().as_bytes().to_vec().into();
                let _ = connection.update_secret(told, "a new token".into()).await;
                self::lifetime(token.reveal()).unwrap_or(lifetime)
            }
            Err(_) => PAUSE,
        };
    }
}

/// When a new token is asked for. A claim may name any time: nothing here may overflow.
fn before(lifetime: Duration) -> Duration {
    (lifetime / 5).saturating_mul(4).max(PAUSE)
}

/// Until when a JWT says that it is good (RFC 7519 section 4.1.4). It is not verified: whoever can
/// change it can only make us ask sooner or later.
fn lifetime(token: &str) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let until = Duration::from_secs(claims.get("exp")?.as_u64()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(until.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_how_long_it_is_good() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let far = lifetime(&token("{\"exp\":99999999999}")).unwrap();
        assert!(far > Duration::from_secs(90_000_000_000));
        assert_eq!(lifetime(&token("{\"exp\":1}")), Some(Duration::ZERO));
        // Threat: a token that is good for ever ends the task that renews it.
        let ever = lifetime(&token("{\"exp\":18446744073709551615}")).unwrap();
        assert!(before(ever) > far);
        assert_eq!(before(Duration::from_secs(10)), Duration::from_secs(8));
        assert_eq!(before(Duration::ZERO), PAUSE);
        for opaque in ["", "opaque", "a.b.c", &token("[]"), &token("{\"exp\":\"1\"}")] {
            assert_eq!(lifetime(opaque), None);
        }
    }
}
