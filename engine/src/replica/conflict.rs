//! Edits that could not be committed as they were, for their user to settle.
//!
//! Never: settling one by itself, unless both say the same.

use super::{Content, Edit, EditState, Reason, Record, Replica, Tables, TablesError};
use cloudsync_protocol::RecordKey;

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
}
