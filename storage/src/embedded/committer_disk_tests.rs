//! What the committer's connection promises of the disk: synced commits, and nothing written over a database that lost some.
//!
//! Never: a second connection that could be set otherwise; what is asked is the one that writes.

use cloudsync_protocol::LogId;

use super::tests::{commit, committer, take};
use super::*;
use crate::embedded::side::Promised;
use crate::store::AcquireError;

fn pragma<T: rusqlite::types::FromSql>(committer: &Committer, name: &str) -> T {
    committer.connection.as_ref().unwrap().pragma_query_value(None, name, |row| row.get(0)).unwrap()
}

/// FULL, as `PRAGMA synchronous` numbers it: the WAL is synced by each commit. NORMAL (1) and OFF (0) lose acknowledged groups.
const FULL: i64 = 2;

#[test]
fn the_connection_that_writes_syncs_each_commit_also_after_it_was_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(folder.path());
    let set = |committer: &Committer| (pragma::<i64>(committer, "synchronous"), pragma::<String>(committer, "journal_mode"));
    assert_eq!(set(&committer), (FULL, "wal".into()));
    let mut writer = take(&mut committer, 1);
    let before = writer.clone();
    committer.connection.as_mut().unwrap().commit_hook(Some(|| true)).unwrap();
    committer.group(vec![commit(&mut writer).0]);
    assert!(committer.connection.is_none(), "given up");
    let (request, mut answer) = commit(&mut before.clone());
    committer.group(vec![request]);
    assert_eq!(answer.try_recv().unwrap(), Ok(()));
    assert_eq!(set(&committer), (FULL, "wal".into()));
}

/// What an acquire of `number`'s log is answered, at an attempt to open the database again that is due.
fn acquired(committer: &mut Committer, number: u64) -> Result<LogId, AcquireError> {
    committer.reopened = None;
    let log = crate::conformance::data::log(number);
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    committer.group(vec![Request::Acquire(crate::conformance::data::acquire(log, 1, number), reply)]);
    answer.try_recv().unwrap().map(|_| log)
}

#[test]
fn nothing_is_written_to_a_database_that_is_behind_what_was_acknowledged_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(folder.path());
    let mut writer = take(&mut committer, 1);
    let (request, mut answer) = commit(&mut writer);
    committer.group(vec![request]);
    assert_eq!(answer.try_recv().unwrap(), Ok(()));
    let number = committer.number;
    committer.connection.as_mut().unwrap().commit_hook(Some(|| true)).unwrap();
    committer.group(vec![commit(&mut writer.clone()).0]);
    assert!(committer.connection.is_none(), "given up");

    // The WAL, and with it every group, is lost while the database is closed.
    let [wal, kept] = ["cloudsync.db-wal", "kept"].map(|name| folder.path().join(name));
    std::fs::rename(&wal, &kept).unwrap();
    for log in 2..5 {
        let refused = acquired(&mut committer, log).unwrap_err();
        let AcquireError::Read(ReadError::Unavailable(why)) = refused else { panic!("{refused}") };
        assert_eq!(why, format!("the database is at group 0, {number} were acknowledged"));
        let bytes = std::fs::metadata(&wal).map_or(0, |wal| wal.len());
        assert_eq!(bytes, 0, "nothing was written");
    }
    assert_eq!(SideFile::read(&committer.folder.groups()).unwrap(), Promised::UpTo(number), "the promise stands");

    std::fs::rename(&kept, &wal).unwrap();
    acquired(&mut committer, 2).unwrap();
    let (request, mut answer) = commit(&mut writer);
    committer.group(vec![request]);
    assert_eq!(answer.try_recv().unwrap(), Ok(()), "where it was");
    assert_eq!(committer.number, number + 2);
}
