//! What a commit brings beside its rows: credentials, and newer wraps of rows that are there.
//!
//! Never: a judgement of either; the log's owner makes that.

use bytes::Bytes;
use cloudsync_engine::log::{Commit, NewWrap, RecordAt};
use cloudsync_protocol::entry::Row;
use cloudsync_protocol::envelope::key_epoch;
use cloudsync_protocol::{Seq, UserId, Version};

use super::Factory;
use super::accounts::{account, first};
use super::commits::pull_all;
use super::data::{Write, Writer, acquire, device, key, log};
use crate::Store;
use crate::store::{CommitError, History};

const ADA: &str = "ada@example.com";

fn user() -> UserId {
    UserId(log(1).0)
}

async fn with_account(store: &dyn Store) -> Writer {
    store.create_account(account(ADA, user()), first("keyring 1")).await.expect("free");
    Writer::acquire(store, log(1)).await
}

pub async fn credentials_are_seen_exactly_with_the_head_of_their_commit(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = with_account(&*store).await;
    let (entry, rotated) = writer.rotate(&[device(1)]);
    let once = first("keyring 1").replaced_by(&rotated);
    store.commit(Commit { credentials: Some(rotated), ..writer.commit(vec![entry]) }).await.expect("the owner");
    assert_eq!(store.credentials(user()).await, Ok(Some(once.clone())));
    let (entry, rekeyed) = writer.rekey();
    let twice = once.clone().replaced_by(&rekeyed);
    assert_eq!((&twice.opaque_record, twice.recovery), (&once.opaque_record, once.recovery), "nothing keeps what is there");
    assert_ne!(twice.keyring, once.keyring);
    store.commit(Commit { credentials: Some(rekeyed), ..writer.commit(vec![entry]) }).await.expect("the owner");
    writer.push(&*store, device(1), &[(key("notes", "a"), Write::Live(92))]).await.expect("the owner");
    let store = factory.reopen(store).await;
    assert_eq!(store.credentials(user()).await, Ok(Some(twice)), "a commit without credentials leaves them");
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head.clone())));
    assert_eq!((writer.head.keyring_version, writer.head.key_epoch), (3, 2));
}

pub async fn a_commit_that_is_fenced_leaves_credentials_and_wraps_as_they_are(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = with_account(&*store).await;
    let record = key("notes", "a");
    writer.push(&*store, device(1), &[(record.clone(), Write::Live(92))]).await.expect("the owner");
    let mut late = writer.clone();
    let head = store.acquire(acquire(log(1), 1, 2)).await.expect("another owner");
    (writer.head.epoch, writer.head.owner) = (head.epoch, head.owner);
    writer.push(&*store, device(1), &[(key("notes", "b"), Write::Live(92))]).await.expect("the owner");
    let (rotation, credentials) = late.rotate(&[device(1)]);
    let (rewrap, wrap) = late.rewrap(device(1), &record);
    let commit = Commit { credentials: Some(credentials), wraps: vec![wrap], ..late.commit(vec![rotation, rewrap]) };
    assert_eq!(store.commit(commit).await, Err(CommitError::Fenced));
    assert_eq!(store.credentials(user()).await, Ok(Some(first("keyring 1"))));
    assert_eq!(epochs(&*store).await, [1, 1]);
}

pub async fn credentials_of_a_log_without_an_account_are_refused_with_their_commit(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let writer = Writer::acquire(&*store, log(1)).await;
    let mut next = writer.clone();
    let (entry, credentials) = next.rotate(&[]);
    let refused = store.commit(Commit { credentials: Some(credentials), ..next.commit(vec![entry]) }).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    assert_eq!((store.read_head(log(1)).await, store.credentials(user()).await), (Ok(Some(writer.head)), Ok(None)));
    assert_eq!(store.roster(log(1)).await, Ok(Vec::new()));
}

pub async fn a_rotation_leaves_dedup_of_its_members_and_moves_the_figures_of_the_head(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = with_account(&*store).await;
    for number in 1..4 {
        writer.push(&*store, device(number), &[(key("notes", &number.to_string()), Write::Live(92))]).await.expect("the owner");
    }
    let (entry, credentials) = writer.rotate(&[device(1), device(3)]);
    store.commit(Commit { credentials: Some(credentials), ..writer.commit(vec![entry]) }).await.expect("the owner");
    let store = factory.reopen(store).await;
    let head = store.read_head(log(1)).await.expect("readable").expect("acquired");
    assert!(head.dedup.keys().eq(&[device(1), device(3)]));
    assert_eq!((head.keyring_version, head.key_epoch), (2, 2));
    assert_eq!(head, writer.head);
}

async fn snapshot(store: &dyn Store) -> Vec<Row> {
    store.snapshot(log(1), None, usize::MAX).await.expect("readable").rows
}

async fn epochs(store: &dyn Store) -> Vec<u64> {
    snapshot(store).await.iter().map(|row| key_epoch(&row.envelope.wrap)).collect()
}

pub async fn a_newer_wrap_is_given_in_snapshots_and_histories_and_the_log_stays_as_it_was(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = with_account(&*store).await;
    let record = key("notes", "a");
    for _ in 0..2 {
        writer
            .push(&*store, device(1), &[(record.clone(), Write::Live(92)), (key("notes", "b"), Write::Live(92))])
            .await
            .expect("the owner");
    }
    let before = snapshot(&*store).await;
    let (rotation, credentials) = writer.rotate(&[device(1)]);
    let (rewrap, wrap) = writer.rewrap(device(1), &record);
    let commit = Commit { credentials: Some(credentials), wraps: vec![wrap.clone()], ..writer.commit(vec![rotation, rewrap]) };
    store.commit(commit).await.expect("the owner");
    let store = factory.reopen(store).await;
    let rows = snapshot(&*store).await;
    assert_eq!(rows[0].envelope.wrap, wrap.wrap);
    assert_eq!((rows[0].seq, rows[0].envelope.hash()), (before[0].seq, before[0].envelope.hash()), "nothing else of the row moved");
    assert_eq!(rows[1], before[1], "nor the other record's");
    let history = History { record: record.clone(), before: None, count: 5, bytes_max: usize::MAX };
    let (versions, _) = store.history(log(1), history).await.expect("readable");
    let of: Vec<u64> = versions.iter().map(|row| key_epoch(&row.envelope.wrap)).collect();
    assert_eq!(of, [2, 1], "the version that it was made for");
    assert_eq!(pull_all(&*store, &writer, usize::MAX).await, writer.entries, "the log is as it was committed");
    assert_eq!(store.look_up(log(1), vec![record.clone()]).await, Ok(vec![writer.current.get(&record).copied()]), "and weighs the same");
}

pub async fn a_wrap_of_a_row_that_is_superseded_missing_or_wrapped_as_new_has_no_effect(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = with_account(&*store).await;
    let [a, b] = ["a", "b"].map(|record| key("notes", record));
    writer.push(&*store, device(1), &[(a.clone(), Write::Live(92)), (b.clone(), Write::Live(92))]).await.expect("the owner");
    let (rotation, credentials) = writer.rotate(&[device(1)]);
    let (rewrap, wrap) = writer.rewrap(device(1), &a);
    let elsewhere = [
        NewWrap { version: wrap.version.next(), ..wrap.clone() },
        NewWrap { seq: Seq(2), ..wrap.clone() },
        NewWrap { seq: Seq(900), ..wrap.clone() },
        NewWrap { key: key("notes", "never"), ..wrap.clone() },
        NewWrap { key: key("other", "a"), ..wrap.clone() },
        NewWrap { key: b.clone(), ..wrap.clone() },
    ];
    let commit = Commit { credentials: Some(credentials), wraps: elsewhere.into(), ..writer.commit(vec![rotation, rewrap]) };
    store.commit(commit).await.expect("the owner");
    assert_eq!(epochs(&*store).await, [1, 1], "none of them is that row");
    // A newer version goes in with the very commit: what it replaces is wrapped no more.
    let batch = writer.batch(device(1), &[(b.clone(), Write::Live(92))]);
    let old = NewWrap { seq: Seq(2), key: b.clone(), version: Version(1), wrap: wrap.wrap.clone() };
    store.commit(Commit { wraps: vec![old], ..writer.commit(vec![batch]) }).await.expect("the owner");
    let history = History { record: b.clone(), before: Some(Version(2)), count: 1, bytes_max: usize::MAX };
    assert_eq!(key_epoch(&store.history(log(1), history).await.expect("readable").0[0].envelope.wrap), 1);
    assert_eq!(epochs(&*store).await, [1, 2]);
    for (bytes, epoch) in [(0x11, 3_u64), (0x22, 3), (0x33, 2)] {
        let (rewrap, _) = writer.rewrap(device(1), &a);
        let made: Bytes = [&epoch.to_be_bytes()[..], &[bytes; 60]].concat().into();
        let wraps = vec![NewWrap { wrap: made, ..wrap.clone() }];
        store.commit(Commit { wraps, ..writer.commit(vec![rewrap]) }).await.expect("the owner");
    }
    let store = factory.reopen(store).await;
    let row = &snapshot(&*store).await[0];
    assert_eq!((row.envelope.key_epoch(), row.envelope.wrap[8]), (3, 0x11), "the first of that account key stays");
}

pub async fn rows_are_looked_up_in_the_order_asked(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = with_account(&*store).await;
    let a = key("notes", "a");
    writer.push(&*store, device(1), &[(a.clone(), Write::Live(92))]).await.expect("the owner");
    let first = writer.current.get(&a).copied().expect("pushed");
    let (rotation, credentials) = writer.rotate(&[device(1)]);
    let (rewrap, _) = writer.rewrap(device(1), &a);
    let commit = Commit { credentials: Some(credentials), ..writer.commit(vec![rotation, rewrap]) };
    store.commit(commit).await.expect("the owner");
    writer.push(&*store, device(1), &[(a.clone(), Write::Dead)]).await.expect("the owner");
    let last = writer.current.get(&a).copied().expect("pushed");
    let store = factory.reopen(store).await;
    let at = |version, hash| Some(RecordAt { key: a.clone(), version, hash });
    let expected = vec![at(Version(2), last.hash), None, None, at(Version(1), first.hash), None];
    let found = store.look_up_rows(log(1), [4, 3, 2, 1, 5].map(Seq).into()).await;
    assert_eq!(found, Ok(expected), "a rotation, new wraps and what is not there are no records");
    assert_eq!(store.look_up_rows(log(9), vec![Seq(1)]).await, Ok(vec![None]));
}
