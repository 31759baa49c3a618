//! A device that learns that it was revoked.
//!
//! Never: an edit given up for it.

use cloudsync_engine::replica::{BatchState, Fate, Replica, Tables};
use cloudsync_protocol::{DeviceSeq, Version};

use crate::desk::{conflicts, content, fate, put, two, write};
use crate::support::keys::{Keys, key, value};
use crate::support::log::{Device, Log};

/// One batch committed that nobody told of, one that never was, and an edit above each; then the device is revoked.
fn revoked() -> (Log, Device) {
    let (mut log, mut a, b) = two();
    write(&mut a, &mut log, "s0", value("zero"));
    put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    log.push(&batch).unwrap();
    put(&mut a, "s1", value("one, further"));
    put(&mut a, "s2", value("two"));
    log.change(a.keys.revoke(DeviceSeq(2), b.me.device));
    (log, a)
}

/// After it enrolled anew, everything arrives, once.
fn check_settled(log: &mut Log, a: &mut Device) {
    assert_eq!((conflicts(a), a.outgoing()), (0, None), "revoked: nothing is sent any more");
    let counts = a.replica().status().unwrap().edits;
    assert_eq!((counts.waiting, counts.signed), (2, 0));
    assert!(a.tables.batches().unwrap().iter().all(|(_, _, state)| *state != BatchState::Open));
    let mut anew = Device { tables: a.tables.clone(), ..Device::new(3) };
    Replica::enrolled_anew(&mut anew.tables, &anew.me).unwrap();
    log.change(Keys::new(3).enrol());
    anew.pull(log);
    anew.drain(log);
    assert_eq!(conflicts(&mut anew), 0);
    assert_eq!((content(&mut anew, "s1"), content(&mut anew, "s2")), (Some(value("one, further")), Some(value("two"))));
    assert_eq!(log.current[&key("s1")].envelope.check().unwrap().version, Version(2), "not made twice");
}

#[test]
fn the_revocation_of_the_own_device_settles_the_outbox_when_the_log_is_read() {
    let (mut log, mut a) = revoked();
    a.pull(&log);
    check_settled(&mut log, &mut a);
}

#[test]
fn the_revocation_of_the_own_device_settles_the_outbox_when_a_snapshot_brings_it() {
    let (mut log, mut a) = revoked();
    a.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
    assert_eq!(a.replica().cursor().unwrap().seq, log.head());
    check_settled(&mut log, &mut a);
}

#[test]
fn a_batch_that_the_revocation_leaves_out_is_kept_as_edits() {
    for by_snapshot in [false, true] {
        let (mut log, mut a, b) = two();
        write(&mut a, &mut log, "s0", value("zero"));
        let id = put(&mut a, "s1", value("one"));
        a.outgoing().unwrap();
        log.change(a.keys.revoke(DeviceSeq(1), b.me.device));
        if by_snapshot {
            a.snapshot_page(None, &log.snapshot(None, log.head(), 9)).unwrap();
        } else {
            a.pull(&log);
        }
        assert_eq!(fate(&mut a, "s1", id), Fate::Waiting);
        assert_eq!(a.outgoing(), None);
        assert_eq!(content(&mut a, "s1"), Some(value("one")));
    }
}
