//! Commits: fencing, the head after them, many at once.
//!
//! Never: a read's own rules; those are in `reading`.

use cloudsync_protocol::{Entry, Generation, Seq};

use super::Factory;
use super::data::{Write, Writer, acquire, device, key, log, timeline};
use crate::Store;
use crate::store::{CommitError, Pull};

/// Everything of a log, by pages of `bytes_max`.
pub(super) async fn pull_all(store: &dyn Store, writer: &Writer, bytes_max: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut from = Seq::ZERO;
    while from < writer.head.seq {
        let pull = Pull { timeline: writer.head.timeline, from, to: writer.head.seq, bytes_max };
        let page = store.pull(writer.log(), pull).await.expect("a whole log");
        assert!(page.to > from, "never empty below the head");
        from = page.to;
        entries.extend(page.entries);
    }
    entries
}

pub async fn a_commit_needs_both_the_epoch_and_the_seq(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    let puts = [(key("notes", "a"), Write::Live(100))];
    let mut other = writer.clone();
    let mut absent = Writer::for_log(log(2), &writer);
    assert_eq!(absent.push(&*store, device(1), &puts).await, Err(CommitError::Fenced), "no head, no commit");
    writer.push(&*store, device(1), &puts).await.expect("the owner");
    assert_eq!(other.push(&*store, device(1), &puts).await, Err(CommitError::Fenced), "the right epoch, an old seq");
    let mut ahead = writer.clone();
    ahead.batch(device(1), &puts);
    assert_eq!(ahead.push(&*store, device(1), &puts).await, Err(CommitError::Fenced), "the right epoch, a seq to come");
    let newer = store.acquire(acquire(log(1), 1, 9)).await.expect("free");
    assert_eq!(writer.clone().push(&*store, device(1), &puts).await, Err(CommitError::Fenced), "the right seq, an old epoch");
    writer.head = newer;
    writer.push(&*store, device(1), &puts).await.expect("both right");
    let store = factory.reopen(store).await;
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head.clone())));
    assert_eq!(pull_all(&*store, &writer, usize::MAX).await, writer.entries);
}

pub async fn the_head_is_what_was_committed_after_any_number_of_commits(factory: &mut dyn Factory) {
    let mut store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    for round in 0..70_u64 {
        let puts: Vec<_> = (0..1 + round % 4)
            .map(|index| {
                let write = if (round + index) % 5 == 0 { Write::Dead } else { Write::Live(64 + usize::try_from(round).expect("small")) };
                (key(&format!("collection-{}", round % 7), &format!("record-{}", (round * 3 + index) % 11)), write)
            })
            .collect();
        writer.push(&*store, device(round % 3), &puts).await.expect("the owner");
        assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head.clone())), "after commit {round}");
        if round % 23 == 22 {
            store = factory.reopen(store).await;
            assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head.clone())), "reopened after commit {round}");
            writer.head = store.acquire(acquire(log(1), 1, 100 + round)).await.expect("free");
        }
    }
    assert_eq!(pull_all(&*store, &writer, 1000).await, writer.entries);
}

pub async fn dedup_of_64_devices_survives_and_a_revoke_removes_its_own(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    for number in 0..64 {
        let enrol = writer.enrol(device(number));
        let batch = writer.batch(device(number), &[(key("notes", &format!("of {number}")), Write::Live(80))]);
        store.commit(writer.commit(vec![enrol, batch])).await.expect("the owner");
    }
    let store = factory.reopen(store).await;
    let head = store.read_head(log(1)).await.expect("readable").expect("acquired");
    assert_eq!(head.dedup.len(), 64);
    assert_eq!(head, writer.head);
    let revoke = writer.revoke(device(5));
    store.commit(writer.commit(vec![revoke])).await.expect("the owner");
    let store = factory.reopen(store).await;
    let head = store.read_head(log(1)).await.expect("readable").expect("acquired");
    assert!(!head.dedup.contains_key(&device(5)));
    assert_eq!(head, writer.head);
    assert_eq!(store.roster(log(1)).await.expect("readable").len(), 65);
}

pub async fn figures_are_what_a_recount_finds(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    for round in 0..30_usize {
        let write = if round % 4 == 3 { Write::Dead } else { Write::Live(100 + 64 * round) };
        writer.push(&*store, device(1), &[(key("notes", &format!("{}", round % 9)), write)]).await.expect("the owner");
    }
    let store = factory.reopen(store).await;
    let head = store.read_head(log(1)).await.expect("readable").expect("acquired");
    let records: Vec<_> = writer.current.keys().cloned().collect();
    let mut recount = cloudsync_engine::log::Figures::default();
    for current in store.look_up(log(1), records).await.expect("readable").into_iter().flatten() {
        if current.dead {
            recount.dead_bytes += current.bytes;
            recount.dead_records += 1;
        } else {
            recount.live_bytes += current.bytes;
            recount.live_records += 1;
        }
    }
    assert_eq!(head.figures, recount);
    assert_eq!(recount.live_records + recount.dead_records, 9);
}

pub async fn a_new_timeline_survives(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    let puts = [(key("notes", "a"), Write::Live(100))];
    writer.push(&*store, device(1), &puts).await.expect("the owner");
    writer.head.timeline = timeline(77);
    writer.head.generation = Generation(1);
    writer.head.lineage.push((timeline(77), Seq(2)));
    writer.push(&*store, device(1), &puts).await.expect("the owner");
    writer.push(&*store, device(1), &puts).await.expect("the owner");
    let store = factory.reopen(store).await;
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head)));
}

pub async fn many_logs_commit_at_once_and_each_without_gaps(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let tasks: Vec<_> = (1..=24)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut writer = Writer::acquire(&*store, log(number)).await;
                for round in 0..12 {
                    let puts = [(key("notes", &format!("{round}")), Write::Live(200)), (key("notes", "same"), Write::Live(70))];
                    writer.push(&*store, device(number), &puts).await.expect("the only owner");
                }
                writer
            })
        })
        .collect();
    let mut writers = Vec::new();
    for task in tasks {
        writers.push(task.await.expect("no panic"));
    }
    let store = factory.reopen(store).await;
    for writer in writers {
        assert_eq!(store.read_head(writer.log()).await, Ok(Some(writer.head.clone())));
        assert_eq!(pull_all(&*store, &writer, 700).await, writer.entries);
    }
}

pub async fn a_commit_of_many_entries_is_all_there(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    let puts: Vec<_> = (0..1000).map(|number| (key("notes", &format!("{number:04}")), Write::Live(92))).collect();
    let entries =
        vec![writer.enrol(device(1)), writer.batch(device(1), &puts), writer.enrol(device(2)), writer.batch(device(2), &puts[..2])];
    store.commit(writer.commit(entries)).await.expect("the owner");
    let store = factory.reopen(store).await;
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head.clone())));
    assert_eq!(pull_all(&*store, &writer, usize::MAX).await, writer.entries);
}

pub async fn owners_at_once_never_both_commit_a_seq(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut owners = Vec::new();
    for number in 1..=16 {
        let mut owner = Writer::acquire(&*store, log(1)).await;
        owner.head = store.acquire(acquire(log(1), 1, number)).await.expect("free");
        owners.push(owner);
    }
    let tasks: Vec<_> = owners
        .into_iter()
        .zip(1..)
        .map(|(mut writer, number)| {
            let store = store.clone();
            tokio::spawn(async move {
                let won = writer.push(&*store, device(number), &[(key("notes", "a"), Write::Live(90))]).await;
                (won, writer)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.expect("no panic") {
            (Ok(()), writer) => winners.push(writer),
            (Err(error), _) => assert_eq!(error, CommitError::Fenced),
        }
    }
    assert_eq!(winners.len(), 1, "the newest owner");
    assert_eq!(store.read_head(log(1)).await, Ok(Some(winners[0].head.clone())));
    assert_eq!(pull_all(&*store, &winners[0], usize::MAX).await, winners[0].entries);
}
