//! How full the quota is, as told and as counted on since, and the edits that wait for room.
//!
//! Never: a paused edit tried again for no reason. It is when it was edited, when room grew, or when the limit changed.

use cloudsync_protocol::{Seq, error, frame};

use super::{Content, EditId, EditState, Lost, LostId, LostState, Made, Marks, Record, Replica, Tables, TablesError, Usage};

/// How many paused edits are woken at a time.
const WOKEN_AT_A_TIME: usize = 256;

impl From<&error::Usage> for Usage {
    fn from(told: &error::Usage) -> Self {
        Self { used: told.used, limit: told.limit, at: told.at }
    }
}

impl From<&frame::Attached> for Usage {
    fn from(told: &frame::Attached) -> Self {
        Self { used: told.used_bytes, limit: told.quota_bytes, at: told.head }
    }
}

impl Usage {
    /// What is free.
    #[must_use]
    pub const fn room(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// After a committed version took the place of another.
    const fn with(self, before: u64, after: u64) -> Self {
        Self { used: self.used.saturating_sub(before).saturating_add(after), ..self }
    }
}

/// What a version weighs against the quota: one that deletes its record nothing.
fn live_bytes(record: &Record) -> u64 {
    if record.content == Content::Deleted { 0 } else { record.envelope.bytes() }
}

impl Marks {
    /// After a committed version was written in the place of the one held.
    pub(super) fn count(&mut self, held: Option<&Record>, record: &Record) {
        self.clock = self.clock.max(record.hlc);
        if let Some(usage) = self.usage.filter(|usage| usage.at < record.seq) {
            self.usage = Some(usage.with(held.map_or(0, live_bytes), live_bytes(record)));
        }
    }
}

impl<T: Tables> Replica<'_, T> {
    /// Takes note of what a server told. Rows after that may be written already, by another process or as this device's own:
    /// they will not be counted any more, so that what is held says better how much there is.
    pub(super) fn told_usage(&mut self, told: Usage) -> Result<(), TablesError> {
        let mut marks = self.tables.marks()?;
        let own = marks.last_committed.map_or(Seq::ZERO, |last| last.seq);
        let is_older = told.at < marks.cursor.seq.max(own);
        let usage = Some(if is_older { self.held_usage(told.limit, marks.cursor.seq)? } else { told });
        if marks.usage == usage {
            return Ok(());
        }
        marks.usage = usage;
        self.tables.set_marks(&marks)
    }

    /// What is held, the log having been read to `at`: whatever is not held of it is above, and will be counted.
    pub(super) fn held_usage(&self, limit: u64, at: Seq) -> Result<Usage, TablesError> {
        Ok(Usage { used: self.tables.live_bytes()?, limit, at })
    }

    /// Lets paused edits wait for their turn again, the oldest first, as far as there is room for them.
    pub(super) fn wake(&mut self) -> Result<(), TablesError> {
        self.wake_beside(&[])
    }

    /// The same, beside what a closed batch made: as far as that is batched anew it takes its own room.
    pub(super) fn wake_beside(&mut self, closed: &[Made]) -> Result<(), TablesError> {
        let Some(usage) = self.tables.marks()?.usage else { return Ok(()) };
        let (mut room, mut after) = (usage.room(), EditId::default());
        if self.tables.paused(after, room, 1)?.is_empty() && self.tables.lost_paused(LostId::default(), room, 1)?.is_empty() {
            return Ok(());
        }
        for (made, next) in closed.iter().zip(closed.iter().skip(1).map(Some).chain([None])) {
            let key = made.key()?;
            // Of an edit that yields only the winner above it is current.
            let is_followed = next.map(Made::key).transpose()?.is_some_and(|next| next == key);
            if made.content == Content::Deleted || is_followed {
                continue;
            }
            let is_batched_anew = self.tables.edits_of(&key)?.iter().any(|edit| edit.state == EditState::Waiting)
                || self.tables.lost_of(&key)?.iter().any(|lost| lost.state == LostState::Waiting);
            if is_batched_anew {
                let held = self.tables.record(&key)?.map_or(0, |held| live_bytes(&held));
                room = room.saturating_sub(made.envelope()?.bytes().saturating_sub(held));
            }
        }
        loop {
            let paused = self.tables.paused(after, room, WOKEN_AT_A_TIME)?;
            let Some(last) = paused.last() else { return self.wake_lost(room) };
            after = last.id;
            for mut edit in paused {
                let EditState::Paused { grows } = edit.state else { continue };
                // It takes its room with it.
                if let Some(left) = room.checked_sub(grows) {
                    room = left;
                    edit.state = EditState::Waiting;
                    self.tables.put_edit(&edit)?;
                }
            }
        }
    }

    /// The same for lost versions, in the room that edits leave.
    fn wake_lost(&mut self, mut room: u64) -> Result<(), TablesError> {
        let mut after = LostId::default();
        loop {
            let paused = self.tables.lost_paused(after, room, WOKEN_AT_A_TIME)?;
            let Some(last) = paused.last() else { return Ok(()) };
            after = last.id;
            for lost in paused {
                let LostState::Paused { grows } = lost.state else { continue };
                if let Some(left) = room.checked_sub(grows) {
                    room = left;
                    self.tables.put_lost(&Lost { state: LostState::Waiting, ..lost })?;
                }
            }
        }
    }
}
