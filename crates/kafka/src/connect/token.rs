// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens: from a file, or from an issuer by client credentials (RFC 6749, 4.4) over TLS.
//!
//! librdkafka's own would need libcurl, a second HTTP and TLS stack; one POST does not.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::config::{Issuer, TokenFrom};

/// Longest wait for an issuer, for each of its steps.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest answer of an issuer, and longest token, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// A token.
pub(crate) struct Token {
    pub(crate) text: Zeroizing<String>,
    /// Whom it is for.
    pub(crate) subject: String,
    /// When it ends, in milliseconds since 1970.
    pub(crate) expires_ms: i64,
}

/// Gets one. The error is for the log: it has nothing of a token or a secret.
pub(crate) fn get(from: &TokenFrom) -> Result<Token, String> {
    match from {
        TokenFrom::File(path) => {
            let told = |error: std::io::Error| format!("{}: {error}", path.display());
            let mut text = Zeroizing::new(String::new());
            let file = std::fs::File::open(path).map_err(told)?;
            file.take(ANSWER_BYTES_MAX).read_to_string(&mut text).map_err(told)?;
            read(text.trim()).ok_or_else(|| format!("{}: it is no token", path.display()))
        }
        TokenFrom::Issuer(issuer) => {
            ask(issuer).map_err(|why| format!("the issuer at {}: {why}", issuer.url))
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
}

/// What a token says of itself; the broker is who checks it.
fn read(text: &str) -> Option<Token> {
    let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "a float becomes the nearest integer")]
    let expires_ms = (claims.exp * 1000.0) as i64;
    Some(Token { text: Zeroizing::new(text.to_owned()), subject: claims.sub, expires_ms })
}

fn ask(issuer: &Issuer) -> Result<Token, String> {
    let rest = issuer.url.strip_prefix("https://").ok_or("its URL is not of https:")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| "its URL has no good port")?),
        None => (authority, 443),
    };
    let mut stream = dial(issuer.ca.as_deref(), host, port)?;
    let mut body = "grant_type=client_credentials".to_owned();
    if let Some(scope) = &issuer.scope {
        body += &format!("&scope={}", form(scope));
    }
    let credentials = Zeroizing::new(format!("{}:{}", issuer.client, issuer.secret.reveal()));
    let credentials = Zeroizing::new(STANDARD.encode(credentials.as_bytes()));
    let request = Zeroizing::new(format!(
        "POST /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
         Accept: application/json\r\nAuthorization: Basic {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        credentials.as_str(),
        body.len()
    ));
    stream.write_all(request.as_bytes()).map_err(|error| cause(&error))?;
    let mut answer = Zeroizing::new(Vec::new());
    // An end without TLS's own goodbye is told by the length that HTTP has.
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    if let Err(error) = read
        && error.kind() != std::io::ErrorKind::UnexpectedEof
    {
        return Err(cause(&error));
    }
    understand(&answer)
}

/// A TLS connection. Without a CA of its own it trusts those that the system does.
pub(super) fn dial(
    ca: Option<&str>,
    host: &str,
    port: u16,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => {
            for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
                let certificate = certificate.map_err(|_| "the CA is no certificate")?;
                roots.add(certificate).map_err(|_| "the CA is no certificate")?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "its host's name is none")?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
    let addresses = (host, port).to_socket_addrs().map_err(|error| cause(&error))?;
    let mut last = "its host has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => {
                socket.set_read_timeout(Some(PATIENCE)).map_err(|error| cause(&error))?;
                socket.set_write_timeout(Some(PATIENCE)).map_err(|error| cause(&error))?;
                return Ok(StreamOwned::new(connection, socket));
            }
            Err(error) => last = cause(&error),
        }
    }
    Err(last)
}

fn cause(error: &std::io::Error) -> String {
    format!("it cannot be reached ({error})")
}

fn understand(answer: &[u8]) -> Result<Token, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(answer).map_err(|_| "its answer is not HTTP")?;
    let httparse::Status::Complete(head) = parsed else {
        return Err("its answer is cut off".to_owned());
    };
    let body = answer.get(head..).unwrap_or_default();
    let status = response.code.unwrap_or_default();
    if status != 200 {
        return Err(format!("it answers {status}: it does not take the client's credentials"));
    }
    let chunked = response.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("transfer-encoding")
            && header.value.eq_ignore_ascii_case(b"chunked")
    });
    let whole;
    let body = if chunked {
        whole = unchunk(body).ok_or("its answer is cut off")?;
        &whole
    } else {
        body
    };
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "its answer has no access_token")?;
    let token = Zeroizing::new(answer.access_token);
    read(&token).ok_or_else(|| "its token has no `sub` or no `exp`".to_owned())
}

fn unchunk(mut rest: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut whole = Zeroizing::new(Vec::new());
    loop {
        let httparse::Status::Complete((start, size)) = httparse::parse_chunk_size(rest).ok()?
        else {
            return None;
        };
        let size = usize::try_from(size).ok()?;
        let chunk = rest.get(start..)?;
        if size == 0 {
            return Some(whole);
        }
        let (bytes, behind) = chunk.split_at_checked(size)?;
        whole.extend_from_slice(bytes);
        rest = behind.strip_prefix(b"\r\n")?;
    }
}

/// A value of a form (WHATWG URL, application/x-www-form-urlencoded).
fn form(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"*-._".contains(&byte);
    value
        .bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

    fn token() -> String {
        let claims = URL_SAFE_NO_PAD.encode(br#"{"sub":"billing","exp":2000000000}"#);
        format!("{{\"access_token\":\"e30.{claims}.c2ln\",\"expires_in\":20}}")
    }

    #[test]
    fn an_answer_is_read_whole_and_in_chunks() {
        let json = token();
        let (first, second) = json.split_at(10);
        let chunked = format!(
            "{HEAD}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        );
        for answer in [format!("{HEAD}\r\n{json}"), chunked] {
            let token = understand(answer.as_bytes()).unwrap();
            assert_eq!((token.subject.as_str(), token.expires_ms), ("billing", 2_000_000_000_000));
        }
    }

    // Threat: a token, or half of one, in a log.
    #[test]
    fn what_is_no_answer_is_told_without_what_it_holds() {
        for answer in [
            "",
            "hunter2",
            "HTTP/1.1 200 OK\r\nhunter2",
            "HTTP/1.1 401 No\r\n\r\nhunter2",
            "HTTP/1.1 302 Found\r\nLocation: https://evil/hunter2\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"hunter2\"}",
            "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"a.hunter2.c\"}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhunter2",
        ] {
            let why = understand(answer.as_bytes()).map(|_| ()).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_scope_is_written_as_forms_are() {
        assert_eq!(form("a b&c=ä"), "a+b%26c%3D%C3%A4");
    }
}
