//! What a frame says of a log, to be changed: entries of pages and events, rows of snapshots.
//!
//! Never: a number made to fit. A server that leaves something out says so or lies about that, too, and the test chooses.

use cloudsync_protocol::entry::{Batch, Row};
use cloudsync_protocol::{Entry, Frame};

/// Changes the entries of a page of the log, or of an event; of any other frame nothing.
pub fn pages(frame: &mut Frame, change: impl FnOnce(&mut Vec<Entry>)) {
    match frame {
        Frame::Page(page) => change(&mut page.entries),
        Frame::Event(event) => change(&mut event.entries),
        _ => {}
    }
}

/// Changes each batch of a page or an event.
pub fn batches(frame: &mut Frame, mut change: impl FnMut(&mut Batch)) {
    pages(frame, |entries| {
        for entry in entries {
            if let Entry::Batch(batch) = entry {
                change(batch);
            }
        }
    });
}

/// Changes the records' rows of a snapshot's page.
pub fn rows(frame: &mut Frame, change: impl FnOnce(&mut Vec<Row>)) {
    if let Frame::SnapshotPage(page) = frame {
        change(&mut page.rows);
    }
}
