//! What a device's cursor is worth in a log: one verdict, for attaching and for reading pages.
//!
//! Never: a read, or a guess. What the verdict depends on is named, and who judges reads it.

use cloudsync_protocol::{Cursor, ErrorCode, Failure, Seq, ShortHash, TimelineId};

use crate::log::Head;

/// A log as who judges knows it; it may have gone on since. The default is a log that was never written to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extent {
    /// Its timelines with the first `seq` of each, oldest first: the last one is the log's.
    pub lineage: Vec<(TimelineId, Seq)>,
    /// Rows up to here may have been cut.
    pub floor: Seq,
    /// The last row.
    pub head: Seq,
    /// That row's hash, if it is known.
    pub head_row: Option<ShortHash>,
}

impl From<&Head> for Extent {
    fn from(head: &Head) -> Self {
        Self { lineage: head.lineage.clone(), floor: head.floor, head: head.seq, head_row: Some(head.row) }
    }
}

/// What a cursor is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stands in this log.
    Fine,
    /// It does if the row there is its row: read that, then ask the check.
    Depends(RowCheck),
    /// It does not.
    Refused(Refusal),
}

/// A cursor whose row is still to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCheck {
    cursor: Cursor,
    floor: Seq,
    /// Of a cursor of an earlier timeline: the log's. Another row there means another history, and no store that went back.
    earlier_of: Option<Vec<(TimelineId, Seq)>>,
}

impl RowCheck {
    /// Which row to read.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.cursor.seq
    }

    /// The verdict with the hash of the row that stands there, or none.
    pub fn with(self, row: Option<ShortHash>) -> Result<(), Refusal> {
        let Cursor { seq, row: expected, .. } = self.cursor;
        match row {
            Some(found) if found == expected => Ok(()),
            Some(_) => Err(self.earlier_of.map_or(Refusal::OtherRow { cursor: seq }, |lineage| Refusal::Timeline { lineage })),
            // History goes on right after the floor: the row there may be gone, and there is nothing to compare.
            None if seq == self.floor => Ok(()),
            None => Err(Refusal::BelowFloor { cursor: seq }),
        }
    }
}

/// Why a cursor is not of this log, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// History was rewound since, and took another way.
    #[error("the log's timeline is {}", current(.lineage))]
    Timeline { lineage: Vec<(TimelineId, Seq)> },
    /// The rows after it were cut.
    #[error("history was cut after {cursor}, where the cursor stands: take a snapshot")]
    BelowFloor { cursor: Seq },
    /// Rows that the device has are missing here.
    #[error("the cursor is at {cursor}, the log at {head}: keep everything")]
    Ahead { cursor: Seq, head: Seq },
    /// Another row stands where the device has one.
    #[error("another row is at {cursor} than the replica has: keep everything")]
    OtherRow { cursor: Seq },
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Timeline { .. } => ErrorCode::TimelineUnknown,
            Self::BelowFloor { .. } => ErrorCode::BelowFloor,
            Self::Ahead { .. } | Self::OtherRow { .. } => ErrorCode::StoreRewound,
        }
    }

    /// Whether somebody who does not know the newest head could be wrong to say it. What a client makes of these is final,
    /// so the head is read serially first. (A row, once stable, and the floor don't go back.)
    #[must_use]
    pub const fn needs_newest_head(&self) -> bool {
        match self {
            Self::Timeline { .. } | Self::Ahead { .. } => true,
            Self::BelowFloor { .. } | Self::OtherRow { .. } => false,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn failure(&self, request: u32) -> Failure {
        let lineage = match self {
            Self::Timeline { lineage } => lineage.clone().into(),
            Self::BelowFloor { .. } | Self::Ahead { .. } | Self::OtherRow { .. } => Box::default(),
        };
        Failure { lineage, ..Failure::new(request, self.code(), self.to_string()) }
    }
}

fn current(lineage: &[(TimelineId, Seq)]) -> TimelineId {
    lineage.last().map(|(timeline, _)| *timeline).unwrap_or_default()
}

/// What `cursor` is worth in a log of that extent. The beginning is fine everywhere, and what was read of an earlier timeline is as
/// good as ever, up to where the next one began.
#[must_use]
pub fn judge(cursor: Cursor, log: &Extent) -> Verdict {
    if cursor.seq == Seq::ZERO {
        return Verdict::Fine;
    }
    let place = log.lineage.iter().rposition(|(timeline, _)| *timeline == cursor.timeline);
    let next = place.map(|place| log.lineage.get(place + 1));
    let elsewhere = Refusal::Timeline { lineage: log.lineage.clone() };
    let earlier_of = match next {
        None => return Verdict::Refused(elsewhere),
        Some(Some((_, first))) if cursor.seq >= *first => return Verdict::Refused(elsewhere),
        Some(Some(_)) => Some(log.lineage.clone()),
        Some(None) => None,
    };
    let check = RowCheck { cursor, floor: log.floor, earlier_of };
    if cursor.seq > log.head {
        Verdict::Refused(Refusal::Ahead { cursor: cursor.seq, head: log.head })
    } else if cursor.seq < log.floor {
        Verdict::Refused(Refusal::BelowFloor { cursor: cursor.seq })
    } else if let (Some(row), true) = (log.head_row, cursor.seq == log.head) {
        check.with(Some(row)).map_or_else(Verdict::Refused, |()| Verdict::Fine)
    } else {
        Verdict::Depends(check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMELINE: TimelineId = TimelineId([1; 16]);
    const ROW: ShortHash = ShortHash([7; 8]);
    /// Before `TIMELINE`, which began with 7.
    const EARLIER: TimelineId = TimelineId([2; 16]);

    fn log() -> Extent {
        Extent { lineage: vec![(EARLIER, Seq(1)), (TIMELINE, Seq(7))], floor: Seq(3), head: Seq(9), head_row: Some(ROW) }
    }

    fn at(seq: u64) -> Cursor {
        Cursor { timeline: TIMELINE, seq: Seq(seq), row: ROW }
    }

    fn refusal(cursor: Cursor) -> Refusal {
        match judge(cursor, &log()) {
            Verdict::Refused(refusal) => refusal,
            other @ (Verdict::Fine | Verdict::Depends(_)) => panic!("not refused: {other:?}"),
        }
    }

    fn check(cursor: Cursor, log: &Extent) -> RowCheck {
        match judge(cursor, log) {
            Verdict::Depends(check) => check,
            other @ (Verdict::Fine | Verdict::Refused(_)) => panic!("depends on no row: {other:?}"),
        }
    }

    #[test]
    fn the_beginning_is_fine_in_every_log_and_timeline() {
        assert_eq!(judge(Cursor::default(), &log()), Verdict::Fine);
    }

    #[test]
    fn another_timeline_comes_before_everything_else() {
        let cursor = Cursor { timeline: TimelineId([3; 16]), ..at(99) };
        assert_eq!(refusal(cursor), Refusal::Timeline { lineage: log().lineage });
        assert_eq!(refusal(cursor).code(), ErrorCode::TimelineUnknown);
        assert_eq!(*refusal(cursor).failure(1).lineage, log().lineage);
    }

    #[test]
    fn an_earlier_timeline_is_as_good_up_to_where_the_next_began_if_the_row_is_the_same() {
        let earlier = |seq| Cursor { timeline: EARLIER, ..at(seq) };
        assert_eq!(check(earlier(6), &log()).with(Some(ROW)), Ok(()));
        let elsewhere = Refusal::Timeline { lineage: log().lineage };
        assert_eq!(check(earlier(6), &log()).with(Some(ShortHash([8; 8]))), Err(elsewhere.clone()));
        assert_eq!(refusal(earlier(7)), elsewhere);
        assert_eq!(refusal(earlier(2)), Refusal::BelowFloor { cursor: Seq(2) });
        assert_eq!(check(earlier(3), &log()).with(None), Ok(()));
        let empty = Extent { head: Seq(6), ..log() };
        assert_eq!(judge(earlier(6), &empty), Verdict::Fine, "a timeline in which nothing was written yet");
    }

    #[test]
    fn past_the_head_is_rewound_and_below_the_floor_is_cut() {
        assert_eq!(refusal(at(10)), Refusal::Ahead { cursor: Seq(10), head: Seq(9) });
        assert_eq!(refusal(at(10)).code(), ErrorCode::StoreRewound);
        assert_eq!(refusal(at(2)), Refusal::BelowFloor { cursor: Seq(2) });
        assert_eq!(refusal(at(2)).code(), ErrorCode::BelowFloor);
    }

    #[test]
    fn at_the_head_the_row_is_known_unless_it_is_not() {
        assert_eq!(judge(at(9), &log()), Verdict::Fine);
        let other = Cursor { row: ShortHash([8; 8]), ..at(9) };
        assert_eq!(refusal(other), Refusal::OtherRow { cursor: Seq(9) });
        assert_eq!(check(at(9), &Extent { head_row: None, ..log() }).seq(), Seq(9));
    }

    #[test]
    fn in_between_the_row_decides_and_only_at_the_floor_it_may_be_gone() {
        assert_eq!(check(at(5), &log()).seq(), Seq(5));
        assert_eq!(check(at(5), &log()).with(Some(ROW)), Ok(()));
        assert_eq!(check(at(5), &log()).with(Some(ShortHash([8; 8]))), Err(Refusal::OtherRow { cursor: Seq(5) }));
        assert_eq!(check(at(5), &log()).with(None), Err(Refusal::BelowFloor { cursor: Seq(5) }));
        assert_eq!(check(at(3), &log()).with(None), Ok(()));
    }

    #[test]
    fn only_what_a_later_head_could_contradict_needs_it() {
        let finals = [Refusal::Timeline { lineage: Vec::new() }, Refusal::Ahead { cursor: Seq(2), head: Seq(1) }];
        assert!(finals.iter().all(Refusal::needs_newest_head));
        let stable = [Refusal::OtherRow { cursor: Seq(2) }, Refusal::BelowFloor { cursor: Seq(2) }];
        assert!(!stable.iter().any(Refusal::needs_newest_head));
    }
}
