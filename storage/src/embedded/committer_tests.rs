//! Groups that fail, wholly or in part.

use cloudsync_protocol::Seq;
use rusqlite::StatementStatus;
use tokio::sync::oneshot;

use super::*;
use crate::conformance::data::{Write as Put, Writer, acquire, device, key, log};
use crate::embedded::apply::Prepared;
use crate::embedded::side::Promised;
use crate::embedded::space::Space;
use crate::embedded::{Loss, open, reads};

pub(super) fn committer(folder: &std::path::Path) -> Committer {
    let folder = Folder::hold(folder).unwrap();
    let opened = open::open(&folder, Loss::Refuse).unwrap();
    let gauge = Gauge::new(folder.path(), Space::Measured, 0, Duration::from_secs(1));
    Committer::new(Parts { folder, opened, gauge, heads_max: 4, wal_bytes_max: 1 << 20 }).unwrap()
}

pub(super) fn take(committer: &mut Committer, number: u64) -> Writer {
    let (reply, mut answer) = oneshot::channel();
    committer.group(vec![Request::Acquire(acquire(log(number), 1, number), reply)]);
    Writer::with_head(log(number), answer.try_recv().unwrap().unwrap())
}

pub(super) fn commit(writer: &mut Writer) -> (Request, oneshot::Receiver<Result<(), CommitError>>) {
    let (reply, answer) = oneshot::channel();
    let entry = writer.batch(device(1), &[(key("notes", "a"), Put::Live(100))]);
    (Request::Commit(Box::new(Prepared::new(writer.commit(vec![entry]))), reply), answer)
}

#[test]
fn a_group_whose_commit_fails_is_unknown_to_all_and_the_database_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(folder.path());
    let mut writers = [take(&mut committer, 1), take(&mut committer, 2)];
    let number = committer.number;
    committer.connection.as_mut().unwrap().commit_hook(Some(|| true)).unwrap();
    let before = writers.clone();
    let (requests, answers): (Vec<_>, Vec<_>) = writers.iter_mut().map(commit).unzip();
    committer.group(requests);
    for mut answer in answers {
        assert!(matches!(answer.try_recv().unwrap(), Err(CommitError::Unknown(_))));
    }
    assert!(committer.connection.is_none(), "given up");
    assert_eq!(SideFile::read(&committer.folder.groups()).unwrap(), Promised::UpTo(number), "nothing was promised");
    for writer in &mut writers {
        *writer = before.iter().find(|before| before.log() == writer.log()).unwrap().clone();
        let (request, mut answer) = commit(writer);
        committer.group(vec![request]);
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
        let head = reads::head(committer.connection.as_ref().unwrap(), writer.log()).unwrap();
        assert_eq!(head.as_ref(), Some(&writer.head));
    }
    assert_eq!(committer.number, number + 2);
}

#[test]
fn a_look_up_is_planned_once_whatever_it_looks_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(folder.path());
    let mut writers = [take(&mut committer, 1), take(&mut committer, 2)];
    let (requests, _answers): (Vec<_>, Vec<_>) = writers.iter_mut().map(commit).unzip();
    committer.group(requests);
    let reader = schema::reader(&committer.folder.database()).unwrap();
    for record in ["a", "b", "a"] {
        for writer in &writers {
            let found = reads::look_up(&reader, writer.log(), &[key("notes", record)]).unwrap();
            assert_eq!(found[0].is_some(), record == "a");
        }
    }
    for sql in [reads::LIVE_KEY, reads::COLLECTION_KEY, reads::NEWEST] {
        let statement = reader.prepare_cached(sql).unwrap();
        let counted = (statement.get_status(StatementStatus::Run), statement.get_status(StatementStatus::RePrepare));
        assert_eq!(counted, (6, 0), "{sql}");
    }
}

#[test]
fn one_logs_damage_fails_its_own_commit_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(folder.path());
    let mut writers = [take(&mut committer, 1), take(&mut committer, 2), take(&mut committer, 3)];
    committer.cache.clear();
    committer.connection.as_ref().unwrap().execute("UPDATE logs SET head = x'00' WHERE key = 2", []).unwrap();
    let (requests, mut answers): (Vec<_>, Vec<_>) = writers.iter_mut().map(commit).unzip();
    committer.group(requests);
    assert_eq!(answers[0].try_recv().unwrap(), Ok(()));
    assert!(matches!(answers[1].try_recv().unwrap(), Err(CommitError::Unavailable(why)) if why.contains("damaged")));
    assert_eq!(answers[2].try_recv().unwrap(), Ok(()));
}

#[test]
fn a_refused_statement_is_tried_again_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut committer = committer(folder.path());
    let mut writers = [take(&mut committer, 1), take(&mut committer, 2)];
    let trigger = "CREATE TEMP TRIGGER no BEFORE INSERT ON log WHEN new.id >> 36 = 2 BEGIN SELECT RAISE(ABORT, 'no'); END";
    committer.connection.as_ref().unwrap().execute_batch(trigger).unwrap();
    let (requests, mut answers): (Vec<_>, Vec<_>) = writers.iter_mut().map(commit).unzip();
    committer.group(requests);
    assert_eq!(answers[0].try_recv().unwrap(), Ok(()));
    assert!(matches!(answers[1].try_recv().unwrap(), Err(CommitError::Unavailable(_))));
    let connection = committer.connection.as_ref().unwrap();
    assert_eq!(reads::head(connection, log(2)).unwrap().map(|head| head.seq), Some(Seq::ZERO), "nothing of it was written");
}
