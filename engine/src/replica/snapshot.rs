//! Taking the current state instead of the history that led to it.
//!
//! Never: a cursor moved before the last page, a newer row overwritten, or a roster that is not the one read before and more.

use std::cmp::Ordering;

use cloudsync_protocol::entry::{RosterRow, Row};
use cloudsync_protocol::frame::{SnapshotPage, SnapshotToken};
use cloudsync_protocol::{Cursor, DeviceSeq, Generation, Hash, Header, RecordKey, Seq, TimelineId};

use super::verify::{header, of_account};
use super::{Content, EditState, LastBatch, Marks, Opener, Reason, Record, Replica, SnapshotProgress, Tables, TablesError, Untrusted, Why};
use crate::roster::{Roster, Standing};

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
    /// Another row stands where the replica has read to.
    #[error("another row stands at {seq} than was read there")]
    OtherRow { seq: Seq },
    /// The page is of another snapshot than the one that it was asked for.
    #[error("the page is of the snapshot of {found}, asked for was {asked}")]
    OtherStart { found: Seq, asked: Seq },
    /// A row is sealed under an account key that this device does not have: fetch the keyring, then hand in the same page again.
    #[error("sealed under account key {epoch}, which this device does not have")]
    NeedsKeys { epoch: u64 },
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
        let timeline = page.start.timeline;
        if let Err(other) = self.is_ours(timeline)? {
            return Err(SnapshotError::Timeline { timeline, read: other.read });
        }
        let resume = marks.snapshot.as_ref().map(|progress| &progress.resume);
        if resume != asked {
            return Ok(SnapshotOutcome::Old { resume: resume.cloned() });
        }
        match &marks.snapshot {
            None => check_start(&marks, page.start)?,
            Some(progress) if progress.start != page.start => {
                return Err(SnapshotError::OtherStart { found: page.start.seq, asked: progress.start.seq });
            }
            Some(_) => {}
        }
        self.take_roster(asked, page, marks.cursor.seq)?;
        let roster = self.roster()?;
        let mut records = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            let stop = |why| Box::new(Untrusted { seq: row.seq, device: None, device_seq: None, hash: row.envelope.hash(), why });
            let header = header(self.me.log, &row.envelope).map_err(stop)?;
            fits_roster(&roster, (&header, row), marks.generation)?;
            if row.envelope.key_epoch() > opener.key_epoch() {
                return Err(SnapshotError::NeedsKeys { epoch: row.envelope.key_epoch() });
            }
            let content = opener.open(&header, &row.envelope).unwrap_or(Content::Damaged);
            let record = Record::new(&header, (&row.envelope, row.origin), row.seq, content);
            if let Some(why) = self.goes_back(&record, header.device_seq, (marks.cursor.seq, page.start.seq))? {
                let of_device = Untrusted { device: Some(header.device), device_seq: Some(header.device_seq), ..*stop(why) };
                return Err(Box::new(of_device).into());
            }
            records.push(record);
        }
        self.check_keys(asked, page, &records)?;
        self.write(&records)?;
        for record in &records {
            self.take_newer_wrap(record, opener)?;
        }
        self.advance(page)
    }

    /// Verifies a page's roster rows on top of those given before: up to where the log was `read`, they are those that were
    /// read, no more and no fewer.
    fn take_roster(&mut self, asked: Option<&SnapshotToken>, page: &SnapshotPage, read: Seq) -> Result<(), SnapshotError> {
        let stop = |row: &RosterRow, why| {
            Box::new(Untrusted { seq: row.seq, device: None, device_seq: None, hash: row.change.signed().hash(), why })
        };
        // Where the roster stood before this page; once it was given whole, all of it.
        let given = asked.map_or(Some(Seq::ZERO), |token| token.roster_after);
        let upto = page.resume.as_ref().and_then(|token| token.roster_after);
        let held = self.tables.roster()?;
        if let Some(other) = page.roster.iter().find(|row| row.seq > page.start.seq || (row.seq <= read && !held.contains(row))) {
            return Err(stop(other, Why::OtherRow { seq: other.seq }).into());
        }
        let (before, mut rest): (Vec<_>, Vec<_>) = held.into_iter().partition(|row| given.is_none_or(|given| row.seq <= given));
        rest.retain(|row| upto.is_none_or(|upto| row.seq <= upto) && !page.roster.contains(row));
        if let Some(missing) = rest.first() {
            return Err(stop(missing, Why::OtherRow { seq: missing.seq }).into());
        }
        let mut roster = Roster::restore(self.me.log, &before)
            .map_err(|error| TablesError::Damaged { place: "the roster".into(), why: error.to_string() })?;
        for row in &page.roster {
            roster.apply(row).map_err(|error| stop(row, error.into()))?;
            of_account(&roster, self.me).map_err(|why| stop(row, why))?;
            self.tables.put_roster_row(row)?;
        }
        Ok(())
    }

    /// A page's rows are in order of key, go on where the page before ended, and leave out no record that was read. One that never
    /// opened, and that nobody has, goes.
    fn check_keys(&mut self, asked: Option<&SnapshotToken>, page: &SnapshotPage, records: &[Record]) -> Result<(), SnapshotError> {
        let stop = |seq, hash, why| Err(Box::new(Untrusted { seq, device: None, device_seq: None, hash, why }).into());
        let begin = asked.and_then(|token| token.last.as_ref());
        let mut end = begin;
        for record in records {
            if end.is_some_and(|end| record.key <= *end) {
                return stop(record.seq, record.hash, Why::Disordered);
            }
            end = Some(&record.key);
        }
        if let Some(resume) = &page.resume {
            let goes_on = resume.last.as_ref() == end && (resume.timeline, resume.start) == (page.start.timeline, page.start.seq);
            if !goes_on {
                return stop(page.start.seq, Hash::default(), Why::Disordered);
            }
        }
        let mut after = begin.cloned();
        loop {
            let held = self.tables.records(None, after.as_ref(), HELD_AT_A_TIME)?;
            for record in &held {
                if page.resume.is_some() && end.is_none_or(|end| record.key > *end) {
                    return Ok(());
                }
                let is_given = records.binary_search_by(|given| given.key.cmp(&record.key)).is_ok();
                if record.seq <= page.start.seq && !is_given {
                    if record.content == Content::Damaged {
                        self.never_was(&record.key)?;
                        continue;
                    }
                    return stop(record.seq, record.hash, Why::LeftOut { key: record.key.clone(), held: record.version });
                }
            }
            match held.last() {
                Some(last) if held.len() == HELD_AT_A_TIME => after = Some(last.key.clone()),
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// What did not open was of no record: an edit that was made from it would never go. A signed one waits for its answer.
    fn never_was(&mut self, key: &RecordKey) -> Result<(), TablesError> {
        self.tables.remove_record(key)?;
        let edits = self.tables.edits_of(key)?;
        let [edit] = edits.as_slice() else { return Ok(()) };
        match edit.state {
            EditState::Waiting | EditState::Paused { .. } => self.park(edit, Reason::Stale),
            EditState::Signed(_) | EditState::Parked(_) => Ok(()),
        }
    }

    /// Of the very version that is held.
    fn take_newer_wrap(&mut self, given: &Record, opener: &impl Opener) -> Result<(), TablesError> {
        let is_newer =
            |held: &Record| (held.seq, held.hash) == (given.seq, given.hash) && held.envelope.key_epoch() < given.envelope.key_epoch();
        if let Some(held) = self.tables.record(&given.key)?.filter(is_newer) {
            self.take_wrap(held, given.envelope.wrap.clone(), opener)?;
        }
        Ok(())
    }

    /// Whether a row contradicts what is held: the log was `read` to there, the snapshot is of `start`.
    fn goes_back(&self, record: &Record, device_seq: DeviceSeq, (read, start): (Seq, Seq)) -> Result<Option<Why>, TablesError> {
        let held = self.tables.record(&record.key)?;
        if let Some(held) = &held {
            if record.heals(held) {
                return Ok(None);
            }
            // Its device signed nothing of this row that could be seen here: it may be the server's own doing.
            if record.content == Content::Damaged && held.content != Content::Damaged && held.seq < record.seq {
                return Ok(Some(Why::Unreadable { key: record.key.clone(), held: held.version }));
            }
        }
        let (seq, version, hash) = held.map_or_else(Default::default, |held| (held.seq, held.version, held.hash));
        let is_back = match seq.cmp(&record.seq) {
            Ordering::Less => version >= record.version,
            Ordering::Equal => false,
            // Read or acknowledged above where the snapshot begins: it may have been written after the page was read.
            Ordering::Greater => version <= record.version || seq <= start,
        };
        if is_back {
            return Ok(Some(Why::Version { key: record.key.clone(), version: record.version, held: version }));
        }
        let is_another = seq == record.seq && hash != record.hash;
        if is_another || (record.seq <= read && seq < record.seq && !self.is_damaged_at(record.seq)?) {
            return Ok(Some(Why::OtherRow { seq: record.seq }));
        }
        // What was brought back has the number that it had when it was made.
        if record.origin.is_some() {
            return Ok(None);
        }
        // A device's pushes rise with the log.
        let last = self.tables.last_batch(record.device)?.map(|last| last.device_seq).unwrap_or_default();
        Ok(if record.seq > read && device_seq <= last { Some(Why::Chain { last }) } else { None })
    }

    /// Whether what was read there did not open, under whatever name it came: that was no reading.
    fn is_damaged_at(&self, seq: Seq) -> Result<bool, TablesError> {
        Ok(self.tables.record_at(seq)?.is_some_and(|held| held.content == Content::Damaged))
    }

    /// The log was read to there, and not read from there to the snapshot.
    fn complete(&mut self, read: Seq, start: Seq) -> Result<(), TablesError> {
        let roster = self.roster()?;
        for (device, standing) in roster.devices() {
            if let Some(revocation) = standing.revoked {
                self.settle_revoked(device, revocation.last)?;
            }
            // Rows come without statements: what a device's batch before was is not known from here on, only its number.
            if start > read {
                let device_seq = self.tables.last_batch(device)?.map(|last| last.device_seq).unwrap_or_default();
                self.tables.set_last_batch(device, LastBatch { device_seq, hash: None })?;
            }
        }
        Ok(())
    }

    fn advance(&mut self, page: &SnapshotPage) -> Result<SnapshotOutcome, SnapshotError> {
        let mut marks = self.tables.marks()?;
        let outcome = match &page.resume {
            Some(resume) => {
                marks.snapshot = Some(SnapshotProgress { start: page.start, resume: resume.clone() });
                SnapshotOutcome::Next { resume: resume.clone() }
            }
            None => {
                self.complete(marks.cursor.seq, page.start.seq)?;
                marks = self.tables.marks()?;
                marks.snapshot = None;
                marks.cursor = page.start;
                // Rows came in place of ones that were never read, so that counting on by them would be wrong.
                marks.usage = marks.usage.map(|usage| self.held_usage(usage.limit, page.start.seq)).transpose()?;
                SnapshotOutcome::Complete { cursor: page.start }
            }
        };
        self.tables.set_marks(&marks)?;
        self.prune()?;
        Ok(outcome)
    }
}

/// Whether a row is under an account key that the log had come to where it stands, and not of after its device had left. In a log
/// that was rewound a revoke may name less.
fn fits_roster(roster: &Roster, (header, row): (&Header, &Row), generation: Generation) -> Result<(), Box<Untrusted>> {
    let stop = |why| {
        let (device, device_seq) = (Some(header.device), Some(header.device_seq));
        Err(Box::new(Untrusted { seq: row.seq, device, device_seq, hash: row.envelope.hash(), why }))
    };
    let (found, expected) = (row.envelope.key_epoch(), roster.key_epoch_at(row.seq));
    if found < expected {
        return stop(Why::KeyEpoch { found, expected });
    }
    let Standing::Revoked(device) = roster.standing(header.device) else { return Ok(()) };
    match device.revoked.and_then(|revocation| revocation.last) {
        Some(last) if generation == Generation(0) && header.device_seq > last => stop(Why::Chain { last }),
        Some(_) | None => Ok(()),
    }
}

/// How many held records are compared at a time.
const HELD_AT_A_TIME: usize = 256;

/// A snapshot must be of the log that was read, and not of before.
fn check_start(marks: &Marks, start: Cursor) -> Result<(), SnapshotError> {
    let cursor = marks.cursor;
    if start.seq < cursor.seq {
        return Err(SnapshotError::Behind { start: start.seq, read: cursor.seq });
    }
    if start.seq == cursor.seq && cursor.seq > Seq::ZERO && start.row != cursor.row {
        return Err(SnapshotError::OtherRow { seq: start.seq });
    }
    Ok(())
}
