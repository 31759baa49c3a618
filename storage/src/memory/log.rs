//! One log in memory, in the shape of the clustered store: rows by `(seq, epoch)` that are written plainly, and one head
//! that only compare-and-set changes. So a late compare-and-set can do here whatever damage it could do there.
//!
//! Never: faults; those are decided by the store around it.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudsync_engine::log::{Acquire, Commit, Current, Head, NewWrap, RecordAt, epoch_to_win, view_of};
use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::envelope::key_epoch;
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{Cursor, Envelope, Epoch, LogId, RecordKey, Seq, ShortHash, TimelineId, Version};

use crate::paging::{Budget, Stage, take_entry};
use crate::pieces::{Assembler, Content, Piece, damaged, record_at, split};
use crate::store::{AcquireError, CommitError, History, Page, Pull, PullError, ReadError, SnapshotPage};

#[derive(Debug, Clone, Default)]
enum HeadRow {
    #[default]
    Absent,
    Live(Box<Head>),
    Erased,
}

#[derive(Debug, Clone)]
pub(crate) struct Log {
    id: LogId,
    /// How often the store had gone back when the timeline was opened.
    rewinds: u64,
    head: HeadRow,
    rows: BTreeMap<(Seq, Epoch), Piece>,
    versions: BTreeMap<RecordKey, BTreeMap<Version, Seq>>,
    /// Those that rows were given since; rows stay as they were committed.
    wraps: BTreeMap<Seq, Bytes>,
}

impl Log {
    pub(crate) const fn new(id: LogId) -> Self {
        Self { id, rewinds: 0, head: HeadRow::Absent, rows: BTreeMap::new(), versions: BTreeMap::new(), wraps: BTreeMap::new() }
    }

    pub(crate) fn head(&self) -> Option<&Head> {
        match &self.head {
            HeadRow::Live(head) => Some(head),
            HeadRow::Absent | HeadRow::Erased => None,
        }
    }

    pub(crate) const fn is_erased(&self) -> bool {
        matches!(self.head, HeadRow::Erased)
    }

    /// What an acquire would win, read before its compare-and-set.
    pub(crate) fn epoch_for(&self, acquire: &Acquire) -> Result<Epoch, AcquireError> {
        let current = match &self.head {
            HeadRow::Absent => Epoch(0),
            HeadRow::Live(head) => head.epoch,
            HeadRow::Erased => return Err(AcquireError::Erased),
        };
        if view_of(current) > acquire.view {
            return Err(AcquireError::LaterView(view_of(current)));
        }
        Ok(epoch_to_win(current, acquire.view))
    }

    /// The compare-and-set of an acquire: `SET epoch = e, owner = nonce IF epoch < e`, and the first one after the store went back
    /// opens a new timeline.
    pub(crate) fn take(&mut self, acquire: &Acquire, epoch: Epoch, rewinds: u64) {
        match &mut self.head {
            HeadRow::Absent => self.head = HeadRow::Live(Box::new(Head::new(epoch, acquire.owner, acquire.timeline))),
            HeadRow::Live(head) if head.epoch < epoch => {
                if self.rewinds < rewinds {
                    head.open_timeline(acquire.timeline, rewinds - self.rewinds);
                }
                (head.epoch, head.owner) = (epoch, acquire.owner);
            }
            HeadRow::Live(_) | HeadRow::Erased => return,
        }
        self.rewinds = rewinds;
    }

    /// The plain writes before a commit's compare-and-set.
    pub(crate) fn write_rows(&mut self, commit: &Commit) {
        if self.is_erased() {
            return;
        }
        for (seq, piece) in commit.entries.iter().flat_map(split) {
            self.rows.insert((seq, commit.head.epoch), piece);
        }
    }

    /// The compare-and-set of a commit: `IF epoch = mine AND seq = what I knew`; then the current-state rows.
    pub(crate) fn move_head(&mut self, commit: &Commit) -> Result<(), CommitError> {
        match &mut self.head {
            HeadRow::Live(head) if head.epoch == commit.head.epoch && head.seq == commit.after => **head = commit.head.clone(),
            HeadRow::Absent | HeadRow::Live(_) | HeadRow::Erased => return Err(CommitError::Fenced),
        }
        for seq in commit.after.0 + 1..=commit.head.seq.0 {
            if let Some(Content::Operation(operation)) = self.row(Seq(seq)).map(|piece| &piece.content)
                && let Some(Ok(header)) = operation.envelope().map(Envelope::check)
            {
                self.versions.entry(header.key()).or_default().insert(header.version, Seq(seq));
            }
        }
        commit.wraps.iter().for_each(|new| self.wrap(new));
        Ok(())
    }

    fn wrap(&mut self, new: &NewWrap) {
        let newest = self.versions.get(&new.key).and_then(BTreeMap::last_key_value);
        if newest == Some((&new.version, &new.seq))
            && let Ok(row) = self.record_row(new.seq)
            && row.envelope.key_epoch() < key_epoch(&new.wrap)
        {
            self.wraps.insert(new.seq, new.wrap.clone());
        }
    }

    pub(crate) fn record_at(&self, seq: Seq) -> Result<Option<RecordAt>, ReadError> {
        self.row(seq).cloned().and_then(|piece| piece.into_row(seq)).map(|row| record_at(self.id, &row)).transpose()
    }

    pub(crate) fn erase(&mut self) {
        self.head = HeadRow::Erased;
        self.rows.clear();
        self.versions.clear();
        self.wraps.clear();
    }

    pub(crate) fn roster(&self) -> Vec<RosterRow> {
        self.roster_until(self.head().map_or(Seq::ZERO, |head| head.seq))
    }

    pub(crate) fn look_up(&self, record: &RecordKey) -> Result<Option<Current>, ReadError> {
        self.versions.get(record).and_then(BTreeMap::last_key_value).map(|(version, seq)| self.current(*version, *seq)).transpose()
    }

    pub(crate) fn row_hash(&self, seq: Seq) -> Option<ShortHash> {
        self.row(seq).map(|piece| piece.hash().short())
    }

    pub(crate) fn pull(&self, pull: Pull) -> Result<Page, PullError> {
        let head = self.head().ok_or(PullError::Timeline(TimelineId::default()))?;
        let Pull { timeline, from, to, bytes_max } = pull;
        if !head.lineage.iter().any(|(own, _)| *own == timeline) {
            return Err(PullError::Timeline(head.timeline));
        }
        if from < head.floor {
            return Err(PullError::BelowFloor { floor: head.floor });
        }
        let mut page = Page { entries: Vec::new(), to: from, head: head.seq, lineage: head.lineage.clone() };
        let mut assembler = Assembler::new(self.id, from);
        let mut bytes = 0;
        let wanted = to.min(head.seq);
        if from >= wanted {
            return Ok(page);
        }
        for seq in from.0 + 1..=head.seq.0 {
            let piece = self.row(Seq(seq)).ok_or_else(|| assembler.missing())?;
            if seq == from.0 + 1 && piece.is_inside_batch() {
                return Err(PullError::InsideBatch { from });
            }
            if let Some(entry) = assembler.push(Seq(seq), piece.clone())?
                && take_entry(&mut page, entry, &mut bytes, (wanted, bytes_max)).is_break()
            {
                break;
            }
        }
        Ok(page)
    }

    pub(crate) fn snapshot(&self, resume: Option<SnapshotToken>, bytes_max: usize) -> Result<SnapshotPage, PullError> {
        let Some(head) = self.head() else {
            return match resume {
                Some(_) => Err(PullError::Timeline(TimelineId::default())),
                None => Ok(SnapshotPage { start: Cursor::default(), roster: Vec::new(), rows: Vec::new(), resume: None }),
            };
        };
        let mut stage = Stage::of((head.timeline, head.seq), resume)?;
        let mut budget = Budget::new(bytes_max);
        let row = if stage.start == head.seq { head.row } else { self.row_hash(stage.start).unwrap_or_default() };
        let start = Cursor { timeline: head.timeline, seq: stage.start, row };
        let mut page = SnapshotPage { start, roster: Vec::new(), rows: Vec::new(), resume: None };
        if let Some(after) = stage.roster_after.map(|after| after.min(stage.start)) {
            let rest = self.roster_until(stage.start).into_iter().filter(|row| row.seq > after);
            (page.roster, stage.roster_after) = budget.take_roster(rest);
            if stage.roster_after.is_some() {
                page.resume = Some(stage.token(head.timeline));
                return Ok(page);
            }
        }
        for (key, versions) in &self.versions {
            if stage.last.as_ref().is_some_and(|last| key <= last) {
                continue;
            }
            if budget.is_spent() {
                page.resume = Some(stage.token(head.timeline));
                break;
            }
            let Some(seq) = versions.values().next_back() else { continue };
            let row = self.record_row(*seq)?;
            budget.add_row(&row);
            page.rows.push(row);
            stage.last = Some(key.clone());
        }
        Ok(page)
    }

    pub(crate) fn history(&self, history: &History) -> Result<(Vec<Row>, bool), ReadError> {
        let Some(versions) = self.versions.get(&history.record) else { return Ok((Vec::new(), false)) };
        let mut rows = Vec::new();
        let mut budget = Budget::new(history.bytes_max);
        for (_, seq) in versions.range(..history.before.unwrap_or(Version(u64::MAX))).rev() {
            if rows.len() >= history.count as usize || budget.is_spent() {
                return Ok((rows, true));
            }
            let row = self.record_row(*seq)?;
            budget.add_row(&row);
            rows.push(row);
        }
        Ok((rows, false))
    }

    /// Of each `seq` up to the head, the row of the highest epoch.
    fn row(&self, seq: Seq) -> Option<&Piece> {
        let head = self.head()?;
        if seq > head.seq {
            return None;
        }
        self.rows.range((seq, Epoch(0))..=(seq, Epoch(u64::MAX))).next_back().map(|(_, piece)| piece)
    }

    fn record_row(&self, seq: Seq) -> Result<Row, ReadError> {
        let piece = self.row(seq).cloned().ok_or_else(|| damaged(self.id, seq, "the row is missing"))?;
        let mut row = piece.into_row(seq).ok_or_else(|| damaged(self.id, seq, "not a record's row"))?;
        if let Some(wrap) = self.wraps.get(&seq) {
            row.envelope.wrap = wrap.clone();
        }
        Ok(row)
    }

    fn current(&self, version: Version, seq: Seq) -> Result<Current, ReadError> {
        let Row { envelope, origin, .. } = self.record_row(seq)?;
        let header = envelope.check().map_err(|error| damaged(self.id, seq, error.to_string()))?;
        Ok(Current { version, adopted: origin.is_some(), ..Current::of(seq, &envelope, &header) })
    }

    fn roster_until(&self, last: Seq) -> Vec<RosterRow> {
        let row = |seq| {
            let piece = self.row(Seq(seq))?;
            match &piece.content {
                Content::Change(change) => Some(RosterRow { seq: Seq(seq), server_ts: piece.server_ts, change: change.clone() }),
                Content::Operation(_) => None,
            }
        };
        (1..=last.0).filter_map(row).collect()
    }
}
