//! A client that costs little: a session over any carrier, frames in and frames out.
//!
//! Never: the SDK's connections. Thousands of these share one core, and theirs is not the time that is measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cloudsync_client::carrier::Trust;
use cloudsync_client::connection::Server;
use cloudsync_client::keys::DeviceKeys;
use cloudsync_client::statement::hello_proof;
use cloudsync_protocol::frame::{Attach, Claim, Hello, OWN_LOG};
use cloudsync_protocol::limits::{ALPN, PROTOCOL_VERSION, WEBSOCKET_PATH};
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{Cursor, Frame, codec};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::counted::{Counted, Counts, Meter, Traffic};
use super::line::{Framing, Reader, Writer};
use crate::node::Wire;
use crate::pinned::pinned;

/// How to reach a node: what all its clients share.
#[derive(Debug, Clone)]
pub struct Dialler {
    wire: Wire,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    endpoint: Option<quinn::Endpoint>,
}

impl Dialler {
    /// For that node and wire.
    pub fn new(server: &Server, wire: Wire) -> anyhow::Result<Self> {
        let Trust::Pinned(pin) = server.trust else { bail!("a bench trusts a pinned certificate only") };
        let address = SocketAddr::new(server.address.host.parse()?, server.address.port);
        let alpn = if wire == Wire::Quic { ALPN } else { b"http/1.1" };
        // A storm of strangers, not of clients that remember.
        let mut tls = pinned(pin.0, alpn)?;
        tls.resumption = rustls::client::Resumption::disabled();
        let tls = Arc::new(tls);
        let endpoint = match wire {
            Wire::Quic => Some(endpoint(&tls)?),
            Wire::Wss | Wire::Ws => None,
        };
        Ok(Self { wire, address, tls, endpoint })
    }

    /// Connects, as far as a bare echo could be connected to as well: TLS and the WebSocket's upgrade, or QUIC and its first stream.
    pub async fn dial(&self) -> anyhow::Result<Line> {
        match self.wire {
            Wire::Quic => {
                let endpoint = self.endpoint.as_ref().context("no endpoint")?;
                let connection = endpoint.connect(self.address, "localhost")?.await?;
                let (send, receive) = connection.accept_bi().await?;
                let (reader, writer) = (Reader::new(receive, Framing::Length), Writer::new(send, Framing::Length));
                Ok(Line { reader, writer, meter: Meter::Quic(connection) })
            }
            Wire::Wss => {
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                let (stream, counts) = Counted::new(self.tcp().await?);
                let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
                let (read, write) = tokio::io::split(upgraded(stream).await?);
                Ok(Line::websocket(read, write, counts))
            }
            Wire::Ws => {
                let (stream, counts) = Counted::new(self.tcp().await?);
                let (read, write) = tokio::io::split(upgraded(stream).await?);
                Ok(Line::websocket(read, write, counts))
            }
        }
    }

    /// Only the carrier's part: TLS and the upgrade, or QUIC, without anything of ours.
    pub async fn handshake(&self) -> anyhow::Result<()> {
        match &self.endpoint {
            Some(endpoint) => drop(endpoint.connect(self.address, "localhost")?.await?),
            None => drop(self.dial().await?),
        }
        Ok(())
    }

    async fn tcp(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Connects and opens a session.
    pub async fn open(&self, device: &DeviceKeys, token: &str) -> anyhow::Result<Seat> {
        let mut line = self.dial().await?;
        let challenge = match line.reader.frame().await? {
            Frame::Challenge(challenge) => challenge,
            other => bail!("a challenge was due, there came {}", other.name()),
        };
        let carrier = if self.wire == Wire::Quic { Carrier::Quic } else { Carrier::WebSocket };
        let signature = hello_proof(device, &challenge.nonce, carrier, token)?;
        let (version_min, version_max) = (PROTOCOL_VERSION, PROTOCOL_VERSION);
        let hello = Hello { version_min, version_max, token: token.to_owned(), device: device.id, signature, client: "bench".to_owned() };
        line.writer.send(&hello.into()).await?;
        match line.reader.frame().await? {
            Frame::Welcome(_) => {}
            other => bail!("a welcome was due, there came {other:?}"),
        }
        Ok(Seat { control: line.reader, events: None, writer: line.writer, meter: line.meter, requests: 0 })
    }
}

fn endpoint(tls: &Arc<ClientConfig>) -> anyhow::Result<quinn::Endpoint> {
    let crypto = QuicClientConfig::try_from(Arc::clone(tls))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = quinn::TransportConfig::default();
    // Thousands are idle at a time; the node's own idle time-out is longer than any bench.
    transport.keep_alive_interval(None).max_idle_timeout(None);
    config.transport_config(Arc::new(transport));
    let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// The opening handshake of a WebSocket, without a look at what is answered but for its status.
async fn upgraded<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> anyhow::Result<S> {
    let head = format!(
        "GET {WEBSOCKET_PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    // By the byte: what follows the head is a frame's.
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    if answer.starts_with(b"HTTP/1.1 101") { Ok(stream) } else { bail!("{}", String::from_utf8_lossy(&answer)) }
}

/// A connection without a session.
#[derive(Debug)]
pub struct Line {
    /// What comes in.
    pub reader: Reader,
    /// What goes out.
    pub writer: Writer,
    meter: Meter,
}

impl Line {
    fn websocket(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        counts: Arc<Counts>,
    ) -> Self {
        let (reader, writer) = (Reader::new(read, Framing::WebSocket), Writer::new(write, Framing::WebSocket));
        Self { reader, writer, meter: Meter::Counts(counts) }
    }
}

/// A session.
#[derive(Debug)]
pub struct Seat {
    /// Answers; events too, over a WebSocket.
    pub control: Reader,
    /// Events, where they have a stream of their own.
    pub events: Option<Reader>,
    /// Requests.
    pub writer: Writer,
    meter: Meter,
    requests: u32,
}

impl Seat {
    /// What went over the line so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.meter.traffic()
    }

    /// The next request's number.
    pub fn request(&mut self) -> u32 {
        self.requests += 1;
        self.requests
    }

    /// The next frame of either stream.
    pub async fn frame(&mut self) -> anyhow::Result<Frame> {
        let bytes = loop {
            match (&self.meter, &mut self.events) {
                (Meter::Counts(_), _) => break self.control.bytes().await?,
                (Meter::Quic(_), Some(events)) => tokio::select! {
                    biased;
                    bytes = self.control.bytes() => break bytes?,
                    bytes = events.bytes() => break bytes?,
                },
                // The stream is there once something was sent on it.
                (Meter::Quic(connection), None) => tokio::select! {
                    biased;
                    bytes = self.control.bytes() => break bytes?,
                    stream = connection.accept_uni() => self.events = Some(Reader::new(stream?, Framing::Length)),
                },
            }
        };
        Ok(codec::decode(&bytes)?)
    }

    /// Sends a frame that is encoded already.
    pub async fn send(&mut self, frame: &Bytes) -> anyhow::Result<()> {
        self.writer.send_bytes(frame).await
    }

    /// Asks for events from the head on.
    pub async fn attach(&mut self) -> anyhow::Result<()> {
        let request = self.request();
        self.writer.send(&Attach { request, log: OWN_LOG, cursor: Cursor::default() }.into()).await?;
        loop {
            match self.frame().await? {
                Frame::Attached(_) => return Ok(()),
                Frame::Failure(failure) => bail!("{failure:?}"),
                _ => {}
            }
        }
    }

    /// Asks to be the one that pushes.
    pub async fn claim(&mut self) -> anyhow::Result<()> {
        let request = self.request();
        self.writer.send(&Claim { request, log: OWN_LOG }.into()).await?;
        loop {
            match self.frame().await? {
                Frame::Claimed(_) => return Ok(()),
                Frame::Failure(failure) => bail!("{failure:?}"),
                _ => {}
            }
        }
    }
}
