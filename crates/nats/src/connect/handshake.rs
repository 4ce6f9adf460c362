// SPDX-License-Identifier: MIT OR Apache-2.0
//! From an address to a connection that the server has accepted, or to a sentence that says why
//! not.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frame::{self, Frame};
use super::tls;
use crate::config::{Identity, Settings};

/// Longest time for one server to accept us.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest time for all of them.
const PATIENCE_ALL: Duration = Duration::from_secs(9);

pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// An accepted connection.
pub(crate) struct Session {
    pub(crate) socket: Box<dyn Socket>,
    pub(crate) buffer: BytesMut,
    pub(crate) info: Info,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Info {
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) max_payload: usize,
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    headers: bool,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    tls_available: bool,
}

/// Connects to the first server that accepts us.
///
/// # Errors
/// Why the last one did not, and what to do.
pub(crate) async fn open(settings: &Settings) -> Result<Session, String> {
    let all = async {
        let mut why = "broker.url names no server".to_owned();
        for (host, port) in &settings.servers {
            let at = format!("{host}:{port}");
            match tokio::time::timeout(PATIENCE, open_one(settings, host, *port)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(told)) => why = format!("nats at {at}: {told}"),
                Err(_) => {
                    let s = PATIENCE.as_secs();
                    why = format!("nats at {at}: no answer in {s} s; is it reachable from here?");
                }
            }
        }
        Err(why)
    };
    let late = || format!("none of the servers answers in {} s", PATIENCE_ALL.as_secs());
    tokio::time::timeout(PATIENCE_ALL, all).await.unwrap_or_else(|_| Err(late()))
}

async fn open_one(settings: &Settings, host: &str, port: u16) -> Result<Session, String> {
    let tcp = TcpStream::connect((host, port)).await.map_err(|error| unreachable(&error))?;
    let _ = tcp.set_nodelay(true);
    let (mut socket, mut buffer): (Box<dyn Socket>, _) = (Box::new(tcp), BytesMut::new());
    let first = settings.tls.as_ref().filter(|_| settings.handshake_first);
    if let Some(tls) = first {
        socket = tls.secure(socket, host).await?;
    }
    let info = greeting(&mut socket, &mut buffer).await?;
    if let (Some(tls), None) = (&settings.tls, first) {
        if !info.tls_required && !info.tls_available {
            return Err(
                "it offers no TLS; switch TLS on there, or, on a network that nobody else \
                        is on, write `nats://` with `insecure: true`"
                    .into(),
            );
        }
        if !buffer.is_empty() {
            return Err("it sent data before TLS began; somebody stands in between".into());
        }
        socket = tls.secure(socket, host).await?;
    }
    if settings.tls.is_none() && info.tls_required {
        return Err("it wants TLS; write `tls://` in broker.url".into());
    }
    if !info.headers {
        return Err("it has headers switched off; remove `no_header_support`".into());
    }
    let hello = hello(settings, &info);
    socket.write_all(hello.as_bytes()).await.map_err(|error| tls::words(&error))?;
    socket.flush().await.map_err(|error| tls::words(&error))?;
    loop {
        match next(&mut socket, &mut buffer).await? {
            Frame::Pong => return Ok(Session { socket, buffer, info }),
            Frame::Error(told) => return Err(refused(&told, &settings.identity)),
            _ => {}
        }
    }
}

async fn greeting(socket: &mut Box<dyn Socket>, buffer: &mut BytesMut) -> Result<Info, String> {
    match next(socket, buffer).await? {
        Frame::Info(info) => serde_json::from_slice(&info)
            .map_err(|_| "its greeting is not the NATS protocol; is this its port?".to_owned()),
        Frame::Error(told) => Err(format!("it says `{told}`")),
        _ => Err("it does not begin as a NATS server does; is this its port?".into()),
    }
}

fn hello(settings: &Settings, info: &Info) -> String {
    let signed = |key: &super::nkey::Nkey| URL_SAFE_NO_PAD.encode(key.sign(info.nonce.as_bytes()));
    let (nkey, jwt, sig) = match &settings.identity {
        Identity::Certificate | Identity::Nobody => (None, None, None),
        Identity::Nkey(key) => (Some(key.public()), None, Some(signed(key))),
        Identity::Jwt { jwt, key, .. } => (None, Some(jwt.reveal()), Some(signed(key))),
    };
    let connect = serde_json::json!({
        "verbose": false, "pedantic": false, "echo": true, "headers": true,
        "no_responders": true, "protocol": 1, "lang": "rust", "name": "chancery",
        "version": env!("CARGO_PKG_VERSION"), "tls_required": settings.tls.is_some(),
        "nkey": nkey, "jwt": jwt, "sig": sig,
    });
    format!("CONNECT {connect}\r\nPING\r\n")
}

async fn next(socket: &mut Box<dyn Socket>, buffer: &mut BytesMut) -> Result<Frame, String> {
    loop {
        if let Some(frame) = frame::take(buffer)? {
            return Ok(frame);
        }
        match socket.read_buf(buffer).await {
            Ok(0) => return Err("it closed the connection without a word; see its log".into()),
            Ok(_) => {}
            Err(error) => return Err(tls::words(&error)),
        }
    }
}

fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there; is the server running, and the port right?"
                .into()
        }
        _ => format!("it cannot be reached ({error}); is the name right, and a way there?"),
    }
}

/// The server's refusal, with what is known here of the reason.
pub(crate) fn refused(told: &str, identity: &Identity) -> String {
    let lower = told.to_lowercase();
    let who = match identity {
        Identity::Nobody => "no identity was given; give one of broker.nkey, creds, cert".into(),
        Identity::Certificate => {
            "no user there has a name that is in our certificate; add one, or \
                                  give broker.cert of a user"
                .into()
        }
        Identity::Nkey(key) => {
            format!("no user there has the nkey {}; add it, or give another", key.public())
        }
        Identity::Jwt { key, expires, .. } => match expires {
            Some(at) if *at <= now() => format!(
                "the JWT of {} expired {} s ago; get new credentials",
                key.public(),
                now() - at
            ),
            _ => format!(
                "the JWT of {} is not accepted: revoked, or of an account or operator that is not \
                 known there; get new credentials",
                key.public()
            ),
        },
    };
    match lower.as_str() {
        told if told.contains("expired") => {
            format!("our credentials have expired; get new ones ({who})")
        }
        told if told.contains("revoked") => "our credentials were revoked; get new ones".into(),
        told if told.contains("authorization") || told.contains("authentication") => {
            format!("authentication refused: {who}")
        }
        _ => format!("it says `{told}`"),
    }
}

/// Seconds of Unix time, as JWTs have them.
pub(crate) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
