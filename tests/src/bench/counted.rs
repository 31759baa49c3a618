//! What goes over a connection, counted below TLS, or by QUIC itself.
//!
//! Never: what the kernel puts round it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// By the client.
    pub sent: u64,
    /// By the client.
    pub received: u64,
}

impl Traffic {
    /// What came since.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self { sent: self.sent - before.sent, received: self.received - before.received }
    }
}

/// The counts of a TCP connection.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

/// Where a connection's bytes are counted.
#[derive(Debug)]
pub enum Meter {
    /// By [`Counted`].
    Counts(Arc<Counts>),
    /// By the connection: UDP payloads.
    Quic(quinn::Connection),
}

impl Meter {
    /// So far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        match self {
            Self::Counts(counts) => {
                Traffic { sent: counts.sent.load(Ordering::Relaxed), received: counts.received.load(Ordering::Relaxed) }
            }
            Self::Quic(connection) => {
                let stats = connection.stats();
                Traffic { sent: stats.udp_tx.bytes, received: stats.udp_rx.bytes }
            }
        }
    }
}

/// A TCP connection whose bytes are counted.
#[derive(Debug)]
pub struct Counted {
    inner: TcpStream,
    counts: Arc<Counts>,
}

impl Counted {
    /// From here on.
    #[must_use]
    pub fn new(inner: TcpStream) -> (Self, Arc<Counts>) {
        let counts = Arc::<Counts>::default();
        (Self { inner, counts: Arc::clone(&counts) }, counts)
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.counts.received.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(bytes)) = written {
            self.counts.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
