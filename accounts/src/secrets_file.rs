//! The secrets' file in the data folder: JSON, mode 0600, written whole or not at all.
//!
//! Never: overwriting secrets that are there, or going on with a file that others could read. Losing the file locks out
//! every password, so everything odd is refused with what to do about it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cloudsync_storage::durable_file;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::secrets::{FORMAT, Fields, Secrets};

/// The file's name in the data folder.
pub const SECRETS_FILE: &str = "secrets.json";
const SECRETS_BYTES_MAX: u64 = 1024 * 1024;

/// What to do when there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfAbsent {
    /// Make fresh secrets: the folder is new.
    Create,
    /// Refuse: there are accounts already, whose passwords fresh secrets would lock out.
    Refuse,
}

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file can't be read or written.
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    /// No file, and none may be made.
    #[error("{path} is missing, but there are accounts: put it back from its backup; without it nobody can log in")]
    Missing { path: PathBuf },
    /// Others than the owner may read or write it.
    #[error("{path} has mode {mode:04o}, others could read it: run `chmod 600 {path}`, and if they may have, replace the secrets")]
    Mode { path: PathBuf, mode: u32 },
    /// Written by a newer release.
    #[error("{path} has format {format}, this release knows {FORMAT}: run the release that wrote it, or a newer one")]
    Newer { path: PathBuf, format: u32 },
    /// Cut short or changed.
    #[error("{path} is damaged ({what}): put it back from its backup; delete it only in a folder without accounts")]
    Damaged { path: PathBuf, what: String },
    /// Fresh secrets could not be made.
    #[error("no secrets could be made: {0}")]
    Generate(&'static str),
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Secrets {
    /// Reads the secrets of a data folder, or makes them. Blocks, and makes an RSA key the first time.
    ///
    /// # Errors
    /// Each of [`SecretsError`]; the file is then as it was.
    pub fn open(folder: &Path, if_absent: IfAbsent) -> Result<Self, SecretsError> {
        let path = folder.join(SECRETS_FILE);
        match (read(&path), if_absent) {
            (Ok(secrets), _) => Ok(secrets),
            (Err(SecretsError::Io { error, .. }), IfAbsent::Create) if error.kind() == ErrorKind::NotFound => create(folder, &path),
            (Err(SecretsError::Io { error, path }), IfAbsent::Refuse) if error.kind() == ErrorKind::NotFound => {
                Err(SecretsError::Missing { path })
            }
            (Err(other), _) => Err(other),
        }
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> SecretsError {
    let path = path.to_owned();
    move |error| SecretsError::Io { path: path.clone(), error }
}

fn read(path: &Path) -> Result<Secrets, SecretsError> {
    let file = File::open(path).map_err(io(path))?;
    let mode = file.metadata().map_err(io(path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretsError::Mode { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(SECRETS_BYTES_MAX).read_to_end(&mut text).map_err(io(path))?;
    // Only where it is broken is told, never what stands there.
    let damaged = |what: String| SecretsError::Damaged { path: path.to_owned(), what };
    let at = |error: serde_json::Error| damaged(format!("not whole JSON at line {}, column {}", error.line(), error.column()));
    let Format { format } = serde_json::from_slice(&text).map_err(at)?;
    if format > FORMAT {
        return Err(SecretsError::Newer { path: path.to_owned(), format });
    }
    let fields: Fields = serde_json::from_slice(&text).map_err(at)?;
    Secrets::from_fields(&fields).map_err(|what| damaged(what.to_owned()))
}

fn create(folder: &Path, path: &Path) -> Result<Secrets, SecretsError> {
    let fields = Fields::generate().map_err(SecretsError::Generate)?;
    let text = Zeroizing::new(serde_json::to_vec_pretty(&fields).map_err(|_| SecretsError::Generate("they can't be written as JSON"))?);
    durable_file::write(folder, SECRETS_FILE, &text).map_err(io(path))?;
    read(path)
}
