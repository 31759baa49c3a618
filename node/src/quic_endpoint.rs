//! The QUIC endpoint: its options, and taking connections.
//!
//! Never: 0-RTT, or keys for connection ids and resets that change: by them a client notices a restarted node at once.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::limits::{HELLO_TIMEOUT, REQUEST_STREAMS_MAX};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use tracing::debug;

use crate::close::Ending;
use crate::metrics::RETRIES;
use crate::serve_quic;
use crate::shared::{Place, Shared};
use crate::throttle::{Handshake, Way};

/// A connection without a packet for that long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Often enough for NATs, which forget a UDP flow after 30 s or more (RFC 4787, REQ-5, asks for 2 min; many don't).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes on their way on one stream, either direction; with 100 ms of round trip that is 2.5 MB/s.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// On all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Handshakes that wait to be taken.
const INCOMING_MAX: usize = 1024;

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX)))))
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
        .max_concurrent_bidi_streams(VarInt::from_u32(REQUEST_STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    transport
}

/// Starts the endpoint on a bound socket.
pub(crate) fn start(socket: std::net::UdpSocket, crypto: QuicServerConfig, reset_key: &[u8; 64]) -> std::io::Result<Endpoint> {
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport())).migration(true).max_incoming(INCOMING_MAX);
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, reset_key);
    let connection_ids = connection_id_key(&reset_key);
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(connection_ids)));
    Endpoint::new(endpoint, Some(server), socket, Arc::new(quinn::TokioRuntime))
}

/// Connection ids carry a keyed checksum, and quinn answers a packet with a reset only when that fits: the node after a
/// restart must recognise the ids of the one before.
fn connection_id_key(reset_key: &hmac::Key) -> u64 {
    let tag = hmac::sign(reset_key, b"cs1/connection-id");
    tag.as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// Takes connections until the node leaves.
pub(crate) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    loop {
        let incoming = tokio::select! {
            () = shared.leaving.cancelled() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        take(&shared, incoming);
    }
}

/// Takes a connection, asks it for its address, or refuses it.
fn take(shared: &Arc<Shared>, incoming: Incoming) {
    let visitor = shared.throttles.visitor(incoming.remote_address().ip(), Way::Direct);
    let (proven, handshakes) = (incoming.remote_address_validated(), &shared.handshakes);
    if !proven && incoming.may_retry() && (handshakes.are_many() || !visitor.may_connect()) {
        metrics::counter!(RETRIES).increment(1);
        // Fails only where there is nothing to retry.
        let _ = incoming.retry();
        return;
    }
    // One that is not proven is charged when it is: by the handshake.
    if proven && visitor.connected().is_err() {
        return incoming.refuse();
    }
    match (handshakes.begin(), shared.place(visitor)) {
        (Some(handshake), Some(place)) => shared.spawn(connect(Arc::clone(shared), (incoming, handshake), place)),
        (Some(_) | None, _) => incoming.refuse(),
    }
}

/// The QUIC handshake, within [`HELLO_TIMEOUT`]; what follows has its own.
async fn connect(shared: Arc<Shared>, (incoming, handshake): (Incoming, Handshake), place: Place) {
    let (peer, proven) = (incoming.remote_address(), incoming.remote_address_validated());
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => {
            shared.meters_quic.handshake_failed("tls");
            debug!(%peer, %error, "no QUIC handshake");
            return;
        }
    };
    match tokio::time::timeout(HELLO_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => {
            drop(handshake);
            if !proven && place.visitor.connected().is_err() {
                return serve_quic::close(&connection, Ending::Told(ErrorCode::Throttled));
            }
            serve_quic::serve(shared, connection, place).await;
        }
        Ok(Err(error)) => {
            shared.meters_quic.handshake_failed("tls");
            debug!(%peer, %error, "no QUIC handshake");
        }
        Err(_) => {
            shared.meters_quic.handshake_failed("tls_timeout");
            debug!(%peer, "QUIC handshake not finished in time");
        }
    }
}
