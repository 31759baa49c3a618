//! How pages are filled: by whole entries or rows, until a bound is passed, never empty while there is something.
//!
//! Never: reading; backends bring the rows.

use std::ops::ControlFlow;

use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{Entry, RecordKey, Seq, TimelineId};

use crate::store::{Page, PullError};

/// Adds an entry to a page and says whether another is wanted: until the entry that holds `wanted`, or the bytes are passed.
pub(crate) fn take_entry(page: &mut Page, entry: Entry, bytes: &mut usize, (wanted, bytes_max): (Seq, usize)) -> ControlFlow<()> {
    *bytes = bytes.saturating_add(entry.bytes());
    page.to = entry.last();
    page.entries.push(entry);
    if page.to >= wanted || *bytes >= bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// The bytes that a page may hold: it is full once they are passed, but never empty.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
    bytes_max: usize,
    taken: usize,
}

impl Budget {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { bytes: 0, bytes_max, taken: 0 }
    }

    /// Whether no other row may be added.
    pub(crate) const fn is_spent(&self) -> bool {
        self.taken > 0 && self.bytes >= self.bytes_max
    }

    pub(crate) fn add_row(&mut self, row: &Row) {
        self.taken += 1;
        self.bytes = self.bytes.saturating_add(usize::try_from(row.envelope.bytes()).unwrap_or(usize::MAX));
    }

    /// Takes roster rows until it is spent; gives them, and the last one if others are left.
    pub(crate) fn take_roster(&mut self, rows: impl IntoIterator<Item = RosterRow>) -> (Vec<RosterRow>, Option<Seq>) {
        let mut taken: Vec<RosterRow> = Vec::new();
        for row in rows {
            if self.is_spent() {
                let last = taken.last().map(|row| row.seq);
                return (taken, last);
            }
            self.taken += 1;
            let entry = Entry::Roster(row);
            self.bytes = self.bytes.saturating_add(entry.bytes());
            if let Entry::Roster(row) = entry {
                taken.push(row);
            }
        }
        (taken, None)
    }
}

/// Where a snapshot goes on.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) start: Seq,
    /// Roster rows after this one are still to be given; `None` once they were.
    pub(crate) roster_after: Option<Seq>,
    pub(crate) last: Option<RecordKey>,
}

impl Stage {
    /// From the token of the page before, or from the beginning.
    pub(crate) fn of((timeline, head): (TimelineId, Seq), resume: Option<SnapshotToken>) -> Result<Self, PullError> {
        match resume {
            None => Ok(Self { start: head, roster_after: Some(Seq::ZERO), last: None }),
            Some(token) if token.timeline != timeline => Err(PullError::Timeline(timeline)),
            // A token comes from a client.
            Some(token) if token.start > head => Err(PullError::InsideBatch { from: token.start }),
            Some(SnapshotToken { timeline: _, start, last, roster_after }) => Ok(Self { start, roster_after, last }),
        }
    }

    /// The token for the next page.
    pub(crate) fn token(self, timeline: TimelineId) -> SnapshotToken {
        SnapshotToken { timeline, start: self.start, last: self.last, roster_after: self.roster_after }
    }
}
