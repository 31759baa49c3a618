//! Taking the current state instead of the history that led to it.
//!
//! Never: a cursor moved before the last page, a newer row overwritten, or a roster that is not the one read before and more.

use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{SnapshotPage, SnapshotToken};
use cloudsync_protocol::{Cursor, Seq, TimelineId};

use super::verify::{header, of_account};
use super::{LastBatch, Opener, Record, Replica, SnapshotProgress, Tables, TablesError, Untrusted, Why};
use crate::roster::Roster;

/// What came of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// It was applied: ask for the next one.
    Next {
        /// What to ask for.
        resume: SnapshotToken,
    },
    /// It was the last one: pull from there.
    Complete {
        /// The cursor now.
        cursor: Cursor,
    },
    /// It is not the page that is next: another process of the profile is further, or done.
    Old {
        /// What to ask for, if the snapshot is not done.
        resume: Option<SnapshotToken>,
    },
}

/// Why a page was not taken in. The replica keeps everything that it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is of another timeline: the log was rewound.
    #[error("the log's timeline is {timeline}, read was {read}")]
    Timeline { timeline: TimelineId, read: TimelineId },
    /// It is of before what was read: the store lost what it had acknowledged.
    #[error("the snapshot is of {start}, read was to {read}")]
    Behind { start: Seq, read: Seq },
    /// The page is of another snapshot than the one that it was asked for.
    #[error("the page is of the snapshot of {found}, asked for was {asked}")]
    OtherStart { found: Seq, asked: Seq },
    /// A row or the roster does not verify.
    #[error(transparent)]
    Untrusted(#[from] Box<Untrusted>),
    /// The tables did not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl<T: Tables> Replica<'_, T> {
    /// What to ask for to go on with a snapshot; nothing when none is under way.
    pub fn snapshot_resume(&self) -> Result<Option<SnapshotToken>, TablesError> {
        Ok(self.tables.marks()?.snapshot.map(|progress| progress.resume))
    }

    /// Gives up a snapshot under way, after `snapshot_invalid`: attach again. What it brought is kept; reading on from the
    /// cursor, or a new snapshot, passes over it.
    pub fn snapshot_abandoned(&mut self) -> Result<(), TablesError> {
        let mut marks = self.tables.marks()?;
        marks.snapshot = None;
        self.tables.set_marks(&marks)
    }

    /// Applies the page that was asked for with `asked` (nothing: the first).
    pub fn snapshot_page(
        &mut self,
        asked: Option<&SnapshotToken>,
        page: &SnapshotPage,
        opener: &impl Opener,
    ) -> Result<SnapshotOutcome, SnapshotError> {
        let marks = self.tables.marks()?;
        let resume = marks.snapshot.as_ref().map(|progress| &progress.resume);
        if resume != asked {
            return Ok(SnapshotOutcome::Old { resume: resume.cloned() });
        }
        match &marks.snapshot {
            None => check_start(marks.cursor, page.start)?,
            Some(progress) if progress.start != page.start => {
                return Err(SnapshotError::OtherStart { found: page.start.seq, asked: progress.start.seq });
            }
            Some(_) => {}
        }
        self.take_roster(asked, page)?;
        for row in &page.rows {
            let stop = |why| Box::new(Untrusted { seq: row.seq, device: None, device_seq: None, hash: row.envelope.hash(), why });
            let header = header(self.me.log, &row.envelope).map_err(stop)?;
            let of_device = |why| Box::new(Untrusted { device: Some(header.device), device_seq: Some(header.device_seq), ..*stop(why) });
            let content = opener.open(&header, &row.envelope).map_err(|error| of_device(Why::Open { key: header.key(), error }))?;
            let record = Record::new(&header, &row.envelope, row.seq, content);
            if let Some(why) = self.goes_back(&record)? {
                return Err(of_device(why).into());
            }
            self.write(&record)?;
        }
        self.advance(page)
    }

    /// Verifies a page's roster rows on top of those given before; every row that was read before must be among them.
    fn take_roster(&mut self, asked: Option<&SnapshotToken>, page: &SnapshotPage) -> Result<(), SnapshotError> {
        let stop = |row: &RosterRow, why| {
            Box::new(Untrusted { seq: row.seq, device: None, device_seq: None, hash: row.change.signed().hash(), why })
        };
        // Where the roster stood before this page; once it was given whole, all of it.
        let given = asked.map_or(Some(Seq::ZERO), |token| token.roster_after);
        let upto = page.resume.as_ref().and_then(|token| token.roster_after);
        let held = self.tables.roster()?;
        let (before, mut rest): (Vec<_>, Vec<_>) = held.into_iter().partition(|row| given.is_none_or(|given| row.seq <= given));
        rest.retain(|row| upto.is_none_or(|upto| row.seq <= upto) && !page.roster.contains(row));
        if let Some(missing) = rest.first() {
            return Err(stop(missing, Why::OtherRow { seq: missing.seq }).into());
        }
        let mut roster = Roster::from_rows(self.me.log, &before)
            .map_err(|error| TablesError::Damaged { place: "the roster".into(), why: error.to_string() })?;
        for row in &page.roster {
            roster.apply(row).map_err(|error| stop(row, error.into()))?;
            of_account(&roster, self.me.identity).map_err(|why| stop(row, why))?;
            self.tables.put_roster_row(row)?;
        }
        // Rows come without statements: what a device's batch before was is not known from here on, only its number.
        if !page.roster.is_empty() {
            for (device, _) in roster.devices() {
                let device_seq = self.tables.last_batch(device)?.map(|last| last.device_seq).unwrap_or_default();
                self.tables.set_last_batch(device, LastBatch { device_seq, hash: None })?;
            }
        }
        Ok(())
    }

    /// Whether a row contradicts the one held.
    fn goes_back(&self, record: &Record) -> Result<Option<Why>, TablesError> {
        let Some(held) = self.tables.record(&record.key)? else { return Ok(None) };
        let why = if held.seq == record.seq && held.hash != record.hash {
            Some(Why::OtherRow { seq: record.seq })
        } else if held.seq < record.seq && held.version >= record.version {
            Some(Why::Version { key: record.key.clone(), version: record.version, held: held.version })
        } else {
            None
        };
        Ok(why)
    }

    fn advance(&mut self, page: &SnapshotPage) -> Result<SnapshotOutcome, SnapshotError> {
        let mut marks = self.tables.marks()?;
        let outcome = match &page.resume {
            Some(resume) => {
                marks.snapshot = Some(SnapshotProgress { start: page.start, resume: resume.clone() });
                SnapshotOutcome::Next { resume: resume.clone() }
            }
            None => {
                marks.snapshot = None;
                marks.cursor = page.start;
                SnapshotOutcome::Complete { cursor: page.start }
            }
        };
        self.tables.set_marks(&marks)?;
        self.prune()?;
        Ok(outcome)
    }
}

/// A snapshot must be of the log that was read, and not of before.
fn check_start(cursor: Cursor, start: Cursor) -> Result<(), SnapshotError> {
    if cursor.seq > Seq::ZERO && cursor.timeline != start.timeline {
        return Err(SnapshotError::Timeline { timeline: start.timeline, read: cursor.timeline });
    }
    if start.seq < cursor.seq {
        return Err(SnapshotError::Behind { start: start.seq, read: cursor.seq });
    }
    Ok(())
}
