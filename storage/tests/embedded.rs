//! What only the embedded store promises: its folder, its crashes, its damage.
//!
//! Never: a case of the contract; those are in the conformance suite.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloudsync_engine::log::Commit;
use cloudsync_protocol::{Entry, Seq, UserId};
use cloudsync_storage::conformance::accounts::{account, family, first};
use cloudsync_storage::conformance::data::{Write, Writer, acquire, device, key, log};
use cloudsync_storage::embedded::{EmbeddedStore, Folder, Loss, OpenError, Options, Space};
use cloudsync_storage::store::{AcquireError, CommitError, CreateAccountError, Pull, PullError, ReadError, WriteError};
use cloudsync_storage::{MemoryStore, Store};
use support::{copy_as_killed, open, try_open, try_open_with};
use tempfile::TempDir;

fn put(number: usize) -> [(cloudsync_protocol::RecordKey, Write); 1] {
    [(key("notes", &format!("{number}")), Write::Live(300))]
}

async fn all(store: &dyn Store, writer: &Writer) -> Result<Vec<Entry>, PullError> {
    let pull = Pull { timeline: writer.head.timeline, from: Seq::ZERO, to: Seq(u64::MAX), bytes_max: usize::MAX };
    store.pull(writer.log(), pull).await.map(|page| page.entries)
}

/// A folder with 40 groups of one commit each, not closed.
async fn written() -> (TempDir, EmbeddedStore, Writer) {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::acquire(&store, log(1)).await;
    for number in 0..40 {
        writer.push(&store, device(1), &put(number)).await.unwrap();
    }
    (folder, store, writer)
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with("-shm") && entry.file_name() != "lock")
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn every_acknowledged_commit_is_there_after_a_kill_under_load() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(folder.path()));
    let tasks: Vec<_> = (1..=8)
        .map(|number| {
            let store = Arc::clone(&store);
            let acknowledged = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&acknowledged);
            let task = tokio::spawn(async move {
                let mut writer = Writer::acquire(&*store, log(number)).await;
                for round in 0..60 {
                    writer.push(&*store, device(number), &put(round)).await.unwrap();
                    counter.store(writer.head.seq.0, Ordering::SeqCst);
                }
                writer
            });
            (acknowledged, task)
        })
        .collect();
    let mut kills = Vec::new();
    for _ in 0..4 {
        let before: Vec<u64> = tasks.iter().map(|(acknowledged, _)| acknowledged.load(Ordering::SeqCst)).collect();
        kills.push((before, copy_as_killed(folder.path())));
        let (counter, now) = (&tasks[0].0, tasks[0].0.load(Ordering::SeqCst));
        while counter.load(Ordering::SeqCst) < (now + 10).min(60) {
            tokio::task::yield_now().await;
        }
    }
    let mut writers = Vec::new();
    for (_, task) in tasks {
        writers.push(task.await.unwrap());
    }
    for (before, copy) in kills {
        let store = open(copy.path());
        for (writer, acknowledged) in writers.iter().zip(before) {
            let head = store.read_head(writer.log()).await.unwrap().map_or(Seq::ZERO, |head| head.seq);
            assert!(head >= Seq(acknowledged), "{head} of {acknowledged} acknowledged");
            if head > Seq::ZERO {
                let whole = usize::try_from(head.0).unwrap();
                assert_eq!(all(&store, writer).await.unwrap(), writer.entries[..whole].to_vec());
            }
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_crash_between_commit_and_side_file_opens_and_goes_on() {
    let (folder, store, mut writer) = written().await;
    let before = std::fs::read(folder.path().join("groups")).unwrap();
    writer.push(&store, device(1), &put(100)).await.unwrap();
    let copy = copy_as_killed(folder.path());
    std::fs::write(copy.path().join("groups"), before).unwrap();
    let store = open(copy.path());
    assert_eq!(all(&store, &writer).await.unwrap(), writer.entries);
    writer.push(&store, device(1), &put(101)).await.unwrap();
    store.close().await;
    let store = open(copy.path());
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head)));
}

#[tokio::test]
async fn a_database_behind_its_side_file_is_refused_with_the_number_of_groups_and_left_alone() {
    let (folder, _store, _) = written().await;
    let copy = copy_as_killed(folder.path());
    let wal = copy.path().join("cloudsync.db-wal");
    let mut bytes = std::fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&wal, bytes).unwrap();
    let before = files(copy.path());
    for _ in 0..2 {
        let error = try_open(copy.path()).unwrap_err();
        let OpenError::GroupsMissing { newest, promised, missing, .. } = error else { panic!("{error}") };
        assert_eq!((promised, newest + missing), (41, 41));
        assert!((1..41).contains(&missing), "{missing}");
        assert!(try_open(copy.path()).unwrap_err().to_string().contains(&format!("{missing} acknowledged groups are missing")));
    }
    assert_eq!(files(copy.path()), before, "left as it was found");
    std::fs::remove_file(&wal).unwrap();
    assert!(matches!(try_open(copy.path()).unwrap_err(), OpenError::GroupsMissing { missing: 41, .. }));
    std::fs::remove_file(copy.path().join("cloudsync.db")).unwrap();
    assert!(matches!(try_open(copy.path()).unwrap_err(), OpenError::GroupsMissing { newest: 0, missing: 41, .. }));
    assert!(!copy.path().join("cloudsync.db").exists(), "a lost database is not made anew");
}

#[tokio::test]
async fn a_missing_a_damaged_and_an_empty_side_file_are_refused_unless_the_loss_is_accepted() {
    let (folder, store, writer) = written().await;
    store.close().await;
    let groups = folder.path().join("groups");
    std::fs::remove_file(&groups).unwrap();
    assert!(matches!(try_open(folder.path()).unwrap_err(), OpenError::SideFile { why: "missing", .. }));
    std::fs::write(&groups, [0xff; 1024]).unwrap();
    assert!(matches!(try_open(folder.path()).unwrap_err(), OpenError::SideFile { why: "damaged", .. }));
    for empty in [&[][..], &[0; 1024]] {
        std::fs::write(&groups, empty).unwrap();
        assert!(matches!(try_open(folder.path()).unwrap_err(), OpenError::SideFile { why: "empty", .. }));
    }
    let store = try_open_with(folder.path(), Loss::Accept).unwrap();
    assert_eq!(store.read_head(log(1)).await.unwrap().unwrap().seq, writer.head.seq, "nothing was missing");
    assert_eq!(all(&store, &writer).await.unwrap(), writer.entries, "the timeline is another one once the log is acquired");
    store.close().await;
    open(folder.path()).close().await;
}

#[tokio::test]
async fn a_damaged_row_is_named_when_it_is_read_and_the_others_are_served() {
    let (folder, store, writer) = written().await;
    store.close().await;
    let database = rusqlite::Connection::open(folder.path().join("cloudsync.db")).unwrap();
    let mut row: Vec<u8> = database.query_row("SELECT row FROM log WHERE id & 0xfffffffff = 7", [], |row| row.get(0)).unwrap();
    let last = row.len() - 1;
    row[last - 90] ^= 1;
    database.execute("UPDATE log SET row = ?1 WHERE id & 0xfffffffff = 7", [row]).unwrap();
    database.execute("DELETE FROM log WHERE id & 0xfffffffff = 11", []).unwrap();
    drop(database);
    let store = open(folder.path());
    let named = |seq: u64, why: &str| ReadError::Damaged { place: format!("log {}, seq {seq}", log(1)), why: why.into() };
    let sum = "the row's sum does not fit";
    let pull = |from, to| Pull { timeline: writer.head.timeline, from: Seq(from), to: Seq(to), bytes_max: usize::MAX };
    assert_eq!(store.pull(log(1), pull(0, 6)).await.unwrap().entries, writer.entries[..6].to_vec());
    assert_eq!(all(&store, &writer).await, Err(PullError::Read(named(7, sum))));
    assert_eq!(store.pull(log(1), pull(7, 40)).await, Err(PullError::Read(named(11, "the row is missing"))));
    assert_eq!(store.pull(log(1), pull(11, 40)).await.unwrap().entries, writer.entries[11..].to_vec());
    assert_eq!(store.look_up(log(1), vec![key("notes", "6")]).await, Err(named(7, sum)));
    assert!(store.look_up(log(1), vec![key("notes", "7")]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn damaged_pages_are_found_at_the_start_after_an_unclean_stop() {
    let (folder, store, _) = written().await;
    store.close().await;
    let store = open(folder.path());
    let copy = copy_as_killed(folder.path());
    drop(store);
    let database = copy.path().join("cloudsync.db");
    let mut bytes = std::fs::read(&database).unwrap();
    bytes[4096 * 3..4096 * 4].fill(0xa5);
    std::fs::write(&database, bytes).unwrap();
    assert!(matches!(try_open(copy.path()).unwrap_err(), OpenError::Damaged { .. }));
}

#[tokio::test]
async fn a_second_opener_is_refused_and_told_the_pid() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let error = try_open(folder.path()).unwrap_err();
    assert_eq!(error, OpenError::Locked { folder: folder.path().into(), pid: Some(std::process::id()) });
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())));
    store.close().await;
    assert_eq!(store.read_head(log(1)).await, Err(ReadError::Unavailable("the store is closed".into())));
    assert!(matches!(store.acquire(acquire(log(1), 1, 1)).await, Err(AcquireError::Read(ReadError::Unavailable(_)))));
    open(folder.path()).close().await;
}

#[tokio::test]
async fn a_half_made_folder_is_completed() {
    let make = |names: &[(&str, &[u8])]| {
        let folder = TempDir::new().unwrap();
        names.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
        folder
    };
    let format: (&str, &[u8]) = ("format", b"cloudsync store 1\n");
    let steps: [&[(&str, &[u8])]; 5] = [
        &[("lock", b"")],
        &[("lock", b"12\n"), ("format.tmp", b"cloudsy")],
        &[format],
        &[format, ("secrets.json", b"{}"), ("cloudsync.db.tmp", b"SQLite for"), ("cloudsync.db.tmp-journal", b"\xd9")],
        &[format, ("groups", b"")],
    ];
    for step in steps {
        let folder = make(step);
        let store = open(folder.path());
        let mut writer = Writer::acquire(&store, log(1)).await;
        writer.push(&store, device(1), &put(1)).await.unwrap();
        store.close().await;
        assert_eq!(open(folder.path()).read_head(log(1)).await, Ok(Some(writer.head)), "{step:?}");
    }
    let (folder, store, _) = written().await;
    store.close().await;
    std::fs::remove_file(folder.path().join("format")).unwrap();
    assert!(matches!(try_open(folder.path()).unwrap_err(), OpenError::Foreign { .. }), "data without a format is not overwritten");
}

#[test]
fn a_newer_an_unreadable_and_a_foreign_folder_are_refused_untouched() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("format"), "cloudsync store 2\n").unwrap();
    let newer = try_open(folder.path()).unwrap_err();
    assert_eq!(newer, OpenError::Newer { folder: folder.path().into(), found: 2, known: 1 });
    std::fs::write(folder.path().join("format"), "tea").unwrap();
    assert!(matches!(try_open(folder.path()).unwrap_err(), OpenError::FormatUnreadable { .. }));
    std::fs::remove_file(folder.path().join("format")).unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    assert_eq!(try_open(folder.path()).unwrap_err(), OpenError::Foreign { folder: folder.path().into(), found: "thesis.tex".into() });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was added");
}

#[tokio::test]
async fn only_the_owner_may_read_the_files_and_a_clean_stop_empties_the_wal() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("new/deeper");
    let store = open(&folder);
    Writer::acquire(&store, log(1)).await.push(&store, device(1), &put(1)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in ["cloudsync.db", "cloudsync.db-wal", "cloudsync.db-shm", "groups", "format", "lock", "running"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    store.close().await;
    for name in ["cloudsync.db-wal", "running"] {
        assert!(!folder.join(name).exists(), "{name} is gone");
    }
}

/// A stolen device leaves even when the disk is full.
async fn rotates_until_a_quarter_of_the_reserve_is_left(
    store: &EmbeddedStore,
    writer: &mut Writer,
    (available, reserve_bytes): (&AtomicU64, u64),
) {
    for (left, fits) in [(reserve_bytes / 4, false), (reserve_bytes / 4 + 1, true)] {
        available.store(left, Ordering::Relaxed);
        let mut next = writer.clone();
        let (entry, credentials) = next.rotate(&[device(1)]);
        let commit = next.commit(vec![entry]);
        let committed = store.commit(Commit { credentials: Some(credentials), ..commit }).await;
        assert_eq!(committed.is_ok(), fits, "{left} B left: {committed:?}");
        if fits {
            *writer = next;
        }
    }
    assert_eq!(store.credentials(UserId(log(1).0)).await.unwrap().unwrap().version, 2);
    let mut mixed = writer.clone();
    let (entry, credentials) = mixed.rotate(&[device(1)]);
    let batch = mixed.batch(device(1), &put(4));
    let commit = mixed.commit(vec![entry, batch]);
    let refused = store.commit(Commit { credentials: Some(credentials), ..commit }).await;
    assert!(matches!(refused, Err(CommitError::Full { .. })), "nothing else comes in with it: {refused:?}");
}

#[tokio::test]
async fn below_the_reserve_writes_are_refused_while_reads_and_erasing_go_on() {
    let folder = TempDir::new().unwrap();
    let available = Arc::new(AtomicU64::new(u64::MAX));
    let options = Options { space: Space::Told(Arc::clone(&available)), space_every: Duration::ZERO, ..Options::default() };
    let store = EmbeddedStore::open(Folder::hold(folder.path()).unwrap(), &options).unwrap();
    let mut writer = Writer::acquire(&store, log(1)).await;
    writer.push(&store, device(1), &put(1)).await.unwrap();
    store.create_account(account("ada@example.com", UserId(log(1).0)), first("keyring")).await.unwrap();
    let reserve_bytes = 256 * 1024 * 1024;
    available.store(reserve_bytes, Ordering::Relaxed);
    writer.push(&store, device(1), &put(2)).await.expect("at the reserve");
    available.store(reserve_bytes - 1, Ordering::Relaxed);
    let refused = writer.clone().push(&store, device(1), &put(3)).await;
    assert_eq!(refused, Err(CommitError::Full { available_bytes: reserve_bytes - 1, reserve_bytes }));
    assert_eq!(store.acquire(acquire(log(2), 1, 1)).await, Err(AcquireError::Full), "no new log");
    let bob = account("bob@example.com", UserId(log(2).0));
    assert_eq!(store.create_account(bob, first("keyring")).await, Err(CreateAccountError::Write(WriteError::Full)));
    writer.head = store.acquire(acquire(log(1), 1, 2)).await.expect("who wants to read needs an owner");
    assert_eq!(all(&store, &writer).await.unwrap(), writer.entries);
    available.store(reserve_bytes, Ordering::Relaxed);
    writer.push(&store, device(1), &put(3)).await.expect("nothing was changed by what was refused");
    rotates_until_a_quarter_of_the_reserve_is_left(&store, &mut writer, (&available, reserve_bytes)).await;
    available.store(0, Ordering::Relaxed);
    store.erase(log(1)).await.expect("erasing makes room");
}

#[tokio::test]
async fn the_wal_keeps_its_bound_and_nothing_is_lost_by_checkpoints() {
    let folder = TempDir::new().unwrap();
    let options = Options { wal_bytes_max: 256 * 1024, ..Options::default() };
    let store = EmbeddedStore::open(Folder::hold(folder.path()).unwrap(), &options).unwrap();
    let mut writer = Writer::acquire(&store, log(1)).await;
    let wal = folder.path().join("cloudsync.db-wal");
    for number in 0..120 {
        writer.push(&store, device(1), &[(key("notes", &format!("{number}")), Write::Live(16 * 1024))]).await.unwrap();
        let bytes = std::fs::metadata(&wal).unwrap().len();
        assert!(bytes < 512 * 1024, "{bytes} after {number}");
    }
    let copy = copy_as_killed(folder.path());
    assert_eq!(all(&open(copy.path()), &writer).await.unwrap(), writer.entries);
}

#[tokio::test]
async fn an_erase_that_a_kill_cut_short_is_finished_at_the_next_start() {
    let (folder, store, writer) = written().await;
    store.close().await;
    let database = rusqlite::Connection::open(folder.path().join("cloudsync.db")).unwrap();
    let erased = cloudsync_protocol::Hash::of(&[log(1).as_bytes(), &1_u64.to_be_bytes()]).short();
    database.execute("UPDATE logs SET head = ?1", [erased.as_bytes()]).unwrap();
    drop(database);
    let store = open(folder.path());
    store.erase(log(9)).await.unwrap();
    assert_eq!(store.read_head(writer.log()).await, Ok(None));
    store.close().await;
    let database = rusqlite::Connection::open(folder.path().join("cloudsync.db")).unwrap();
    for table in ["log", "record", "collection", "roster"] {
        let rows: i64 = database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test]
async fn both_stores_answer_alike() {
    let folder = TempDir::new().unwrap();
    let stores: [Arc<dyn Store>; 2] = [Arc::new(open(folder.path())), Arc::new(MemoryStore::new())];
    let mut heads = Vec::new();
    for store in stores {
        let mut writer = Writer::acquire(&*store, log(1)).await;
        for number in 0..100 {
            let write = if number % 6 == 5 { Write::Dead } else { Write::Live(64 * number) };
            writer.push(&*store, device(1), &[(key("notes", &format!("{}", number % 17)), write)]).await.unwrap();
        }
        heads.push((store.read_head(log(1)).await.unwrap(), store.snapshot(log(1), None, 2000).await.unwrap()));
    }
    assert_eq!(heads[0], heads[1]);
}

#[tokio::test]
async fn nothing_of_an_erased_user_is_left_in_the_folder_but_its_id() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let marked = |number: u64| format!("marked-{number}-{}", "m".repeat(20));
    let users = [1, 2, 3].map(|number| UserId(log(number).0));
    for (user, number) in users.into_iter().zip(1..) {
        let keyring = marked(number).repeat(500);
        store.create_account(account(&format!("{}@example.com", marked(number)), user), first(&keyring)).await.unwrap();
        store.create_family(family(u8::try_from(number).unwrap(), user, device(10 + number))).await.unwrap();
    }
    let mut writers = Vec::new();
    for number in 1..=3 {
        let mut writer = Writer::acquire(&store, log(number)).await;
        let enrol = writer.enrol(device(10 + number));
        store.commit(writer.commit(vec![enrol])).await.unwrap();
        writers.push(writer);
    }
    for record in 0..200 {
        for (writer, number) in writers.iter_mut().zip(1..) {
            let key = key("notes", &format!("{}-{record}", marked(number)));
            writer.push(&store, device(10 + number), &[(key, Write::Live(if record % 7 == 0 { 20_000 } else { 300 }))]).await.unwrap();
        }
    }
    let needles = |number: u64| [marked(number).into_bytes(), device(10 + number).0.to_vec()];
    let left = |needle: &[u8]| files(folder.path()).iter().map(|(_, bytes)| count(bytes, needle)).sum::<usize>();
    assert!(needles(2).iter().all(|needle| left(needle) > 100), "they are found where they are");
    store.erase(log(2)).await.unwrap();
    assert_eq!(needles(2).map(|needle| left(&needle)), [0, 0]);
    assert!(needles(1).iter().chain(&needles(3)).all(|needle| left(needle) > 100), "the others stay");
    // Its row, and the index by which it is found.
    assert_eq!(left(&log(2).0), 2);
}

fn count(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).filter(|window| *window == needle).count()
}
