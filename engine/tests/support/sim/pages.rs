//! What the store gives those who read: pages of the log and of the state.
//!
//! Never: the whole of anything in one page, if it can be helped.

use std::collections::BTreeMap;

use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::{Page, SnapshotPage, SnapshotToken};
use cloudsync_protocol::{Cursor, Entry, Operation, RecordKey, Seq, TimelineId};

use crate::support::store::Store;

/// Small, so that there are several pages of anything.
const PAGE_BYTES: usize = 1500;
const SNAPSHOT_ROWS: usize = 2;

impl Store {
    pub fn head_seq(&self) -> Seq {
        self.head.as_ref().map_or(Seq::ZERO, |head| head.seq)
    }

    pub fn entries(&self) -> &[Entry] {
        self.log().unwrap()
    }

    /// Each record as it is now.
    pub fn current(&self) -> BTreeMap<RecordKey, Row> {
        let mut current = BTreeMap::new();
        self.entries().iter().for_each(|entry| follow(&mut current, entry));
        current
    }

    /// What the log had made before the entry that ends at `seq`, or contains it.
    pub fn before(&self, seq: Seq) -> BTreeMap<RecordKey, Row> {
        let mut current = BTreeMap::new();
        self.entries().iter().filter(|entry| entry.last() < seq).for_each(|entry| follow(&mut current, entry));
        current
    }

    pub fn page(&self, request: u32, timeline: TimelineId, from: Seq, to: Seq) -> Page {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in self.entries().iter().filter(|entry| entry.first() > from && entry.last() <= to) {
            if bytes > PAGE_BYTES {
                break;
            }
            bytes += entry.bytes();
            entries.push(entry.clone());
        }
        let end = entries.last().map_or(from, Entry::last);
        Page { request, log: 0, timeline, from, to: end, head: self.head_seq(), entries }
    }

    pub fn snapshot(&self, request: u32, resume: Option<&SnapshotToken>) -> SnapshotPage {
        self.snapshot_of(&self.current(), request, resume)
    }

    /// A page of any state, as if it were the log's.
    pub fn snapshot_of(&self, current: &BTreeMap<RecordKey, Row>, request: u32, resume: Option<&SnapshotToken>) -> SnapshotPage {
        let timeline = self.head.as_ref().map(|head| head.timeline).unwrap_or_default();
        let start = resume.map_or(self.head_seq(), |token| token.start);
        let given = resume.map_or(Some(Seq::ZERO), |token| token.roster_after);
        let after = resume.and_then(|token| token.last.clone());
        let roster: Vec<RosterRow> =
            self.roster().into_iter().filter(|row| row.seq <= start && given.is_some_and(|given| row.seq > given)).collect();
        let token = |last, roster_after| SnapshotToken { timeline, start, last, roster_after };
        let row = self.row(start).unwrap_or_default();
        let page = SnapshotPage { request, log: 0, start: Cursor { timeline, seq: start, row }, roster, rows: Vec::new(), resume: None };
        if page.roster.len() > SNAPSHOT_ROWS {
            let roster = page.roster[..SNAPSHOT_ROWS].to_vec();
            let resume = token(None, roster.last().map(|row| row.seq));
            return SnapshotPage { roster, resume: Some(resume), ..page };
        }
        let rest: Vec<_> = current.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after)).collect();
        let rows = rest.iter().take(SNAPSHOT_ROWS).map(|(_, row)| (*row).clone()).collect();
        let last = rest.iter().take(SNAPSHOT_ROWS).next_back().map(|(key, _)| (*key).clone());
        let resume = (rest.len() > SNAPSHOT_ROWS).then(|| token(last, None));
        SnapshotPage { rows, resume, ..page }
    }
}

/// The state after one entry more, which must follow from the one before.
fn follow(current: &mut BTreeMap<RecordKey, Row>, entry: &Entry) {
    let Entry::Batch(batch) = entry else { return };
    for (operation, number) in batch.operations.iter().zip(0..) {
        let Some(envelope) = operation.envelope() else { continue };
        let header = envelope.check().unwrap();
        let held = current.get(&header.key()).map(|row| row.envelope.clone());
        let version = held.as_ref().map_or(0, |envelope| envelope.check().unwrap().version.0);
        let over = held.map(|envelope| envelope.hash()).unwrap_or_default();
        match operation {
            Operation::Adopt(adopt) => assert!(header.version.0 > version && adopt.over == over, "{} is brought back", header.key()),
            _ => assert!(header.version.0 == version + 1 && header.parent == over, "{} follows", header.key()),
        }
        let row = Row { seq: batch.first.plus(number), server_ts: batch.server_ts, envelope: envelope.clone(), origin: operation.origin() };
        current.insert(header.key(), row);
    }
}
