//! Making a backup, of a folder whose node may be running.
//!
//! Never: the folder's lock, or a write in it: one read transaction is open from the first page to the last, so that the copy is of
//! one moment and nobody waits for it.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{BackupError, DATABASE, FORMAT, FileSum, MANIFEST, Manifest, Progress, copy, demand_room, sum_of, sync};
use crate::durable_file;
use crate::embedded::folder::{private, read_format};
use crate::embedded::schema::{self, PAGE_BYTES};
use crate::embedded::side::{Promised, SideFile};
use crate::embedded::totals::{self, Totals};

/// Copied between two reports, and before what was written is sent to the disk: a little at a time, so that a node's own syncs
/// don't wait behind much.
const PAGES_AT_A_TIME: i32 = 256;
/// As many steps as are sent to the disk together.
const STEPS_A_SYNC: u32 = 8;

/// Copies the store in `data`, and those of the files `beside` it that are there, into the folder `into`, which is made.
///
/// # Errors
/// Each of [`BackupError`]; what was begun has no `backup.json`.
pub fn create(
    data: &Path,
    into: &Path,
    (beside, now_ms): (&[&str], u64),
    progress: &mut dyn FnMut(Progress),
) -> Result<Manifest, BackupError> {
    let database = data.join(DATABASE);
    if !database.exists() || read_format(data)?.is_none() {
        return Err(BackupError::NoStore { folder: data.into() });
    }
    begin(into)?;
    let side = data.join("groups");
    // Before the database: whatever is promised by then must be in what is read after it.
    let promised = SideFile::read(&side).map_err(|error| BackupError::io(&side, error))?;
    let source = schema::reader(&database).map_err(|error| BackupError::sqlite(&database, error))?;
    source.execute_batch("BEGIN").map_err(|error| BackupError::sqlite(&database, error))?;
    let totals = totals::read(&source).map_err(|error| BackupError::verify(&database, error.into()))?;
    if let Promised::UpTo(promised) = promised
        && promised > totals.number
    {
        return Err(BackupError::GroupsMissing { folder: data.into(), newest: totals.number, promised });
    }
    copy_database(&source, &into.join(DATABASE), progress)?;
    let mut files = vec![file_sum(into, DATABASE)?];
    for name in beside {
        if data.join(name).exists() {
            copy(&data.join(name), &into.join(name)).map_err(|error| BackupError::io(&into.join(name), error))?;
            files.push(file_sum(into, name)?);
        }
    }
    finish(into, &totals, (now_ms, files))
}

/// The folder: absent or empty.
fn begin(into: &Path) -> Result<(), BackupError> {
    let failed = |error| BackupError::io(into, error);
    match std::fs::read_dir(into) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(found) => {
                let found = found.map_err(failed)?.file_name().to_string_lossy().into_owned();
                Err(BackupError::Taken { folder: into.into(), found })
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => DirBuilder::new().recursive(true).mode(0o700).create(into).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn copy_database(source: &Connection, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), BackupError> {
    let failed = |error| BackupError::sqlite(to, error);
    let pages: i64 = source.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(failed)?;
    let bytes = pages.cast_unsigned() * PAGE_BYTES;
    demand_room(to.parent().unwrap_or(to), bytes)?;
    let file = private(to).map_err(|error| BackupError::io(to, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags).map_err(failed)?;
    // What is half copied is no backup, so that nothing need be undone.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").map_err(failed)?;
    {
        let backup = Backup::new(source, &mut target).map_err(failed)?;
        let mut steps: u32 = 0;
        loop {
            let stepped = backup.step(PAGES_AT_A_TIME).map_err(failed)?;
            let left = u64::try_from(backup.progress().remaining).unwrap_or(0) * PAGE_BYTES;
            progress(Progress { done_bytes: bytes.saturating_sub(left), bytes });
            steps += 1;
            if steps.is_multiple_of(STEPS_A_SYNC) {
                file.sync_data().map_err(|error| BackupError::io(to, error))?;
            }
            match stepped {
                StepResult::Done => break,
                StepResult::More => {}
                StepResult::Busy | StepResult::Locked | _ => return Err(BackupError::io(to, "the copy is locked by somebody else")),
            }
        }
    }
    target.close().map_err(|(_, error)| failed(error))?;
    file.sync_all().map_err(|error| BackupError::io(to, error))
}

fn file_sum(folder: &Path, name: &str) -> Result<FileSum, BackupError> {
    let path = folder.join(name);
    let (bytes, sha256) = sum_of(&path, |_| {}).map_err(|error| BackupError::io(&path, error))?;
    Ok(FileSum { name: name.to_owned(), bytes, sha256 })
}

/// Makes it a backup.
fn finish(into: &Path, totals: &Totals, (taken_ts, files): (u64, Vec<FileSum>)) -> Result<Manifest, BackupError> {
    let Totals { number: group, rewinds, logs, accounts, .. } = *totals;
    let manifest = Manifest { format: FORMAT, taken_ts, group, rewinds, logs, accounts, files };
    let text = serde_json::to_string_pretty(&manifest).map_err(|error| BackupError::io(into, error))? + "\n";
    let whole = sync(into).and_then(|()| durable_file::write(into, MANIFEST, text.as_bytes()));
    whole.map_err(|error| BackupError::io(&into.join(MANIFEST), error))?;
    Ok(manifest)
}
