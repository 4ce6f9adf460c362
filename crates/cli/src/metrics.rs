// SPDX-License-Identifier: MIT OR Apache-2.0
//! A little HTTP/1.1: `GET /metrics` and `GET /healthz`, and nothing else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chancery::Signals;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::exit::{Failure, Result, system_text};
use crate::out::warn;

const REQUEST_BYTES_MAX: usize = 8 << 10;
const CONNECTIONS_MAX: usize = 16;
const TIME_MAX: Duration = Duration::from_secs(5);

/// Reads `PORT`, `ADDR:PORT` or `[ADDR]:PORT`; a port alone is of this machine only.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.trim_start_matches(':').parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| "write PORT, or ADDRESS:PORT with a numeric address".to_owned())
}

/// Serves until the process ends.
pub(crate) async fn serve(address: SocketAddr, signals: Signals) -> Result<()> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let fix = "name another port, or stop whoever has this one";
        Failure::misuse(system_text(&error), format!("--metrics {address}"), fix)
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    warn(&format!("chancery: metrics at http://{bound}/metrics"));
    if !bound.ip().is_loopback() {
        warn("chancery: anyone who can reach this address can read them");
    }
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: let others finish.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let signals = signals.clone();
            tokio::spawn(async move {
                // Whoever is too slow is cut off.
                let _ = timeout(TIME_MAX, answer(stream, &signals)).await;
                drop(place);
            });
        }
    });
    Ok(())
}

async fn answer(mut stream: TcpStream, signals: &Signals) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !ends(&request) && request.len() < REQUEST_BYTES_MAX {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    let response = respond(&request, signals);
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

fn ends(request: &[u8]) -> bool {
    request.windows(4).any(|end| end == b"\r\n\r\n")
}

fn respond(request: &[u8], signals: &Signals) -> String {
    if !ends(request) {
        return response("431 Request Header Fields Too Large", TEXT, "too large\n");
    }
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    if !http || words.next().is_some() {
        return response("400 Bad Request", TEXT, "not HTTP/1\n");
    }
    let path = target.split('?').next().unwrap_or_default();
    match (path, method) {
        ("/metrics", "GET") => response("200 OK", OPENMETRICS, &signals.exposition()),
        ("/healthz", "GET") => response("200 OK", TEXT, "ok\n"),
        ("/metrics" | "/healthz", _) => {
            response("405 Method Not Allowed", "Allow: GET\r\nContent-Type: text/plain", "GET\n")
        }
        _ => response("404 Not Found", TEXT, "/metrics, /healthz\n"),
    }
}

const TEXT: &str = "Content-Type: text/plain; charset=utf-8";
const OPENMETRICS: &str =
    "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8";

fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str) -> String {
        let response = respond(request.as_bytes(), &Signals::default());
        response.split("\r\n").next().unwrap().to_owned()
    }

    #[test]
    fn only_two_pages_are_served() {
        assert_eq!(status("GET /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status("GET /healthz?x HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status("GET /../etc HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(status("GET /metrics\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        assert_eq!(status("GET / x HTTP/1.1\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        let huge = "a".repeat(REQUEST_BYTES_MAX);
        assert!(status(&huge).contains("431"));
    }

    // Metrics say how an attack fares; by default nobody else may read them.
    #[test]
    fn a_port_alone_is_loopback() {
        assert!(address("9464").unwrap().ip().is_loopback());
        assert!(address(":9464").unwrap().ip().is_loopback());
        assert!(!address("0.0.0.0:9464").unwrap().ip().is_loopback());
        assert!(address("localhost:1").is_err());
    }
}
