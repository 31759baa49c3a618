//! Edits that could not be committed as they were, for their user to settle.
//!
//! Never: settling one by itself, unless both say the same.

use cloudsync_protocol::{ErrorCode, Hash, RecordKey};

use super::{Content, Edit, EditState, Lost, LostState, Reason, Record, Replica, Tables, TablesError};

/// A parked edit beside what the record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// This device's edit.
    pub mine: Edit,
    /// Why it is parked.
    pub reason: Reason,
    /// The record as committed; nothing when it never was.
    pub current: Option<Record>,
}

/// A version that a rewind lost and that can't be brought back, beside what the record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostConflict {
    /// What was lost.
    pub lost: Lost,
    /// Why it can't.
    pub code: ErrorCode,
    /// The record as committed; nothing when it is not.
    pub current: Option<Record>,
}

impl<T: Tables> Replica<'_, T> {
    /// Every conflict, in order of key.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, TablesError> {
        let mut conflicts = Vec::new();
        for mine in self.tables.parked()? {
            if let EditState::Parked(reason) = mine.state {
                conflicts.push(Conflict { reason, current: self.tables.record(&mine.key)?, mine });
            }
        }
        Ok(conflicts)
    }

    /// Settles a conflict for the current version (an edit onto it settles one for this device): the parked edit goes. Says what it said; nothing when there is none.
    pub fn drop_conflict(&mut self, key: &RecordKey) -> Result<Option<Content>, TablesError> {
        let edits = self.tables.edits_of(key)?;
        let Some(mine) = edits.into_iter().find(|edit| matches!(edit.state, EditState::Parked(_))) else { return Ok(None) };
        self.tables.remove_edit(mine.id)?;
        Ok(Some(mine.content))
    }

    /// Every lost version that can't be brought back, in order of key.
    pub fn lost_conflicts(&self) -> Result<Vec<LostConflict>, TablesError> {
        let mut conflicts = Vec::new();
        for lost in self.tables.lost_refused()? {
            if let LostState::Refused(code) = lost.state {
                conflicts.push(LostConflict { code, current: self.tables.record(&lost.record.key)?, lost });
            }
        }
        Ok(conflicts)
    }

    /// Settles one for the current version: what was lost goes. Says what it said; nothing when there is none.
    pub fn drop_lost(&mut self, key: &RecordKey, hash: Hash) -> Result<Option<Content>, TablesError> {
        let mut lost = self.tables.lost_of(key)?.into_iter();
        let Some(lost) = lost.find(|lost| !lost.is_pending() && lost.record.hash == hash) else { return Ok(None) };
        self.tables.remove_lost(key, hash)?;
        Ok(Some(lost.record.content))
    }
}
