//! Frames over a WebSocket: one binary message is one frame, in fragments that bound what a connection buffers.
//!
//! Never: compression (it would tell lengths of ciphertext apart, and costs memory), or text.

use std::convert::Infallible;

use bytes::Bytes;
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::limits::FRAME_BYTES_MAX;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame as Fragment};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::framing::{Patience, ReadError, Sink, Source, WriteError, too_large, too_slow};
use crate::metrics::Meters;
use crate::paced::{Paced, Stalled};

/// What one read of the socket takes; the default of 128 KiB would cost every idle connection as much.
const READ_BUFFER_BYTES: usize = 4096;
/// A message goes out in fragments of this size, so that no connection keeps a buffer of a whole frame.
const FRAGMENT_BYTES: usize = 16 * 1024;
/// What goes out in one write to the socket, if it is ready together. A connection keeps a buffer of the most that it ever needed.
pub(crate) const TOGETHER_BYTES: usize = 4 * 1024;
/// Fragments and pongs that wait for the socket.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * FRAGMENT_BYTES;

/// Options that keep a connection small.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(TOGETHER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
}

/// Both halves of an upgraded connection.
pub(crate) async fn split<S: AsyncRead + AsyncWrite + Unpin + Send>(
    io: S,
    meters: &Meters,
    patience: Patience,
) -> (WebSocketSource<S>, WebSocketSink<S>) {
    let stream = WebSocketStream::from_raw_socket(Paced::new(io, patience), Role::Server, Some(config())).await;
    let (sink, stream) = stream.split();
    (WebSocketSource { stream, meters: meters.clone(), kept: None }, WebSocketSink { sink, meters: meters.clone() })
}

/// Frames that come in.
#[derive(Debug)]
pub(crate) struct WebSocketSource<S> {
    stream: SplitStream<WebSocketStream<Paced<S>>>,
    meters: Meters,
    /// What came while nothing was wanted.
    kept: Option<Result<Option<Bytes>, ReadError>>,
}

fn refused(code: ErrorCode, message: impl Into<String>) -> ReadError {
    ReadError::Refused { code, message: message.into() }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the library reports, nobody is there to be told")]
fn read_error(error: Error) -> ReadError {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, .. }) => too_large(&format!("a message of {size} B")),
        Error::Io(io) if Stalled::of(&io) == Some(Stalled::Reading) => too_slow(),
        Error::Io(io) if Stalled::of(&io) == Some(Stalled::Writing) => {
            refused(ErrorCode::TooSlow, "nothing was read for too long: read what is sent, or close")
        }
        // Nobody is there to be told.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ReadError::Lost(error.to_string()),
        Error::Protocol(protocol) => refused(ErrorCode::Malformed, format!("not WebSocket: {protocol}")),
        Error::Utf8(_) | Error::Capacity(_) => refused(ErrorCode::Malformed, error.to_string()),
        _ => ReadError::Lost(error.to_string()),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> WebSocketSource<S> {
    async fn read(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            let message = match self.stream.next().await {
                None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Ok(None),
                Some(Err(error)) => return Err(read_error(error)),
                Some(Ok(message)) => message,
            };
            match message {
                Message::Binary(frame) => {
                    self.meters.bytes_in.increment(frame.len() as u64);
                    return Ok(Some(frame));
                }
                Message::Text(_) => return Err(refused(ErrorCode::Malformed, "a text message: frames are binary messages")),
                // Pings are answered underneath, when the next message is waited for.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(_) => return Ok(None),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Source for WebSocketSource<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self.kept.take() {
            Some(kept) => kept,
            None => self.read().await,
        }
    }

    async fn attend(&mut self) -> Infallible {
        if self.kept.is_none() {
            self.kept = Some(self.read().await);
        }
        std::future::pending().await
    }
}

/// Frames that go out.
#[derive(Debug)]
pub(crate) struct WebSocketSink<S> {
    sink: SplitSink<WebSocketStream<Paced<S>>, Message>,
    meters: Meters,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the library reports, the connection is gone")]
fn write_error(error: Error) -> WriteError {
    match error {
        Error::Io(io) if Stalled::of(&io).is_some() => WriteError::TooSlow,
        _ => WriteError::Lost(error.to_string()),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> WebSocketSink<S> {
    /// Takes a frame; it may wait for [`flush`](Self::flush), but no more than [`TOGETHER_BYTES`] do.
    pub(crate) async fn feed(&mut self, frame: Bytes) -> Result<(), WriteError> {
        let mut rest = frame;
        let bytes = rest.len() as u64;
        let mut data = Data::Binary;
        loop {
            let fragment = rest.split_to(rest.len().min(FRAGMENT_BYTES));
            let message = Message::Frame(Fragment::message(fragment, OpCode::Data(data), rest.is_empty()));
            self.sink.feed(message).await.map_err(write_error)?;
            if rest.is_empty() {
                break;
            }
            data = Data::Continue;
        }
        self.meters.bytes_out.increment(bytes);
        Ok(())
    }

    /// Hands everything that was taken to the socket.
    pub(crate) async fn flush(&mut self) -> Result<(), WriteError> {
        self.sink.flush().await.map_err(write_error)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Sink for WebSocketSink<S> {
    async fn send(&mut self, frame: Bytes) -> Result<(), WriteError> {
        self.feed(frame).await?;
        self.flush().await
    }
}

/// Says why it ends, or answers the peer's close, then reads until the peer has closed too. Between the fragments of a message that the peer did not take
/// a close still has its place (RFC 6455, 5.4).
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin + Send>(
    source: WebSocketSource<S>,
    sink: WebSocketSink<S>,
    code: CloseCode,
    reason: &'static str,
) -> Result<(), WriteError> {
    // Two halves of one stream are one again.
    let Ok(mut stream) = sink.sink.reunite(source.stream) else { return Ok(()) };
    stream.get_mut().wait_again();
    let close = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let told = match stream.send(Message::Close(Some(close))).await {
        // The peer closed first: the answer to that is made, and waits to be written.
        Err(Error::Protocol(ProtocolError::SendAfterClosing)) => stream.flush().await,
        told => told,
    };
    match told {
        Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {}
        Err(error) => return Err(write_error(error)),
    }
    let mut io = stream.into_inner();
    let mut rest = [0; READ_BUFFER_BYTES];
    let lost = |error: std::io::Error| WriteError::Lost(error.to_string());
    io.shutdown().await.map_err(lost)?;
    while io.read(&mut rest).await.map_err(lost)? > 0 {}
    Ok(())
}
