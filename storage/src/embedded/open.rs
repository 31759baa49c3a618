//! Opening a folder: what is checked, in which order, and what each refusal says.
//!
//! Never: a write before every check has passed; a refused store is left as it was found.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::Connection;

use super::folder::{Folder, private};
use super::schema;
use super::side::{Promised, SideFile};
use super::totals::{self, Totals};
use super::verify::{self, Damaged, VerifyError};

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
         nothing was changed. Restore the database and its -wal file as they were, or go on without them, under a new timeline, \
         by --accept-loss", folder.display()
    )]
    GroupsMissing { folder: PathBuf, newest: u64, promised: u64, missing: u64 },
    /// The side file can't be used.
    #[error(
        "{}: the side file is {why}, so that lost groups would go unnoticed; nothing was changed. Restore it, or go on without that \
         check, under a new timeline, by --accept-loss", path.display()
    )]
    SideFile { path: PathBuf, why: &'static str },
    /// Pages, tables or rows of it are damaged or gone.
    #[error("{}: the database is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    /// The folder can't be written to.
    #[error("{}: read-only", path.display())]
    ReadOnly { path: PathBuf },
    /// There is no room even to start.
    #[error("{}: no space is left", path.display())]
    Full { path: PathBuf },
    /// The system or SQLite refused.
    #[error("{}: {why}", path.display())]
    Io { path: PathBuf, why: String },
}

impl OpenError {
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        let path = path.into();
        if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
            Self::ReadOnly { path }
        } else if error.kind() == io::ErrorKind::StorageFull {
            Self::Full { path }
        } else {
            Self::Io { path, why: error.to_string() }
        }
    }

    fn verify(path: &Path, error: VerifyError) -> Self {
        match error {
            VerifyError::Damaged(why) => Self::Damaged { path: path.into(), why },
            VerifyError::Full => Self::Full { path: path.into() },
            VerifyError::Unreadable(why) => Self::Io { path: path.into(), why },
        }
    }
}

/// What an opened folder gives.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) totals: Totals,
    pub(super) damaged: Damaged,
    pub(super) side: SideFile,
}

/// What a start does about acknowledged groups that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loss {
    /// It refuses, and changes nothing.
    #[default]
    Refuse,
    /// It goes on with what is there, and every log under a new timeline from here on, also if nothing is known to be missing: it is
    /// the way out for whoever put an older folder back by hand.
    Accept,
}

/// Checks the folder and opens the database in it, made if this is the first start.
pub(super) fn open(folder: &Folder, loss: Loss) -> Result<Opened, OpenError> {
    let path = folder.database();
    let promised = SideFile::read(&folder.groups()).map_err(|error| OpenError::io(&folder.groups(), &error))?;
    refuse_lost(folder, promised)?;
    if !folder.has_database() {
        // Nothing to go on with, so that no loss is accepted either.
        check_promise(folder, promised, 0)?;
        create(folder)?;
    }
    let had_wal = folder.wal().exists();
    let checked = check(folder, promised, loss);
    if checked.is_err() && !had_wal && folder.wal().metadata().is_ok_and(|wal| wal.len() == 0) {
        // SQLite made it; if it stays, it does no harm.
        let _ = std::fs::remove_file(folder.wal());
    }
    let Checked { writer, mut totals, damaged } = checked?;
    let damage = |error| OpenError::verify(&path, error);
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|error| OpenError::io(&path, &error))?;
    let side = match loss {
        Loss::Refuse => SideFile::open(&folder.groups(), totals.number),
        Loss::Accept => {
            totals = accept(&writer, (totals, promised)).map_err(|error| damage(error.into()))?;
            SideFile::make(&folder.groups(), totals.number)
        }
    };
    let side = side.map_err(|error| OpenError::io(&folder.groups(), &error))?;
    let marked = private(&folder.running()).and_then(|file| file.sync_all()).and_then(|()| folder.sync());
    marked.map_err(|error| OpenError::io(&folder.running(), &error))?;
    folder.note_made().map_err(|error| OpenError::io(&folder.made(), &error))?;
    Ok(Opened { writer, totals, damaged, side })
}

struct Checked {
    writer: Connection,
    totals: Totals,
    damaged: Damaged,
}

/// Reads all of the database, and writes nothing.
fn check(folder: &Folder, promised: Promised, loss: Loss) -> Result<Checked, OpenError> {
    let (path, began) = (folder.database(), Instant::now());
    let damage = |error| OpenError::verify(&path, error);
    verify::header(&path).map_err(|error| OpenError::io(&path, &error))?.map_err(damage)?;
    let writer = schema::writer(&path).map_err(|error| damage(error.into()))?;
    verify::tables(&writer).map_err(damage)?;
    let totals = totals::read(&writer).map_err(|error| damage(error.into()))?;
    if loss == Loss::Refuse {
        check_promise(folder, promised, totals.number)?;
    }
    verify::pages(&writer).map_err(damage)?;
    let damaged = verify::small_tables(&writer, &totals).map_err(damage)?;
    tracing::info!(path = %path.display(), seconds = began.elapsed().as_secs_f64(), "the database was checked");
    Ok(Checked { writer, totals, damaged })
}

/// Gives up what is missing: the database has gone back once more, and its number is above what was promised, so that the next
/// start finds nothing missing, also if this one stops before the side file is written.
fn accept(writer: &Connection, (totals, promised): (Totals, Promised)) -> rusqlite::Result<Totals> {
    let promised = match promised {
        Promised::UpTo(promised) => promised,
        Promised::Missing | Promised::Blank | Promised::Damaged => 0,
    };
    let after = Totals { rewinds: totals.rewinds + 1, number: totals.number.max(promised) + 1, ..totals };
    writer.execute_batch("BEGIN IMMEDIATE")?;
    totals::write(writer, &after)?;
    writer.execute_batch("COMMIT")?;
    tracing::warn!(missing = promised.saturating_sub(totals.number), rewinds = after.rewinds, "a loss was accepted");
    Ok(after)
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
    let refused = |why| Err(OpenError::SideFile { path: folder.groups(), why });
    match promised {
        Promised::UpTo(promised) if promised > newest => {
            Err(OpenError::GroupsMissing { folder: folder.path().into(), newest, promised, missing: promised - newest })
        }
        Promised::UpTo(_) => Ok(()),
        // A first start that was cut short.
        Promised::Missing | Promised::Blank if newest == 0 => Ok(()),
        Promised::Missing => refused("missing"),
        Promised::Blank => refused("empty"),
        Promised::Damaged => refused("damaged"),
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
    schema::create(&temporary).map_err(|error| OpenError::verify(&temporary, error.into()))?;
    private(&temporary).and_then(|file| file.sync_all()).map_err(io)?;
    std::fs::rename(&temporary, folder.database()).and_then(|()| folder.sync()).map_err(io)
}
