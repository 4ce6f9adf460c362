// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proxy fails as it is told to: a fault test on one that does not would prove nothing.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use chancery_testkit::proxy::{Proxy, Towards};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_millis(100);

/// A server that answers with what it hears, and a proxy before it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Proxy::to(port).await
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap()
}

async fn echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    hears(stream, text).await;
}

async fn hears(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text.as_bytes());
}

async fn is_reset(stream: &mut TcpStream) {
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn hears_nothing(stream: &mut TcpStream) {
    let heard = tokio::time::timeout(SOON, stream.read_u8()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn what_is_cut_is_reset_and_the_next_connection_works() {
    let proxy = echo().await;
    let (mut first, mut second) = (connect(&proxy).await, connect(&proxy).await);
    echoes(&mut first, "a").await;
    echoes(&mut second, "b").await;
    assert_eq!(proxy.connections(), 2);
    proxy.cut();
    is_reset(&mut first).await;
    is_reset(&mut second).await;
    echoes(&mut connect(&proxy).await, "c").await;
}

#[tokio::test]
async fn a_stall_holds_bytes_back_and_loses_none() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    echoes(&mut stream, "a").await;
    proxy.stall();
    stream.write_all(b"later").await.unwrap();
    hears_nothing(&mut stream).await;
    let mut other = connect(&proxy).await;
    other.write_all(b"too").await.unwrap();
    hears_nothing(&mut other).await;
    proxy.resume().await;
    hears(&mut stream, "later").await;
    hears(&mut other, "too").await;
}

#[tokio::test]
async fn what_is_refused_is_refused_until_it_is_resumed_at_the_same_port() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    echoes(&mut stream, "a").await;
    for _ in 0..20 {
        proxy.refuse().await;
        let at = (Ipv4Addr::LOCALHOST, proxy.port());
        let refused = TcpStream::connect(at).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.resume().await;
        echoes(&mut connect(&proxy).await, "b").await;
    }
    is_reset(&mut stream).await;
}

#[tokio::test]
async fn a_cut_comes_after_the_very_byte() {
    let proxy = echo().await;
    for towards in [Towards::Server, Towards::Client] {
        let mut stream = connect(&proxy).await;
        echoes(&mut stream, "a").await;
        proxy.cut_after(3, towards);
        stream.write_all(b"ab").await.unwrap();
        hears(&mut stream, "ab").await;
        stream.write_all(b"cd").await.unwrap();
        let mut heard = Vec::new();
        let error = stream.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(heard == b"c" || heard.is_empty(), "{heard:?}");
        echoes(&mut connect(&proxy).await, "a good deal more than three").await;
    }
}

#[tokio::test]
async fn what_is_delayed_comes_later_and_whole() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.delay(SOON);
    let started = Instant::now();
    echoes(&mut stream, "a").await;
    assert!(started.elapsed() >= 2 * SOON, "there and back took {:?}", started.elapsed());
    proxy.resume().await;
    echoes(&mut stream, "b").await;
}

#[tokio::test]
async fn an_end_is_passed_on_in_good_order() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last words");
}

// A test that leaves its proxy lying about must not leave connections open through it.
#[tokio::test]
async fn a_proxy_that_is_dropped_cuts_and_gives_its_port_to_who_waits() {
    let (first, other) = (echo().await, echo().await);
    let port = first.port();
    let mut stream = connect(&first).await;
    echoes(&mut stream, "a").await;
    let waiting = tokio::spawn(Proxy::at(port, other.port()));
    tokio::time::sleep(SOON).await;
    assert!(!waiting.is_finished());
    drop(first);
    is_reset(&mut stream).await;
    echoes(&mut connect(&waiting.await.unwrap()).await, "b").await;
}
