//! Frames over QUIC streams: each after its length, u32 big endian.
//!
//! Never: allocating what a length only claims.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::limits::FRAME_BYTES_MAX;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use tokio::time::Instant;

use crate::close;
use crate::framing::{Pace, Patience, ReadError, Sink, Source, WriteError, too_large, too_slow};
use crate::metrics::Meters;

const LENGTH_BYTES: usize = 4;
/// Room is made in steps of this, as bytes come in.
const STEP_BYTES: usize = 16 * 1024;

/// Frames that come in on one stream. What is read of a frame is kept here, so that waiting for the rest may be dropped.
#[derive(Debug)]
pub(crate) struct QuicSource {
    stream: RecvStream,
    meters: Meters,
    patience: Patience,
    length: Vec<u8>,
    body: BytesMut,
    pace: Option<Pace>,
}

impl QuicSource {
    pub(crate) fn new(stream: RecvStream, meters: &Meters, patience: Patience) -> Self {
        let (length, body) = (Vec::with_capacity(LENGTH_BYTES), BytesMut::new());
        Self { stream, meters: meters.clone(), patience, length, body, pace: None }
    }

    /// What has come in, at most `bytes_max` and at least one byte, within the frame's pace; `None` at the stream's end.
    async fn chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, ReadError> {
        let reading = self.stream.read_chunk(bytes_max, true);
        let read = match self.pace {
            None => reading.await,
            Some(pace) => tokio::time::timeout_at(pace.deadline(), reading).await.map_err(|_| too_slow())?,
        };
        let chunk = match read {
            Ok(chunk) => chunk.map(|chunk| chunk.bytes),
            Err(quinn::ReadError::ConnectionLost(ConnectionError::ApplicationClosed(_))) => None,
            Err(error) => return Err(ReadError::Lost(error.to_string())),
        };
        if let Some(bytes) = &chunk {
            self.pace.get_or_insert_with(|| Pace::begun(Instant::now(), self.patience.frame_grace)).add(bytes.len());
        }
        Ok(chunk)
    }

    /// Counts a frame, and makes ready for the next.
    fn whole(&mut self, frame: Bytes) -> Bytes {
        self.meters.bytes_in.increment((LENGTH_BYTES + frame.len()) as u64);
        self.length.clear();
        self.pace = None;
        frame
    }
}

fn cut_short() -> ReadError {
    ReadError::Refused { code: ErrorCode::Malformed, message: "the stream ended inside a frame".to_owned() }
}

impl Source for QuicSource {
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        while self.length.len() < LENGTH_BYTES {
            match self.chunk(LENGTH_BYTES - self.length.len()).await? {
                Some(chunk) => self.length.extend_from_slice(&chunk),
                None if self.length.is_empty() => return Ok(None),
                None => return Err(cut_short()),
            }
        }
        let length = self.length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length > FRAME_BYTES_MAX {
            return Err(too_large(&format!("a frame of {length} B")));
        }
        while self.body.len() < length {
            match self.chunk((length - self.body.len()).min(STEP_BYTES)).await? {
                Some(chunk) if chunk.len() == length => return Ok(Some(self.whole(chunk))),
                Some(chunk) => self.body.extend_from_slice(&chunk),
                None => return Err(cut_short()),
            }
        }
        let body = std::mem::take(&mut self.body).freeze();
        Ok(Some(self.whole(body)))
    }

    async fn attend(&mut self) -> Infallible {
        // The connection's driver acknowledges each packet, whatever is read.
        std::future::pending().await
    }
}

/// Frames that go out on one stream.
#[derive(Debug)]
pub(crate) struct QuicSink {
    stream: SendStream,
    meters: Meters,
    patience: Patience,
    /// A frame has begun and is not whole: a stream that just ended would end inside it.
    cut: bool,
}

impl Drop for QuicSink {
    fn drop(&mut self) {
        if self.cut {
            // Fails only on a stream that is closed already.
            let _ = self.stream.reset(VarInt::from_u32(close::quic(ErrorCode::TooSlow)));
        }
    }
}

impl QuicSink {
    pub(crate) fn new(stream: SendStream, meters: &Meters, patience: Patience) -> Self {
        Self { stream, meters: meters.clone(), patience, cut: false }
    }

    /// Nothing follows; waits until the peer has it all, if it can have it all.
    pub(crate) async fn finish(&mut self) {
        if !self.cut && self.stream.finish().is_ok() {
            // Acknowledged, refused or lost: it is over either way.
            let _ = self.stream.stopped().await;
        }
    }
}

impl Sink for QuicSink {
    async fn send(&mut self, frame: Bytes) -> Result<(), WriteError> {
        let length = u32::try_from(frame.len()).map_err(|_| WriteError::Lost("a frame over 4 GiB".to_owned()))?;
        let bytes = LENGTH_BYTES + frame.len();
        let mut chunks = [Bytes::copy_from_slice(&length.to_be_bytes()), frame];
        let mut rest = &mut chunks[..];
        self.cut = true;
        while !rest.is_empty() {
            let Ok(written) = tokio::time::timeout(self.patience.write_stall_max, self.stream.write_chunks(rest)).await else {
                // At once, not when it is dropped. It fails only on a stream that is closed already.
                let _ = self.stream.reset(VarInt::from_u32(close::quic(ErrorCode::TooSlow)));
                return Err(WriteError::TooSlow);
            };
            let written = written.map_err(|error| WriteError::Lost(error.to_string()))?;
            rest = rest.get_mut(written.chunks..).unwrap_or_default();
        }
        self.cut = false;
        self.meters.bytes_out.increment(bytes as u64);
        Ok(())
    }
}
