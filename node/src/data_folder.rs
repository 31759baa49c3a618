//! The data folder: who holds it, then its secrets, then the store in it, in this order.
//!
//! Never: secrets made anew beside accounts that need the old ones, or a store opened over one of a newer release.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloudsync_accounts::{IfAbsent, Secrets, SecretsError};
use cloudsync_storage::Store;
use cloudsync_storage::embedded::{EmbeddedStore, Folder, Loss, OpenError, Options};

use crate::config::StoreSource;

/// Why a data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// It can't be made.
    #[error("cannot make the data folder {path}: {error}; choose another with --data, or make it yourself")]
    Create { path: PathBuf, error: std::io::Error },
    /// Something else stands there.
    #[error("the data folder {path} is not a folder; choose another with --data")]
    NotAFolder { path: PathBuf },
    /// The store in it can't be opened.
    #[error("cannot open the store in {error}; {}", advice(error))]
    Store { error: OpenError },
    /// Its secrets can't be had.
    #[error("cannot use the secrets in the data folder: {0}")]
    Secrets(#[from] SecretsError),
}

impl From<OpenError> for DataFolderError {
    fn from(error: OpenError) -> Self {
        Self::Store { error }
    }
}

/// What to do about it.
const fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Locked { .. } => "end that node first, or choose another folder with --data",
        OpenError::Foreign { .. } => "nothing was changed",
        OpenError::Newer { .. } => "run the release that wrote it, or a newer one; nothing was changed",
        OpenError::Lost { .. } => "its secrets are of that store",
        OpenError::FormatUnreadable { .. } => "put the file `format` back from a backup; nothing was changed",
        OpenError::GroupsMissing { .. } | OpenError::SideFile { .. } => "docs/storage.md says what these files are",
        OpenError::Damaged { .. } => "restore it from a backup; nothing was changed",
        OpenError::ReadOnly { .. } => "mount it for writing, or choose another folder with --data; nothing was changed",
        OpenError::Full { .. } => "free some space and start again; nothing that was acknowledged is lost",
        OpenError::Io { .. } => "check the folder's owner, mode and disk",
    }
}

/// What a data folder gives.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// The embedded one, to be closed at last.
    pub(crate) embedded: Option<Arc<EmbeddedStore>>,
    pub(crate) secrets: Arc<Secrets>,
}

/// Makes the folder, for its owner only, if it isn't there.
fn create(path: &Path) -> Result<(), DataFolderError> {
    let failed = |error| DataFolderError::Create { path: path.to_owned(), error };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataFolderError::NotAFolder { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Opens it. Blocks; the first time it makes an RSA key, which takes a second.
pub(crate) fn open(path: &Path, source: StoreSource, loss: Loss) -> Result<Opened, DataFolderError> {
    create(path)?;
    match source {
        StoreSource::Given(store) => {
            let secrets = Arc::new(Secrets::open(path, IfAbsent::Create)?);
            Ok(Opened { store, embedded: None, secrets })
        }
        StoreSource::Embedded => {
            let folder = Folder::hold(path)?;
            let if_absent = if folder.has_database() { IfAbsent::Refuse } else { IfAbsent::Create };
            let secrets = Arc::new(Secrets::open(path, if_absent)?);
            let options = Options { loss, ..Options::default() };
            let embedded = Arc::new(EmbeddedStore::open(folder, &options)?);
            Ok(Opened { store: embedded.clone(), embedded: Some(embedded), secrets })
        }
    }
}
