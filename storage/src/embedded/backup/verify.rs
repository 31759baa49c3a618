//! Looking at a backup: its files by their sums, its database by everything that a store can be checked by.
//!
//! Never: a write, not even what SQLite makes beside a database.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use cloudsync_protocol::{LogId, Seq};
use rusqlite::{Connection, OpenFlags};

use super::{BackupError, DATABASE, FORMAT, MANIFEST, Manifest, Progress, sum_of};
use crate::embedded::checks;
use crate::embedded::row::decode_piece;
use crate::embedded::schema::{row_id, seq_of};
use crate::embedded::{totals, verify as database};
use crate::store::ReadError;

/// A whole backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Damage that the store had when it was copied: it is as it was there.
    pub damaged: Vec<String>,
}

#[derive(serde::Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Reads all of a backup.
///
/// # Errors
/// Each of [`BackupError`]: it is not what was written.
pub fn verify(backup: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Verified, BackupError> {
    let manifest = read_manifest(backup)?;
    let (bytes, mut done_bytes) = (manifest.bytes(), 0);
    for file in &manifest.files {
        let path = backup.join(&file.name);
        let found = sum_of(&path, |more| {
            done_bytes += more;
            progress(Progress { done_bytes: done_bytes.min(bytes), bytes });
        });
        let found = found.map_err(|error| BackupError::io(&path, error))?;
        if found != (file.bytes, file.sha256.clone()) {
            let why = format!("not the file that {MANIFEST} tells of ({} B, {} B are there)", file.bytes, found.0);
            return Err(BackupError::Damaged { path, why });
        }
    }
    let damaged = verify_database(&backup.join(DATABASE), &manifest)?;
    Ok(Verified { manifest, damaged })
}

fn read_manifest(backup: &Path) -> Result<Manifest, BackupError> {
    let none = |why: String| BackupError::NoBackup { folder: backup.into(), why };
    let is_missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let bytes = std::fs::read(backup.join(MANIFEST))
        .map_err(|error| none(if is_missing(&error) { "missing".into() } else { error.to_string() }))?;
    let format: FormatOnly = serde_json::from_slice(&bytes).map_err(|error| none(format!("not readable: {error}")))?;
    if format.format > FORMAT {
        return Err(BackupError::Newer { folder: backup.into(), found: format.format });
    }
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| none(format!("not readable: {error}")))?;
    let named = |file: &super::FileSum| Path::new(&file.name).file_name() == Some(file.name.as_ref());
    if !manifest.files.iter().all(named) || !manifest.files.iter().any(|file| file.name == DATABASE) {
        return Err(none("of no backup".into()));
    }
    Ok(manifest)
}

/// Everything that a start looks at, and every row of every log. What the copied store already had is told, not refused.
fn verify_database(path: &Path, manifest: &Manifest) -> Result<Vec<String>, BackupError> {
    let wrong = |error| BackupError::verify(path, error);
    database::header(path).map_err(|error| BackupError::io(path, error))?.map_err(wrong)?;
    let connection = immutable(path).map_err(|error| BackupError::sqlite(path, error))?;
    database::tables(&connection).map_err(wrong)?;
    let totals = totals::read(&connection).map_err(|error| wrong(error.into()))?;
    if (totals.number, totals.rewinds) != (manifest.group, manifest.rewinds) {
        let why = format!("it is at group {}, {MANIFEST} tells of {}", totals.number, manifest.group);
        return Err(BackupError::Damaged { path: path.into(), why });
    }
    database::pages(&connection).map_err(wrong)?;
    let small = database::small_tables(&connection, &totals).map_err(wrong)?;
    let counted = [("logs", small.logs), ("accounts", small.accounts), ("log-ins", small.families)];
    let mut damaged: Vec<String> =
        counted.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} damaged rows of {what}")).collect();
    for (key, log) in logs(&connection).map_err(|error| BackupError::sqlite(path, error))? {
        damaged.extend(checks::examine(&connection, log).err().map(|error| error.to_string()));
        damaged.extend(rows(&connection, (key, log)).err().map(|error| error.to_string()));
    }
    Ok(damaged)
}

/// A connection under which SQLite makes no file and takes no lock.
fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri.push_str("?immutable=1");
    Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI)
}

fn logs(connection: &Connection) -> rusqlite::Result<Vec<(i64, LogId)>> {
    let mut statement = connection.prepare("SELECT key, id FROM logs")?;
    statement.query_map([], |row| Ok((row.get(0)?, LogId(row.get(1)?))))?.collect()
}

/// Every row of a log by its sum. The first damaged one is told.
fn rows(connection: &Connection, (key, log): (i64, LogId)) -> Result<(), ReadError> {
    let mut statement = connection.prepare_cached("SELECT id, row FROM log WHERE id >= ?1 AND id < ?2")?;
    let mut rows = statement.query((row_id(key, 0), row_id(key + 1, 0)))?;
    while let Some(row) = rows.next()? {
        decode_piece(log, Seq(seq_of(row.get(0)?)), row.get_ref(1)?.as_blob().unwrap_or_default())?;
    }
    Ok(())
}
