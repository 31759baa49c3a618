//! Reading a log: pages, snapshots, look-ups, history.
//!
//! Never: a read of what is not committed.

use std::collections::BTreeMap;

use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{Cursor, Entry, Operation, RecordKey, Row, Seq, TimelineId, Version};

use super::Factory;
use super::commits::pull_all;
use super::data::{Write, Writer, device, key, log, timeline};
use crate::Store;
use crate::store::{History, Pull, PullError, SnapshotPage};

pub async fn a_log_that_is_not_there_is_empty(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    store.ping().await.expect("it answers");
    assert_eq!(store.read_head(log(9)).await, Ok(None));
    assert_eq!(store.roster(log(9)).await, Ok(Vec::new()));
    assert_eq!(store.look_up(log(9), vec![key("notes", "a"), key("notes", "b")]).await, Ok(vec![None, None]));
    assert_eq!(store.row_hash(log(9), Seq(1)).await, Ok(None));
    let pull = Pull { timeline: timeline(1), from: Seq::ZERO, to: Seq(1), bytes_max: 1 };
    assert_eq!(store.pull(log(9), pull).await, Err(PullError::Timeline(TimelineId::default())));
    let empty = SnapshotPage { start: Cursor::default(), roster: Vec::new(), rows: Vec::new(), resume: None };
    assert_eq!(store.snapshot(log(9), None, 1).await, Ok(empty));
    let history = History { record: key("notes", "a"), before: None, count: 5, bytes_max: 1000 };
    assert_eq!(store.history(log(9), history).await, Ok((Vec::new(), false)));
}

/// Five batches of three operations, with a change of the roster before each.
async fn filled(store: &dyn Store) -> Writer {
    let mut writer = Writer::acquire(store, log(1)).await;
    for number in 0..5 {
        let enrol = writer.enrol(device(number));
        let name = |index: u64| key("notes", &format!("{number}-{index}"));
        let puts = [(name(0), Write::Live(300)), (name(1), Write::Live(300)), (name(0), Write::Dead)];
        let batch = writer.batch(device(number), &puts);
        store.commit(writer.commit(vec![enrol, batch])).await.expect("the owner");
    }
    writer
}

pub async fn pull_gives_whole_entries_until_the_bytes_are_passed(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let writer = filled(&*store).await;
    let store = factory.reopen(store).await;
    let pull = |from, bytes_max| Pull { timeline: writer.head.timeline, from, to: Seq(u64::MAX), bytes_max };
    let one = store.pull(log(1), pull(Seq::ZERO, 1)).await.expect("readable");
    assert_eq!((one.entries, one.to, one.head), (writer.entries[..1].to_vec(), Seq(1), Seq(20)), "one entry at least");
    let first_bytes: usize = writer.entries[..2].iter().map(Entry::bytes).sum();
    let at = store.pull(log(1), pull(Seq::ZERO, first_bytes)).await.expect("readable");
    assert_eq!((at.entries, at.to), (writer.entries[..2].to_vec(), Seq(4)), "full at the bound");
    let past = store.pull(log(1), pull(Seq::ZERO, first_bytes + 1)).await.expect("readable");
    assert_eq!(past.to, Seq(5), "one past the bound, one entry more");
    let rest = store.pull(log(1), pull(Seq(8), usize::MAX)).await.expect("readable");
    assert_eq!((rest.entries, rest.to), (writer.entries[4..].to_vec(), Seq(20)));
    let end = store.pull(log(1), pull(Seq(20), usize::MAX)).await.expect("readable");
    assert_eq!((end.entries, end.to, end.head), (Vec::new(), Seq(20), Seq(20)));
    assert_eq!(pull_all(&*store, &writer, 1).await, writer.entries);
}

pub async fn pull_gives_the_entry_that_holds_the_last_one_wanted(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let writer = filled(&*store).await;
    let pull = |from, to| Pull { timeline: writer.head.timeline, from, to, bytes_max: usize::MAX };
    for (to, end) in [(Seq(1), Seq(1)), (Seq(2), Seq(4)), (Seq(3), Seq(4)), (Seq(4), Seq(4)), (Seq(5), Seq(5))] {
        let page = store.pull(log(1), pull(Seq::ZERO, to)).await.expect("readable");
        assert_eq!(page.to, end, "wanted {to}");
        assert_eq!(page.entries.last().map(Entry::last), Some(end));
    }
    let nothing = store.pull(log(1), pull(Seq(4), Seq(4))).await.expect("readable");
    assert_eq!((nothing.entries, nothing.to), (Vec::new(), Seq(4)));
}

pub async fn pull_refuses_another_timeline_a_cut_history_and_the_middle_of_a_batch(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = filled(&*store).await;
    let ours = writer.head.timeline;
    let pull = |timeline, from| Pull { timeline, from, to: Seq(u64::MAX), bytes_max: usize::MAX };
    assert_eq!(store.pull(log(1), pull(timeline(99), Seq::ZERO)).await, Err(PullError::Timeline(ours)));
    assert_eq!(store.pull(log(1), pull(ours, Seq(2))).await, Err(PullError::InsideBatch { from: Seq(2) }));
    writer.head.floor = Seq(8);
    writer.push(&*store, device(1), &[(key("notes", "x"), Write::Live(92))]).await.expect("the owner");
    let store = factory.reopen(store).await;
    assert_eq!(store.pull(log(1), pull(ours, Seq(4))).await, Err(PullError::BelowFloor { floor: Seq(8) }));
    assert_eq!(store.pull(log(1), pull(ours, Seq(8))).await.map(|page| page.to), Ok(Seq(21)));
}

pub async fn look_up_answers_in_the_order_asked(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let writer = filled(&*store).await;
    let store = factory.reopen(store).await;
    let asked = vec![key("notes", "3-1"), key("notes", "never"), key("notes", "0-0"), key("other", "0-0"), key("notes", "3-1")];
    let expected: Vec<_> = asked.iter().map(|key| writer.current.get(key).copied()).collect();
    assert_eq!(store.look_up(log(1), asked).await, Ok(expected.clone()));
    assert!(expected[2].is_some_and(|current| current.dead && current.version == Version(2)));
}

pub async fn history_goes_backwards_from_a_version(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    for round in 1..=12_usize {
        let puts = [(key("notes", "a"), Write::Live(100 * round)), (key("notes", "b"), Write::Live(100))];
        writer.push(&*store, device(1), &puts).await.expect("the owner");
    }
    let store = factory.reopen(store).await;
    let ask = |before, count, bytes_max| History { record: key("notes", "a"), before, count, bytes_max };
    let versions = |rows: &[Row]| rows.iter().map(|row| row.envelope.check().expect("whole").version.0).collect::<Vec<_>>();
    let (rows, more) = store.history(log(1), ask(None, 5, usize::MAX)).await.expect("readable");
    assert_eq!((versions(&rows), more), (vec![12, 11, 10, 9, 8], true));
    assert_eq!(rows[0].seq, Seq(23));
    let (rows, more) = store.history(log(1), ask(Some(Version(4)), 3, usize::MAX)).await.expect("readable");
    assert_eq!((versions(&rows), more), (vec![3, 2, 1], false), "exactly all that there are");
    let (rows, more) = store.history(log(1), ask(None, 100, 1)).await.expect("readable");
    assert_eq!((versions(&rows), more), (vec![12], true), "one at least");
    let (rows, more) = store.history(log(1), ask(Some(Version(1)), 100, 1)).await.expect("readable");
    assert_eq!((versions(&rows), more), (Vec::new(), false));
}

pub async fn row_hashes_are_those_of_the_rows(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let writer = filled(&*store).await;
    let store = factory.reopen(store).await;
    for entry in &writer.entries {
        assert_eq!(store.row_hash(log(1), entry.last()).await, Ok(Some(entry.last_hash().short())));
        if let Entry::Batch(batch) = entry {
            let first = batch.operations.first().map(|operation| operation.hash().short());
            assert_eq!(store.row_hash(log(1), entry.first()).await, Ok(first));
        }
    }
    assert_eq!(store.row_hash(log(1), Seq::ZERO).await, Ok(None));
    assert_eq!(store.row_hash(log(1), Seq(21)).await, Ok(None));
    assert_eq!(store.row_hash(log(1), Seq(u64::MAX)).await, Ok(None));
}

fn keep_newest(state: &mut BTreeMap<RecordKey, Row>, row: Row) {
    let key = row.envelope.check().expect("whole").key();
    let newer = state.get(&key).is_none_or(|held| held.seq < row.seq);
    if newer {
        state.insert(key, row);
    }
}

pub async fn a_snapshot_and_the_log_after_it_are_the_state_while_writes_go_on(factory: &mut dyn Factory) {
    let mut store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    let collections = ["zebra", "apple", "mango"];
    let at = |index: u64| {
        let collection = usize::try_from(index % 3).expect("below 3");
        key(collections[collection], &format!("{:03}", index % 40))
    };
    for index in 0..60 {
        let write = if index % 7 == 0 { Write::Dead } else { Write::Live(200) };
        writer.push(&*store, device(1), &[(at(index), write)]).await.expect("the owner");
    }
    let start = writer.head.clone();
    let mut state = BTreeMap::new();
    let mut resume: Option<SnapshotToken> = None;
    let mut last: Option<RecordKey> = None;
    for page_number in 0..200_u64 {
        let page = store.snapshot(log(1), resume, 900).await.expect("readable");
        assert_eq!(page.start, Cursor { timeline: start.timeline, seq: start.seq, row: start.row });
        for row in page.rows {
            let key = row.envelope.check().expect("whole").key();
            assert!(last.as_ref().is_none_or(|last| *last < key), "in key order");
            last = Some(key);
            keep_newest(&mut state, row);
        }
        resume = page.resume;
        if resume.is_none() {
            break;
        }
        // A new collection before all others, an old record, a new one, a deletion.
        let puts = [(key("aaa", "new"), Write::Live(92)), (at(page_number), Write::Live(92)), (at(page_number + 1), Write::Dead)];
        writer.push(&*store, device(1), &puts).await.expect("the owner");
        if page_number == 2 {
            store = factory.reopen(store).await;
        }
    }
    assert!(resume.is_none() && writer.head.seq > start.seq);
    let pull = Pull { timeline: start.timeline, from: start.seq, to: writer.head.seq, bytes_max: usize::MAX };
    for entry in store.pull(log(1), pull).await.expect("readable").entries {
        if let Entry::Batch(batch) = entry {
            for (index, operation) in batch.operations.into_iter().enumerate() {
                let Operation::Put(put) = operation else { continue };
                keep_newest(
                    &mut state,
                    Row { seq: batch.first.plus(index as u64), server_ts: batch.server_ts, envelope: put.envelope, origin: None },
                );
            }
        }
    }
    let seqs = |seq: Seq, key: &RecordKey| (key.clone(), seq);
    let expected: Vec<_> = writer.current.iter().map(|(key, current)| seqs(current.seq, key)).collect();
    assert_eq!(state.iter().map(|(key, row)| seqs(row.seq, key)).collect::<Vec<_>>(), expected);
}

pub async fn a_snapshot_pages_a_long_roster_first(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    for number in 0..30 {
        let enrol = writer.enrol(device(number));
        let batch = writer.batch(device(number), &[(key("notes", &format!("{number}")), Write::Live(92))]);
        store.commit(writer.commit(vec![enrol, batch])).await.expect("the owner");
    }
    let expected = store.roster(log(1)).await.expect("readable");
    let start = writer.head.seq;
    let (mut roster, mut rows, mut pages) = (Vec::new(), 0, 0);
    let mut resume = None;
    loop {
        let page = store.snapshot(log(1), resume, 1500).await.expect("readable");
        assert!(page.roster.is_empty() || rows == 0, "the roster comes before the rows");
        assert!(!page.roster.is_empty() || !page.rows.is_empty(), "no page is empty");
        assert_eq!(page.start.seq, start);
        roster.extend(page.roster);
        rows += page.rows.len();
        pages += 1;
        resume = page.resume;
        if resume.is_none() {
            break;
        }
        // An enrolment after the snapshot began is not part of it.
        let enrol = writer.enrol(device(100 + pages));
        store.commit(writer.commit(vec![enrol])).await.expect("the owner");
    }
    assert_eq!((roster, rows), (expected, 30));
    assert!(pages > 4);
}

pub async fn a_snapshot_token_of_another_timeline_or_ahead_is_refused(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let writer = filled(&*store).await;
    let token = SnapshotToken { timeline: timeline(99), start: Seq(4), last: None, roster_after: None };
    assert_eq!(store.snapshot(log(1), Some(token.clone()), 1).await, Err(PullError::Timeline(writer.head.timeline)));
    let ours = SnapshotToken { timeline: writer.head.timeline, ..token };
    let ahead = SnapshotToken { start: Seq(u64::MAX), ..ours.clone() };
    assert_eq!(store.snapshot(log(1), Some(ahead), 1).await, Err(PullError::InsideBatch { from: Seq(u64::MAX) }));
    let past_the_roster = SnapshotToken { roster_after: Some(Seq(u64::MAX)), ..ours };
    let page = store.snapshot(log(1), Some(past_the_roster), usize::MAX).await.expect("a client may say anything");
    assert_eq!((page.roster.len(), page.rows.len()), (0, 10));
}
