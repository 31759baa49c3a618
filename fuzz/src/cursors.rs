//! Cursors: one is admitted exactly where the log has the row that it names, or where that row may have been cut.
//!
//! The input is a log (where it was cut, where it ends, what whoever judges knows of it) and a cursor.
//!
//! Never: the verdict's own reasoning repeated; the log here is one that can be asked for each of its rows.

use cloudsync_engine::cursor::{Extent, Refusal, Verdict, judge};
use cloudsync_protocol::codec::{decode, encode};
use cloudsync_protocol::{Cursor, Seq, ShortHash, TimelineId};

use crate::reader::Reader;

const TIMELINE: TimelineId = TimelineId([0x71; 16]);
const OTHER_TIMELINE: TimelineId = TimelineId([0x72; 16]);

const OF_OTHER_TIMELINE: u8 = 1;
const OF_OTHER_ROW: u8 = 2;
const HEAD_ROW_UNKNOWN: u8 = 4;
const FLOOR_ROW_CUT: u8 = 8;

/// A log that has a row at every number from its floor (or right after it) to its head.
struct Log {
    floor: u64,
    head: u64,
    floor_is_cut: bool,
}

impl Log {
    fn row(&self, seq: u64) -> Option<ShortHash> {
        let first = if self.floor_is_cut { self.floor.saturating_add(1) } else { self.floor };
        (seq > 0 && (first..=self.head).contains(&seq)).then(|| row_of(seq))
    }
}

/// What stands at a number, in every log of the same timeline.
fn row_of(seq: u64) -> ShortHash {
    ShortHash(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
}

/// Judges the cursor as the owner of a log and a reader of its rows do together.
fn admitted(cursor: Cursor, extent: &Extent, log: &Log) -> Result<(), Refusal> {
    match judge(cursor, extent) {
        Verdict::Fine => Ok(()),
        Verdict::Depends(check) => {
            assert_eq!(check.seq(), cursor.seq, "the row that is asked for is the cursor's");
            let row = log.row(check.seq().0);
            check.with(row)
        }
        Verdict::Refused(refusal) => Err(refusal),
    }
}

/// Floor, head and the cursor's number (8 bytes each), then flags.
pub fn check(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (one, other, seq, flags) = (reader.long(), reader.long(), reader.long(), reader.byte());
    let log = Log { floor: one.min(other), head: one.max(other), floor_is_cut: flags & FLOOR_ROW_CUT != 0 };
    let timeline = if flags & OF_OTHER_TIMELINE == 0 { TIMELINE } else { OTHER_TIMELINE };
    let row = if flags & OF_OTHER_ROW == 0 { row_of(seq) } else { ShortHash([0x55; 8]) };
    let cursor = Cursor { timeline, seq: Seq(seq), row };
    assert_eq!(decode::<Cursor>(&encode(&cursor)), Ok(cursor), "a cursor comes back");

    let head_row = (flags & HEAD_ROW_UNKNOWN == 0).then(|| log.row(log.head)).flatten();
    let extent = Extent { lineage: vec![(TIMELINE, Seq(1))], floor: Seq(log.floor), head: Seq(log.head), head_row };
    let verdict = admitted(cursor, &extent, &log);

    let is_row_there = log.row(seq) == Some(row);
    let may_be_cut = seq == log.floor && log.row(seq).is_none();
    let belongs = seq == 0 || (timeline == TIMELINE && seq <= log.head && (is_row_there || may_be_cut));
    assert_eq!(verdict.is_ok(), belongs, "{cursor:?} in {extent:?}: {verdict:?}");

    // Who knows an older head may be wrong only where it is said that the newest one is needed.
    let Err(refusal) = verdict else { return };
    let grown = Log { head: log.head.saturating_add(1 + seq % 3), ..log };
    let later = admitted(cursor, &Extent { head: Seq(grown.head), head_row: None, ..extent }, &grown);
    assert!(later.is_err() || refusal.needs_newest_head(), "{refusal:?} did not hold when the log went on");
    assert_eq!(refusal.failure(7).code, refusal.code(), "the client is told the code");
}
