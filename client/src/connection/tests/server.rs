//! A server that does what a test tells it, over every carrier.
//!
//! Never: a rule of the real one. It sends and receives frames.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use cloudsync_protocol::frame::{Challenge, Welcome};
use cloudsync_protocol::limits::ALPN;
use cloudsync_protocol::{Frame, Hash, Nonce, UserId, codec};
use futures_util::{SinkExt as _, StreamExt as _};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::carrier::quic::{read, write};
use crate::carrier::websocket::Io;
use crate::carrier::{Address, Pin, Scheme, Trust};
use crate::connection::Server;

pub(crate) const EVERY_SCHEME: [Scheme; 3] = [Scheme::Quic, Scheme::Wss, Scheme::Ws];

pub(crate) struct FakeServer {
    listening: Listening,
    pub(crate) address: Address,
    pub(crate) pin: Pin,
}

enum Listening {
    Quic(quinn::Endpoint),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// The server's end of one connection.
pub(crate) enum Peer {
    Quic { connection: quinn::Connection, send: quinn::SendStream, receive: Option<quinn::RecvStream> },
    WebSocket(Box<WebSocketStream<Box<dyn Io>>>),
}

impl FakeServer {
    pub(crate) async fn start(scheme: Scheme) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let pin = Pin(Hash::of(&[made.cert.der()]));
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let (listening, port) = match scheme {
            Scheme::Quic => {
                tls.alpn_protocols = vec![ALPN.to_vec()];
                let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
                let endpoint = quinn::Endpoint::server(config, any).unwrap();
                let port = endpoint.local_addr().unwrap().port();
                (Listening::Quic(endpoint), port)
            }
            Scheme::Wss | Scheme::Ws => {
                let listener = TcpListener::bind(any).await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let acceptor = (scheme == Scheme::Wss).then(|| TlsAcceptor::from(Arc::new(tls)));
                (Listening::Tcp(listener, acceptor), port)
            }
        };
        Self { listening, address: Address { scheme, host: "127.0.0.1".to_owned(), port }, pin }
    }

    pub(crate) fn server(&self) -> Server {
        Server { address: self.address.clone(), trust: Trust::Pinned(self.pin) }
    }

    /// Takes the next connection; nothing when it ends before it is one.
    pub(crate) async fn accept(&self) -> Option<Peer> {
        match &self.listening {
            Listening::Quic(endpoint) => {
                let connection = endpoint.accept().await?.await.ok()?;
                let (send, receive) = connection.open_bi().await.ok()?;
                Some(Peer::Quic { connection, send, receive: Some(receive) })
            }
            Listening::Tcp(listener, acceptor) => {
                let (stream, _) = listener.accept().await.ok()?;
                let io: Box<dyn Io> = match acceptor {
                    Some(acceptor) => Box::new(acceptor.accept(stream).await.ok()?),
                    None => Box::new(stream),
                };
                Some(Peer::WebSocket(Box::new(tokio_tungstenite::accept_async(io).await.ok()?)))
            }
        }
    }

    /// Takes the next connection and challenges it.
    pub(crate) async fn challenge(&self) -> Peer {
        let mut peer = self.accept().await.unwrap();
        peer.send(&challenge()).await;
        peer
    }
}

pub(crate) fn challenge() -> Frame {
    Challenge { nonce: Nonce([7; 32]), server_ts: 1, version_min: 1, version_max: 1 }.into()
}

pub(crate) fn welcome() -> Frame {
    Welcome {
        version: 1,
        session: 5,
        user: UserId([1; 16]),
        server_ts: 1,
        token_expires_ts: 2,
        keyring_version: 1,
        nodes: Vec::new(),
        timeline: cloudsync_protocol::TimelineId::default(),
    }
    .into()
}

impl Peer {
    pub(crate) async fn send(&mut self, frame: &Frame) {
        self.send_bytes(codec::encode(frame).into()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Bytes) {
        match self {
            Self::Quic { send, .. } => write(send, &bytes).await.unwrap(),
            Self::WebSocket(socket) => socket.send(Message::Binary(bytes)).await.unwrap(),
        }
    }

    /// The next frame; nothing once the client is gone.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        match self {
            Self::Quic { receive, .. } => {
                let bytes = read(receive.as_mut()?).await.ok()??;
                Some(codec::decode(&bytes).unwrap())
            }
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => return Some(codec::decode(&bytes).unwrap()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            },
        }
    }

    /// Welcomes whoever says hello.
    pub(crate) async fn welcome(&mut self) {
        assert!(matches!(self.receive().await, Some(Frame::Hello(_))));
        self.send(&welcome()).await;
    }

    /// Sends on the event stream where there is one.
    pub(crate) async fn send_event(&mut self, frame: &Frame) {
        match self {
            Self::Quic { connection, .. } => {
                let mut stream = connection.open_uni().await.unwrap();
                write(&mut stream, &codec::encode(frame).into()).await.unwrap();
                // Finished when dropped, which is as good as kept open here.
            }
            Self::WebSocket(_) => self.send(frame).await,
        }
    }

    pub(crate) fn connection(&self) -> quinn::Connection {
        match self {
            Self::Quic { connection, .. } => connection.clone(),
            Self::WebSocket(_) => panic!("a WebSocket has no streams"),
        }
    }
}

/// A port that takes connections and never says a word.
pub(crate) async fn mute_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port where nobody listens.
pub(crate) async fn closed_port() -> u16 {
    let (listener, port) = mute_port().await;
    drop(listener);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
    port
}
