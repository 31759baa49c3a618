//! Which certificate a server may show: one that is pinned by its hash, or one that the web's authorities vouch for.
//!
//! Never: a certificate accepted for want of a check; the handshake's signature is verified either way.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use cloudsync_protocol::Hash;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// SHA-256 of a certificate's DER, written `sha256:HEX`; read without the prefix as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub Hash);

/// Not `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a certificate pin: use sha256: and 64 hexadecimal digits")]
pub struct PinError {
    /// What it was.
    pub text: String,
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let hash = Hash::from_hex(text.strip_prefix("sha256:").unwrap_or(text));
        hash.map(Self).ok_or_else(|| PinError { text: text.to_owned() })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// What a server's certificate is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// This certificate and no other, whatever names and dates it has.
    Pinned(Pin),
    /// Any that Mozilla's authorities vouch for under the server's name.
    WebRoots,
}

/// Why a certificate was turned down: rustls keeps no room for it in its errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// It is not the pinned one.
    NotPinned { pinned: Pin, presented: Pin },
    /// Nobody vouches for it under that name and now.
    NotVouchedFor { why: String },
}

/// A TLS configuration, and where it notes why it turned a certificate down.
pub(crate) struct Tls {
    pub(crate) config: rustls::ClientConfig,
    pub(crate) rejection: Arc<OnceLock<Rejection>>,
}

/// TLS 1.3 only.
pub(crate) fn tls(trust: Trust, alpn: &[u8]) -> Tls {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let rejection = Arc::new(OnceLock::new());
    let judge = match trust {
        Trust::Pinned(pin) => Judge::Pinned(pin),
        Trust::WebRoots => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            Judge::WebRoots(verifier.expect("the web's roots are not empty"))
        }
    };
    let verifier = Verifier { judge, provider: Arc::clone(&provider), rejection: Arc::clone(&rejection) };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Tls { config, rejection }
}

#[derive(Debug)]
enum Judge {
    Pinned(Pin),
    WebRoots(Arc<WebPkiServerVerifier>),
}

#[derive(Debug)]
struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
    rejection: Arc<OnceLock<Rejection>>,
}

impl Verifier {
    fn reject(&self, rejection: Rejection, error: rustls::Error) -> rustls::Error {
        // Each connection has its own; the first reason is the one that counts.
        self.rejection.get_or_init(|| rejection);
        error
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.judge {
            Judge::Pinned(pinned) => {
                let presented = Pin(Hash::of(&[end_entity]));
                if presented == *pinned {
                    return Ok(ServerCertVerified::assertion());
                }
                let rejection = Rejection::NotPinned { pinned: *pinned, presented };
                Err(self.reject(rejection, CertificateError::ApplicationVerificationFailure.into()))
            }
            Judge::WebRoots(verifier) => {
                let judged = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
                judged.map_err(|error| self.reject(Rejection::NotVouchedFor { why: error.to_string() }, error))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_and_prints_as_the_same_and_anything_else_is_named() {
        let text = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        assert_eq!("ab".repeat(32).parse::<Pin>().unwrap().to_string(), text, "the bare hash will do");
        for text in ["ab", "sha256:ab", "sha1:abababab"] {
            assert_eq!(text.parse::<Pin>(), Err(PinError { text: text.to_owned() }));
        }
    }
}
