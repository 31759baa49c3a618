//! One connection through a [`DishonestServer`](super::DishonestServer): WebSocket on both sides, whole frames between.
//!
//! Never: bytes that are no frame. A side that sends such is closed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use cloudsync_protocol::limits::WEBSOCKET_PATH;
use cloudsync_protocol::{Frame, codec};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Shared, Way};

/// What the node makes once, and clients pin.
const CERTIFICATE: &str = "certificate.pem";

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Socket = WebSocketStream<Box<dyn Io>>;

/// TLS by the certificate and the private key of the node with that data folder.
pub(super) fn certificate(data: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let pem = std::fs::read(data.join(CERTIFICATE))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(&pem)?)?;
    Ok(Arc::new(config))
}

/// Passes frames on until either side ends.
pub(super) async fn connection(
    (client, tls): (TcpStream, Option<TlsAcceptor>),
    node: SocketAddr,
    (shared, mut said): (Arc<Shared>, mpsc::UnboundedReceiver<(Way, Frame)>),
) {
    let Ok((mut client, mut node)) = both(client, tls, node).await else { return };
    // An error is a side that is gone.
    while let Ok(true) = step((&mut client, &mut node), &shared, &mut said).await {}
    drop(client.close(None).await);
    drop(node.close(None).await);
}

async fn both(client: TcpStream, tls: Option<TlsAcceptor>, node: SocketAddr) -> anyhow::Result<(Socket, Socket)> {
    client.set_nodelay(true)?;
    let client: Box<dyn Io> = match tls {
        Some(tls) => Box::new(tls.accept(client).await?),
        None => Box::new(client),
    };
    let stream = TcpStream::connect(node).await?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Io> = Box::new(stream);
    let (node, _) = tokio_tungstenite::client_async(format!("ws://{node}{WEBSOCKET_PATH}"), stream).await?;
    Ok((tokio_tungstenite::accept_async(client).await?, node))
}

/// The next frame of either side, or of the server's own; false once a side has ended.
async fn step(
    (client, node): (&mut Socket, &mut Socket),
    shared: &Shared,
    said: &mut mpsc::UnboundedReceiver<(Way, Frame)>,
) -> anyhow::Result<bool> {
    let (way, message) = tokio::select! {
        message = client.next() => (Way::ToNode, message),
        message = node.next() => (Way::ToClient, message),
        Some((way, frame)) = said.recv() => {
            let to = if way == Way::ToNode { node } else { client };
            to.send(Message::Binary(codec::encode(&frame).into())).await?;
            return Ok(true);
        }
    };
    let bytes = match message.transpose()? {
        Some(Message::Binary(bytes)) => bytes,
        Some(Message::Ping(_) | Message::Pong(_)) => return Ok(true),
        Some(Message::Text(_) | Message::Close(_) | Message::Frame(_)) | None => return Ok(false),
    };
    let frame: Frame = codec::decode(&bytes).context("not a frame")?;
    for (way, frame) in shared.pass(way, frame) {
        let to = match way {
            Way::ToNode => &mut *node,
            Way::ToClient => &mut *client,
        };
        to.send(Message::Binary(codec::encode(&frame).into())).await?;
    }
    Ok(true)
}
