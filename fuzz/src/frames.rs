//! Frames: bytes are refused, or are a frame that has one form of its own; and what a server claims to be the log never
//! makes a device stumble.
//!
//! Never: an unsigned entry believed.

use bytes::Bytes;
use cloudsync_engine::replica::{ApplyError, Content, Me, MemoryTables, OpenError, Opener, Outcome, Replica, Stretch, changes};
use cloudsync_engine::verify;
use cloudsync_protocol::codec::{decode, encode};
use cloudsync_protocol::frame::{Push, SnapshotPage};
use cloudsync_protocol::limits::FRAME_BYTES_MAX;
use cloudsync_protocol::statement::CONTEXT_BATCH;
use cloudsync_protocol::{Entry, Envelope, Frame, Header, Seq};

use crate::maker;

/// Opens everything, so that nothing but statement and signature stands between an entry and the replica.
struct Believer;

impl Opener for Believer {
    fn key_epoch(&self) -> u64 {
        u64::MAX
    }
    fn open(&self, _: &Header, envelope: &Envelope) -> Result<Content, OpenError> {
        Ok(Content::Value(Bytes::clone(&envelope.body)))
    }
}

/// The input is a frame's bytes.
pub fn check(input: &[u8]) {
    let Ok(frame) = decode::<Frame>(input) else { return };
    let canonical = encode(&frame);
    assert_eq!(decode::<Frame>(&canonical).as_ref(), Ok(&frame), "what was decoded comes back");
    assert_eq!(encode(&decode::<Frame>(&canonical).expect("it was just decoded")), canonical, "a frame has one form");
    assert!(!frame.name().is_empty() && format!("{frame:?}").len() < 64 * FRAME_BYTES_MAX, "it can be told");
    if let Frame::Page(page) = &frame {
        stretch(Stretch::from(page));
    } else if let Frame::Event(event) = &frame {
        stretch(Stretch::from(event));
    } else if let Frame::SnapshotPage(page) = &frame {
        snapshot(page);
    } else if let Frame::Push(push) = &frame {
        counted(push, canonical.len());
    }
}

/// A push counts what it holds, without what is round it.
fn counted(push: &Push, frame_bytes: usize) {
    assert!(push.counted_bytes() < frame_bytes, "the frame is longer than what it holds");
}

/// What a server says is the log, to a device that has read nothing.
fn stretch(stretch: Stretch<'_>) {
    for entry in stretch.entries {
        assert!(entry.last() >= entry.first() && entry.body_bytes() <= entry.bytes(), "an entry ends after it begins");
    }
    let shown = changes(stretch.entries, &Believer);
    let operations = |entry: &Entry| if let Entry::Batch(batch) = entry { batch.operations.len() } else { 0 };
    assert!(shown.len() <= stretch.entries.iter().map(operations).sum(), "no more is shown than was sent");

    let (mut tables, me) = (MemoryTables::new(), me());
    let mut replica = Replica::open(&mut tables, &me).expect("fresh tables are this device's");
    match replica.apply(stretch, &Believer) {
        Ok(Outcome::Applied(applied)) => {
            assert!(applied.cursor.seq <= stretch.to, "the cursor stays within what was announced");
            assert!(applied.stopped.is_some() || applied.cursor.seq == stretch.to, "all of it, or it says where it stopped");
        }
        Ok(Outcome::Old) => assert_eq!(stretch.to, Seq::ZERO, "nothing was read before"),
        Ok(Outcome::Gap { .. }) => assert_ne!(stretch.from, Seq::ZERO, "the device stands at the beginning"),
        Err(ApplyError::Uneven { .. }) => {}
        Err(error) => panic!("a fresh replica can't say {error}"),
    }
    let held = replica.list(None, None, usize::MAX).expect("tables in memory answer").records.len();
    let signed = stretch.entries.iter().filter(|entry| is_signed(entry)).map(operations).sum::<usize>();
    assert!(held <= signed, "{held} records, {signed} of them signed");
}

/// Whether the device of the account signed it.
fn is_signed(entry: &Entry) -> bool {
    let Entry::Batch(batch) = entry else { return false };
    verify::statement(&maker::device().signing.public(), CONTEXT_BATCH, &batch.signed).is_ok()
}

/// What a server says is the state.
fn snapshot(page: &SnapshotPage) {
    let (mut tables, me) = (MemoryTables::new(), me());
    let mut replica = Replica::open(&mut tables, &me).expect("fresh tables are this device's");
    // Rows of a snapshot come without statements: that one is refused is no matter, that it is judged is.
    let _ = replica.snapshot_page(None, page, &Believer);
    assert!(replica.status().is_ok(), "the replica can still be asked");
}

fn me() -> Me {
    Me {
        log: maker::LOG,
        device: maker::device().id,
        signing: maker::device().signing.public(),
        identity: maker::identity().signing.public(),
        identity_epoch: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    #[test]
    fn the_device_of_the_target_believes_the_log_of_its_own_account() {
        let (mut tables, me) = (MemoryTables::new(), me());
        let page = seeds::whole_log();
        let applied = Replica::open(&mut tables, &me).unwrap().apply(Stretch::from(&page), &Believer).unwrap();
        let Outcome::Applied(applied) = applied else { panic!("{applied:?}") };
        assert_eq!((applied.stopped, applied.changes.len()), (None, 1));
    }
}
