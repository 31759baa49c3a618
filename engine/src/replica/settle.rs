//! What becomes of a record's edits when something else about it becomes known.
//!
//! Never: a conflict where the content is equal, or an edit sent that was made from a version no longer current.

use std::collections::BTreeSet;

use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::error::RecordIssue;
use cloudsync_protocol::limits::CLOCK_AHEAD_MAX;
use cloudsync_protocol::{DeviceSeq, ErrorCode, RecordKey};

use super::policy::stamp;
use super::{BatchState, Content, Edit, EditState, Made, OutboxBatch, Policy, Reason, Record, Replica, Tables, TablesError};

/// What the server said of one edit of a batch that it did not commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it goes into another batch.
    Again,
    /// There is no room for it, which grows by so many bytes.
    Pause(u64),
    /// A stamp is too far ahead of the server's clock, which says so many milliseconds since the epoch.
    Ahead(u64),
    /// Why it can't be committed as it is.
    Park(Reason),
}

impl Verdict {
    /// `server_ts`: the server's clock, where the answer says it.
    pub(super) fn of(code: ErrorCode, server_ts: Option<u64>) -> Self {
        match (code, server_ts) {
            (ErrorCode::ClockAhead, Some(server_ts)) => Self::Ahead(server_ts),
            (ErrorCode::Stale, _) => Self::Park(Reason::Stale),
            (code, _) => Self::Park(Reason::Refused(code)),
        }
    }
    pub(super) fn of_issue(issue: &RecordIssue, server_ts: Option<u64>) -> Self {
        if issue.code == ErrorCode::QuotaExceeded { Self::Pause(issue.grows) } else { Self::of(issue.code, server_ts) }
    }
}

/// The latest stamp that a server takes whose clock says so.
fn latest(server_ts: u64) -> Hlc {
    Hlc::from_ms(server_ts.saturating_add(u64::try_from(CLOCK_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX)))
}

/// Whether a server whose clock says so refuses a stamp.
fn is_ahead(hlc: Hlc, server_ts: u64) -> bool {
    hlc.ms() > latest(server_ts).ms()
}

impl<T: Tables> Replica<'_, T> {
    /// Each record's edits, against what is held of it.
    pub(super) fn reconcile_all(&mut self, keys: BTreeSet<RecordKey>) -> Result<(), TablesError> {
        for key in keys {
            if let Some(record) = self.tables.record(&key)? {
                self.reconcile(&record)?;
            }
        }
        Ok(())
    }

    /// After committed versions of a record were written: an edit in no batch that was made from an older one is settled, unless a lost
    /// version of it is to be brought back first. A signed edit waits for its answer, and so does the one made from it.
    pub(super) fn reconcile(&mut self, record: &Record) -> Result<(), TablesError> {
        let edits = self.tables.edits_of(&record.key)?;
        let [edit] = edits.as_slice() else { return Ok(()) };
        if is_made_from(edit, record) || self.is_restoring(&record.key)? {
            return Ok(());
        }
        match edit.state {
            EditState::Waiting | EditState::Paused { .. } => self.settle_stale(edit, record),
            EditState::Parked(_) if edit.content == record.content => self.tables.remove_edit(edit.id),
            EditState::Signed(_) | EditState::Parked(_) => Ok(()),
        }
    }

    /// What becomes of an edit in no batch whose record has another version by now than it was made from.
    fn settle_stale(&mut self, edit: &Edit, record: &Record) -> Result<(), TablesError> {
        let says_the_same = edit.content == record.content;
        let is_last_write = match self.policy(&record.key.collection)? {
            Policy::Reject if says_the_same => return self.tables.remove_edit(edit.id),
            Policy::Reject => return self.park(edit, Reason::Stale),
            Policy::LastWriteWins => stamp(edit.hlc, &edit.content) > stamp(record.hlc, &record.content),
        };
        if edit.hlc == Hlc::default() || (says_the_same && edit.hlc <= record.hlc) {
            return self.tables.remove_edit(edit.id);
        }
        // What it would yield to can't be written again.
        if !is_last_write && record.content == Content::Damaged {
            return self.park(edit, Reason::Stale);
        }
        let (base, parent, state) = (record.version, record.hash, EditState::Waiting);
        self.tables.put_edit(&Edit { base, parent, state, yields: !is_last_write, ..edit.clone() })
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
            && self.policy(&key.collection)? == Policy::Reject
        {
            self.tables.remove_edit(signed.id)?;
            return later
                .map_or(Ok(()), |later| self.tables.put_edit(&Edit { base: record.version, parent: record.hash, ..later.clone() }));
        }
        let mut merged = later.map_or_else(
            || signed.clone(),
            |later| Edit { last: later.last, content: later.content.clone(), hlc: later.hlc, yields: false, ..signed.clone() },
        );
        if let Some(later) = later {
            self.tables.remove_edit(later.id)?;
        }
        // An earlier batch turned out to be committed, so that the edit has another base by now than the one refused; or it says something
        // else by now.
        let is_other = (Some(signed.base), signed.parent) != (made.base(), header.parent);
        let is_older = record.as_ref().is_some_and(|record| !is_made_from(&merged, record));
        merged.state = match verdict {
            Verdict::Again => EditState::Waiting,
            Verdict::Park(_) if is_other => EditState::Waiting,
            Verdict::Park(Reason::Stale) if is_older => EditState::Waiting,
            Verdict::Park(reason) => EditState::Parked(reason),
            Verdict::Pause(_) if is_other || later.is_some() => EditState::Waiting,
            Verdict::Pause(grows) => EditState::Paused { grows },
            Verdict::Ahead(server_ts) => self.restamp(&mut merged, server_ts, is_other || later.is_some())?,
        };
        merged.yields &= !matches!(merged.state, EditState::Parked(_));
        self.tables.put_edit(&merged)?;
        record.map_or(Ok(()), |record| self.reconcile(&record))
    }

    /// By the server's clock, never by this machine's with an offset: that may have been set meanwhile, and would be ahead again at once.
    fn restamp(&mut self, edit: &mut Edit, server_ts: u64, is_other: bool) -> Result<EditState, TablesError> {
        let mut marks = self.tables.marks()?;
        // What was committed while the server's clock was wrong holds nobody up.
        marks.clock = marks.clock.min(latest(server_ts));
        self.tables.set_marks(&marks)?;
        if is_ahead(edit.hlc, server_ts) {
            edit.hlc = marks.clock.tick(server_ts);
            return Ok(EditState::Waiting);
        }
        // Its own stamp is fine: what it yields to has one that the server does not take.
        Ok(if is_other { EditState::Waiting } else { EditState::Parked(Reason::Refused(ErrorCode::ClockAhead)) })
    }

    /// After one of this profile's own versions is known committed: the edit that it was is done; one that went on from
    /// the same base (taken back, then edited further) was made from it.
    pub(super) fn done(&mut self, made: &Made) -> Result<(), TablesError> {
        let header = made.header()?;
        let (base, parent) = (header.version, made.operation.hash());
        let key = header.key();
        let mut is_under = false;
        for edit in self.tables.edits_of(&key)? {
            let says_the_same = edit.content == made.content;
            if is_under {
                // Made from the edit before, perhaps as it was signed again since: the same content is the same base.
                self.tables.put_edit(&Edit { base, parent, ..edit })?;
            } else if says_the_same && edit.hlc == header.hlc {
                // The very one, whatever a policy put it on since.
                self.tables.remove_edit(edit.id)?;
                is_under = true;
            } else if (Some(edit.base), edit.parent) != (made.base(), header.parent) {
                continue;
            } else if says_the_same && (edit.hlc <= header.hlc || self.policy(&key.collection)? == Policy::Reject) {
                self.tables.remove_edit(edit.id)?;
                is_under = true;
            } else {
                // It was refused for its clock and stamped anew, and committed under its own stamp all the same.
                let hlc = if edit.yields || edit.hlc == Hlc::default() { edit.hlc } else { edit.hlc.max(header.hlc.tick(0)) };
                let state = match edit.state {
                    EditState::Signed(device_seq) => EditState::Signed(device_seq),
                    EditState::Waiting | EditState::Paused { .. } | EditState::Parked(_) => EditState::Waiting,
                };
                self.tables.put_edit(&Edit { base, parent, state, hlc, ..edit })?;
            }
        }
        Ok(())
    }

    /// A batch will not commit, as far as is known: its edits go on without it, those that `verdict` names as it says.
    pub(super) fn close(&mut self, batch: &OutboxBatch, verdict: impl Fn(&RecordKey) -> Verdict) -> Result<(), TablesError> {
        self.tables.set_batch_state(batch.device, batch.device_seq, BatchState::Closed)?;
        for made in batch.writes() {
            if made.base().is_none() {
                self.release(made, batch.device_seq, verdict(&made.key()?))?;
                continue;
            }
            self.take_back(made, batch.device_seq, verdict(&made.key()?))?;
        }
        Ok(())
    }
}

/// Whether it is the version that an edit was made from, or was put on.
fn is_made_from(edit: &Edit, record: &Record) -> bool {
    (edit.base, edit.parent) == (record.version, record.hash)
}
