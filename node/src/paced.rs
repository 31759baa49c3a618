//! A byte stream that notices when a frame comes in too slowly, or when its peer stops reading.
//!
//! Never: a timer while nothing is under way; an idle connection costs none.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::framing::{Pace, Patience};

/// Which way it stalled; inside the [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stalled {
    /// A frame came in too slowly.
    #[error("a frame came in too slowly")]
    Reading,
    /// The peer took nothing for too long.
    #[error("the peer takes nothing")]
    Writing,
}

impl Stalled {
    /// The stall that an error is, if it is one.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

/// Told by the reader that a frame is whole, so that the wait for the next one is not timed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FrameEnd(Arc<AtomicBool>);

impl FrameEnd {
    /// A frame is whole: the next byte begins another.
    pub(crate) fn reached(&self) {
        self.0.store(true, Ordering::Release);
    }
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// The wrapped stream.
pub(crate) struct Paced<S> {
    inner: S,
    patience: Patience,
    frame_end: FrameEnd,
    pace: Option<Pace>,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> fmt::Debug for Paced<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paced").field("pace", &self.pace).finish_non_exhaustive()
    }
}

impl<S> Paced<S> {
    pub(crate) fn new(inner: S, patience: Patience) -> (Self, FrameEnd) {
        let frame_end = FrameEnd::default();
        (Self { inner, patience, frame_end: frame_end.clone(), pace: None, reading: None, writing: None }, frame_end)
    }

    /// Gives a peer that stopped reading as much time again, for our last words.
    pub(crate) fn wait_again(&mut self) {
        self.writing = None;
    }

    /// Clears or arms the timer of writing.
    fn stalled_writing<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.writing = None;
            return polled;
        }
        let stall_max = self.patience.write_stall_max;
        let timer = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Stalled::Writing)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.frame_end.take() {
            this.pace = None;
            this.reading = None;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(read) => {
                let pace = this.pace.get_or_insert_with(|| Pace::begun(Instant::now(), this.patience.frame_grace));
                pace.add(buffer.filled().len() - before);
                this.reading = None;
                Poll::Ready(read)
            }
            Poll::Pending => {
                let Some(pace) = this.pace else { return Poll::Pending };
                let timer = this.reading.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(pace.deadline())));
                ready!(timer.as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Stalled::Reading)))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.stalled_writing(context, polled)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.stalled_writing(context, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.stalled_writing(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_stalls_half_way_is_noticed_and_an_idle_stream_is_not() {
        let (mut peer, near) = duplex(64);
        let (mut paced, frame_end) = Paced::new(near, Patience::default());
        let idle = tokio::time::timeout(Duration::from_secs(3600), paced.read_u8()).await;
        assert!(idle.is_err(), "idle is no stall");
        peer.write_all(b"ab").await.unwrap();
        paced.read_u8().await.unwrap();
        paced.read_u8().await.unwrap();
        frame_end.reached();
        assert!(tokio::time::timeout(Duration::from_secs(3600), paced.read_u8()).await.is_err(), "between frames is no stall");
        peer.write_all(b"c").await.unwrap();
        paced.read_u8().await.unwrap();
        let error = paced.read_u8().await.unwrap_err();
        assert_eq!(Stalled::of(&error), Some(Stalled::Reading));
    }

    /// Reads a frame that begins with one byte; after its grace each other one comes this much after the last moment.
    async fn drips(late: Duration, early: Duration) -> io::Result<()> {
        let patience = Patience::default();
        let (mut peer, near) = duplex(64);
        let (mut paced, _) = Paced::new(near, patience);
        let begun = Instant::now();
        let last = |number: u32| begun + patience.frame_grace + Duration::from_millis(10) * number;
        let writing = async {
            for number in 0..50 {
                if number > 0 {
                    tokio::time::sleep_until(last(number) + late - early).await;
                }
                peer.write_all(b"a").await.unwrap();
            }
        };
        let reading = async {
            for _ in 0..50 {
                paced.read_u8().await?;
            }
            Ok(())
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_at_100_bytes_a_second_goes_through_and_a_slower_one_does_not() {
        let moment = Duration::from_millis(2);
        drips(Duration::ZERO, moment).await.unwrap();
        let error = drips(moment, Duration::ZERO).await.unwrap_err();
        assert_eq!(Stalled::of(&error), Some(Stalled::Reading));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_noticed() {
        let (_peer, near) = duplex(4);
        let (mut paced, _) = Paced::new(near, Patience::default());
        let begun = Instant::now();
        let error = paced.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(Stalled::of(&error), Some(Stalled::Writing));
        assert!(begun.elapsed() >= Patience::default().write_stall_max);
    }
}
