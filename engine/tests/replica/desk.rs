//! Devices on a log that decides at once, and what tests of one replica ask of them.
//!
//! Never: an assertion about the rules.

use cloudsync_engine::replica::{Content, EditError, EditId, Fate, NewEdit, Onto, OutboxBatch, Pending, Rewound, Told};
use cloudsync_protocol::error::RecordIssue;
use cloudsync_protocol::{ErrorCode, Header, Operation, Seq, TimelineId, Version};

use crate::support::keys::{key, value};
use crate::support::log::{Device, Log, TIMELINE};

pub(crate) fn put(device: &mut Device, record: &str, content: Content) -> EditId {
    edit(device, record, content, Onto::Replica).unwrap()
}

pub(crate) fn edit(device: &mut Device, record: &str, content: Content, onto: Onto) -> Result<EditId, EditError> {
    device.transact(|replica, _| replica.edit(NewEdit { key: key(record), content, onto, now_ms: 1_000 }))
}

pub(crate) fn fate(device: &mut Device, record: &str, id: EditId) -> Fate {
    device.replica().fate(&key(record), id).unwrap()
}

pub(crate) fn shown(device: &mut Device, record: &str) -> Option<(u64, Content, Pending, bool)> {
    let shown = device.replica().get(&key(record)).unwrap();
    shown.map(|shown| (shown.version.0, shown.content, shown.pending, shown.conflict.is_some()))
}

pub(crate) fn content(device: &mut Device, record: &str) -> Option<Content> {
    device.replica().get(&key(record)).unwrap().map(|shown| shown.content)
}

pub(crate) fn conflicts(device: &mut Device) -> usize {
    device.replica().conflicts().unwrap().len()
}

/// Two devices that have read an empty log.
pub(crate) fn two() -> (Log, Device, Device) {
    let (mut a, mut b) = (Device::new(1), Device::new(2));
    let log = Log::with(&[&a.keys, &b.keys]);
    a.pull(&log);
    b.pull(&log);
    (log, a, b)
}

/// Written by the device, and read by it.
pub(crate) fn write(device: &mut Device, log: &mut Log, record: &str, content: Content) {
    put(device, record, content);
    device.drain(log);
    device.pull(log);
}

/// A log with writes of one device, and another device that has read nothing.
pub(crate) fn written(records: &[&str]) -> (Log, Device, Device) {
    let (mut writer, reader) = (Device::new(1), Device::new(2));
    let mut log = Log::with(&[&writer.keys, &reader.keys]);
    writer.pull(&log);
    for record in records {
        put(&mut writer, record, value(record));
        writer.drain(&mut log);
        writer.pull(&log);
    }
    (log, writer, reader)
}

/// Goes over to a log that has another timeline from there.
pub(crate) fn goes_over(device: &mut Device, timeline: TimelineId, first: Seq, fork: Seq) {
    let told = device.replica().told(&[(TIMELINE, Seq(1)), (timeline, first)]).unwrap();
    let Told::Rewound(rewind) = told else { panic!("{told:?}") };
    assert_eq!(rewind.common, fork);
    assert_eq!(device.replica().rewound(&rewind, fork).unwrap(), Rewound::Done);
}

pub(crate) fn header(batch: &OutboxBatch) -> Header {
    let Operation::Put(put) = &batch.made[0].operation else { panic!("a put") };
    put.envelope.check().unwrap()
}

pub(crate) fn issue(code: ErrorCode) -> RecordIssue {
    RecordIssue { key: key("s1"), code, current: Version::NONE, current_seq: Seq::ZERO, grows: 0 }
}
