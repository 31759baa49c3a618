//! QUIC: the server opens the control stream; a frame is preceded by its length.
//!
//! Never: a length believed before it was compared with the limit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloudsync_protocol::limits::{ALPN, FRAME_BYTES_MAX};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, ReadExactError, RecvStream, SendStream, TransportConfig, VarInt};

use super::address::Address;
use super::trust::{Trust, tls};
use super::{ConnectError, LinkError, addresses, first_of};

/// A connection is given up after so much silence at the latest; whoever uses it does so before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// After so much silence the server is asked whether it is there; it answers whatever else it does. A node that was started anew
/// answers with a stateless reset.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// The server opens one control stream.
const SERVER_STREAMS_MAX: u32 = 1;
const LENGTH_BYTES: usize = 4;

/// A connection and the socket under it.
#[derive(Debug, Clone)]
pub(crate) struct Quic {
    pub(crate) connection: Connection,
    endpoint: Endpoint,
}

impl Quic {
    /// Says that we are done, and waits until that is on its way.
    pub(crate) async fn close(&self) {
        self.connection.close(VarInt::from_u32(0), b"done");
        self.endpoint.wait_idle().await;
    }
}

/// Connects, and takes the control stream that the server opens.
pub(crate) async fn connect(address: &Address, trust: Trust) -> Result<(Quic, SendStream, RecvStream), ConnectError> {
    let tls = tls(trust, ALPN);
    let crypto = QuicClientConfig::try_from(tls.config).expect("TLS 1.3 with AES-128-GCM, as QUIC asks for");
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE_TIMEOUT.try_into().expect("a short time")));
    transport.keep_alive_interval(Some(ASK_AFTER));
    transport.max_concurrent_bidi_streams(SERVER_STREAMS_MAX.into());
    transport.max_concurrent_uni_streams(SERVER_STREAMS_MAX.into());
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));

    let attempt = |socket: SocketAddr| {
        let (config, rejection) = (config.clone(), Arc::clone(&tls.rejection));
        async move {
            let failed = |why: String| ConnectError::of(address, rejection.get(), why);
            let any: IpAddr = if socket.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let endpoint = Endpoint::client(SocketAddr::new(any, 0)).map_err(|error| failed(error.to_string()))?;
            let connecting = endpoint.connect_with(config, socket, &address.host).map_err(|error| failed(error.to_string()))?;
            let connection = connecting.await.map_err(|error| failed(error.to_string()))?;
            let (send, receive) = connection.accept_bi().await.map_err(|error| failed(error.to_string()))?;
            Ok((Quic { connection, endpoint }, send, receive))
        }
    };
    first_of(addresses(address).await?, attempt).await
}

/// Length, then the frame.
pub(crate) async fn write(stream: &mut SendStream, frame: &Bytes) -> Result<(), LinkError> {
    let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME_BYTES_MAX);
    let length = length.ok_or(LinkError::TooLarge { bytes: frame.len() })?;
    let closed = |error: quinn::WriteError| LinkError::Closed(error.to_string());
    stream.write_all(&length.to_be_bytes()).await.map_err(closed)?;
    stream.write_all(frame).await.map_err(closed)
}

/// The next frame; nothing when the stream ends between two.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Option<Bytes>, LinkError> {
    let mut length = [0; LENGTH_BYTES];
    match stream.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(LinkError::Closed(reason(error))),
    }
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if bytes > FRAME_BYTES_MAX {
        return Err(LinkError::TooLarge { bytes });
    }
    let mut frame = vec![0; bytes];
    stream.read_exact(&mut frame).await.map_err(|error| LinkError::Closed(reason(error)))?;
    Ok(Some(frame.into()))
}

fn reason(error: ReadExactError) -> String {
    match error {
        ReadExactError::FinishedEarly(_) => "the stream ended within a frame".to_owned(),
        ReadExactError::ReadError(quinn::ReadError::ConnectionLost(lost)) => lost.to_string(),
        ReadExactError::ReadError(error) => error.to_string(),
    }
}
