// SPDX-License-Identifier: MIT OR Apache-2.0
//! The management interface, as far as it is needed: one GET of one JSON object.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::trouble::Trouble;
use crate::config::Management;

const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// What is at `/api/` and these segments of a path.
pub(crate) async fn get(management: &Management, path: &[&str]) -> Result<Value, Trouble> {
    let place = management.url.place();
    let until = Instant::now() + PATIENCE;
    let path = path.iter().map(|segment| escaped(segment)).collect::<Vec<_>>().join("/");
    let asked = ask(management, &path, until);
    let answer = timeout_at(until, asked).await.map_err(|_| Trouble::silent(&place))??;
    let told = |what: &str| Trouble::Refused(format!("the management interface at {place} {what}"));
    // One line, fields of no interest, an empty line, the object.
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match status {
        b"200" => {}
        b"401" => return Err(told("does not accept the user and password in `management`")),
        b"403" => return Err(told("does not let this user look; give it the tag `monitoring`")),
        b"404" => return Err(told("knows no such exchange or queue")),
        _ => return Err(told("answers in no way that we know")),
    }
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = body.and_then(|at| answer.get(at + 4..)).unwrap_or_default();
    serde_json::from_slice(body).map_err(|_| told("answers in no way that we know"))
}

async fn ask(management: &Management, path: &str, until: Instant) -> Result<Vec<u8>, Trouble> {
    let (url, place) = (&management.url, management.url.place());
    let mut socket = super::socket(url, management.tls.as_ref(), until).await?;
    let password = url.password.as_ref().map_or("", |password| password.reveal());
    let login = format!("{}:{password}", url.user.as_deref().unwrap_or_default());
    let request = format!(
        "GET /api/{path} HTTP/1.0\r\nHost: {place}\r\nAuthorization: Basic {}\r\n\r\n",
        STANDARD.encode(login)
    );
    let lost = |error: std::io::Error| Trouble::Down(format!("{place}: {error}"));
    socket.write_all(request.as_bytes()).await.map_err(lost)?;
    socket.flush().await.map_err(lost)?;
    let mut answer = Vec::new();
    // Some servers end TLS without saying so; an answer that is cut is no JSON.
    let read = socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    match read {
        Err(error) if answer.is_empty() => Err(lost(error)),
        _ => Ok(answer),
    }
}

fn escaped(segment: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let one = |byte: u8| match plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    segment.bytes().map(one).collect()
}
