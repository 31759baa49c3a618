//! How long a peer may take nothing of what is written to it.
//!
//! Never: a timer while nothing waits to be written.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::paced::Stalled;

/// Looks at how each attempt to write went.
#[derive(Debug)]
pub(crate) struct WriteStall {
    stall_max: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl WriteStall {
    pub(crate) const fn new(stall_max: Duration) -> Self {
        Self { stall_max, timer: None }
    }

    /// Gives the peer as much time again.
    pub(crate) fn wait_again(&mut self) {
        self.timer = None;
    }

    /// Passes on what came of an attempt; one that waits fails once the time is over.
    pub(crate) fn watch<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.timer = None;
            return polled;
        }
        let stall_max = self.stall_max;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Stalled::Writing)))
    }
}

/// Tells an [`HttpAnswers`] that its connection is HTTP no more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Upgraded(Arc<AtomicBool>);

impl Upgraded {
    /// From here on others look after it.
    pub(crate) fn reached(&self) {
        self.0.store(true, Ordering::Release);
    }
    fn is_reached(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection whose client must take its HTTP answers.
#[derive(Debug)]
pub(crate) struct HttpAnswers<S> {
    inner: S,
    stall: WriteStall,
    upgraded: Upgraded,
}

impl<S> HttpAnswers<S> {
    pub(crate) fn new(inner: S, stall_max: Duration) -> (Self, Upgraded) {
        let upgraded = Upgraded::default();
        (Self { inner, stall: WriteStall::new(stall_max), upgraded: upgraded.clone() }, upgraded)
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.upgraded.is_reached() { polled } else { self.stall.watch(context, polled) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HttpAnswers<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HttpAnswers<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, polled)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(context, polled)
    }
}
