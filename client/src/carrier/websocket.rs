//! WebSocket, over TLS or on loopback in the clear: one binary message is one frame.
//!
//! Never: a text message, the compression extension, or a token in the URL.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use cloudsync_protocol::limits::{FRAME_BYTES_MAX, WEBSOCKET_PATH};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::address::{Address, Scheme};
use super::trust::{Trust, tls};
use super::{ConnectError, LinkError, addresses, first_of};

const READ_BUFFER_BYTES: usize = 16 * 1024;
/// What the kernel keeps of requests that are not acknowledged, and as much again: a line of 32 kB/s carries it within the silence
/// that decides, and with 50 ms of round trip one carries 1 MB/s.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
const ALPN_HTTP: &[u8] = b"http/1.1";

/// Bytes both ways, encrypted or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Socket = WebSocketStream<Ended>;

/// Messages to the server.
pub(crate) struct Sink {
    messages: SplitSink<Socket, Message>,
    is_leaving: Arc<AtomicBool>,
}

/// Messages from the server.
pub(crate) struct Stream {
    messages: SplitStream<Socket>,
    heard: Heard,
}

/// How often anything came from the server, or went there: a frame that takes long on a slow line is no silence, whichever
/// way it goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<AtomicU64>);

impl Heard {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Stream {
    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
    }
}

/// A socket that counts what it reads, and what it takes after it was full: only what the other side acknowledged makes room.
struct Counted {
    stream: TcpStream,
    heard: Heard,
    was_full: bool,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.heard.note();
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if std::mem::replace(&mut self.was_full, written.is_pending()) && written.is_ready() {
            self.heard.note();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Bytes both ways whose last flush, once we leave, says that nothing more comes: to TLS, where there is any, and to TCP.
struct Ended {
    io: Box<dyn Io>,
    is_leaving: Arc<AtomicBool>,
}

impl AsyncRead for Ended {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Ended {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(Pin::new(&mut self.io).poll_flush(context))?;
        if self.is_leaving.load(Ordering::Relaxed) { Pin::new(&mut self.io).poll_shutdown(context) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Connects and upgrades.
pub(crate) async fn connect(address: &Address, trust: Trust) -> Result<(Sink, Stream), ConnectError> {
    let unreachable = |why: String| ConnectError::of(address, None, why);
    let attempt = |socket| async move {
        let stream = TcpStream::connect(socket).await.map_err(|error| unreachable(error.to_string()))?;
        // Without it a small frame waits for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES).map_err(|error| unreachable(error.to_string()))?;
        Ok(stream)
    };
    let heard = Heard::default();
    let stream = first_of(addresses(address).await?, attempt).await?;
    let stream = Counted { stream, heard: heard.clone(), was_full: false };
    let io: Box<dyn Io> = match address.scheme {
        Scheme::Ws | Scheme::Quic => Box::new(stream),
        Scheme::Wss => {
            let tls = tls(trust, ALPN_HTTP);
            let name = ServerName::try_from(address.host.clone()).map_err(|error| unreachable(error.to_string()))?;
            let connected = TlsConnector::from(Arc::new(tls.config)).connect(name, stream).await;
            Box::new(connected.map_err(|error| ConnectError::of(address, tls.rejection.get(), error.to_string()))?)
        }
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    // TLS, where there is any, is underneath already.
    let url = format!("ws://{}{WEBSOCKET_PATH}", address.authority());
    let is_leaving = Arc::<AtomicBool>::default();
    let io = Ended { io, is_leaving: Arc::clone(&is_leaving) };
    let upgraded = tokio_tungstenite::client_async_with_config(url, io, Some(config)).await;
    let (socket, _) = upgraded.map_err(|error| unreachable(error.to_string()))?;
    let (sink, messages) = socket.split();
    Ok((Sink { messages: sink, is_leaving }, Stream { messages, heard }))
}

/// One frame, one message.
pub(crate) async fn write(sink: &mut Sink, frame: Bytes) -> Result<(), LinkError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(LinkError::TooLarge { bytes: frame.len() });
    }
    sink.messages.send(Message::Binary(frame)).await.map_err(|error| LinkError::Closed(error.to_string()))
}

/// Asks whether the server is there.
pub(crate) async fn ask(sink: &mut Sink) -> Result<(), LinkError> {
    sink.messages.send(Message::Ping(Bytes::new())).await.map_err(|error| LinkError::Closed(error.to_string()))
}

/// The next frame; nothing once the server has closed.
pub(crate) async fn read(stream: &mut Stream) -> Result<Option<Bytes>, LinkError> {
    loop {
        match stream.messages.next().await {
            None | Some(Ok(Message::Close(_))) => return Ok(None),
            Some(Ok(Message::Binary(frame))) => return Ok(Some(frame)),
            Some(Ok(Message::Text(_))) => return Err(LinkError::Text),
            // Answered underneath.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return Err(LinkError::Closed(error.to_string())),
        }
    }
}

/// Says that we are done.
pub(crate) async fn close(sink: &mut Sink) {
    sink.is_leaving.store(true, Ordering::Relaxed);
    // Whoever is gone already need not be told.
    drop(sink.messages.close().await);
}
