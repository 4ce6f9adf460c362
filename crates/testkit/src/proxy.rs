// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network that fails on command: a TCP proxy on loopback which cuts, stalls, delays and refuses.
//!
//! Clients of RabbitMQ, NATS and SQS stay on it when they are given its address. A Kafka client
//! goes where the server says that it is: the server has a listener that advertises a port where
//! nobody listens but a proxy ([`Proxy::at`]).

#![allow(clippy::unwrap_used, reason = "a test without its network has failed")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often a port is asked for that another test still has.
const PORT_EVERY: Duration = Duration::from_millis(50);

/// A proxy in front of one server. Dropping it cuts every connection.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// What the client sends.
    Server,
    /// What the server answers.
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    Stall,
    Refuse,
}

struct Shared {
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    listening: watch::Sender<bool>,
    /// Counts the cuts: a connection ends at the next one.
    cuts: watch::Sender<u64>,
    open: watch::Sender<usize>,
    delay_ms: AtomicU64,
    /// Bytes until all is cut, one count a direction; negative: without end.
    left_to_server: AtomicI64,
    left_to_client: AtomicI64,
}

impl Proxy {
    /// In front of a server on loopback, at a port that is free.
    pub async fn to(server_port: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Proxy::start(listener, server_port)
    }

    /// The same at a port of the caller's; waits until no other test has it.
    pub async fn at(port: u16, server_port: u16) -> Proxy {
        Proxy::start(listen(port).await, server_port)
    }

    fn start(listener: TcpListener, server_port: u16) -> Proxy {
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: (Ipv4Addr::LOCALHOST, server_port).into(),
            mode: watch::Sender::new(Mode::Forward),
            listening: watch::Sender::new(true),
            cuts: watch::Sender::new(0),
            open: watch::Sender::new(0),
            delay_ms: AtomicU64::new(0),
            left_to_server: AtomicI64::new(-1),
            left_to_client: AtomicI64::new(-1),
        });
        let accepting = tokio::spawn(accept(shared.clone(), listener));
        Proxy { port, shared, accepting }
    }

    /// Where clients connect, on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection; new ones are forwarded.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Forwards so many bytes more, then resets every connection; new ones are forwarded.
    pub fn cut_after(&self, bytes: u32, towards: Towards) {
        self.shared.left(towards).store(bytes.into(), Ordering::SeqCst);
    }

    /// Holds every byte back, and loses none: connections stay open, new ones are accepted.
    pub fn stall(&self) {
        self.shared.mode.send_replace(Mode::Stall);
    }

    /// Resets every connection and accepts no new one, until [`Proxy::resume`].
    pub async fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refuse);
        self.shared.cut();
        self.shared.listens(false).await;
    }

    /// Forwards again, at once.
    pub async fn resume(&self) {
        self.shared.delay_ms.store(0, Ordering::SeqCst);
        self.shared.mode.send_replace(Mode::Forward);
        self.shared.listens(true).await;
    }

    /// Forwards everything so much later.
    pub fn delay(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap();
        self.shared.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        *self.shared.open.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.cut();
    }
}

impl Shared {
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    async fn listens(&self, wanted: bool) {
        self.listening.subscribe().wait_for(|is| *is == wanted).await.unwrap();
    }

    fn left(&self, towards: Towards) -> &AtomicI64 {
        match towards {
            Towards::Server => &self.left_to_server,
            Towards::Client => &self.left_to_client,
        }
    }

    /// How many of so many bytes may still go this way.
    fn allowed(&self, towards: Towards, bytes: usize) -> usize {
        let bytes = i64::try_from(bytes).unwrap();
        let take = |left: i64| (left >= 0).then(|| (left - bytes).max(0));
        let before = self.left(towards).try_update(Ordering::SeqCst, Ordering::SeqCst, take);
        usize::try_from(before.map_or(bytes, |left| left.min(bytes))).unwrap()
    }

    fn used_up(&self, towards: Towards) -> bool {
        let none_left =
            self.left(towards).compare_exchange(0, -1, Ordering::SeqCst, Ordering::SeqCst);
        none_left.is_ok()
    }
}

async fn listen(port: u16) -> TcpListener {
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(PORT_EVERY).await;
            }
            bound => return bound.unwrap(),
        }
    }
}

async fn accept(shared: Arc<Shared>, mut listener: TcpListener) {
    let port = listener.local_addr().unwrap().port();
    let mut mode = shared.mode.subscribe();
    loop {
        if *mode.borrow_and_update() == Mode::Refuse {
            drop(listener);
            shared.listening.send_replace(false);
            mode.wait_for(|mode| *mode != Mode::Refuse).await.unwrap();
            listener = listen(port).await;
            shared.listening.send_replace(true);
        }
        // Whoever was accepted before a cut is cut, whoever comes after it is not.
        let mut cuts = shared.cuts.subscribe();
        let client = tokio::select! {
            biased;
            _ = mode.changed() => continue,
            _ = cuts.changed() => continue,
            accepted = listener.accept() => accepted,
        };
        if let Ok((client, _)) = client {
            tokio::spawn(connection(shared.clone(), client, cuts));
        }
    }
}

async fn connection(shared: Arc<Shared>, mut client: TcpStream, mut cuts: watch::Receiver<u64>) {
    let Ok(mut server) = TcpStream::connect(shared.upstream).await else {
        return client.set_zero_linger().unwrap();
    };
    shared.open.send_modify(|open| *open += 1);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        tokio::try_join!(
            pump(&shared, from_client, to_server, Towards::Server),
            pump(&shared, from_server, to_client, Towards::Client),
        )
    };
    let ended_well = tokio::select! {
        _ = cuts.changed() => false,
        ended = both => ended.is_ok(),
    };
    if !ended_well {
        // What was not sent is lost, and the other side is told at once.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    shared.open.send_modify(|open| *open -= 1);
}

async fn pump(
    shared: &Shared,
    mut from: tcp::ReadHalf<'_>,
    mut to: tcp::WriteHalf<'_>,
    towards: Towards,
) -> io::Result<()> {
    let mut mode = shared.mode.subscribe();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut chunk).await?;
        mode.wait_for(|mode| *mode == Mode::Forward).await.map_err(io::Error::other)?;
        tokio::time::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::SeqCst))).await;
        if read == 0 {
            return to.shutdown().await;
        }
        let allowed = shared.allowed(towards, read);
        to.write_all(chunk.get(..allowed).unwrap_or_default()).await?;
        if shared.used_up(towards) {
            shared.cut();
        }
    }
}
