// SPDX-License-Identifier: MIT OR Apache-2.0
//! The socket as the client library sees it: TLS or not, and behind the guard.

use std::future::{Future, Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::guard::{Guard, TooLarge};

const READ_BYTES: usize = 64 << 10;

/// What bytes travel on.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A socket behind a [`Guard`].
pub(super) struct Transport {
    socket: Box<dyn Socket>,
    guard: Guard,
    came: Box<[u8]>,
    ready: Vec<u8>,
    taken: usize,
    server: Arc<Mutex<Option<String>>>,
}

impl Transport {
    /// What the server calls itself is left in `server`.
    pub(super) fn new(socket: Box<dyn Socket>, server: Arc<Mutex<Option<String>>>) -> Transport {
        let came = vec![0; READ_BYTES].into_boxed_slice();
        Transport { socket, guard: Guard::default(), came, ready: Vec::new(), taken: 0, server }
    }

    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let left = self.ready.get(self.taken..).unwrap_or_default();
        let count = left.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(left) {
            *to = *from;
        }
        self.taken += count;
        if self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
        }
        count
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.came);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let came = buffer.filled();
        self.guard
            .pass(came, &mut self.ready)
            .map_err(|TooLarge| io::Error::other("the server sent a frame that is too large"))?;
        if let Some(server) = self.guard.server.take() {
            *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        }
        Poll::Ready(Ok(came.len()))
    }
}

impl futures_io::AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        while self.ready.is_empty() {
            if ready!(self.fill(cx))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
        Poll::Ready(Ok(self.give(buffer)))
    }
}

impl futures_io::AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Tokio, but for the sockets: the library is handed ours and opens none.
#[derive(Clone, Debug)]
pub(super) struct Kit(pub(super) Tokio);

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, f: F) -> T {
        self.0.block_on(f)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(f)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(f)
    }
}

impl Reactor for Kit {
    type TcpStream = Transport;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl futures_io::AsyncRead + futures_io::AsyncWrite + Send + Unpin + 'static>
    {
        Err::<Transport, _>(no_socket())
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    fn tcp_connect_addr(
        &self,
        _addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Transport>> + Send + 'static {
        refused()
    }
}

fn refused() -> Ready<io::Result<Transport>> {
    ready(Err(no_socket()))
}

fn no_socket() -> io::Error {
    io::Error::other("sockets are opened before the client library is asked")
}
