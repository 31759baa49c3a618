//! Opening a folder: what is checked, in which order, and what each refusal says.
//!
//! Never: a write before every check has passed; a refused store is left as it was found.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::folder::{Folder, private};
use super::schema;
use super::side::{Promised, SideFile};

/// Why a store was not opened. Nothing in its folder was changed, except that a half-made one may be completed further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{}: another node runs on this folder ({})", folder.display(), pid.map_or("pid unknown".into(), |pid| format!("pid {pid}")))]
    Locked { folder: PathBuf, pid: Option<u32> },
    /// Not empty, and not a store.
    #[error("{}: not a store, and not empty (found {found}): choose an empty or absent folder", folder.display())]
    Foreign { folder: PathBuf, found: String },
    /// Written by a newer release.
    #[error("{}: store format {found} is of a newer release; this one knows {known}", folder.display())]
    Newer { folder: PathBuf, found: u32, known: u32 },
    /// The format file says something else.
    #[error("{}: the format file is not readable: {text:?}", folder.display())]
    FormatUnreadable { folder: PathBuf, text: String },
    /// There was a database, and it is gone with its side file.
    #[error(
        "{}: the store that was made here is gone: `cloudsync.db` and `groups` are missing; nothing was changed. Restore both, or \
         start with an empty folder", folder.display()
    )]
    Lost { folder: PathBuf },
    /// The database does not have what was acknowledged.
    #[error(
        "{}: {missing} acknowledged groups are missing: the database ends at group {newest}, {promised} were acknowledged; \
         nothing was changed, restore the database and its -wal file", folder.display()
    )]
    GroupsMissing { folder: PathBuf, newest: u64, promised: u64, missing: u64 },
    /// The side file can't be used.
    #[error(
        "{}: the side file is {why}, so that lost groups would go unnoticed; nothing was changed. Restore it, or put an empty file \
         there to go on without that check", path.display()
    )]
    SideFile { path: PathBuf, why: &'static str },
    /// SQLite found damage after an unclean stop.
    #[error("{}: the database is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    /// The system or SQLite refused.
    #[error("{}: {why}", path.display())]
    Io { path: PathBuf, why: String },
}

impl OpenError {
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io { path: path.into(), why: error.to_string() }
    }

    fn sql(path: &Path, error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged { path: path.into(), why: error.to_string() }
            }
            Some(_) | None => Self::Io { path: path.into(), why: error.to_string() },
        }
    }
}

/// What an opened folder gives.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) number: u64,
    pub(super) side: SideFile,
}

/// Checks the folder and opens the database in it, made if this is the first start.
pub(super) fn open(folder: &Folder) -> Result<Opened, OpenError> {
    let path = folder.database();
    let promised = SideFile::read(&folder.groups()).map_err(|error| OpenError::io(&folder.groups(), &error))?;
    refuse_lost(folder, promised)?;
    if !folder.has_database() {
        check_promise(folder, promised, 0)?;
        create(folder)?;
    }
    let writer = schema::writer(&path).map_err(|error| OpenError::sql(&path, &error))?;
    let number = schema::group_number(&writer).map_err(|error| OpenError::sql(&path, &error))?;
    check_promise(folder, promised, number)?;
    if folder.running().exists() {
        tracing::info!(path = %path.display(), "the last stop was unclean, checking the database");
        quick_check(&path, &writer)?;
    }
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|error| OpenError::io(&path, &error))?;
    let side = SideFile::open(&folder.groups(), number).map_err(|error| OpenError::io(&folder.groups(), &error))?;
    let marked = private(&folder.running()).and_then(|file| file.sync_all()).and_then(|()| folder.sync());
    marked.map_err(|error| OpenError::io(&folder.running(), &error))?;
    folder.note_made().map_err(|error| OpenError::io(&folder.made(), &error))?;
    Ok(Opened { writer, number, side })
}

/// Refuses to make a store anew where one was: what an interrupted first start leaves has no mark of its end.
fn refuse_lost(folder: &Folder, promised: Promised) -> Result<(), OpenError> {
    if !folder.made().exists() || folder.database().exists() {
        return Ok(());
    }
    check_promise(folder, promised, 0)?;
    Err(OpenError::Lost { folder: folder.path().into() })
}

/// Refuses a database that is behind what was acknowledged.
fn check_promise(folder: &Folder, promised: Promised, newest: u64) -> Result<(), OpenError> {
    match promised {
        Promised::UpTo(promised) if promised > newest => {
            Err(OpenError::GroupsMissing { folder: folder.path().into(), newest, promised, missing: promised - newest })
        }
        Promised::UpTo(_) => Ok(()),
        Promised::Missing if newest == 0 => Ok(()),
        Promised::Missing => Err(OpenError::SideFile { path: folder.groups(), why: "missing" }),
        Promised::Damaged => Err(OpenError::SideFile { path: folder.groups(), why: "damaged" }),
    }
}

/// Makes the database under another name, so that one that is there is whole.
fn create(folder: &Folder) -> Result<(), OpenError> {
    let temporary = folder.path().join("cloudsync.db.tmp");
    let io = |error: io::Error| OpenError::io(&temporary, &error);
    for leftover in ["cloudsync.db.tmp", "cloudsync.db.tmp-journal", "cloudsync.db.tmp-wal", "cloudsync.db.tmp-shm"] {
        match std::fs::remove_file(folder.path().join(leftover)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            Ok(()) | Err(_) => {}
        }
    }
    private(&temporary).map_err(io)?;
    schema::create(&temporary).map_err(|error| OpenError::sql(&temporary, &error))?;
    private(&temporary).and_then(|file| file.sync_all()).map_err(io)?;
    std::fs::rename(&temporary, folder.database()).and_then(|()| folder.sync()).map_err(io)
}

fn quick_check(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let answer = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match answer {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(OpenError::Damaged { path: path.into(), why: answer }),
        Err(error) => Err(OpenError::sql(path, &error)),
    }
}
