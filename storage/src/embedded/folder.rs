//! The store's folder: who holds it, which format it has, and what its files are called.
//!
//! Never: a file of somebody else touched, or one of ours changed before the folder is known to be ours.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::open::OpenError;
use crate::durable_file;

/// The folder format that this code reads and writes.
pub const FORMAT: u32 = 1;
const FORMAT_PREFIX: &str = "cloudsync store ";
/// May stand in a folder that has no `format` yet: ours, half-made, or what a file system puts at its root.
const HARMLESS: [&str; 3] = ["lock", "format.tmp", "lost+found"];

/// A folder that this process holds, of a format that it knows. Whatever else a node keeps there is written after this
/// and before the database.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held for as long as this value lives; the system releases it when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, checks its format and takes its lock.
    pub fn hold(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        if !path.is_dir() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|error| OpenError::io(&path, &error))?;
        }
        let format = read_format(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(|error| OpenError::io(&path, &error))?;
        let lock = lock(&path)?;
        if format.is_none() {
            let text = format!("{FORMAT_PREFIX}{FORMAT}\n");
            durable_file::write(&path, "format", text.as_bytes()).map_err(|error| OpenError::io(&path.join("format"), &error))?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the store in it was made before, also if its database is gone; `false` while a first start is under way.
    #[must_use]
    pub fn has_database(&self) -> bool {
        self.database().exists() || self.made().exists()
    }

    /// Stands from the end of the first start on: without a database beside it, that was lost.
    pub(super) fn made(&self) -> PathBuf {
        self.path.join("made")
    }

    /// Notes, once, that the first start came to its end.
    pub(super) fn note_made(&self) -> io::Result<()> {
        if self.made().exists() { Ok(()) } else { durable_file::write(&self.path, "made", b"the database of this folder was made\n") }
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join("cloudsync.db")
    }

    pub(super) fn wal(&self) -> PathBuf {
        self.path.join("cloudsync.db-wal")
    }

    pub(super) fn groups(&self) -> PathBuf {
        self.path.join("groups")
    }

    /// Stands while the store is open: found at open, the last stop was unclean.
    pub(super) fn running(&self) -> PathBuf {
        self.path.join("running")
    }

    /// Makes what was created, renamed or removed in the folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Opens or creates a file that only its owner may read.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The folder's format, `None` for one that has none yet and nothing foreign.
pub(super) fn read_format(path: &Path) -> Result<Option<u32>, OpenError> {
    let file = path.join("format");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return refuse_foreign(path).map(|()| None),
        Err(error) => return Err(OpenError::io(&file, &error)),
    };
    let version = text.strip_prefix(FORMAT_PREFIX).and_then(|rest| rest.trim_end().parse::<u32>().ok());
    match version {
        Some(FORMAT) => Ok(Some(FORMAT)),
        Some(found) if found > FORMAT => Err(OpenError::Newer { folder: path.into(), found, known: FORMAT }),
        Some(_) | None => Err(OpenError::FormatUnreadable { folder: path.into(), text: text.chars().take(60).collect() }),
    }
}

fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    for entry in std::fs::read_dir(path).map_err(|error| OpenError::io(path, &error))? {
        let entry = entry.map_err(|error| OpenError::io(path, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !HARMLESS.contains(&name.as_str()) {
            return Err(OpenError::Foreign { folder: path.into(), found: name });
        }
    }
    Ok(())
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let mut file = private(&path).map_err(|error| OpenError::io(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only for the message; the lock is what counts.
            let _ = file.read_to_string(&mut text);
            return Err(OpenError::Locked { folder: folder.into(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(OpenError::io(&path, &error)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| OpenError::io(&path, &error))?;
    Ok(file)
}
