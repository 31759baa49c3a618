//! Reading the log: pages, events, and the echo of this session's own pushes.
//!
//! Never: a row without the cursor that goes with it, a stretch that does not begin at the cursor, an entry skipped.

use std::collections::BTreeSet;

use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::frame::{Committed, Event, Page};
use cloudsync_protocol::statement::BatchStatement;
use cloudsync_protocol::{Batch, Cursor, DeviceSeq, Entry, Generation, Hash, Operation, Seq, TimelineId};

use super::verify::{self, Halt, Verified};
use super::{BatchState, Change, Content, LastBatch, Made, Opener, OutboxBatch, Record, Replica, Tables, TablesError, Untrusted, Why};
use crate::roster::Roster;

/// Whole entries of `(from, to]`: a page or an event.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    /// The log's timeline.
    pub timeline: TimelineId,
    /// Exclusive.
    pub from: Seq,
    /// Inclusive.
    pub to: Seq,
    /// Contiguous.
    pub entries: &'a [Entry],
}

impl<'a> From<&'a Page> for Stretch<'a> {
    fn from(page: &'a Page) -> Self {
        Self { timeline: page.timeline, from: page.from, to: page.to, entries: &page.entries }
    }
}

impl<'a> From<&'a Event> for Stretch<'a> {
    fn from(event: &'a Event) -> Self {
        Self { timeline: event.timeline, from: event.from, to: event.to, entries: &event.entries }
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Where the cursor is now.
    pub cursor: Cursor,
    /// What was written, in the order of the log.
    pub changes: Vec<Change>,
    /// The entry that did not verify: what came before it was applied, nothing after it will be.
    pub stopped: Option<Untrusted>,
    /// The account key's epoch that what comes next is sealed under, and that this device does not have: fetch the keyring, read on.
    pub needs_keys: Option<u64>,
    /// Newer wraps that do not open: the old ones stay.
    pub rewraps_bad: u64,
}

/// What came of a stretch of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied.
    Applied(Applied),
    /// It was read before, perhaps by another process of the profile.
    Old,
    /// It does not begin at the cursor (or a snapshot is under way): pull from there.
    Gap {
        /// Where the replica is.
        cursor: Cursor,
    },
}

/// Why the replica reads nothing of that stretch. It keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It is of another timeline: the log was rewound.
    #[error("the log's timeline is {timeline}, read was {read}")]
    Timeline { timeline: TimelineId, read: TimelineId },
    /// Its entries are not what `(from, to]` says.
    #[error("entries up to {end} where {to} was announced")]
    Uneven { end: Seq, to: Seq },
    /// A push of this device is announced with other rows than it had.
    #[error("push {device_seq} is announced as other rows than were pushed")]
    OtherRows { device_seq: DeviceSeq },
    /// The tables did not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// What one entry came to.
#[derive(Debug, Default)]
struct Read {
    changes: Vec<Change>,
    rewraps_bad: u64,
}

impl<T: Tables> Replica<'_, T> {
    /// Applies a page or an event.
    pub fn apply(&mut self, stretch: Stretch<'_>, opener: &impl Opener) -> Result<Outcome, ApplyError> {
        if let Some(outcome) = self.place(stretch.timeline, stretch.from, stretch.to)? {
            return Ok(outcome);
        }
        check_even(stretch)?;
        let mut roster = self.roster()?;
        let mut cursor = Cursor { timeline: stretch.timeline, ..self.tables.marks()?.cursor };
        let (mut changes, mut stopped, mut needs_keys, mut rewraps_bad) = (Vec::new(), None, None, 0);
        for entry in stretch.entries {
            let read = match entry {
                Entry::Batch(batch) => self.read_batch(&roster, batch, opener)?,
                Entry::Roster(row) => self.read_roster_row(&mut roster, row)?.map(|()| Read::default()).map_err(Halt::from),
            };
            match read {
                Ok(mut read) => {
                    changes.append(&mut read.changes);
                    rewraps_bad += read.rewraps_bad;
                }
                Err(Halt::Untrusted(why)) => {
                    stopped = Some(Untrusted::of(entry, why));
                    break;
                }
                Err(Halt::NeedsKeys { epoch }) => {
                    needs_keys = Some(epoch);
                    break;
                }
            }
            cursor.seq = entry.last();
            cursor.row = entry.last_hash().short();
        }
        self.move_to(cursor)?;
        self.wake()?;
        Ok(Outcome::Applied(Applied { cursor, changes, stopped, needs_keys, rewraps_bad }))
    }

    /// Applies the echo of this session's own push: its rows are in the outbox, or were written with the answer.
    pub fn committed(&mut self, committed: &Committed) -> Result<Outcome, ApplyError> {
        if let Some(outcome) = self.place(committed.timeline, committed.from, committed.to)? {
            return Ok(outcome);
        }
        let marks = self.tables.marks()?;
        let Some(batch) = self.tables.batch(self.me.device, committed.device_seq)? else {
            return Ok(Outcome::Gap { cursor: marks.cursor });
        };
        let last_row = batch.made.last().map(|made| made.operation.hash().short());
        let placed = match batch.state {
            BatchState::Committed { from, to } => (from, to) == (committed.from, committed.to),
            BatchState::Open | BatchState::Closed => committed.from.plus(batch.made.len() as u64) == committed.to,
        };
        if last_row != Some(committed.row) || !placed {
            return Err(ApplyError::OtherRows { device_seq: committed.device_seq });
        }
        self.commit(&batch, committed.from)?;
        let changes = own_changes(&batch, committed.from)?;
        self.tables.set_last_batch(batch.device, LastBatch { device_seq: batch.device_seq, hash: Some(batch.hash) })?;
        let cursor = Cursor { timeline: committed.timeline, seq: committed.to, row: committed.row };
        self.move_to(cursor)?;
        Ok(Outcome::Applied(Applied { cursor, changes, stopped: None, needs_keys: None, rewraps_bad: 0 }))
    }

    /// Whether a stretch begins at the cursor: nothing when it does.
    fn place(&self, timeline: TimelineId, from: Seq, to: Seq) -> Result<Option<Outcome>, ApplyError> {
        let marks = self.tables.marks()?;
        let cursor = marks.cursor;
        if let Err(other) = self.is_ours(timeline)? {
            return Err(ApplyError::Timeline { timeline, read: other.read });
        }
        if to <= cursor.seq {
            return Ok(Some(Outcome::Old));
        }
        if from != cursor.seq || marks.snapshot.is_some() {
            return Ok(Some(Outcome::Gap { cursor }));
        }
        Ok(None)
    }

    fn move_to(&mut self, cursor: Cursor) -> Result<(), TablesError> {
        let mut marks = self.tables.marks()?;
        if marks.cursor.seq < cursor.seq {
            marks.cursor = cursor;
            self.tables.set_marks(&marks)?;
        }
        self.prune()
    }

    fn read_roster_row(&mut self, roster: &mut Roster, row: &RosterRow) -> Result<Result<(), Why>, TablesError> {
        // A snapshot that was given up brought it already.
        if !self.tables.roster()?.contains(row) {
            let mut next = roster.clone();
            if let Err(error) = next.apply(row) {
                return Ok(Err(error.into()));
            }
            if let Err(why) = verify::of_account(&next, self.me) {
                return Ok(Err(why));
            }
            if let Some(why) = self.cuts_off(&next, row.seq)? {
                return Ok(Err(why));
            }
            *roster = next;
            self.tables.put_roster_row(row)?;
        }
        for (device, standing) in roster.devices() {
            if standing.enrolled == row.seq {
                // From here on every batch of it is read, so that the first must say that there was none before.
                self.tables.set_last_batch(device, LastBatch { device_seq: DeviceSeq::default(), hash: Some(Hash::default()) })?;
            }
            if let Some(revocation) = standing.revoked.filter(|revocation| revocation.seq == row.seq) {
                self.settle_revoked(device, revocation.last)?;
            }
        }
        Ok(Ok(()))
    }

    /// Whether a row lets a device leave before what was read of it. In a log that was rewound a revoke may name less.
    fn cuts_off(&self, roster: &Roster, seq: Seq) -> Result<Option<Why>, TablesError> {
        if self.tables.marks()?.generation > Generation(0) {
            return Ok(None);
        }
        for (device, standing) in roster.devices() {
            let revocation = standing.revoked.filter(|revocation| revocation.seq == seq);
            let Some(named) = revocation.and_then(|revocation| revocation.last) else { continue };
            let read = self.tables.last_batch(device)?.map(|read| read.device_seq).unwrap_or_default();
            if named < read {
                return Ok(Some(Why::Chain { last: read }));
            }
        }
        Ok(None)
    }

    /// Verifies one batch as a whole, then writes its rows.
    fn read_batch(&mut self, roster: &Roster, batch: &Batch, opener: &impl Opener) -> Result<Result<Read, Halt>, TablesError> {
        let Verified { checked, records } = match self.verify(roster, batch, opener)? {
            Ok(verified) => verified,
            Err(halt) => return Ok(Err(halt)),
        };
        let BatchStatement { device, device_seq, .. } = checked.statement;
        if let Some(own) = self.tables.batch(device, device_seq)?
            && own.hash == checked.hash
        {
            self.commit(&own, Seq(batch.first.0.saturating_sub(1)))?;
        }
        let mut rewraps_bad = 0;
        for rewrap in batch.operations.iter().filter_map(Operation::as_rewrap) {
            rewraps_bad += self.take_wraps(rewrap, opener)?;
        }
        let mut changes = Vec::with_capacity(records.len());
        self.write(&records)?;
        for (record, header) in records.into_iter().zip(&checked.headers) {
            changes.push(Change::new(header, record.seq, record.content));
        }
        self.tables.set_last_batch(device, LastBatch { device_seq, hash: Some(checked.hash) })?;
        Ok(Ok(Read { changes, rewraps_bad }))
    }

    /// Writes committed rows, unless later ones are held, then settles what this device has pending of their records: each once, against
    /// what all of them came to.
    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), TablesError> {
        let mut keys = BTreeSet::new();
        for record in records {
            let held = self.tables.record(&record.key)?;
            if held.as_ref().is_some_and(|held| held.seq >= record.seq && !record.heals(held)) {
                continue;
            }
            self.tables.put_record(record)?;
            let before = self.tables.marks()?;
            let mut marks = before.clone();
            marks.count(held.as_ref(), record);
            if marks != before {
                self.tables.set_marks(&marks)?;
            }
            self.is_back(record)?;
            keys.insert(record.key.clone());
        }
        self.reconcile_all(keys)
    }
}

/// Whether the entries are the rows of `(from, to]`, without a hole.
fn check_even(stretch: Stretch<'_>) -> Result<(), ApplyError> {
    let mut end = stretch.from;
    for entry in stretch.entries {
        if entry.first() != end.next() || entry.last() < entry.first() || !has_next(entry) {
            return Err(ApplyError::Uneven { end, to: stretch.to });
        }
        end = entry.last();
    }
    if end == stretch.to { Ok(()) } else { Err(ApplyError::Uneven { end, to: stretch.to }) }
}

/// Whether a row could come after it. The server gives the numbers, and could give the last one.
fn has_next(entry: &Entry) -> bool {
    entry.last() < Seq(u64::MAX)
}

fn own_changes(batch: &OutboxBatch, from: Seq) -> Result<Vec<Change>, TablesError> {
    let change = |(made, number): (&Made, u64)| Ok(Change::new(&made.header()?, from.plus(number), made.content.clone()));
    batch.writes().zip(1..).map(change).collect()
}

/// What entries say, for one who shows them as they come: another process of the profile may have applied them already,
/// so that [`Replica::apply`] says [`Outcome::Old`]. Nothing of an entry that does not open.
#[must_use]
pub fn changes(entries: &[Entry], opener: &impl Opener) -> Vec<Change> {
    let mut changes = Vec::new();
    for entry in entries.iter().filter(|entry| has_next(entry)) {
        let Entry::Batch(batch) = entry else { continue };
        for (operation, number) in batch.operations.iter().zip(0..) {
            let Some(envelope) = operation.envelope() else { continue };
            let Ok(header) = envelope.check() else { continue };
            let content = opener.open(&header, envelope).unwrap_or(Content::Damaged);
            changes.push(Change::new(&header, batch.first.plus(number), content));
        }
    }
    changes
}
