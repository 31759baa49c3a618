//! Versions that a rewind lost: what is known of each, and what is to become of it.
//!
//! Never: a verdict by version numbers alone. Two branches have unrelated versions of any number.

use cloudsync_protocol::entry::Origin;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{DeviceSeq, ErrorCode, Hash, RecordKey, Seq, TimelineId, Version};

use super::policy::stamp;
use super::{Content, Edit, EditId, EditState, Policy, Reason, Record, Replica, Tables, TablesError, verify};

/// Every timeline of a log with the first `seq` of it, oldest first.
pub type Lineage = Vec<(TimelineId, Seq)>;

/// Counts lost versions in the order in which they were lost, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LostId(pub u64);

/// How far a lost version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostState {
    /// To be brought back.
    Waiting,
    /// In this device's signed batch of that number, which is not answered.
    Signed(DeviceSeq),
    /// The quota has no room for it.
    Paused {
        /// By how many bytes its record would grow.
        grows: u64,
    },
    /// It can't be brought back: a conflict, for its user to settle.
    Refused(ErrorCode),
}

/// A version that was committed, was read, and is not in the log any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its place among the lost.
    pub id: LostId,
    /// As it was held; its `seq` is where.
    pub record: Record,
    /// Where it was held.
    pub at: Origin,
    /// Where it was first committed.
    pub origin: Origin,
    /// Up to here the log's history is its own past.
    pub fork: Seq,
    /// How far it is.
    pub state: LostState,
    /// The current version whose history was looked through for it, in vain.
    pub asked: Option<Hash>,
}

impl Lost {
    /// Whether it is to be brought back yet.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        !matches!(self.state, LostState::Refused(_))
    }
}

/// What is to become of a lost version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is brought back over that version; zero for none.
    Over(Hash),
    /// It is in the log, or what followed it is, or the log says the same.
    Gone,
    /// That depends on the record's history.
    Ask,
    /// It would go over work done since.
    Stale,
}

/// A lost version whose record's history is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The record.
    pub key: RecordKey,
    /// The lost version's envelope hash.
    pub lost: Hash,
    /// Its number: older ones than this are not wanted.
    pub version: Version,
    /// The current version's hash.
    pub current: Hash,
}

/// Whether a position lies in a lineage.
fn contains(lineage: &[(TimelineId, Seq)], at: Origin) -> bool {
    let Some(place) = lineage.iter().position(|(timeline, _)| *timeline == at.timeline) else { return false };
    let begins = lineage.get(place).is_some_and(|(_, first)| *first <= at.seq);
    begins && lineage.get(place + 1).is_none_or(|(_, next)| at.seq < *next)
}

impl<T: Tables> Replica<'_, T> {
    /// The lineage of a timeline, if this device was ever on one that has it.
    fn lineage_of(&self, timeline: TimelineId) -> Result<Option<Lineage>, TablesError> {
        let own = std::iter::once(self.tables.marks()?.lineage).chain(self.tables.lineages()?);
        let found = own.into_iter().find_map(|mut lineage| {
            let place = lineage.iter().position(|(known, _)| *known == timeline)?;
            lineage.truncate(place + 1);
            Some(lineage)
        });
        Ok(found)
    }

    /// Whether `one` is in the past of `other`.
    fn is_before(&self, one: Origin, other: Origin) -> Result<bool, TablesError> {
        let lineage = self.lineage_of(other.timeline)?;
        Ok(lineage.is_some_and(|lineage| one.seq <= other.seq && contains(&lineage, one)))
    }

    /// By where a version was first committed: whether it, or what followed it, is what was lost.
    fn follows(&self, origin: Origin, lost: &Lost) -> Result<bool, TablesError> {
        if origin.timeline == lost.origin.timeline {
            return Ok(origin.seq >= lost.origin.seq);
        }
        self.is_before(lost.origin, origin)
    }

    /// What is to become of a lost version, beside what is committed. The first that fits.
    pub(super) fn judge(&self, lost: &Lost, current: Option<&Record>) -> Result<Judged, TablesError> {
        let Some(current) = current else { return Ok(Judged::Over(Hash::default())) };
        let over = Judged::Over(current.hash);
        let held = &lost.record;
        if current.hash == held.hash {
            return Ok(Judged::Gone);
        }
        if current.seq <= lost.fork {
            return Ok(over);
        }
        if let Some(origin) = current.origin {
            if origin.timeline == lost.origin.timeline {
                return Ok(if origin.seq < lost.origin.seq { over } else { Judged::Gone });
            }
            if self.is_before(origin, lost.at)? {
                return Ok(over);
            }
            if self.is_before(lost.origin, origin)? {
                return Ok(Judged::Gone);
            }
        }
        let parent = |record: &Record| verify::header(self.me.log, &record.envelope).map(|header| header.parent).unwrap_or_default();
        if parent(held) == current.hash && held.version == current.version.next() {
            return Ok(over);
        }
        if parent(current) == held.hash {
            return Ok(Judged::Gone);
        }
        if lost.asked != Some(current.hash) {
            return Ok(Judged::Ask);
        }
        Ok(if says_the_same(held, current) { Judged::Gone } else { Judged::Stale })
    }

    /// The lost versions whose fate depends on their records' history; ask for it, newest first, down to below `version`.
    pub fn questions(&self, count: usize) -> Result<Vec<Question>, TablesError> {
        let mut questions = Vec::new();
        for deleted in [Deleted::Yes, Deleted::No] {
            let mut after = LostId::default();
            loop {
                let page = self.tables.lost_waiting(deleted, after, LOST_AT_A_TIME)?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for lost in page {
                    let current = self.tables.record(&lost.record.key)?;
                    if self.judge(&lost, current.as_ref())? == Judged::Ask {
                        let current = current.map(|current| current.hash).unwrap_or_default();
                        let Record { key, hash, version, .. } = lost.record;
                        questions.push(Question { key, lost: hash, version, current });
                    }
                    if questions.len() == count {
                        return Ok(questions);
                    }
                }
            }
        }
        Ok(questions)
    }

    /// Takes in a record's history (or nothing, where that can't be had): whether the lost version, or what followed it, is in it.
    pub fn answered(&mut self, question: &Question, history: &[(Hash, Option<Origin>)]) -> Result<(), TablesError> {
        let lost = self.tables.lost_of(&question.key)?.into_iter().find(|lost| lost.record.hash == question.lost);
        let Some(lost) = lost.filter(Lost::is_pending) else { return Ok(()) };
        for (hash, origin) in history {
            let is_later = origin.map_or(Ok(false), |origin| self.follows(origin, &lost))?;
            if *hash == lost.record.hash || is_later {
                return self.forget(&lost);
            }
        }
        self.tables.put_lost(&Lost { asked: Some(question.current), ..lost })
    }

    /// Whether a record has a lost version that is to be brought back: its edits wait for that.
    pub(super) fn is_restoring(&self, key: &RecordKey) -> Result<bool, TablesError> {
        Ok(self.tables.lost_of(key)?.iter().any(Lost::is_pending))
    }

    /// The one that is shown: lost last.
    pub(super) fn restoring(lost: &[Lost]) -> Option<&Lost> {
        lost.iter().rfind(|lost| lost.is_pending())
    }

    /// A lost version is settled. With the last of its record the edits are judged by what is committed.
    pub(super) fn forget(&mut self, lost: &Lost) -> Result<(), TablesError> {
        self.tables.remove_lost(&lost.record.key, lost.record.hash)?;
        let record = self.tables.record(&lost.record.key)?;
        record.map_or(Ok(()), |record| self.reconcile(&record))
    }

    /// A version was committed or read: where it was lost, it is back.
    pub(super) fn is_back(&mut self, record: &Record) -> Result<(), TablesError> {
        for lost in self.tables.lost_of(&record.key)? {
            let is_settled = match lost.state {
                LostState::Refused(_) => says_the_same(&lost.record, record),
                LostState::Waiting | LostState::Signed(_) | LostState::Paused { .. } => false,
            };
            if lost.record.hash == record.hash || is_settled {
                self.tables.remove_lost(&record.key, lost.record.hash)?;
            }
        }
        Ok(())
    }

    /// It can't be brought back. An edit that was made from it speaks for both; else it is a conflict of its own.
    pub(super) fn refuse_lost(&mut self, lost: &Lost, code: ErrorCode) -> Result<(), TablesError> {
        let Some(edit) = self.made_from(lost)? else {
            if code == ErrorCode::Stale && self.settle_lost(lost)? {
                return Ok(());
            }
            self.tables.put_lost(&Lost { state: LostState::Refused(code), ..lost.clone() })?;
            let record = self.tables.record(&lost.record.key)?;
            return record.map_or(Ok(()), |record| self.reconcile(&record));
        };
        self.tables.remove_lost(&lost.record.key, lost.record.hash)?;
        match self.tables.record(&lost.record.key)? {
            Some(record) => self.reconcile(&record),
            None => self.park(&edit, Reason::Refused(code)),
        }
    }

    /// By its collection's policy: nothing made after a rewind is replaced by what came before, and between two that came before the
    /// later one wins. Says whether that settles it: it becomes an edit, or goes where the record says the same.
    fn settle_lost(&mut self, lost: &Lost) -> Result<bool, TablesError> {
        let (key, content) = (&lost.record.key, &lost.record.content);
        let Some(current) = self.tables.record(key)? else { return Ok(false) };
        let is_open = *content != Content::Damaged && current.content != Content::Damaged;
        if !is_open || self.policy(&key.collection)? == Policy::Reject || !self.tables.edits_of(key)?.is_empty() {
            return Ok(false);
        }
        self.tables.remove_lost(key, lost.record.hash)?;
        if current.content == *content {
            return Ok(true);
        }
        let is_before = current.origin.is_some();
        let yields = !is_before || stamp(lost.record.hlc, content) < stamp(current.hlc, &current.content);
        // Nor does it win later, over what follows that.
        let hlc = if is_before { lost.record.hlc } else { lost.record.hlc.min(Hlc(current.hlc.0.saturating_sub(1))).max(Hlc(1)) };
        let mut marks = self.tables.marks()?;
        let id = EditId(marks.last_edit.0 + 1);
        marks.last_edit = id;
        self.tables.set_marks(&marks)?;
        let (base, parent, state) = (current.version, current.hash, EditState::Waiting);
        self.tables.put_edit(&Edit { id, last: id, key: key.clone(), content: content.clone(), base, parent, hlc, state, yields })?;
        Ok(true)
    }

    /// There is no room for it. An edit that was made from it goes on by itself: it may be smaller, or a deletion.
    pub(super) fn pause_lost(&mut self, lost: &Lost, grows: u64) -> Result<(), TablesError> {
        let Some(edit) = self.made_from(lost)? else {
            return self.tables.put_lost(&Lost { state: LostState::Paused { grows }, ..lost.clone() });
        };
        let record = self.tables.record(&lost.record.key)?;
        let (base, parent) = record.as_ref().map_or_else(Default::default, |record| (record.version, record.hash));
        self.tables.put_edit(&Edit { base, parent, ..edit })?;
        self.forget(lost)
    }

    fn made_from(&self, lost: &Lost) -> Result<Option<Edit>, TablesError> {
        let edits = self.tables.edits_of(&lost.record.key)?;
        Ok(edits.into_iter().find(|edit| (edit.base, edit.parent) == (lost.record.version, lost.record.hash)))
    }
}

/// Which of the lost versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Those that delete their record.
    Yes,
    /// All others.
    No,
}

/// How many lost versions are read at a time.
pub(super) const LOST_AT_A_TIME: usize = 64;

fn says_the_same(one: &Record, other: &Record) -> bool {
    one.content == other.content && one.content != Content::Damaged
}
