//! What becomes of a record's edits when something else about it becomes known.
//!
//! Never: a conflict where the content is equal, or an edit sent that was made from a version no longer current.

use cloudsync_protocol::error::RecordIssue;
use cloudsync_protocol::{DeviceSeq, ErrorCode, RecordKey};

use super::{BatchState, Edit, EditState, Made, OutboxBatch, Reason, Record, Replica, Tables, TablesError};

/// What the server said of one edit of a batch that it did not commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it goes into another batch.
    Again,
    /// There is no room for it, which grows by so many bytes.
    Pause(u64),
    /// Why it can't be committed as it is.
    Park(Reason),
}

impl Verdict {
    pub(super) fn of(code: ErrorCode) -> Self {
        if code == ErrorCode::ClockAhead {
            // Its time comes; the batch was refused for another record's sake.
            return Self::Again;
        }
        Self::Park(if code == ErrorCode::Stale { Reason::Stale } else { Reason::Refused(code) })
    }
    pub(super) fn of_issue(issue: &RecordIssue) -> Self {
        if issue.code == ErrorCode::QuotaExceeded { Self::Pause(issue.grows) } else { Self::of(issue.code) }
    }
}

impl<T: Tables> Replica<'_, T> {
    /// After a committed version of a record was written: an edit in no batch that was made from an older one is settled
    /// by equal content or parked, unless a lost version of it is to be brought back first. A signed edit waits for its answer, and so does the one made from it.
    pub(super) fn reconcile(&mut self, record: &Record) -> Result<(), TablesError> {
        let edits = self.tables.edits_of(&record.key)?;
        let [edit] = edits.as_slice() else { return Ok(()) };
        if self.is_restoring(&record.key)? {
            return Ok(());
        }
        let is_older = (edit.base, edit.parent) != (record.version, record.hash);
        match edit.state {
            EditState::Signed(_) => Ok(()),
            EditState::Waiting | EditState::Paused { .. } | EditState::Parked(_) if is_older && edit.content == record.content => {
                self.tables.remove_edit(edit.id)
            }
            EditState::Waiting | EditState::Paused { .. } if is_older => self.park(edit, Reason::Stale),
            EditState::Waiting | EditState::Paused { .. } | EditState::Parked(_) => Ok(()),
        }
    }

    /// Takes a record's signed edit out of its batch, and makes one edit of it and the one made from it.
    fn take_back(&mut self, made: &Made, device_seq: DeviceSeq, verdict: Verdict) -> Result<(), TablesError> {
        let header = made.header()?;
        let key = &header.key();
        let edits = self.tables.edits_of(key)?;
        let Some(signed) = edits.iter().find(|edit| edit.state == EditState::Signed(device_seq)) else { return Ok(()) };
        let later = edits.iter().find(|edit| edit.id > signed.id);
        let record = self.tables.record(key)?;
        if let Some(record) = &record
            && signed.base < record.version
            && signed.content == record.content
        {
            self.tables.remove_edit(signed.id)?;
            return later
                .map_or(Ok(()), |later| self.tables.put_edit(&Edit { base: record.version, parent: record.hash, ..later.clone() }));
        }
        let merged = later.map_or_else(
            || signed.clone(),
            |later| Edit { last: later.last, content: later.content.clone(), hlc: later.hlc, ..signed.clone() },
        );
        if let Some(later) = later {
            self.tables.remove_edit(later.id)?;
        }
        let state = match verdict {
            // An earlier batch turned out to be committed, so that the edit has another base by now than the one refused.
            Verdict::Park(_) | Verdict::Pause(_) if (Some(signed.base), signed.parent) != (made.base(), header.parent) => {
                EditState::Waiting
            }
            // What was refused for its size is not what it says by now.
            Verdict::Pause(_) if later.is_some() => EditState::Waiting,
            Verdict::Pause(grows) => EditState::Paused { grows },
            Verdict::Again => EditState::Waiting,
            Verdict::Park(reason) => EditState::Parked(reason),
        };
        self.tables.put_edit(&Edit { state, ..merged })?;
        record.map_or(Ok(()), |record| self.reconcile(&record))
    }

    /// After one of this profile's own versions is known committed: the edit that it was is done; one that went on from
    /// the same base (taken back, then edited further) was made from it.
    pub(super) fn done(&mut self, made: &Made) -> Result<(), TablesError> {
        let header = made.header()?;
        let (base, parent) = (header.version, made.operation.hash());
        let mut is_under = false;
        for edit in self.tables.edits_of(&header.key())? {
            if is_under {
                // Made from the edit before, perhaps as it was signed again since: the same content is the same base.
                self.tables.put_edit(&Edit { base, parent, ..edit })?;
            } else if (Some(edit.base), edit.parent) != (made.base(), header.parent) {
                continue;
            } else if edit.content == made.content {
                self.tables.remove_edit(edit.id)?;
                is_under = true;
            } else {
                let state = match edit.state {
                    EditState::Signed(device_seq) => EditState::Signed(device_seq),
                    EditState::Waiting | EditState::Paused { .. } | EditState::Parked(_) => EditState::Waiting,
                };
                self.tables.put_edit(&Edit { base, parent, state, ..edit })?;
            }
        }
        Ok(())
    }

    /// A batch will not commit, as far as is known: its edits go on without it, those that `verdict` names as it says.
    pub(super) fn close(&mut self, batch: &OutboxBatch, verdict: impl Fn(&RecordKey) -> Verdict) -> Result<(), TablesError> {
        self.tables.set_batch_state(batch.device, batch.device_seq, BatchState::Closed)?;
        for made in &batch.made {
            if made.base().is_none() {
                self.release(made, batch.device_seq, verdict(&made.key()?))?;
                continue;
            }
            self.take_back(made, batch.device_seq, verdict(&made.key()?))?;
        }
        Ok(())
    }
}
