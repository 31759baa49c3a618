//! The TLS configurations of the two carriers, from one certificate and one provider (aws-lc-rs): TLS 1.3 on both.
//!
//! Never: an older version; clients are ours, and each knows 1.3. Never 0-RTT: a request that is replayed must not be
//! taken before something replayable needs it.

use std::sync::{Arc, PoisonError, RwLock};

use cloudsync_protocol::Hash;
use cloudsync_protocol::limits::ALPN;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;

use crate::certificate::Certificate;

/// Plaintext that one TLS connection buffers before the socket takes it.
pub(crate) const TLS_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Session tickets a TLS 1.3 handshake gives out; a client that connects again needs one.
const TICKETS: usize = 1;

/// Whatever the name asked for: a node shows one certificate, each new connection the one that is there then.
#[derive(Debug)]
pub(crate) struct Shown(RwLock<Certificate>);

impl Shown {
    pub(crate) fn new(certificate: Certificate) -> Arc<Self> {
        Arc::new(Self(RwLock::new(certificate)))
    }

    /// From now on that one; open connections go on as they are.
    pub(crate) fn replace(&self, certificate: Certificate) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }

    /// What clients pin.
    pub(crate) fn sha256(&self) -> Hash {
        self.0.read().unwrap_or_else(PoisonError::into_inner).sha256
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

fn server_config(certificate: &Arc<Shown>, alpn: &[u8]) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::<Shown>::clone(certificate));
    config.max_early_data_size = 0;
    config.send_tls13_tickets = TICKETS;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// For HTTPS and WebSocket.
pub(crate) fn https(certificate: &Arc<Shown>) -> Result<Arc<ServerConfig>, rustls::Error> {
    Ok(Arc::new(server_config(certificate, b"http/1.1")?))
}

/// For QUIC.
pub(crate) fn quic(certificate: &Arc<Shown>) -> Result<QuicServerConfig, rustls::Error> {
    QuicServerConfig::try_from(server_config(certificate, ALPN)?).map_err(|error| rustls::Error::General(error.to_string()))
}
