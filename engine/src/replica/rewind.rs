//! A log that went on under another timeline: where its history and this device's part, and what is kept of what lies behind.
//!
//! Never: a row of the lost history taken for the log's, or given up. It goes to the lost, to be brought back.

use cloudsync_protocol::entry::Origin;
use cloudsync_protocol::statement::{RevokeStatement, RosterChange, RotateStatement};
use cloudsync_protocol::{Cursor, DeviceId, ErrorCode, Seq, TimelineId, codec};

use super::lost::{LOST_AT_A_TIME, Lineage, Lost, LostId, LostState};
use super::settle::Verdict;
use super::{BatchState, Marks, Record, Replica, Tables, TablesError};
use crate::roster::Standing;

/// What a lineage that a server told means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is the one that was read.
    Same,
    /// The log went on under another: find the fork, then [`Replica::rewound`].
    Rewound(Rewind),
    /// The log is where it was before a rewind that was seen, or that was pretended: keep everything, and stop. Where a person
    /// takes the log as it is now, it is a rewind like any other.
    WentBack(Rewind),
    /// One timeline can't begin in two places.
    Unfit,
}

/// A log that took another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewind {
    /// As this device knew it.
    pub own: Lineage,
    /// As the server says.
    pub theirs: Lineage,
    /// Nothing above is common to both.
    pub common: Seq,
}

/// What came of a rewind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewound {
    /// The replica is on the log's timeline now: attach again.
    Done,
    /// Another process of the profile did something meanwhile: attach again.
    Again,
}

/// The session is of another timeline than the replica: close it, and open another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OtherTimeline {
    pub(super) read: TimelineId,
}

impl Marks {
    /// The replica's timeline, whatever its cursor says; none before the first attach.
    #[must_use]
    pub fn timeline(&self) -> Option<TimelineId> {
        self.lineage.last().map(|(timeline, _)| *timeline)
    }
}

/// In which timeline of a lineage a row stands.
fn timeline_at(lineage: &[(TimelineId, Seq)], seq: Seq) -> TimelineId {
    lineage.iter().rfind(|(_, first)| *first <= seq).or(lineage.first()).map(|(timeline, _)| *timeline).unwrap_or_default()
}

impl<T: Tables> Replica<'_, T> {
    /// Whether what is handed in is of the replica's timeline. A replica that was never attached has none.
    pub(super) fn is_ours(&self, timeline: TimelineId) -> Result<Result<(), OtherTimeline>, TablesError> {
        let marks = self.tables.marks()?;
        let read = match marks.timeline() {
            Some(read) => read,
            None if marks.cursor.seq > Seq::ZERO => marks.cursor.timeline,
            None => return Ok(Ok(())),
        };
        Ok(if read == timeline { Ok(()) } else { Err(OtherTimeline { read }) })
    }

    /// What a lineage means, from `attached` or from a refused cursor. The first one that is told is kept.
    pub fn told(&mut self, theirs: &[(TimelineId, Seq)]) -> Result<Told, TablesError> {
        let mut marks = self.tables.marks()?;
        if marks.lineage.is_empty() {
            marks.lineage = theirs.to_vec();
            self.tables.set_marks(&marks)?;
            return Ok(Told::Same);
        }
        let own = marks.lineage;
        let common = own.iter().zip(theirs).take_while(|(own, theirs)| own.0 == theirs.0).count();
        if own.iter().zip(theirs).take(common).any(|(own, theirs)| own.1 != theirs.1) {
            return Ok(Told::Unfit);
        }
        if own.len() == common && theirs.len() == common {
            return Ok(Told::Same);
        }
        let end = |lineage: &[(TimelineId, Seq)]| lineage.get(common).map_or(Seq(u64::MAX), |(_, next)| Seq(next.0.saturating_sub(1)));
        let upto = if common == 0 { Seq::ZERO } else { end(&own).min(end(theirs)) };
        let went_back = common == theirs.len();
        let rewind = Rewind { own, theirs: theirs.to_vec(), common: upto };
        Ok(if went_back { Told::WentBack(rewind) } else { Told::Rewound(rewind) })
    }

    /// The highest row up to there that this device can name, as a cursor: whether the log has it is asked by a pull of nothing.
    pub fn named(&self, rewind: &Rewind, upto: Seq) -> Result<Option<Cursor>, TablesError> {
        let cursor = Some(self.tables.marks()?.cursor).filter(|cursor| cursor.seq > Seq::ZERO && cursor.seq <= upto);
        let row = self.tables.row_at_most(upto)?;
        let highest = cursor.map(|cursor| (cursor.seq, cursor.row)).into_iter().chain(row).max_by_key(|(seq, _)| *seq);
        Ok(highest.map(|(seq, row)| Cursor { timeline: timeline_at(&rewind.own, seq), seq, row }))
    }

    /// Goes over to the log's timeline. Up to `fork` its history is the own one.
    pub fn rewound(&mut self, rewind: &Rewind, fork: Seq) -> Result<Rewound, TablesError> {
        let mut marks = self.tables.marks()?;
        if marks.lineage != rewind.own {
            return Ok(Rewound::Again);
        }
        self.tables.put_lineage(&rewind.own)?;
        self.tables.lower_forks(fork)?;
        let is_whole = self.is_nothing_above(&marks, fork)?;
        marks.lineage.clone_from(&rewind.theirs);
        marks.snapshot = None;
        // Theirs may have a push of this device that an earlier rewind lost.
        marks.chain_anew = true;
        if is_whole {
            marks.cursor.timeline = marks.timeline().unwrap_or_default();
            self.tables.set_marks(&marks)?;
            return Ok(Rewound::Done);
        }
        // Older ones may have a way now.
        self.tables.retry_refused_lost()?;
        self.lose_records(&mut marks, (rewind, fork))?;
        self.lose_roster(fork)?;
        // They count pushes that never were; a snapshot says where each device's stand.
        self.tables.clear_last_batches()?;
        marks.last_committed = None;
        marks.usage = None;
        marks.cursor = Cursor { timeline: marks.timeline().unwrap_or_default(), ..Cursor::default() };
        self.tables.set_marks(&marks)?;
        self.lose_batches(fork)?;
        Ok(Rewound::Done)
    }

    fn is_nothing_above(&self, marks: &Marks, fork: Seq) -> Result<bool, TablesError> {
        let last = marks.last_committed.map_or(Seq::ZERO, |last| last.seq);
        let start = marks.snapshot.as_ref().map_or(Seq::ZERO, |progress| progress.start.seq);
        let row = self.tables.row_at_most(Seq(u64::MAX))?.map_or(Seq::ZERO, |(seq, _)| seq);
        let batches = self.tables.batches()?;
        let committed =
            batches.iter().filter_map(|(.., state)| if let BatchState::Committed { to, .. } = state { Some(*to) } else { None });
        Ok([marks.cursor.seq, last, start, row].into_iter().chain(committed).all(|seq| seq <= fork))
    }

    fn lose_records(&mut self, marks: &mut Marks, (rewind, fork): (&Rewind, Seq)) -> Result<(), TablesError> {
        loop {
            let above = self.tables.records_above(fork, LOST_AT_A_TIME)?;
            if above.is_empty() {
                return Ok(());
            }
            for record in above {
                self.tables.remove_record(&record.key)?;
                marks.last_lost = LostId(marks.last_lost.0 + 1);
                self.lose(marks.last_lost, record, (rewind, fork))?;
            }
        }
    }

    /// The same version lost once more stays one.
    fn lose(&mut self, id: LostId, record: Record, (rewind, fork): (&Rewind, Seq)) -> Result<(), TablesError> {
        let at = Origin { timeline: timeline_at(&rewind.own, record.seq), seq: record.seq };
        let known = self.tables.lost_of(&record.key)?.into_iter().find(|lost| lost.record.hash == record.hash);
        let origin = known.as_ref().map(|known| known.origin).or(record.origin).unwrap_or(at);
        let fork = known.map_or(fork, |known| known.fork.min(fork));
        self.tables.put_lost(&Lost { id, record, at, origin, fork, state: LostState::Waiting, asked: None })
    }

    /// Whom a lost row revoked is to be revoked again.
    fn lose_roster(&mut self, fork: Seq) -> Result<(), TablesError> {
        for row in self.tables.roster()?.into_iter().filter(|row| row.seq > fork) {
            let statement = &row.change.signed().statement;
            let revoked = match &row.change {
                RosterChange::Revoke(_) => codec::decode::<RevokeStatement>(statement).map(|statement| vec![statement.device]).ok(),
                RosterChange::Rotate(_) => codec::decode::<RotateStatement>(statement)
                    .map(|statement| statement.revoked.iter().map(|leaver| leaver.device).collect())
                    .ok(),
                RosterChange::Identity(_) | RosterChange::Enrol(_) | RosterChange::Rekey(_) => None,
            };
            for device in revoked.unwrap_or_default() {
                self.tables.put_revoked_before(device, None)?;
            }
        }
        self.tables.remove_roster_above(fork)
    }

    /// Batches whose rows are lost go; the open one stays, unless what is in it is to be judged anew.
    fn lose_batches(&mut self, fork: Seq) -> Result<(), TablesError> {
        for (device, device_seq, state) in self.tables.batches()? {
            if let BatchState::Committed { to, .. } = state
                && to > fork
            {
                self.tables.remove_batch(device, device_seq)?;
            }
        }
        let Some(open) = self.open_batch()? else { return Ok(()) };
        if open.rewrap().is_some() {
            return self.close_rewrap();
        }
        for made in open.writes() {
            if made.operation.origin().is_some() || self.is_restoring(&made.key()?)? {
                return self.close(&open, |_| Verdict::Again);
            }
        }
        Ok(())
    }

    /// Devices that were revoked in what was lost, and are enrolled: revoke each again before anything is pushed.
    pub fn to_revoke(&self) -> Result<Vec<DeviceId>, TablesError> {
        let before = self.tables.revoked_before()?;
        if before.is_empty() {
            return Ok(Vec::new());
        }
        let roster = self.roster()?;
        let stands = |device: &DeviceId| matches!(roster.standing(*device), Standing::Enrolled(_));
        let open = before.into_iter().filter(|(device, given_up)| given_up.is_none() && *device != self.me.device && stands(device));
        Ok(open.map(|(device, _)| device).collect())
    }

    /// The server refuses that revoke for good: what waited for it goes on.
    pub fn revoke_given_up(&mut self, device: DeviceId, code: ErrorCode) -> Result<(), TablesError> {
        self.tables.put_revoked_before(device, Some(code))
    }

    /// Devices that were revoked in what was lost, and whose further revoke the server refuses for good, with why: they stay enrolled.
    pub fn revokes_given_up(&self) -> Result<Vec<(DeviceId, ErrorCode)>, TablesError> {
        let before = self.tables.revoked_before()?;
        if before.is_empty() {
            return Ok(Vec::new());
        }
        let roster = self.roster()?;
        let stands = |device: &DeviceId| matches!(roster.standing(*device), Standing::Enrolled(_));
        Ok(before.into_iter().filter_map(|(device, code)| code.map(|code| (device, code))).filter(|(device, _)| stands(device)).collect())
    }

    /// Whether this very device was revoked in what was lost: it pushes nothing, and is to enrol as a new one.
    pub fn is_revoked_before(&self) -> Result<bool, TablesError> {
        Ok(self.tables.revoked_before()?.iter().any(|(device, _)| *device == self.me.device))
    }
}
