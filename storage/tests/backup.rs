//! Backups: of one moment while commits go on, refused when they are not what was written, and brought back under new timelines
//! whatever stops that.
//!
//! Never: a restored store that answers as if nothing had happened.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod support;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloudsync_protocol::{Seq, UserId};
use cloudsync_storage::Store as _;
use cloudsync_storage::conformance::accounts::{account, first};
use cloudsync_storage::conformance::data::{Write, Writer, acquire, device, key, log, timeline};
use cloudsync_storage::embedded::backup::{BackupError, Manifest, Restored, Step, Watch, create, restore, verify};
use cloudsync_storage::embedded::{EmbeddedStore, Folder, OpenError};
use support::{in_memory, open, try_open};
use tempfile::TempDir;

const SECRETS: &str = "secrets.json";
const BESIDE: &[&str] = &[SECRETS, "certificate.pem"];

/// A folder with a store of some size, and its writer.
async fn stored(records: u64) -> (TempDir, EmbeddedStore, Writer) {
    let folder = in_memory();
    std::fs::write(folder.path().join("format"), "cloudsync store 1\n").unwrap();
    std::fs::write(folder.path().join(SECRETS), "the secrets of then").unwrap();
    let store = open(folder.path());
    store.create_account(account("ada@example.com", UserId(log(1).0)), first("keyring")).await.unwrap();
    let mut writer = Writer::acquire(&store, log(1)).await;
    for number in 0..records {
        writer.push(&store, device(1), &[(key("notes", &format!("{number}")), Write::Live(30_000))]).await.unwrap();
    }
    (folder, store, writer)
}

fn back_up(folder: &Path, into: &Path) -> Result<Manifest, BackupError> {
    create(folder, into, (BESIDE, 7), &mut |_| {})
}

fn bring_back(backup: &Path, data: &Path) -> Result<Restored, BackupError> {
    stopping(backup, data, |_| ControlFlow::Continue(()))
}

fn stopping(backup: &Path, data: &Path, mut watch: impl FnMut(Step) -> ControlFlow<()>) -> Result<Restored, BackupError> {
    restore(backup, data, SECRETS, Watch { progress: &mut |_| {}, step: &mut watch })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_one_moment_while_commits_go_on_and_has_all_that_was_acknowledged_before_it() {
    let (folder, store, mut writer) = stored(300).await;
    let (store, into, is_over) = (Arc::new(store), in_memory(), Arc::new(AtomicBool::new(false)));
    let (data, to, over, before) = (folder.path().to_owned(), into.path().join("backup"), Arc::clone(&is_over), writer.head.seq);
    let taken = tokio::task::spawn_blocking(move || {
        let mut steps = Vec::new();
        let manifest = create(&data, &to, (BESIDE, 7), &mut |progress| steps.push(progress)).unwrap();
        over.store(true, Ordering::Relaxed);
        (manifest, steps)
    });
    let mut written = 0;
    while !is_over.load(Ordering::Relaxed) || written == 0 {
        writer.push(&*store, device(1), &[(key("notes", &format!("{}", written % 300)), Write::Live(30_000))]).await.unwrap();
        written += 1;
    }
    let (manifest, steps) = taken.await.unwrap();
    assert!(steps.len() > 3 && steps.windows(2).all(|pair| pair[0].done_bytes <= pair[1].done_bytes), "{steps:?}");
    assert_eq!((manifest.taken_ts, manifest.logs, manifest.accounts, manifest.rewinds), (7, 1, 1, 0));
    let backup = into.path().join("backup");
    let verified = verify(&backup, &mut |_| {}).unwrap();
    assert_eq!((verified.manifest, verified.damaged), (manifest.clone(), Vec::new()));

    let data = into.path().join("data");
    let restored = bring_back(&backup, &data).unwrap();
    assert_eq!((&restored.manifest, restored.rewinds, &restored.kept), (&manifest, 1, &None));
    assert_eq!(std::fs::read_to_string(data.join(SECRETS)).unwrap(), "the secrets of then");
    let copy = open(&data);
    let head = copy.read_head(log(1)).await.unwrap().unwrap();
    assert!(head.seq >= before && head.seq < writer.head.seq, "{} commits of {}", head.seq, writer.head.seq);
    let opened = copy.acquire(acquire(log(1), 1, 2)).await.unwrap();
    assert_eq!((opened.timeline, opened.lineage.len()), (timeline(2), 2), "a new timeline, by itself");
    let pull = cloudsync_storage::store::Pull { timeline: timeline(2), from: Seq::ZERO, to: head.seq, bytes_max: usize::MAX };
    let there = copy.pull(log(1), pull).await.unwrap().entries;
    assert_eq!(there, writer.entries[..there.len()], "each entry as it was");
    assert_eq!(there.last().unwrap().last(), head.seq);
    assert!(copy.account_by_email("ada@example.com").await.unwrap().is_some());
    store.close().await;
    assert_eq!(open(folder.path()).read_head(log(1)).await, Ok(Some(writer.head)), "the folder that was copied is as it was");
}

#[tokio::test]
async fn a_store_that_is_closed_or_was_killed_is_backed_up_too() {
    let (folder, store, writer) = stored(3).await;
    let killed = support::copy_as_killed(folder.path());
    store.close().await;
    for data in [folder.path(), killed.path()] {
        let into = in_memory();
        back_up(data, into.path()).unwrap();
        let target = in_memory();
        bring_back(into.path(), target.path()).unwrap();
        assert_eq!(open(target.path()).read_head(log(1)).await.unwrap().unwrap().seq, writer.head.seq);
        assert_eq!(open(data).read_head(log(1)).await.unwrap(), Some(writer.head.clone()));
    }
}

/// What a start makes of a folder in which a restore was stopped.
async fn started(data: &Path) -> Result<(Seq, bool), OpenError> {
    let store = try_open(data)?;
    let head = store.acquire(acquire(log(1), 1 << 30, 9)).await.unwrap();
    store.close().await;
    Ok((head.seq, head.lineage.len() > 1))
}

#[tokio::test]
async fn a_restore_that_is_stopped_leaves_the_old_store_or_none_or_the_new_timeline_and_is_done_again() {
    let (folder, store, mut writer) = stored(3).await;
    let into = in_memory();
    back_up(folder.path(), into.path()).unwrap();
    let backed_up = writer.head.seq;
    writer.push(&store, device(1), &[(key("notes", "later"), Write::Live(100))]).await.unwrap();
    let now = writer.head.seq;
    // As a kill leaves it: with a WAL that is not empty.
    for step in Step::ALL {
        let data = support::copy_as_killed(folder.path());
        let stopped = stopping(into.path(), data.path(), |at| if at == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
        assert_eq!(stopped, Err(BackupError::Stopped), "{step:?}");
        let left = in_memory();
        for entry in std::fs::read_dir(data.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
        }
        match (step, started(left.path()).await) {
            (Step::Held | Step::Beside | Step::Raised, as_before) => assert_eq!(as_before, Ok((now, false)), "{step:?}"),
            (Step::PutAside | Step::WalPutAside, refused) => {
                assert!(matches!(refused, Err(OpenError::Lost { .. } | OpenError::GroupsMissing { .. })), "{step:?}: {refused:?}");
            }
            (Step::InPlace | Step::Promised, restored) => assert_eq!(restored, Ok((backed_up, true)), "{step:?}"),
        }
        let restored = bring_back(into.path(), data.path()).unwrap();
        assert_eq!(started(data.path()).await, Ok((backed_up, true)), "{step:?}");
        // What was put aside, and by whichever of the two, is the old store, its WAL with it.
        let aside = data.path().join("cloudsync.db.before-1");
        assert!(restored.kept.is_some(), "{step:?}");
        std::fs::rename(&aside, left.path().join("cloudsync.db")).unwrap();
        let (wal, to) = (data.path().join("cloudsync.db.before-1-wal"), left.path().join("cloudsync.db-wal"));
        std::fs::rename(&wal, &to).or_else(|_| std::fs::remove_file(&to)).unwrap();
        std::fs::copy(folder.path().join("groups"), left.path().join("groups")).unwrap();
        assert_eq!(started(left.path()).await, Ok((now, false)), "{step:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn each_restore_goes_back_once_more_also_to_a_backup_of_before_the_last_one() {
    let (folder, store, _) = stored(1).await;
    store.close().await;
    let backups = in_memory();
    let place = |number: u32| backups.path().join(format!("{number}"));
    back_up(folder.path(), &place(1)).unwrap();
    assert_eq!(bring_back(&place(1), folder.path()).unwrap().rewinds, 1);
    back_up(folder.path(), &place(2)).unwrap();
    assert_eq!(bring_back(&place(1), folder.path()).unwrap().rewinds, 2);
    let restored = bring_back(&place(2), folder.path()).unwrap();
    assert_eq!((restored.rewinds, restored.kept), (3, Some(folder.path().join("cloudsync.db.before-3"))));
    assert_eq!(open(folder.path()).rewinds(), 3);
}

#[tokio::test]
async fn what_is_not_the_backup_that_was_made_is_named_and_nothing_is_brought_back() {
    let (folder, store, _) = stored(20).await;
    store.close().await;
    type Spoil = Box<dyn Fn(&Path)>;
    let spoil: [(&str, Spoil); 6] = [
        ("not the file that backup.json tells of", Box::new(|backup| flip(&backup.join("cloudsync.db"), 100_000))),
        ("not the file that backup.json tells of", Box::new(|backup| flip(&backup.join(SECRETS), 3))),
        ("backup.json is missing", Box::new(|backup| std::fs::remove_file(backup.join("backup.json")).unwrap())),
        ("not readable", Box::new(|backup| std::fs::write(backup.join("backup.json"), "{").unwrap())),
        ("newer release", Box::new(|backup| std::fs::write(backup.join("backup.json"), "{\"format\":2}").unwrap())),
        ("No such file", Box::new(|backup| std::fs::remove_file(backup.join("cloudsync.db")).unwrap())),
    ];
    for (words, spoil) in spoil {
        let (into, data) = (in_memory(), in_memory());
        back_up(folder.path(), into.path()).unwrap();
        spoil(into.path());
        let refused = verify(into.path(), &mut |_| {}).unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(bring_back(into.path(), data.path()), Err(refused));
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "nothing was begun");
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn damage_that_the_store_had_is_told_of_its_backup_and_brought_back_as_it_is() {
    let (folder, store, _) = stored(3).await;
    store.close().await;
    let database = rusqlite::Connection::open(folder.path().join("cloudsync.db")).unwrap();
    database.execute("UPDATE log SET row = zeroblob(100) WHERE id & 0xfff = 2", []).unwrap();
    drop(database);
    let (into, data) = (in_memory(), in_memory());
    back_up(folder.path(), into.path()).unwrap();
    let damaged = verify(into.path(), &mut |_| {}).unwrap().damaged;
    assert!(damaged.len() == 1 && damaged[0].contains("seq 2"), "{damaged:?}");
    assert_eq!(bring_back(into.path(), data.path()).unwrap().damaged, damaged);
}

#[tokio::test]
async fn folders_that_are_taken_in_use_or_of_other_secrets_are_refused_as_they_are() {
    let (folder, store, _) = stored(1).await;
    let (into, other) = (in_memory(), in_memory());
    back_up(folder.path(), into.path()).unwrap();
    let taken = |found: &str| BackupError::Taken { folder: into.path().into(), found: found.into() };
    let refused = back_up(folder.path(), into.path()).unwrap_err();
    assert!([taken("backup.json"), taken("cloudsync.db"), taken(SECRETS)].contains(&refused), "{refused}");
    let refused = bring_back(into.path(), folder.path()).unwrap_err();
    assert!(matches!(refused, BackupError::Folder(OpenError::Locked { .. })), "{refused}");
    store.close().await;
    let nothing = other.path().join("nothing");
    assert_eq!(back_up(&nothing, &other.path().join("b")), Err(BackupError::NoStore { folder: nothing }));
    std::fs::write(folder.path().join(SECRETS), "others").unwrap();
    assert_eq!(bring_back(into.path(), folder.path()), Err(BackupError::OtherSecrets { path: folder.path().join(SECRETS) }));
    assert_eq!(started(folder.path()).await.unwrap().0, Seq(1));
    std::fs::remove_file(folder.path().join("cloudsync.db-wal")).unwrap_or_default();
    drop(Folder::hold(folder.path()).unwrap());
}

#[tokio::test]
async fn a_folder_that_lacks_acknowledged_groups_is_not_backed_up() {
    let (folder, store, _) = stored(3).await;
    let killed = support::copy_as_killed(folder.path());
    store.close().await;
    std::fs::remove_file(killed.path().join("cloudsync.db-wal")).unwrap();
    let refused = back_up(killed.path(), &killed.path().join("backup")).unwrap_err();
    assert!(matches!(refused, BackupError::GroupsMissing { newest: 0, promised: 5, .. }), "{refused}");
    assert!(!PathBuf::from(killed.path()).join("backup/backup.json").exists());
}
