//! Kinds of damage that no page's structure shows, each made by hand: what is gone or changed is named, the rest is served.
//!
//! Never: damage by chance; `damage.rs` draws that.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod support;

use std::path::Path;

use cloudsync_protocol::{Seq, UserId};
use cloudsync_storage::Store as _;
use cloudsync_storage::conformance::accounts::{account, family, first};
use cloudsync_storage::conformance::data::{Write, Writer, acquire, device, key, log};
use cloudsync_storage::embedded::OpenError;
use cloudsync_storage::store::{AcquireError, CreateAccountError, History, Page, Pull, PullError, ReadError, WriteError};
use support::{copy_as_killed, in_memory, open, try_open};
use tempfile::TempDir;

/// Two logs of ten commits, two accounts with a log-in each, stopped cleanly.
async fn stopped() -> (TempDir, [Writer; 2]) {
    let folder = in_memory();
    let store = open(folder.path());
    for (number, email) in [(1, "ada@example.com"), (2, "bob@example.com")] {
        let user = UserId(log(number).0);
        store.create_account(account(email, user), first("keyring")).await.unwrap();
        store.create_family(family(u8::try_from(number).unwrap(), user, device(1))).await.unwrap();
    }
    let mut writers = [Writer::acquire(&store, log(1)).await, Writer::acquire(&store, log(2)).await];
    for writer in &mut writers {
        let roster = vec![writer.enrol(device(1)), writer.enrol(device(2)), writer.revoke(device(2))];
        store.commit(writer.commit(roster)).await.unwrap();
        for number in 0..7 {
            let puts = [(key(if number == 6 { "tasks" } else { "notes" }, &format!("{}", number % 5)), Write::Live(100))];
            writer.push(&store, device(1), &puts).await.unwrap();
        }
    }
    store.close().await;
    (folder, writers)
}

/// Changes the database behind the store's back.
fn change(folder: &Path, sql: &str) {
    let database = rusqlite::Connection::open(folder.join("cloudsync.db")).unwrap();
    assert!(database.execute(sql, []).unwrap() > 0, "{sql}");
}

fn is_damage<T: std::fmt::Debug>(answer: Result<T, ReadError>) -> String {
    match answer {
        Err(ReadError::Damaged { place, why }) => format!("{place}: {why}"),
        other => panic!("{other:?} names no damage"),
    }
}

fn all(writer: &Writer) -> Pull {
    Pull { timeline: writer.head.timeline, from: Seq::ZERO, to: writer.head.seq, bytes_max: usize::MAX }
}

fn refused(folder: &Path) -> String {
    match try_open(folder) {
        Err(OpenError::Damaged { why, .. }) => why,
        other => panic!("{other:?} names no damage"),
    }
}

#[tokio::test]
async fn a_lost_or_changed_row_of_a_logs_index_is_missed_though_its_log_is_whole() {
    for sql in [
        "DELETE FROM record WHERE log = 1 AND record = '3'",
        "DELETE FROM record WHERE log = 1 AND record = '0' AND version = 2",
        "UPDATE record SET record = '7' WHERE log = 1 AND record = '3'",
        "UPDATE record SET version = 9 WHERE log = 1 AND record = '3'",
        "UPDATE record SET seq = 5 WHERE log = 1 AND record = '3'",
        "UPDATE record SET log = 9 WHERE log = 1 AND record = '3'",
        "DELETE FROM roster WHERE id & 0xfffffffff = 3 AND id >> 36 = 1",
        "UPDATE roster SET id = id + 30 WHERE id & 0xfffffffff = 3 AND id >> 36 = 1",
        "DELETE FROM collection WHERE log = 1 AND name = 'tasks'",
        "UPDATE collection SET key = 4 WHERE log = 1 AND name = 'tasks'",
        "UPDATE collection SET name = 'tanks' WHERE log = 1 AND name = 'tasks'",
    ] {
        let (folder, writers) = stopped().await;
        change(folder.path(), sql);
        let store = open(folder.path());
        is_damage(store.look_up(log(1), vec![key("notes", "3")]).await);
        is_damage(store.look_up(log(1), vec![key("notes", "never")]).await);
        if sql.contains("roster") {
            is_damage(store.roster(log(1)).await);
        } else {
            assert_eq!(store.roster(log(1)).await.unwrap().len(), 3, "who may read is known: {sql}");
        }
        let history = History { record: key("notes", "3"), before: None, count: 9, bytes_max: 9_000 };
        is_damage(store.history(log(1), history).await);
        assert!(matches!(store.snapshot(log(1), None, 9_000).await, Err(PullError::Read(ReadError::Damaged { .. }))), "{sql}");
        if !sql.contains("id + 30") {
            let page = store.pull(log(1), all(&writers[0])).await.unwrap();
            assert_eq!(page.entries, writers[0].entries, "the log does without its index: {sql}");
            assert!(store.acquire(acquire(log(1), 1, 2)).await.is_ok(), "and can be read on: {sql}");
        }
        assert!(store.look_up(log(2), vec![key("notes", "3")]).await.unwrap()[0].is_some(), "other logs are served: {sql}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_log_without_its_newest_rows_is_not_taken_for_a_shorter_one() {
    let (folder, writers) = stopped().await;
    change(folder.path(), "DELETE FROM log WHERE id >> 36 = 1 AND id & 0xfffffffff > 8");
    let store = open(folder.path());
    let AcquireError::Read(error) = store.acquire(acquire(log(1), 1, 2)).await.unwrap_err() else { panic!("no damage") };
    let named = is_damage::<()>(Err(error));
    assert!(named.contains("seq 9") && named.contains("missing"), "{named}");
    is_damage(store.read_head(log(1)).await);
    assert!(matches!(store.pull(log(1), all(&writers[0])).await, Err(PullError::Read(ReadError::Damaged { .. }))));
    assert_eq!(store.pull(log(2), all(&writers[1])).await.map(|Page { entries, .. }| entries), Ok(writers[1].entries.clone()));
    store.close().await;
}

#[tokio::test]
async fn rows_that_are_gone_from_a_small_table_refuse_the_start_with_their_number() {
    for (sql, what) in [
        ("DELETE FROM logs WHERE key = 1", "1 logs of 2"),
        ("DELETE FROM account WHERE email = 'ada@example.com'", "1 accounts of 2"),
        ("DELETE FROM credential WHERE rowid = 1", "1 credentials of 2"),
        ("DELETE FROM family", "0 log-ins of 2"),
    ] {
        let (folder, _) = stopped().await;
        change(folder.path(), sql);
        assert!(refused(folder.path()).contains(what), "{sql}");
    }
}

#[tokio::test]
async fn a_log_that_is_not_found_is_not_taken_for_a_new_one_while_another_row_is_damaged() {
    for sql in [
        "UPDATE logs SET id = x'00112233445566778899aabbccddeeff' WHERE key = 1",
        "UPDATE logs SET key = 9 WHERE key = 1",
        "UPDATE logs SET head = substr(head, 1, 8) WHERE key = 1",
    ] {
        let (folder, writers) = stopped().await;
        change(folder.path(), sql);
        let store = open(folder.path());
        for number in [1, 77] {
            let answer = store.acquire(acquire(log(number), 1, 2)).await;
            assert!(matches!(answer, Err(AcquireError::Read(ReadError::Damaged { .. }))), "{sql}: {answer:?}");
        }
        assert_eq!(store.acquire(acquire(log(2), 1, 2)).await.map(|head| head.seq), Ok(writers[1].head.seq), "{sql}");
        store.close().await;
    }
}

#[tokio::test]
async fn an_account_that_is_not_found_may_be_the_damaged_one() {
    let (folder, _) = stopped().await;
    change(folder.path(), "UPDATE account SET email = 'eda@example.com' WHERE email = 'ada@example.com'");
    let store = open(folder.path());
    is_damage(store.account_by_email("ada@example.com").await);
    is_damage(store.account(UserId(log(1).0)).await);
    let again = store.create_account(account("ada@example.com", UserId(log(5).0)), first("keyring")).await;
    assert!(matches!(again, Err(CreateAccountError::Write(WriteError::Read(ReadError::Damaged { .. })))), "{again:?}");
    assert!(store.account_by_email("bob@example.com").await.unwrap().is_some());
    store.close().await;
}

#[tokio::test]
async fn a_changed_log_in_is_named_and_never_revives_a_revoked_one() {
    for sql in ["UPDATE family SET revoked = 0", "UPDATE family SET number = 7", "UPDATE family SET expires_ts = 1 << 60"] {
        let (folder, _) = stopped().await;
        let store = open(folder.path());
        store.revoke_families(UserId(log(1).0), device(1)).await.unwrap();
        store.close().await;
        change(folder.path(), sql);
        let store = open(folder.path());
        let id = family(1, UserId(log(1).0), device(1)).id;
        is_damage(store.family(id).await);
        assert!(matches!(store.advance_family(id, 1, 9).await, Err(WriteError::Read(ReadError::Damaged { .. }))), "{sql}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_changed_group_number_or_table_refuses_the_start() {
    for (sql, what) in [
        ("UPDATE groups SET number = number + 1000000", "groups"),
        ("UPDATE groups SET rewinds = 1", "groups"),
        ("CREATE TABLE other (x)", "tables"),
    ] {
        let (folder, _) = stopped().await;
        let database = rusqlite::Connection::open(folder.path().join("cloudsync.db")).unwrap();
        database.execute(sql, []).unwrap();
        drop(database);
        assert!(refused(folder.path()).contains(what), "{sql}");
    }
}

#[tokio::test]
async fn a_damaged_page_refuses_a_start_after_a_clean_stop_too() {
    let (folder, _) = stopped().await;
    let path = folder.path().join("cloudsync.db");
    let whole = std::fs::read(&path).unwrap();
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        std::fs::write(&path, bytes).unwrap();
        refused(folder.path());
        assert!(!folder.path().join("cloudsync.db-wal").exists(), "nothing was added");
    }
}

#[tokio::test]
async fn an_empty_database_does_not_cost_its_wal() {
    let (folder, _) = stopped().await;
    let store = open(folder.path());
    store.acquire(acquire(log(1), 1, 2)).await.unwrap();
    let copy = copy_as_killed(folder.path());
    store.close().await;
    let wal = std::fs::read(copy.path().join("cloudsync.db-wal")).unwrap();
    assert!(!wal.is_empty());
    for database in [&b""[..], b"SQLite format 3\0\x10\x00\x01\x01", &[0; 8192]] {
        std::fs::write(copy.path().join("cloudsync.db"), database).unwrap();
        refused(copy.path());
        assert_eq!(std::fs::read(copy.path().join("cloudsync.db-wal")).unwrap(), wal, "SQLite deletes the WAL of an empty database");
    }
}
