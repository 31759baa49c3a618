//! Backups: a copy of a store's folder as it was at one moment, made while a node writes on, and brought back under a new timeline.
//!
//! A backup is a folder: the database, the small files that a node can't make anew, and `backup.json` over all of them, which is
//! written last: a folder without it is no backup.
//!
//! Never: a backup that says more than it holds, or a restored database whose numbers were not raised.

mod create;
mod restore;
mod verify;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::folder::private;
use super::open::OpenError;
use super::verify::VerifyError;
pub use create::create;
pub use restore::{Restored, Step, Watch, restore};
pub use verify::{Verified, verify};

/// The backup format that this code reads and writes.
pub const FORMAT: u32 = 1;
const MANIFEST: &str = "backup.json";
const DATABASE: &str = "cloudsync.db";
/// Left free on the disk that is written to, so that a node on it does not run into its own reserve.
const SPARE_BYTES: u64 = 256 * 1024 * 1024;
const CHUNK_BYTES: usize = 1024 * 1024;

/// What `backup.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Whatever was acknowledged before is in it, in milliseconds since the epoch, by the clock of the machine that made it.
    pub taken_ts: u64,
    /// The number of the newest group in it.
    pub group: u64,
    /// How often that database had gone back.
    pub rewinds: u64,
    /// How many logs it has.
    pub logs: u64,
    /// How many accounts.
    pub accounts: u64,
    /// Every file beside this one.
    pub files: Vec<FileSum>,
}

impl Manifest {
    /// All files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// In the backup's folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// How far it is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Done.
    pub done_bytes: u64,
    /// Of so many.
    pub bytes: u64,
}

/// Why a backup was not made, is none, or was not brought back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The data folder, which was read or is to be written to.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// There is no store to be copied.
    #[error("{}: no store is here (there is no `cloudsync.db`)", folder.display())]
    NoStore { folder: PathBuf },
    /// The store lacks acknowledged groups.
    #[error("{}: the database ends at group {newest}, {promised} were acknowledged: a copy would hide the loss", folder.display())]
    GroupsMissing { folder: PathBuf, newest: u64, promised: u64 },
    /// The place for the backup is taken.
    #[error("{}: not empty (found {found}): name an empty or absent folder", folder.display())]
    Taken { folder: PathBuf, found: String },
    /// No backup, or one that was cut short.
    #[error("{}: no whole backup is here ({MANIFEST} is {why})", folder.display())]
    NoBackup { folder: PathBuf, why: String },
    /// Of a newer release.
    #[error("{}: backup format {found} is of a newer release; this one knows {FORMAT}", folder.display())]
    Newer { folder: PathBuf, found: u32 },
    /// A file is not as it was written.
    #[error("{}: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    /// The data folder has other secrets than the accounts in the backup need.
    #[error("{}: other secrets than those of the backup, which its accounts need; move the file away, or restore into an empty folder", path.display())]
    OtherSecrets { path: PathBuf },
    /// Not enough room, so that nothing was begun.
    #[error("{}: {needed_bytes} B are needed there, {available_bytes} are free", folder.display())]
    Full { folder: PathBuf, needed_bytes: u64, available_bytes: u64 },
    /// Stopped between two steps by who watches.
    #[error("stopped")]
    Stopped,
    /// The system or SQLite refused.
    #[error("{}: {why}", path.display())]
    Io { path: PathBuf, why: String },
}

impl BackupError {
    fn io(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::Io { path: path.into(), why: error.to_string() }
    }

    fn verify(path: &Path, error: VerifyError) -> Self {
        match error {
            VerifyError::Damaged(why) => Self::Damaged { path: path.into(), why },
            VerifyError::Full => Self::Io { path: path.into(), why: "no space is left".into() },
            VerifyError::Unreadable(why) => Self::Io { path: path.into(), why },
        }
    }

    fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        Self::verify(path, error.into())
    }
}

/// Reads a file to its end.
fn sum_of(path: &Path, mut read: impl FnMut(u64)) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK_BYTES]);
    loop {
        let count = file.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
        hasher.update(chunk);
        bytes += chunk.len() as u64;
        read(chunk.len() as u64);
    }
    let digits = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, digits))
}

/// Copies a file to a new one that only its owner may read, durable but for its name.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut target = private(to)?;
    target.set_len(0)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

/// Refuses when the disk of `folder` has no room for so much and some to spare.
fn demand_room(folder: &Path, bytes: u64) -> Result<(), BackupError> {
    let needed_bytes = bytes.saturating_add(SPARE_BYTES);
    // A disk that can't be asked is not called full.
    let available_bytes = rustix::fs::statvfs(folder).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if available_bytes < needed_bytes {
        return Err(BackupError::Full { folder: folder.into(), needed_bytes, available_bytes });
    }
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
