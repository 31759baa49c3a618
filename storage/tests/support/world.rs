//! A store with something of everything, what of it was acknowledged, and whether that is there after damage.
//!
//! Never: damage itself, or a verdict about what was never acknowledged.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

use std::path::Path;

use cloudsync_engine::log::{Commit, Current};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::{Entry, Operation, RecordKey, Seq, UserId};
use cloudsync_storage::Store;
use cloudsync_storage::conformance::accounts::{account, family, first};
use cloudsync_storage::conformance::data::{Write, Writer, acquire, device, key, log};
use cloudsync_storage::embedded::{EmbeddedStore, Folder, Options};
use cloudsync_storage::store::{Account, AcquireError, CommitError, Credentials, Family, History, Pull, PullError, ReadError};
use tempfile::TempDir;

use super::{copy_as_killed, in_memory};

const ERASED: u64 = 3;
const PEOPLE: u64 = 40;

/// Everything that was acknowledged, and folders that hold it.
#[derive(Debug)]
pub(crate) struct World {
    /// After a clean stop.
    pub(crate) clean: TempDir,
    /// As `kill -9` leaves it: half of it is in the WAL, which was begun anew before.
    pub(crate) killed: TempDir,
    writers: Vec<Writer>,
    accounts: Vec<(Account, Credentials)>,
    families: Vec<Family>,
}

/// What became of one thing that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    There,
    Named,
}

impl World {
    pub(crate) async fn make() -> Self {
        let folder = in_memory();
        let options = Options { wal_bytes_max: 512 * 1024, ..Options::default() };
        let store = EmbeddedStore::open(Folder::hold(folder.path()).unwrap(), &options).unwrap();
        let (accounts, families) = people(&store).await;
        let mut writers = vec![large(&store).await, small(&store).await, Writer::acquire(&store, log(4)).await];
        let mut gone = Writer::acquire(&store, log(ERASED)).await;
        for number in 0..30 {
            gone.push(&store, device(1), &[(key("notes", &format!("{number}")), Write::Live(900))]).await.unwrap();
        }
        store.erase(log(ERASED)).await.unwrap();
        for number in 0..40 {
            let writer = &mut writers[number % 2];
            writer.push(&store, device(1), &[(key("late", &format!("{}", number % 13)), Write::Live(150))]).await.unwrap();
        }
        let killed = copy_as_killed(folder.path());
        store.close().await;
        Self { clean: folder, killed, writers, accounts, families }
    }

    /// Whether everything acknowledged is there byte for byte, or named as damaged; an error for what is neither.
    pub(crate) async fn judge(&self, store: &dyn Store) -> Result<Vec<Fate>, String> {
        let mut fates = Vec::new();
        for writer in &self.writers {
            judge_log(store, writer, &mut fates).await?;
        }
        match store.acquire(acquire(log(ERASED), 9, 9)).await {
            Err(AcquireError::Erased) => {}
            Err(AcquireError::Read(ReadError::Damaged { .. })) => fates.push(Fate::Named),
            other => return Err(format!("the erased log: {other:?}")),
        }
        for (account, credentials) in &self.accounts {
            fates.push(same("account by address", store.account_by_email(&account.email).await, &Some(account.clone()))?);
            fates.push(same("account by user", store.account(account.user).await, &Some(account.clone()))?);
            fates.push(same("credentials", store.credentials(account.user).await, &Some(credentials.clone()))?);
        }
        for family in &self.families {
            fates.push(same("family", store.family(family.id).await, &Some(family.clone()))?);
        }
        Ok(fates)
    }

    /// Writes on in every log, which must not harm what is there.
    pub(crate) async fn write_on(&self, store: &dyn Store) -> Result<Self, String> {
        let mut writers = Vec::new();
        for writer in &self.writers {
            let mut writer = writer.clone();
            match store.acquire(acquire(writer.log(), 1, 3)).await {
                Ok(head) => (writer.head.epoch, writer.head.owner) = (head.epoch, head.owner),
                Err(AcquireError::Read(ReadError::Damaged { .. })) => {}
                other => return Err(format!("acquire: {other:?}")),
            }
            for number in 0..6 {
                let before = writer.clone();
                let records = (0..4).map(|of| (key("late", &format!("{}", number * 4 + of)), Write::Live(2_000)));
                let puts: Vec<_> = records.collect();
                match writer.push(store, device(1), &puts).await {
                    Ok(()) => {}
                    Err(CommitError::Unavailable(why)) if why.contains("damaged") => writer = before,
                    Err(CommitError::Fenced) => writer = before,
                    Err(error) => return Err(format!("push: {error}")),
                }
            }
            writers.push(writer);
        }
        let (clean, killed) = (in_memory(), in_memory());
        Ok(Self { clean, killed, writers, accounts: self.accounts.clone(), families: self.families.clone() })
    }
}

/// A copy of a folder, to be damaged.
pub(crate) fn copy(folder: &Path) -> TempDir {
    copy_as_killed(folder)
}

async fn people(store: &dyn Store) -> (Vec<(Account, Credentials)>, Vec<Family>) {
    let (mut accounts, mut families) = (Vec::new(), Vec::new());
    for number in 1..=PEOPLE {
        let account = account(&format!("person{number}@example.com"), UserId(log(100 + number).0));
        let mut credentials = first(&format!("{number}").repeat(300));
        store.create_account(account.clone(), credentials.clone()).await.unwrap();
        if number % 3 == 0 {
            let mut writer = Writer::acquire(store, log(100 + number)).await;
            let (entry, new) = writer.rotate(&[]);
            credentials = credentials.replaced_by(&new);
            let commit = writer.commit(vec![entry]);
            store.commit(Commit { credentials: Some(new), ..commit }).await.unwrap();
        }
        for of in 0..3 {
            let mut family = family(u8::try_from(number * 4 + of).unwrap(), account.user, device(of));
            store.create_family(family.clone()).await.unwrap();
            if of == 1 {
                assert!(store.advance_family(family.id, family.number, 5_000).await.unwrap());
                (family.number, family.expires_ts) = (family.number + 1, 5_000);
            }
            if of == 2 {
                store.revoke_family(family.id).await.unwrap();
                family.revoked = true;
            }
            families.push(family);
        }
        accounts.push((account, credentials));
    }
    (accounts, families)
}

async fn large(store: &dyn Store) -> Writer {
    let mut writer = Writer::acquire(store, log(1)).await;
    let roster = vec![writer.enrol(device(1)), writer.enrol(device(2))];
    store.commit(writer.commit(roster)).await.unwrap();
    for number in 0..260_usize {
        let record = key(if number % 5 == 0 { "tasks" } else { "notes" }, &format!("record-{:03}", number * 7 % 170));
        let write = match number % 17 {
            3 => Write::Dead,
            9 => Write::Live(9_000),
            _ => Write::Live(92 + number % 200),
        };
        writer
            .push(store, device(1 + number as u64 % 2), &[(record, write), (key("pairs", &format!("{number}")), Write::Live(92))])
            .await
            .unwrap();
    }
    let revoke = writer.revoke(device(2));
    store.commit(writer.commit(vec![revoke])).await.unwrap();
    writer
}

async fn small(store: &dyn Store) -> Writer {
    let mut writer = Writer::acquire(store, log(2)).await;
    for number in 0..5 {
        writer.push(store, device(1), &[(key("notes", &format!("{number}")), Write::Live(100))]).await.unwrap();
    }
    writer
}

async fn judge_log(store: &dyn Store, writer: &Writer, fates: &mut Vec<Fate>) -> Result<(), String> {
    let log = writer.log();
    match store.acquire(acquire(log, 1, 2)).await {
        Ok(head) => {
            let expected = (writer.head.seq, writer.head.timeline, writer.head.figures, &writer.head.dedup, &writer.head.collections);
            let found = (head.seq, head.timeline, head.figures, &head.dedup, &head.collections);
            if found != expected {
                return Err(format!("head of {log}: {found:?} instead of {expected:?}"));
            }
            fates.push(Fate::There);
        }
        Err(AcquireError::Read(ReadError::Damaged { .. })) => fates.push(Fate::Named),
        other => return Err(format!("acquire of {log}: {other:?}")),
    }
    // All at once, and one by one only if one of them is damaged.
    let pull = Pull { timeline: writer.head.timeline, from: Seq::ZERO, to: writer.head.seq, bytes_max: usize::MAX };
    let whole = same("entries", store.pull(log, pull).await.map(|page| page.entries).map_err(read_error), &writer.entries)?;
    fates.push(whole);
    for entry in writer.entries.iter().filter(|_| whole == Fate::Named) {
        let pull = Pull { timeline: writer.head.timeline, from: Seq(entry.first().0 - 1), to: entry.first(), bytes_max: 1 };
        let found = store.pull(log, pull).await.map(|page| page.entries);
        fates.push(same("entry", found.map_err(read_error), &vec![entry.clone()])?);
    }
    let expected: Vec<RosterRow> =
        writer.entries.iter().filter_map(|entry| if let Entry::Roster(row) = entry { Some(row.clone()) } else { None }).collect();
    fates.push(same("roster", store.roster(log).await, &expected)?);
    let all = store.look_up(log, writer.current.keys().cloned().collect()).await;
    let whole = same("all current", all, &writer.current.values().copied().map(Some).collect())?;
    for (record, current) in writer.current.iter().filter(|_| whole == Fate::Named) {
        fates.push(same("current", store.look_up(log, vec![record.clone()]).await, &vec![Some(*current)])?);
    }
    fates.push(same("what never was", store.look_up(log, vec![key("notes", "never")]).await, &vec![None])?);
    if let Some((record, _)) = writer.current.first_key_value() {
        let history = History { record: record.clone(), before: None, count: 1000, bytes_max: usize::MAX };
        fates.push(same("history", store.history(log, history).await, &(history_of(writer, record), false))?);
    }
    let snapshot = store.snapshot(log, None, usize::MAX).await.map(|page| page.rows.into_iter().map(|row| row.seq).collect::<Vec<_>>());
    let expected: Vec<Seq> = writer.current.values().map(|current: &Current| current.seq).collect();
    fates.push(same("snapshot", snapshot.map_err(read_error), &expected)?);
    Ok(())
}

fn history_of(writer: &Writer, record: &RecordKey) -> Vec<Row> {
    let rows =
        writer.entries.iter().filter_map(|entry| if let Entry::Batch(batch) = entry { Some(batch) } else { None }).flat_map(|batch| {
            batch.operations.iter().filter_map(Operation::as_put).enumerate().map(move |(index, put)| Row {
                seq: batch.first.plus(index as u64),
                server_ts: batch.server_ts,
                envelope: put.envelope.clone(),
                origin: None,
            })
        });
    let mut rows: Vec<Row> = rows.filter(|row| row.envelope.check().unwrap().key() == *record).collect();
    rows.reverse();
    rows
}

/// Damage is an answer, whatever else a page may be refused for is none.
fn read_error(error: PullError) -> ReadError {
    match error {
        PullError::Read(error) => error,
        PullError::BelowFloor { .. } | PullError::InsideBatch { .. } | PullError::Timeline(_) => ReadError::Unavailable(error.to_string()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: Result<T, ReadError>, expected: &T) -> Result<Fate, String> {
    match found {
        Ok(found) if found == *expected => Ok(Fate::There),
        Err(ReadError::Damaged { .. }) => Ok(Fate::Named),
        other => Err(format!("{what}: {} instead of {}", short(&other), short(expected))),
    }
}

fn short(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take(300).collect()
}
