//! A client that sends whatever bytes it is told to, and says what comes back: frames, then how the connection closed.
//!
//! Never: the SDK's carriers; a mistake that both ends share would not be seen.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects and fails on the rest")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cloudsync_client::carrier::{Scheme, Trust};
use cloudsync_client::connection::Server;
use cloudsync_client::keys::DeviceKeys;
use cloudsync_client::statement::hello_proof;
use cloudsync_protocol::frame::{Challenge, Hello, Welcome};
use cloudsync_protocol::limits::{ALPN, PROTOCOL_VERSION, WEBSOCKET_PATH};
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{DeviceId, Failure, Frame, Hash, Signature, codec};
use futures_util::{SinkExt as _, StreamExt as _};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::node::{TestNode, Wire};
use crate::person::Person;
use crate::pinned::pinned;

/// Longer than every deadline of the node's that a test waits for, short of a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A frame.
    Frame(Box<Frame>),
    /// The connection closed with this code and reason.
    Closed {
        /// The WebSocket's or QUIC's own.
        code: u32,
        /// An error code's name, or `closed`.
        reason: String,
    },
    /// The connection broke off without a word.
    Lost(String),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

enum Link {
    Quic { endpoint: Endpoint, connection: quinn::Connection, send: SendStream, receive: RecvStream },
    WebSocket(Box<WebSocketStream<Box<dyn Io>>>),
}

/// The client.
pub struct RawClient {
    link: Link,
}

impl std::fmt::Debug for RawClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawClient")
    }
}

impl RawClient {
    /// Connects; the challenge is still to be read.
    pub async fn connect(node: &TestNode, wire: Wire) -> anyhow::Result<Self> {
        Self::connect_to(&node.server(wire)?).await
    }

    /// The same, wherever the node is; its certificate must be pinned.
    pub async fn connect_to(server: &Server) -> anyhow::Result<Self> {
        let Trust::Pinned(pin) = server.trust else { bail!("a raw client trusts a pinned certificate only") };
        let address = SocketAddr::new(server.address.host.parse()?, server.address.port);
        let wire = server.address.scheme;
        let link = match wire {
            Scheme::Quic => return Self::connect_quic(server, TransportConfig::default()).await,
            Scheme::Wss | Scheme::Ws => {
                let stream = TcpStream::connect(address).await?;
                let io: Box<dyn Io> = if wire == Scheme::Wss { Box::new(over_tls(stream, pin.0).await?) } else { Box::new(stream) };
                let (socket, _) = tokio_tungstenite::client_async(format!("ws://{address}{WEBSOCKET_PATH}"), io).await?;
                Link::WebSocket(Box::new(socket))
            }
        };
        Ok(Self { link })
    }

    /// The same over QUIC, with windows and numbers of streams that the caller chooses.
    pub async fn connect_quic(server: &Server, transport: TransportConfig) -> anyhow::Result<Self> {
        let Trust::Pinned(pin) = server.trust else { bail!("a raw client trusts a pinned certificate only") };
        let address = SocketAddr::new(server.address.host.parse()?, server.address.port);
        let crypto = QuicClientConfig::try_from(pinned(pin.0, ALPN)?)?;
        let endpoint = Endpoint::client((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let connection = endpoint.connect_with(config, address, "localhost")?.await?;
        let (send, receive) = within(connection.accept_bi()).await??;
        Ok(Self { link: Link::Quic { endpoint, connection, send, receive } })
    }

    /// What hello signs.
    #[must_use]
    pub const fn carrier(&self) -> Carrier {
        match self.link {
            Link::Quic { .. } => Carrier::Quic,
            Link::WebSocket(_) => Carrier::WebSocket,
        }
    }

    /// The QUIC connection.
    pub fn quic(&self) -> anyhow::Result<&quinn::Connection> {
        match &self.link {
            Link::Quic { connection, .. } => Ok(connection),
            Link::WebSocket(_) => bail!("not QUIC"),
        }
    }

    /// Sends these bytes as one frame.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        match &mut self.link {
            Link::Quic { send, .. } => {
                send.write_all(&u32::try_from(bytes.len())?.to_be_bytes()).await?;
                send.write_all(&bytes).await?;
            }
            Link::WebSocket(socket) => socket.send(Message::Binary(bytes.into())).await?,
        }
        Ok(())
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: impl Into<Frame>) -> anyhow::Result<()> {
        self.send_bytes(codec::encode(&frame.into())).await
    }

    /// Sends bytes as they are, without a length or a WebSocket's head: on the control stream, or below the WebSocket.
    pub async fn send_unframed(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.link {
            Link::Quic { send, .. } => send.write_all(bytes).await?,
            Link::WebSocket(socket) => {
                socket.get_mut().write_all(bytes).await?;
                socket.get_mut().flush().await?;
            }
        }
        Ok(())
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        match &mut self.link {
            Link::Quic { .. } => bail!("not a WebSocket"),
            Link::WebSocket(socket) => Ok(socket.send(Message::text(text.to_owned())).await?),
        }
    }

    /// Begins the closing handshake of a WebSocket.
    pub async fn close(&mut self, code: u16) -> anyhow::Result<()> {
        match &mut self.link {
            Link::Quic { .. } => bail!("not a WebSocket"),
            Link::WebSocket(socket) => Ok(socket.send(Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }))).await?),
        }
    }

    /// Ends the client's side of the control stream.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        match &mut self.link {
            Link::Quic { send, .. } => Ok(send.finish()?),
            Link::WebSocket(_) => bail!("not QUIC"),
        }
    }

    /// What comes next, on the control stream.
    pub async fn next(&mut self) -> anyhow::Result<Received> {
        within(async {
            match &mut self.link {
                Link::Quic { connection, receive, .. } => next_of_quic(connection, receive).await,
                Link::WebSocket(socket) => next_of_websocket(socket).await,
            }
        })
        .await?
    }

    /// The next frame.
    pub async fn frame(&mut self) -> anyhow::Result<Frame> {
        match self.next().await? {
            Received::Frame(frame) => Ok(*frame),
            other => bail!("a frame was due, there came {other:?}"),
        }
    }

    /// The challenge.
    pub async fn challenge(&mut self) -> anyhow::Result<Challenge> {
        match self.frame().await? {
            Frame::Challenge(challenge) => Ok(challenge),
            other => bail!("a challenge was due, there came {}", other.name()),
        }
    }

    /// Frames up to the failure of the connection, and how it then closed.
    pub async fn failure(&mut self) -> anyhow::Result<(Failure, Received)> {
        loop {
            match self.next().await? {
                Received::Frame(frame) => {
                    if let Frame::Failure(failure) = *frame
                        && failure.request == 0
                    {
                        return Ok((failure, self.next().await?));
                    }
                }
                other => bail!("a failure was due, there came {other:?}"),
            }
        }
    }

    /// Reads the challenge and answers it as this device.
    pub async fn hello(&mut self, device: &DeviceKeys, token: &str) -> anyhow::Result<()> {
        let challenge = self.challenge().await?;
        let signature = hello_proof(device, &challenge.nonce, self.carrier(), token)?;
        self.send(hello(device.id, token, signature)).await
    }

    /// Connects and opens a session as this person's device.
    pub async fn welcomed(server: &Server, person: &Person) -> anyhow::Result<(Self, Welcome)> {
        let mut client = Self::connect_to(server).await?;
        client.hello(&person.keys.device, &person.tokens.access_token).await?;
        match client.frame().await? {
            Frame::Welcome(welcome) => Ok((client, welcome)),
            other => bail!("a welcome was due, there came {}", other.name()),
        }
    }

    /// Ends without a word.
    pub fn vanish(self) {
        if let Link::Quic { endpoint, .. } = self.link {
            endpoint.close(0_u32.into(), b"");
        }
    }
}

/// The frame that opens a session, if token and signature are what they should be.
#[must_use]
pub fn hello(device: DeviceId, token: &str, signature: Signature) -> Hello {
    Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        token: token.to_owned(),
        device,
        signature,
        client: "raw".to_owned(),
    }
}

/// TLS to a node's HTTPS listener, by its pinned certificate.
pub async fn over_tls(stream: TcpStream, pin: Hash) -> anyhow::Result<TlsStream<TcpStream>> {
    let config = pinned(pin, b"http/1.1")?;
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?)
}

async fn within<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.context("no answer")
}

/// One frame off a QUIC stream; `None` at its end.
pub async fn read_frame(receive: &mut RecvStream) -> anyhow::Result<Option<Frame>> {
    let mut length = [0; 4];
    match receive.read_exact(&mut length).await {
        Ok(()) => {}
        Err(quinn::ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    receive.read_exact(&mut bytes).await?;
    Ok(Some(codec::decode(&bytes)?))
}

async fn next_of_quic(connection: &quinn::Connection, receive: &mut RecvStream) -> anyhow::Result<Received> {
    if let Ok(Some(frame)) = read_frame(receive).await {
        return Ok(Received::Frame(Box::new(frame)));
    }
    Ok(match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => {
            let code = u32::try_from(close.error_code.into_inner())?;
            Received::Closed { code, reason: String::from_utf8_lossy(&close.reason).into_owned() }
        }
        other => Received::Lost(other.to_string()),
    })
}

async fn next_of_websocket(socket: &mut WebSocketStream<Box<dyn Io>>) -> anyhow::Result<Received> {
    loop {
        return Ok(match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => Received::Frame(Box::new(codec::decode(&bytes)?)),
            Some(Ok(Message::Close(Some(close)))) => {
                Received::Closed { code: u16::from(close.code).into(), reason: close.reason.as_str().to_owned() }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(other)) => bail!("an unexpected message: {other:?}"),
            Some(Err(error)) => Received::Lost(error.to_string()),
            None => Received::Lost("the end".to_owned()),
        });
    }
}
