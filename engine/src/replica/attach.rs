//! Where to begin reading once attached, and whether it is still the log that was read.
//!
//! Never: going back. A log that is behind what was read is a rewound store; everything is kept.

use cloudsync_protocol::frame::{Attached, HeadAt, SnapshotToken};
use cloudsync_protocol::{Cursor, LogId, Seq, TimelineId};

use super::{Replica, Tables, TablesError};

/// How to catch up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Nothing to read.
    UpToDate,
    /// Pull pages of `(from, to]`.
    Pull {
        /// Exclusive.
        from: Cursor,
        /// Inclusive.
        to: Seq,
    },
    /// Take a snapshot, then attach again. A replica that has read nothing always begins so.
    Snapshot {
        /// Where to go on; nothing to begin.
        resume: Option<SnapshotToken>,
    },
}

/// Why there is nothing to be read from that log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttachRefusal {
    /// It is another log.
    #[error("that is log {0}")]
    OtherLog(LogId),
    /// Its history was rewound: another timeline.
    #[error("the log's timeline is {timeline}, read was {read}")]
    Timeline { timeline: TimelineId, read: TimelineId },
}

/// Why the replica does not read on. It keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// It is not the log that was read.
    #[error(transparent)]
    Refused(#[from] AttachRefusal),
    /// The tables did not answer.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl<T: Tables> Replica<'_, T> {
    /// The cursor to attach with.
    pub fn cursor(&self) -> Result<Cursor, TablesError> {
        Ok(self.tables.marks()?.cursor)
    }

    /// Takes in `attached`, once its lineage was [told](Self::told): says how to catch up to its head.
    pub fn attached(&mut self, attached: &Attached) -> Result<Start, AttachError> {
        let mut marks = self.tables.marks()?;
        if attached.id != self.me.log {
            return Err(AttachRefusal::OtherLog(attached.id).into());
        }
        if let Err(other) = self.is_ours(attached.timeline)? {
            return Err(AttachRefusal::Timeline { timeline: attached.timeline, read: other.read }.into());
        }
        let cursor = marks.cursor;
        if marks.generation != attached.generation {
            marks.generation = attached.generation;
            self.tables.set_marks(&marks)?;
        }
        self.told_usage(attached.into())?;
        self.wake()?;
        if let Some(progress) = marks.snapshot {
            return Ok(Start::Snapshot { resume: Some(progress.resume) });
        }
        // Another process may have read on since this session asked: a head behind the cursor is the server's word only
        // when it refuses the cursor (`store_rewound`).
        if attached.head <= cursor.seq {
            return Ok(Start::UpToDate);
        }
        if cursor.seq == Seq::ZERO || cursor.seq < attached.floor {
            return Ok(Start::Snapshot { resume: None });
        }
        Ok(Start::Pull { from: cursor, to: attached.head })
    }

    /// Takes in `head_at`: whether a last event was missed.
    pub fn head_at(&self, head: &HeadAt) -> Result<Start, AttachError> {
        let marks = self.tables.marks()?;
        let cursor = marks.cursor;
        if let Err(other) = self.is_ours(head.timeline)? {
            return Err(AttachRefusal::Timeline { timeline: head.timeline, read: other.read }.into());
        }
        if marks.snapshot.is_some() || head.head <= cursor.seq {
            return Ok(Start::UpToDate);
        }
        if cursor.seq == Seq::ZERO {
            return Ok(Start::Snapshot { resume: None });
        }
        Ok(Start::Pull { from: cursor, to: head.head })
    }
}
