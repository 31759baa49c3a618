//! How frames reach a server: QUIC and WebSocket behind one link of frames.
//!
//! Never: what a frame means. Here are addresses, certificates, lengths and time limits.

pub mod address;
pub(crate) mod quic;
pub mod trust;
pub(crate) mod websocket;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cloudsync_protocol::limits::FRAME_BYTES_MAX;
use cloudsync_protocol::statement::Carrier;
use futures_util::FutureExt as _;
use futures_util::future::select_ok;
use tokio::time::Instant;

pub use address::{Address, AddressError, Scheme};
pub use trust::{Pin, PinError, Trust};

use trust::Rejection;

/// From the first packet to the server's challenge, in this process's own time. A device decides within it whether it is offline.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How soon it is noticed that a process stood still while it waited.
const AWAKE_STEP: Duration = Duration::from_millis(100);
/// How long one address of a host is tried alone before the next one joins in (RFC 8305, 5).
const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there, or not in time.
    #[error("can't reach {address}: {why}")]
    Unreachable { address: String, why: String },
    /// Somebody answers, with another certificate than the pinned one.
    #[error("{address} shows certificate {presented}, pinned is {pinned}: it is not that server, or its certificate was replaced")]
    CertificateNotPinned { address: String, pinned: Pin, presented: Pin },
    /// Somebody answers, with a certificate that nobody vouches for.
    #[error("{address} shows a certificate that can't be trusted ({why}); a self-made one must be pinned")]
    CertificateUntrusted { address: String, why: String },
}

impl ConnectError {
    fn of(address: &Address, rejection: Option<&Rejection>, why: String) -> Self {
        let address = address.to_string();
        match rejection {
            Some(Rejection::NotPinned { pinned, presented }) => {
                Self::CertificateNotPinned { address, pinned: *pinned, presented: *presented }
            }
            Some(Rejection::NotVouchedFor { why }) => Self::CertificateUntrusted { address, why: why.clone() },
            None => Self::Unreachable { address, why },
        }
    }
}

/// Why a link carries no more frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{0}")]
    Closed(String),
    #[error("a frame of {bytes} B, allowed are {FRAME_BYTES_MAX} B")]
    TooLarge { bytes: usize },
    #[error("a text message where frames are binary")]
    Text,
}

/// A connected carrier.
pub(crate) struct Link {
    pub(crate) carrier: Carrier,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) ear: Ear,
    /// With QUIC, where more streams come from.
    pub(crate) quic: Option<quic::Quic>,
}

/// Frames from the server, in order.
pub(crate) enum Reader {
    Quic(quinn::RecvStream),
    WebSocket(Box<websocket::Stream>),
}

/// Frames to the server, in order.
pub(crate) enum Writer {
    Quic(quinn::SendStream),
    WebSocket(Box<websocket::Sink>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.carrier.name())
    }
}

/// What tells a slow line from a dead one.
#[derive(Debug, Clone)]
pub(crate) enum Ear {
    /// Every datagram of the connection: requests under way are acknowledged bit by bit.
    Quic(quinn::Connection),
    /// Every read of the socket, and every write that waited for room in it.
    Socket(websocket::Heard),
}

impl Ear {
    /// Changes whenever anything came from the server.
    pub(crate) fn heard(&self) -> u64 {
        match self {
            Self::Quic(connection) => connection.stats().udp_rx.datagrams,
            Self::Socket(heard) => heard.count(),
        }
    }
}

impl Reader {
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        match self {
            Self::Quic(stream) => quic::read(stream).await,
            Self::WebSocket(stream) => websocket::read(stream).await,
        }
    }
}

impl Writer {
    pub(crate) async fn send(&mut self, frame: Bytes) -> Result<(), LinkError> {
        match self {
            Self::Quic(stream) => quic::write(stream, &frame).await,
            Self::WebSocket(sink) => websocket::write(sink, frame).await,
        }
    }

    /// Asks whether the other side is there: it answers underneath, whatever else it does.
    pub(crate) async fn ask(&mut self) -> Result<(), LinkError> {
        match self {
            // The connection asks by itself, often enough.
            Self::Quic(_) => Ok(()),
            Self::WebSocket(sink) => websocket::ask(sink).await,
        }
    }

    pub(crate) async fn close(&mut self) {
        match self {
            // The connection's close says it.
            Self::Quic(_) => {}
            Self::WebSocket(sink) => websocket::close(sink).await,
        }
    }
}

/// How much of `passed` counts of a wait that was to take `wanted`: a process that stood still, or a machine that slept, has
/// not listened meanwhile.
pub(crate) fn awake(passed: Duration, wanted: Duration) -> Duration {
    passed.min(wanted * 2)
}

/// Waits for so long of this process's own time.
pub(crate) async fn sleep_awake(time: Duration) {
    let mut left = time;
    while !left.is_zero() {
        let (step, begun) = (left.min(AWAKE_STEP), Instant::now());
        tokio::time::sleep(step).await;
        left = left.saturating_sub(awake(begun.elapsed(), step));
    }
}

/// Connects; the caller keeps the time.
pub(crate) async fn connect(address: &Address, trust: Trust) -> Result<Link, ConnectError> {
    match address.scheme {
        Scheme::Quic => {
            let (quic, send, receive) = quic::connect(address, trust).await?;
            let ear = Ear::Quic(quic.connection.clone());
            Ok(Link { carrier: Carrier::Quic, reader: Reader::Quic(receive), writer: Writer::Quic(send), ear, quic: Some(quic) })
        }
        Scheme::Wss | Scheme::Ws => {
            let (sink, stream) = websocket::connect(address, trust).await?;
            let ear = Ear::Socket(stream.heard());
            let (reader, writer) = (Reader::WebSocket(Box::new(stream)), Writer::WebSocket(Box::new(sink)));
            Ok(Link { carrier: Carrier::WebSocket, reader, writer, ear, quic: None })
        }
    }
}

/// The host's addresses; of a plain connection the loopback ones only.
async fn addresses(address: &Address) -> Result<Vec<SocketAddr>, ConnectError> {
    let unreachable = |why: String| ConnectError::of(address, None, why);
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await.map_err(|error| unreachable(error.to_string()))?;
    let allowed = |socket: &SocketAddr| address.scheme != Scheme::Ws || socket.ip().is_loopback();
    let found: Vec<SocketAddr> = found.filter(allowed).collect();
    if found.is_empty() { Err(unreachable("the name has no usable address".to_owned())) } else { Ok(found) }
}

/// The first attempt that succeeds, each started a little after the one before; else the last failure.
async fn first_of<T, F>(sockets: Vec<SocketAddr>, attempt: impl Fn(SocketAddr) -> F) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>> + Send,
{
    let staggered = sockets.into_iter().zip(0_u32..).map(|(socket, before)| {
        let attempt = attempt(socket);
        async move {
            tokio::time::sleep(NEXT_ADDRESS_DELAY * before).await;
            attempt.await
        }
        .boxed()
    });
    select_ok(staggered).await.map(|(connected, _)| connected)
}
