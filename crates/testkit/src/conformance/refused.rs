// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whoever may not is told so: in time, and by the cause. "Timed out" sends people to look at the
//! network when a password is wrong.

use std::time::{Duration, Instant};

use super::{Fixture, NOWHERE, STREAM, Wrong};

const IN_TIME: Duration = Duration::from_secs(10);

/// Checks that it fails in time, and that the text has one of these words.
async fn is_told<F: Fixture>(wrong: Wrong, words: &[&str]) {
    if !F::FEATURES.server {
        return;
    }
    let place = F::fresh();
    let started = Instant::now();
    let told = tokio::time::timeout(3 * IN_TIME, F::wrong(&place.name, wrong)).await;
    let took = started.elapsed();
    let fault = told.expect("it hangs").expect("it went well");
    assert!(took < IN_TIME, "it was told only after {took:?}: {fault}");
    let text = plain(&fault.detail);
    assert!(words.iter().any(|word| text.contains(&plain(word))), "{words:?} is not in: {fault}");
}

// Brokers that allow no dots in names have another sign there.
fn plain(text: &str) -> String {
    text.to_lowercase().replace(['.', '-'], "_")
}

/// A wrong password is called that.
pub async fn a_wrong_credential_is_told<F: Fixture>() {
    let words = ["password", "credential", "authentication", "signature", "secret", "key"];
    is_told::<F>(Wrong::Credential, &words).await;
}

/// So is a certificate that proves nothing.
pub async fn a_wrong_certificate_is_told<F: Fixture>() {
    is_told::<F>(Wrong::Certificate, &["certificate"]).await;
}

/// So is a server that is not there.
pub async fn an_unreachable_host_is_told<F: Fixture>() {
    is_told::<F>(Wrong::Host, &["refused", "unreachable", "cannot be reached", "connect"]).await;
}

const MAY_NOT: [&str; 6] = ["authoriz", "authoris", "permission", "denied", "allow", "right"];

/// So is a right that is missing.
pub async fn who_may_not_append_is_told<F: Fixture>() {
    is_told::<F>(Wrong::Append, &MAY_NOT).await;
    is_told::<F>(Wrong::Append, &[STREAM]).await;
}

/// So is the other one.
pub async fn who_may_not_receive_is_told<F: Fixture>() {
    is_told::<F>(Wrong::Receive, &MAY_NOT).await;
    is_told::<F>(Wrong::Receive, &[STREAM]).await;
}

/// A typing error is not an empty stream that somebody waits at for ever.
pub async fn an_unknown_stream_is_told<F: Fixture>() {
    is_told::<F>(Wrong::Stream, &[NOWHERE]).await;
}
