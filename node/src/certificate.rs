//! The TLS certificate: from PEM files, or made once and kept in the data folder.
//!
//! Never: a private key in a log, in an error, or in a file that others may read.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloudsync_protocol::Hash;
use cloudsync_storage::durable_file;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::CertificateSource;

/// The self-made certificate and its key, in one file so that they can't get apart.
pub const SELF_MADE_FILE: &str = "certificate.pem";
const OTHERS: u32 = 0o077;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read or written.
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    /// Others than the owner may read the private key.
    #[error("{path} has mode {mode:04o}, others could read the private key: run `chmod 600 {path}`")]
    Mode { path: PathBuf, mode: u32 },
    /// Not the PEM that it should be.
    #[error("{path} holds no {what} in PEM form: {why}")]
    Pem { path: PathBuf, what: &'static str, why: String },
    /// The key is of another certificate, or of a kind that TLS here does not know.
    #[error("{path} can't serve TLS: {why}; the key must be the certificate's own (ECDSA, Ed25519 or RSA)")]
    Unfit { path: PathBuf, why: String },
    /// None could be made.
    #[error("no certificate could be made: {0}")]
    Generate(#[from] rcgen::Error),
}

/// A certificate ready to serve.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// The chain and its key.
    pub(crate) key: Arc<CertifiedKey>,
    /// SHA-256 of the end-entity certificate's DER: what clients pin.
    pub(crate) sha256: Hash,
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> CertificateError {
    let path = path.to_owned();
    move |error| CertificateError::Io { path: path.clone(), error }
}

impl Certificate {
    /// Reads it, or makes the self-made one when the data folder has none yet.
    ///
    /// # Errors
    /// Each of [`CertificateError`]; nothing is overwritten.
    pub(crate) fn open(source: &CertificateSource, data: &Path) -> Result<Self, CertificateError> {
        match source {
            CertificateSource::Pem { chain, key } => Self::from_pem(chain, key),
            CertificateSource::SelfMade => {
                let path = data.join(SELF_MADE_FILE);
                if let Err(error) = fs::metadata(&path) {
                    if error.kind() != ErrorKind::NotFound {
                        return Err(io(&path)(error));
                    }
                    make(data, &path)?;
                }
                Self::read(source, data)
            }
        }
    }

    /// Reads it, as it is now. One that is missing is not made: clients have pinned the one that is served.
    ///
    /// # Errors
    /// Each of [`CertificateError`] but [`Generate`](CertificateError::Generate).
    pub(crate) fn read(source: &CertificateSource, data: &Path) -> Result<Self, CertificateError> {
        match source {
            CertificateSource::Pem { chain, key } => Self::from_pem(chain, key),
            CertificateSource::SelfMade => {
                let path = data.join(SELF_MADE_FILE);
                let mode = fs::metadata(&path).map_err(io(&path))?.mode();
                if mode & OTHERS != 0 {
                    return Err(CertificateError::Mode { path, mode: mode & 0o7777 });
                }
                Self::from_pem(&path, &path)
            }
        }
    }

    fn from_pem(chain_path: &Path, key_path: &Path) -> Result<Self, CertificateError> {
        let pem =
            |path: &Path, what, why: &dyn std::fmt::Display| CertificateError::Pem { path: path.to_owned(), what, why: why.to_string() };
        let chain_pem = fs::read(chain_path).map_err(io(chain_path))?;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&chain_pem).collect::<Result<_, _>>().map_err(|error| pem(chain_path, "certificate", &error))?;
        let end_entity = chain.first().ok_or_else(|| pem(chain_path, "certificate", &"no such section"))?;
        let sha256 = Hash::of(&[end_entity]);
        let key_pem = fs::read(key_path).map_err(io(key_path))?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| pem(key_path, "private key", &error))?;
        let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| CertificateError::Unfit { path: chain_path.to_owned(), why: error.to_string() })?;
        Ok(Self { key: Arc::new(certified), sha256 })
    }
}

/// For this machine's names; clients trust it by its hash, so that its dates say nothing (RFC 5280, 4.1.2.5: "no well-defined expiration").
fn make(folder: &Path, path: &Path) -> Result<(), CertificateError> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "cloudsync-node, self-made");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let text = certificate.pem() + &key.serialize_pem();
    durable_file::write(folder, SELF_MADE_FILE, text.as_bytes()).map_err(io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_made_certificate_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let first = Certificate::open(&CertificateSource::SelfMade, folder.path()).unwrap();
        let second = Certificate::open(&CertificateSource::SelfMade, folder.path()).unwrap();
        assert_eq!(first.sha256, second.sha256);
        assert_eq!(fs::metadata(folder.path().join(SELF_MADE_FILE)).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        Certificate::open(&CertificateSource::SelfMade, folder.path()).unwrap();
        fs::set_permissions(folder.path().join(SELF_MADE_FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Certificate::open(&CertificateSource::SelfMade, folder.path()).unwrap_err();
        assert!(matches!(error, CertificateError::Mode { mode: 0o644, .. }), "{error}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &other] {
            Certificate::open(&CertificateSource::SelfMade, folder.path()).unwrap();
        }
        let source = CertificateSource::Pem { chain: one.path().join(SELF_MADE_FILE), key: other.path().join(SELF_MADE_FILE) };
        let error = Certificate::open(&source, one.path()).unwrap_err();
        assert!(matches!(error, CertificateError::Unfit { .. }), "{error}");
    }

    #[test]
    fn a_file_that_holds_no_pem_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem");
        fs::write(&path, "nothing here").unwrap();
        let source = CertificateSource::Pem { chain: path.clone(), key: path };
        let error = Certificate::open(&source, folder.path()).unwrap_err().to_string();
        assert!(error.contains("empty.pem") && error.contains("certificate"), "{error}");
    }
}
