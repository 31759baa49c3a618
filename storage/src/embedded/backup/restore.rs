//! Bringing a backup back into a folder that no node runs on.
//!
//! Never: a moment in which the folder holds the backup's database with the numbers that it was copied with: by the raised ones
//! every log opens a new timeline, and devices notice. Never a file of the folder lost: the database that was there is put aside.

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{BackupError, DATABASE, Manifest, Progress, Verified, copy, demand_room, verify};
use crate::embedded::folder::Folder;
use crate::embedded::schema;
use crate::embedded::side::{Promised, SideFile};
use crate::embedded::totals::{self, Totals};
use crate::embedded::verify as database;

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup's.
    pub manifest: Manifest,
    /// How often the database in the folder has gone back, this time included.
    pub rewinds: u64,
    /// The database that was there, if one was.
    pub kept: Option<PathBuf>,
    /// Damage that the backup has, as [`Verified::damaged`].
    pub damaged: Vec<String>,
}

/// What was just done; a test stops there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The backup is whole, the folder is held.
    Held,
    /// What the node can't make anew is there.
    Beside,
    /// The copy has raised numbers, under another name.
    Raised,
    /// The old database has another name.
    PutAside,
    /// Its WAL too.
    WalPutAside,
    /// The copy has its name.
    InPlace,
    /// The side file promises what the copy has.
    Promised,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [Self::Held, Self::Beside, Self::Raised, Self::PutAside, Self::WalPutAside, Self::InPlace, Self::Promised];
}

/// Who is told how far a restore is.
#[expect(missing_debug_implementations, reason = "closures have none")]
pub struct Watch<'a> {
    /// Of reading the backup.
    pub progress: &'a mut dyn FnMut(Progress),
    /// After each step; it may stop there.
    pub step: &'a mut dyn FnMut(Step) -> ControlFlow<()>,
}

/// Brings `backup` into the folder `data`, which is made if it is not there. After a stop between any two steps it is called again.
///
/// # Errors
/// Each of [`BackupError`].
pub fn restore(backup: &Path, data: &Path, secrets: &str, watch: Watch<'_>) -> Result<Restored, BackupError> {
    let Watch { progress, step } = watch;
    let mut did = |done| if step(done).is_break() { Err(BackupError::Stopped) } else { Ok(()) };
    let Verified { manifest, damaged } = verify(backup, progress)?;
    let folder = Folder::hold(data)?;
    demand_room(data, manifest.bytes())?;
    did(Step::Held)?;
    beside(backup, data, (&manifest, secrets))?;
    did(Step::Beside)?;
    let raised = raise(backup, &folder, &manifest)?;
    did(Step::Raised)?;
    let kept = put_aside(&folder, &mut did)?;
    let in_place = std::fs::rename(fresh(&folder), folder.database()).and_then(|()| folder.sync());
    in_place.map_err(|error| BackupError::io(&folder.database(), error))?;
    did(Step::InPlace)?;
    let side = folder.groups();
    SideFile::make(&side, raised.number).and_then(|_| folder.note_made()).map_err(|error| BackupError::io(&side, error))?;
    did(Step::Promised)?;
    Ok(Restored { manifest, rewinds: raised.rewinds, kept, damaged })
}

/// The files beside the database, where there are none. Secrets must be those that the accounts were made with.
fn beside(backup: &Path, data: &Path, (manifest, secrets): (&Manifest, &str)) -> Result<(), BackupError> {
    for file in manifest.files.iter().filter(|file| file.name != DATABASE) {
        let (from, to) = (backup.join(&file.name), data.join(&file.name));
        match std::fs::read(&to) {
            Ok(there) if file.name == secrets => {
                if std::fs::read(&from).map_err(|error| BackupError::io(&from, error))? != there {
                    return Err(BackupError::OtherSecrets { path: to });
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let bytes = std::fs::read(&from).map_err(|error| BackupError::io(&from, error))?;
                crate::durable_file::write(data, &file.name, &bytes).map_err(|error| BackupError::io(&to, error))?;
            }
            Err(error) => return Err(BackupError::io(&to, error)),
        }
    }
    Ok(())
}

fn fresh(folder: &Folder) -> PathBuf {
    folder.path().join("cloudsync.db.restore")
}

/// Copies the database beside its place, and raises its numbers in one transaction.
fn raise(backup: &Path, folder: &Folder, manifest: &Manifest) -> Result<Totals, BackupError> {
    let path = fresh(folder);
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove(&with(&path, suffix)).map_err(|error| BackupError::io(&path, error))?;
    }
    copy(&backup.join(DATABASE), &path).map_err(|error| BackupError::io(&path, error))?;
    let failed = |error| BackupError::sqlite(&path, error);
    let writer = schema::writer(&path).map_err(failed)?;
    database::pages(&writer).map_err(|error| BackupError::verify(&path, error))?;
    let totals = totals::read(&writer).map_err(|error| BackupError::verify(&path, error.into()))?;
    let promised = SideFile::read(&folder.groups()).map_err(|error| BackupError::io(&folder.groups(), error))?;
    let promised = if let Promised::UpTo(promised) = promised { promised } else { 0 };
    let rewinds = totals.rewinds.max(rewinds_there(folder)).max(manifest.rewinds) + 1;
    let raised = Totals { rewinds, number: totals.number.max(promised) + 1, ..totals };
    writer.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    totals::write(&writer, &raised).map_err(failed)?;
    writer.execute_batch("COMMIT").map_err(failed)?;
    schema::checkpoint_on_close(&writer).map_err(failed)?;
    writer.close().map_err(|(_, error)| failed(error))?;
    super::private(&path).and_then(|file| file.sync_all()).map_err(|error| BackupError::io(&path, error))?;
    Ok(raised)
}

/// How often the databases in the folder went back, those that were put aside included, as far as they can be read.
fn rewinds_there(folder: &Folder) -> u64 {
    let aside = (1..).map(|number| aside(folder, number)).take_while(|path| path.exists());
    // SQLite is shown only what begins as ours does: it would act on what another header says.
    let databases = aside.chain([folder.database()]).filter(|path| matches!(database::header(path), Ok(Ok(()))));
    let rewinds = databases.filter_map(|path| totals::read(&schema::reader(&path).ok()?).ok());
    rewinds.map(|totals| totals.rewinds).max().unwrap_or(0)
}

fn aside(folder: &Folder, number: u64) -> PathBuf {
    folder.path().join(format!("cloudsync.db.before-{number}"))
}

/// Gives the old database another name, with its WAL: what is left beside the new one's name would be taken for its own.
fn put_aside(folder: &Folder, did: &mut impl FnMut(Step) -> Result<(), BackupError>) -> Result<Option<PathBuf>, BackupError> {
    let failed = |error| BackupError::io(&folder.database(), error);
    let number = (1..).find(|number| !aside(folder, *number).exists()).unwrap_or(1);
    // Renamed by a restore that was stopped then: a WAL that is left is of that one.
    let stopped = !folder.database().exists() && number > 1;
    let to = aside(folder, if stopped { number - 1 } else { number });
    let was_there = folder.database().exists();
    if was_there {
        std::fs::rename(folder.database(), &to).and_then(|()| folder.sync()).map_err(failed)?;
    }
    did(Step::PutAside)?;
    if folder.wal().exists() {
        std::fs::rename(folder.wal(), with(&to, "-wal")).map_err(failed)?;
    }
    remove(&with(&folder.database(), "-shm")).and_then(|()| folder.sync()).map_err(failed)?;
    did(Step::WalPutAside)?;
    Ok((was_there || stopped).then_some(to))
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
