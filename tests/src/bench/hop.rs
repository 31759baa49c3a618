//! The other floor: a bare hop of 200 B over the same carrier, to an echo in a process of its own that does nothing else.
//! Half a round trip; the same crates, settings of TLS and lengths as the real thing, no protocol.
//!
//! Never: anything of the node's or the SDK's, but for how a certificate is pinned.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cloudsync_client::carrier::trust::{Pin, Trust};
use cloudsync_client::connection::Server;
use cloudsync_protocol::Hash;
use cloudsync_protocol::limits::ALPN;
use futures_util::{SinkExt as _, StreamExt as _};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{RecvStream, SendStream};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::node::Wire;
use crate::pinned::pinned;

/// The argument by which the bench runs itself as the echo.
pub const ECHO_ARGUMENT: &str = "echo";
const FRAME_BYTES: usize = 200;
/// It waits while others are measured.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const LENGTH_BYTES: usize = 4;

#[derive(Debug, Serialize, Deserialize)]
struct Listening {
    quic: SocketAddr,
    wss: SocketAddr,
    certificate: String,
}

/// The echo, as its client sees it. It ends with this value.
#[derive(Debug)]
pub struct Echo {
    child: Child,
    listening: Listening,
}

/// Serves until it is killed: says on standard output where.
#[allow(clippy::print_stdout, reason = "it is how the two processes meet")]
pub async fn serve() -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let chain = vec![made.cert.der().clone()];
    let config = |alpn: &[u8]| {
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain.clone(), key)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        anyhow::Ok(Arc::new(config))
    };
    let crypto = Arc::new(QuicServerConfig::try_from(config(ALPN)?)?);
    let endpoint = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(crypto), (Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let acceptor = TlsAcceptor::from(config(b"http/1.1")?);
    let certificate = Hash::of(&[made.cert.der()]).to_string();
    let listening = Listening { quic: endpoint.local_addr()?, wss: listener.local_addr()?, certificate };
    println!("{}", serde_json::to_string(&listening)?);
    loop {
        tokio::select! {
            incoming = endpoint.accept() => drop(tokio::spawn(echo_quic(incoming.context("closed")?))),
            accepted = listener.accept() => drop(tokio::spawn(echo_wss(acceptor.clone(), accepted?.0))),
        }
    }
}

async fn echo_quic(incoming: quinn::Incoming) -> anyhow::Result<()> {
    let (mut send, mut receive) = incoming.await?.accept_bi().await?;
    let mut frame = vec![0; LENGTH_BYTES + FRAME_BYTES];
    loop {
        receive.read_exact(&mut frame).await?;
        send.write_all(&frame).await?;
    }
}

async fn echo_wss(acceptor: TlsAcceptor, stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = tokio_tungstenite::accept_async(acceptor.accept(stream).await?).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

impl Echo {
    /// Starts it: this very program again.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_before(&[]).await
    }

    /// The same, with a command before it.
    pub async fn start_before(before: &[String]) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let mut words = before.iter().map(std::ffi::OsString::from).chain([own.into()]);
        let mut command = Command::new(words.next().context("a command")?);
        let mut child = command.args(words).arg(ECHO_ARGUMENT).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.context("the echo did not start")?;
        Ok(Self { child, listening: serde_json::from_str(&line)? })
    }

    /// Its process.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the echo has ended")
    }

    /// As if it were a node.
    pub fn server(&self, wire: Wire) -> anyhow::Result<Server> {
        let address = match wire {
            Wire::Quic => self.listening.quic,
            Wire::Wss => self.listening.wss,
            Wire::Ws => bail!("not measured"),
        };
        let address = format!("{}://{address}", wire.scheme()).parse()?;
        Ok(Server { address, trust: Trust::Pinned(Pin(self.certificate()?)) })
    }

    /// Connects to it.
    pub async fn connect(&self, wire: Wire) -> anyhow::Result<Hops> {
        match wire {
            Wire::Quic => self.over_quic().await,
            Wire::Wss => self.over_wss().await,
            Wire::Ws => bail!("not measured"),
        }
    }

    fn certificate(&self) -> anyhow::Result<Hash> {
        Hash::from_hex(&self.listening.certificate).context("a certificate's hash")
    }

    async fn over_quic(&self) -> anyhow::Result<Hops> {
        let crypto = QuicClientConfig::try_from(pinned(self.certificate()?, ALPN)?)?;
        let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(KEEP_ALIVE));
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let (send, receive) = endpoint.connect_with(config, self.listening.quic, "localhost")?.await?.open_bi().await?;
        Ok(Hops::Quic { _endpoint: endpoint, send, receive })
    }

    async fn over_wss(&self) -> anyhow::Result<Hops> {
        let stream = TcpStream::connect(self.listening.wss).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(pinned(self.certificate()?, b"http/1.1")?));
        let tls = connector.connect(ServerName::try_from("localhost")?, stream).await?;
        let (socket, _) = tokio_tungstenite::client_async("ws://localhost/", tls).await?;
        Ok(Hops::Wss(Box::new(socket)))
    }
}

/// A connection to the echo.
#[derive(Debug)]
pub enum Hops {
    /// A stream.
    Quic {
        /// Kept for the stream.
        _endpoint: quinn::Endpoint,
        /// There.
        send: SendStream,
        /// And back.
        receive: RecvStream,
    },
    /// A socket.
    Wss(Box<WebSocketStream<TlsStream<TcpStream>>>),
}

impl Hops {
    /// Half a round trip of a length and 200 B, or of a message of 200 B.
    pub async fn one(&mut self) -> anyhow::Result<Duration> {
        let mut frame = vec![7; LENGTH_BYTES + FRAME_BYTES];
        let began = Instant::now();
        match self {
            Self::Quic { send, receive, .. } => {
                send.write_all(&frame).await?;
                receive.read_exact(&mut frame).await?;
            }
            Self::Wss(socket) => {
                frame.truncate(FRAME_BYTES);
                socket.send(Message::Binary(frame.into())).await?;
                socket.next().await.context("the echo closed")??;
            }
        }
        Ok(began.elapsed() / 2)
    }
}
