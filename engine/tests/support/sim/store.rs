//! A log's durable home: one head under compare-and-set, entries, the state that they make; and commits that got lost on
//! the way and may apply later.
//!
//! Never: an outcome that a clustered store could not have.

use std::collections::BTreeMap;

use cloudsync_engine::invariants::{self, Epochs, OneContent};
use cloudsync_engine::log::{Acquire, Commit, Current, Head, epoch_to_win};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::{Page, SnapshotPage, SnapshotToken};
use cloudsync_protocol::statement::BatchStatement;
use cloudsync_protocol::{Cursor, Entry, Operation, RecordKey, Seq, ShortHash, TimelineId, codec};

/// Small, so that there are several pages of anything.
const PAGE_BYTES: usize = 1500;
const SNAPSHOT_ROWS: usize = 2;

#[derive(Debug, Default)]
pub struct Store {
    pub head: Option<Head>,
    pub entries: Vec<Entry>,
    pub current: BTreeMap<RecordKey, Row>,
    /// Written but not known to be: they apply later, if their condition still holds.
    pub parked: Vec<Commit>,
    epochs: Epochs,
    contents: OneContent,
}

impl Store {
    pub fn head_seq(&self) -> Seq {
        self.head.as_ref().map_or(Seq::ZERO, |head| head.seq)
    }

    pub fn acquire(&mut self, acquire: &Acquire) -> Head {
        let epoch = epoch_to_win(self.head.as_ref().map(|head| head.epoch).unwrap_or_default(), acquire.view);
        let head = self.head.get_or_insert_with(|| Head::new(epoch, acquire.owner, acquire.timeline));
        (head.epoch, head.owner) = (epoch, acquire.owner);
        self.epochs.won(epoch, acquire.owner).unwrap();
        head.clone()
    }

    /// Whether it applied.
    pub fn commit(&mut self, commit: &Commit) -> bool {
        let Some(head) = &self.head else { return false };
        if head.epoch != commit.head.epoch || head.seq != commit.after {
            return false;
        }
        self.epochs.committed(commit.head.epoch).unwrap();
        invariants::commit_is_contiguous(commit).unwrap();
        self.head = Some(commit.head.clone());
        for entry in &commit.entries {
            if let Entry::Batch(batch) = entry {
                let statement: BatchStatement = codec::decode(&batch.signed.statement).unwrap();
                self.contents.committed(statement.device, statement.device_seq, batch.signed.hash(), batch.first).unwrap();
            }
            follow(&mut self.current, entry);
            self.entries.push(entry.clone());
        }
        let currents: Vec<Current> = self.current.keys().filter_map(|key| self.look_up(key)).collect();
        invariants::figures_equal_recount(commit.head.figures, &currents).unwrap();
        true
    }

    pub fn look_up(&self, key: &RecordKey) -> Option<Current> {
        self.current.get(key).map(|row| {
            let header = row.envelope.check().unwrap();
            Current {
                version: header.version,
                seq: row.seq,
                hash: row.envelope.hash(),
                bytes: row.envelope.bytes(),
                dead: header.is_tombstone(),
            }
        })
    }

    pub fn roster(&self) -> Vec<RosterRow> {
        self.roster_upto(self.head_seq())
    }

    fn roster_upto(&self, upto: Seq) -> Vec<RosterRow> {
        let rows = self.entries.iter().filter_map(|entry| match entry {
            Entry::Roster(row) => Some(row),
            Entry::Batch(_) => None,
        });
        rows.filter(|row| row.seq <= upto).cloned().collect()
    }

    pub fn row_hash(&self, seq: Seq) -> Option<ShortHash> {
        let entry = self.entries.iter().find(|entry| entry.first() <= seq && seq <= entry.last())?;
        match entry {
            Entry::Batch(batch) => batch.operations.get((seq.0 - batch.first.0) as usize).map(|operation| operation.hash().short()),
            Entry::Roster(row) => Some(row.change.signed().hash().short()),
        }
    }

    pub fn page(&self, request: u32, timeline: TimelineId, from: Seq, to: Seq) -> Page {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in self.entries.iter().filter(|entry| entry.first() > from && entry.last() <= to) {
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
        self.snapshot_of(&self.current, request, resume)
    }

    /// What the log had made before the entry that ends at `seq`, or contains it.
    pub fn before(&self, seq: Seq) -> BTreeMap<RecordKey, Row> {
        let mut current = BTreeMap::new();
        self.entries.iter().filter(|entry| entry.last() < seq).for_each(|entry| follow(&mut current, entry));
        current
    }

    /// A page of any state, as if it were the log's.
    pub fn snapshot_of(&self, current: &BTreeMap<RecordKey, Row>, request: u32, resume: Option<&SnapshotToken>) -> SnapshotPage {
        let timeline = self.head.as_ref().map(|head| head.timeline).unwrap_or_default();
        let start = resume.map_or(self.head_seq(), |token| token.start);
        let given = resume.map_or(Some(Seq::ZERO), |token| token.roster_after);
        let after = resume.and_then(|token| token.last.clone());
        let roster: Vec<RosterRow> = self.roster_upto(start).into_iter().filter(|row| given.is_some_and(|given| row.seq > given)).collect();
        let token = |last, roster_after| SnapshotToken { timeline, start, last, roster_after };
        let row = self.row_hash(start).unwrap_or_default();
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
    for (Operation::Put(put), number) in batch.operations.iter().zip(0..) {
        let header = put.envelope.check().unwrap();
        let held = current.get(&header.key()).map(|row| row.envelope.clone());
        let version = held.as_ref().map_or(0, |envelope| envelope.check().unwrap().version.0);
        assert_eq!(header.version.0, version + 1, "{} follows", header.key());
        assert_eq!(header.parent, held.map(|envelope| envelope.hash()).unwrap_or_default());
        let row = Row { seq: batch.first.plus(number), server_ts: batch.server_ts, envelope: put.envelope.clone() };
        current.insert(header.key(), row);
    }
}
