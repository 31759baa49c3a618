//! A WebSocket's byte stream that notices when a message comes in too slowly, or when its peer stops reading.
//!
//! Never: a timer while nothing is under way; an idle connection costs none.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::framing::{Pace, Patience};
use crate::message_progress::Progress;
use crate::write_stall::WriteStall;

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

/// The wrapped stream.
pub(crate) struct Paced<S> {
    inner: S,
    patience: Patience,
    progress: Progress,
    pace: Option<Pace>,
    reading: Option<Pin<Box<Sleep>>>,
    writing: WriteStall,
}

impl<S> fmt::Debug for Paced<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paced").field("pace", &self.pace).finish_non_exhaustive()
    }
}

impl<S> Paced<S> {
    pub(crate) fn new(inner: S, patience: Patience) -> Self {
        let writing = WriteStall::new(patience.write_stall_max);
        Self { inner, patience, progress: Progress::default(), pace: None, reading: None, writing }
    }

    /// Gives a peer that stopped reading as much time again, for our last words.
    pub(crate) fn wait_again(&mut self) {
        self.writing.wait_again();
    }

    /// The clock runs while a message is under way, whatever was delivered before it.
    fn came_in(&mut self, bytes: &[u8]) {
        let came = self.progress.add(bytes);
        if came.whole {
            self.pace = None;
        }
        if self.progress.is_under_way() {
            let grace = self.patience.frame_grace;
            self.pace.get_or_insert_with(|| Pace::begun(Instant::now(), grace)).add(came.bytes);
        }
        self.reading = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(read) => {
                this.came_in(buffer.filled().get(before..).unwrap_or_default());
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
        self.writing.watch(context, polled)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.writing.watch(context, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.writing.watch(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Bytes of a message that comes in one by one.
    const DRIPS: u8 = 50;
    const HOUR: Duration = Duration::from_secs(3600);
    /// A message of three bytes.
    const WHOLE: &[u8] = b"\x82\x03abc";
    const FIRST_FRAGMENT: &[u8] = b"\x02\x03abc";
    const LAST_FRAGMENT: &[u8] = b"\x80\x03abc";
    const PING: &[u8] = b"\x89\x01p";

    /// Reads what was sent, then waits for an hour; when and how that ended.
    async fn then_silence(sent: &[&[u8]]) -> (Duration, Option<Stalled>) {
        let (mut peer, near) = duplex(64);
        let mut paced = Paced::new(near, Patience::default());
        let idle = tokio::time::timeout(HOUR, paced.read_u8()).await;
        assert!(idle.is_err(), "idle is no stall");
        let sent = sent.concat();
        peer.write_all(&sent).await.unwrap();
        paced.read_exact(&mut vec![0; sent.len()]).await.unwrap();
        let begun = Instant::now();
        let stalled = tokio::time::timeout(HOUR, paced.read_u8()).await;
        (begun.elapsed(), stalled.ok().and_then(|read| Stalled::of(&read.unwrap_err())))
    }

    #[tokio::test(start_paused = true)]
    async fn silence_between_messages_is_no_stall() {
        for sent in [&[WHOLE][..], &[WHOLE, WHOLE], &[PING], &[FIRST_FRAGMENT, PING, LAST_FRAGMENT]] {
            assert_eq!(then_silence(sent).await.1, None, "{sent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_within_a_message_is_noticed_after_its_grace_whatever_came_before_or_between() {
        let half = &WHOLE[..4];
        for (sent, bytes) in [
            (&[half][..], 2),
            (&[&WHOLE[..1]], 0),
            (&[WHOLE, half], 2),
            (&[WHOLE, PING, half], 2),
            (&[FIRST_FRAGMENT], 3),
            (&[FIRST_FRAGMENT, PING], 3),
            (&[FIRST_FRAGMENT, &PING[..2]], 3),
            (&[&PING[..2]], 0),
        ] {
            let (after, stalled) = then_silence(sent).await;
            assert_eq!(stalled, Some(Stalled::Reading), "{sent:?}");
            let due = Patience::default().frame_grace + Duration::from_millis(10) * bytes;
            assert!(after >= due && after <= due + Duration::from_millis(2), "{sent:?}: noticed after {after:?}");
        }
    }

    /// Reads a message that begins with its head; after its grace each byte comes this much after the last moment.
    async fn drips(late: Duration, early: Duration) -> io::Result<()> {
        let patience = Patience::default();
        let (mut peer, near) = duplex(64);
        let mut paced = Paced::new(near, patience);
        let begun = Instant::now();
        let last = |number: u32| begun + patience.frame_grace + Duration::from_millis(10) * number;
        let writing = async {
            peer.write_all(&[0x82, DRIPS]).await.unwrap();
            for number in 0..u32::from(DRIPS) {
                tokio::time::sleep_until(last(number) + late - early).await;
                peer.write_all(b"a").await.unwrap();
            }
        };
        let reading = async { paced.read_exact(&mut [0; 2 + DRIPS as usize]).await.map(|_| ()) };
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
        let mut paced = Paced::new(near, Patience::default());
        let begun = Instant::now();
        let error = paced.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(Stalled::of(&error), Some(Stalled::Writing));
        assert!(begun.elapsed() >= Patience::default().write_stall_max);
    }
}
