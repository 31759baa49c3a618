//! Frames in and frames out, whatever carries them.
//!
//! Never: decoding one. A carrier checks lengths and pace, before it allocates.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::limits::{ACCOUNT_CONVERSATION_TIMEOUT, FRAME_BYTES_PER_SECOND_MIN, FRAME_GRACE, WRITE_STALL_MAX};
use tokio::time::Instant;

/// How long the other end of a connection may take over what it has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A frame may stall for that long before its pace counts: a lost packet or a sleeping radio is no attack.
    pub frame_grace: Duration,
    /// With bytes to send, a peer that takes none of them for that long is too slow.
    pub write_stall_max: Duration,
    /// How long it may take to read our last words and to close.
    pub close_timeout: Duration,
    /// From the first account call of a connection to its hello, or its end.
    pub account_calls_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            frame_grace: FRAME_GRACE,
            write_stall_max: WRITE_STALL_MAX,
            close_timeout: Duration::from_secs(1),
            account_calls_max: ACCOUNT_CONVERSATION_TIMEOUT,
        }
    }
}

/// Why no frame came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The peer broke a rule; it is told so.
    Refused { code: ErrorCode, message: String },
    /// The connection or stream is gone: nobody is there to be told.
    Lost(String),
}

/// Why a frame did not go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// The peer took nothing for `write_stall_max`.
    TooSlow,
    /// The connection or stream is gone.
    Lost(String),
}

/// Where frames come from.
pub(crate) trait Source: Send {
    /// The next frame, as encoded; `None` when the peer ended orderly.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ReadError>> + Send;

    /// While no frame is wanted: answers what the carrier's own pings ask, and keeps the frame that comes, if one does. Never ends.
    fn attend(&mut self) -> impl Future<Output = Infallible> + Send;
}

/// Does something long while the other end is attended to: it may ask meanwhile whether anybody is there.
pub(crate) async fn attending<R: Source, T>(source: &mut R, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = source.attend() => match never {},
    }
}

/// Where frames go.
pub(crate) trait Sink: Send {
    /// Hands a frame to the carrier; waits while the carrier's own bounded buffers are full.
    fn send(&mut self, frame: Bytes) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// How fast a frame that has begun is coming in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    graced: Instant,
    bytes: u64,
}

impl Pace {
    /// A frame's first byte is there.
    pub(crate) fn begun(now: Instant, grace: Duration) -> Self {
        Self { graced: now + grace, bytes: 0 }
    }
    /// More of it is there.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
    /// Until when the next byte must be there.
    pub(crate) fn deadline(&self) -> Instant {
        self.graced + Duration::from_millis(self.bytes.saturating_mul(1000) / FRAME_BYTES_PER_SECOND_MIN)
    }
}

/// What a frame that came in too slowly is refused with.
pub(crate) fn too_slow() -> ReadError {
    ReadError::Refused {
        code: ErrorCode::FrameTooSlow,
        message: format!("a frame came in at less than {FRAME_BYTES_PER_SECOND_MIN} B/s: send a frame whole, on a better link"),
    }
}

/// What a frame that is too long is refused with.
pub(crate) fn too_large(what: &str) -> ReadError {
    let bytes_max = cloudsync_protocol::limits::FRAME_BYTES_MAX;
    ReadError::Refused {
        code: ErrorCode::FrameTooLarge,
        message: format!("{what}, allowed are {bytes_max} B: split the push, ask for less"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_keeps_its_pace_is_given_time_by_its_bytes() {
        let start = Instant::now();
        let grace = Duration::from_secs(5);
        let mut pace = Pace::begun(start, grace);
        assert_eq!(pace.deadline(), start + grace);
        pace.add(250);
        assert_eq!(pace.deadline(), start + grace + Duration::from_millis(2500));
    }
}
