//! The data folder: made when it isn't there, and the store in it.
//!
//! Never: a folder that others may write to, or a store opened over one of a newer release.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloudsync_accounts::IfAbsent;
use cloudsync_storage::Store;

/// Why a data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// It can't be made.
    #[error("cannot make the data folder {path}: {error}; choose another with --data, or make it yourself")]
    Create { path: PathBuf, error: std::io::Error },
    /// Something else stands there.
    #[error("the data folder {path} is not a folder; choose another with --data")]
    NotAFolder { path: PathBuf },
}

/// Makes the folder, for its owner only, if it isn't there.
pub(crate) fn create(path: &Path) -> Result<(), DataFolderError> {
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

/// Opens the store of a data folder.
pub(crate) fn open_store(_data: &Path) -> Result<(Arc<dyn Store>, IfAbsent), DataFolderError> {
    // The embedded store lands after this; until then a node forgets.
    Ok((Arc::new(cloudsync_storage::MemoryStore::new()), IfAbsent::Create))
}
