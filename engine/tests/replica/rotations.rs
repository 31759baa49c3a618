//! Reading on through rotations, and newer wraps of what is held.
//!
//! Never: the roster's own rules; the owner's tests have those.

use cloudsync_engine::replica::{Applied, Content, Tables, Why};
use cloudsync_engine::roster::Roster;
use cloudsync_protocol::entry::{Operation, Rewrap};
use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::statement::{BatchStatement, CONTEXT_BATCH, FORMAT};
use cloudsync_protocol::{Batch, DeviceId, DeviceSeq, Entry, Hash, Seq};

use crate::desk::{content, put, two, write};
use crate::support::keys::{self, Keys, LOG, identity_of, key, rekey, rotate_of, rotation, signed, value, wrap};
use crate::support::log::{Device, Log};

fn roster(log: &Log) -> Roster {
    let rows = log.entries.iter().filter_map(|entry| if let Entry::Roster(row) = entry { Some(row) } else { None });
    Roster::from_rows(LOG, rows).unwrap()
}

fn rotate(log: &mut Log, by: &Device, leaving: &[(DeviceId, DeviceSeq)]) {
    let statement = rotation(&roster(log), by.me.device, leaving);
    log.change(rotate_of(&statement, &by.keys.signing));
}

/// The keyring was fetched: the account key of that epoch is there, with those before.
fn fetched(device: &mut Device, key_epoch: u64) {
    device.keys.key_epoch = key_epoch;
}

fn epoch_held(device: &Device, record: &str) -> u64 {
    device.tables.record(&key(record)).unwrap().unwrap().envelope.key_epoch()
}

#[test]
fn reading_ends_before_what_a_key_is_missing_for_and_goes_on_once_it_was_fetched() {
    let (mut log, mut a, mut b) = two();
    write(&mut a, &mut log, "s1", value("one"));
    rotate(&mut log, &a, &[]);
    let rotated = log.head();
    fetched(&mut a, 2);
    a.pull(&log);
    write(&mut a, &mut log, "s2", value("two"));
    for _ in 0..2 {
        let applied = b.pull(&log);
        assert_eq!((applied.cursor.seq, applied.stopped, applied.needs_keys), (rotated, None, Some(2)));
    }
    assert_eq!((content(&mut b, "s1"), content(&mut b, "s2"), b.tables.damaged().unwrap()), (Some(value("one")), None, 0));
    fetched(&mut b, 2);
    let applied = b.pull(&log);
    assert_eq!((applied.cursor.seq, applied.needs_keys), (log.head(), None));
    assert_eq!(content(&mut b, "s2"), Some(value("two")));
}

#[test]
fn two_rotations_and_another_password_in_one_page_need_the_newest_key_only_when_it_is_used() {
    let (mut log, mut a, mut b) = two();
    rotate(&mut log, &a, &[]);
    log.change(rekey(&roster(&log)));
    fetched(&mut a, 2);
    a.pull(&log);
    write(&mut a, &mut log, "s1", value("one"));
    let between = log.head();
    rotate(&mut log, &a, &[]);
    fetched(&mut a, 3);
    a.pull(&log);
    write(&mut a, &mut log, "s2", value("two"));
    fetched(&mut b, 2);
    let Applied { cursor, needs_keys, .. } = b.pull(&log);
    assert_eq!((cursor.seq, needs_keys), (between.next(), Some(3)), "the second rotation is read, what follows is not");
    fetched(&mut b, 3);
    assert_eq!(b.pull(&log).cursor.seq, log.head());
    assert_eq!((content(&mut b, "s1"), content(&mut b, "s2")), (Some(value("one")), Some(value("two"))));
}

#[test]
fn a_batch_under_a_key_that_the_log_has_left_behind_stops_the_replica() {
    let (mut log, mut a, mut b) = two();
    put(&mut a, "s1", value("sealed before"));
    let old = a.outgoing().unwrap();
    rotate(&mut log, &b, &[]);
    // A server that takes it all the same.
    log.push(&old).unwrap();
    fetched(&mut b, 2);
    let stopped = b.pull(&log).stopped.unwrap();
    assert_eq!((stopped.device, stopped.why), (Some(a.me.device), Why::KeyEpoch { found: 1, expected: 2 }));
}

#[test]
fn a_batch_under_a_key_that_the_log_has_not_come_to_stops_the_replica() {
    let (mut log, mut a, mut b) = two();
    fetched(&mut a, 2);
    put(&mut a, "s1", value("one"));
    log.push(&a.outgoing().unwrap()).unwrap();
    fetched(&mut b, 2);
    assert_eq!(b.pull(&log).stopped.unwrap().why, Why::KeyEpoch { found: 2, expected: 1 });
}

#[test]
fn whoever_is_no_member_of_a_rotation_is_revoked_by_it_and_keeps_its_edits() {
    let (mut log, mut a, b) = two();
    write(&mut a, &mut log, "s1", value("one"));
    put(&mut a, "s2", value("two"));
    let last = log.last_of(a.me.device).device_seq;
    rotate(&mut log, &b, &[(a.me.device, last)]);
    assert_eq!(a.pull(&log).cursor.seq, log.head(), "the row itself can be read");
    assert_eq!(a.outgoing(), None);
    assert_eq!(a.replica().status().unwrap().edits.waiting, 1);
}

#[test]
fn a_device_that_leaves_before_what_was_read_of_it_stops_the_replica() {
    let (mut log, mut a, mut b) = two();
    write(&mut a, &mut log, "s1", value("one"));
    b.pull(&log);
    let too_low = [(a.me.device, DeviceSeq(0))];
    for by_rotation in [false, true] {
        let (mut log, mut b) = (log.clone(), b.clone());
        if by_rotation {
            rotate(&mut log, &b, &too_low);
        } else {
            log.change(a.keys.revoke(DeviceSeq(0), b.me.device));
        }
        let stopped = b.pull(&log).stopped.unwrap();
        assert_eq!((stopped.seq, stopped.why), (log.head(), Why::Chain { last: DeviceSeq(1) }));
    }
    rotate(&mut log, &b, &[(a.me.device, DeviceSeq(1))]);
    assert_eq!(b.pull(&log).stopped, None);
}

#[test]
fn a_roster_has_the_identity_that_the_device_knows_once_it_has_come_to_it() {
    let (mut log, a, b) = two();
    rotate(&mut log, &a, &[]);
    let knows = |identity_epoch, key| {
        let mut fresh = Device::new(2);
        (fresh.me.identity_epoch, fresh.me.identity) = (identity_epoch, keys::public(&identity_of(key)));
        fresh.pull(&log).stopped.map(|stopped| (stopped.seq, stopped.why))
    };
    assert_eq!(knows(2, 2), None, "whatever the first one is");
    assert_eq!(knows(3, 9), None, "it has not come there");
    let found = |key| keys::public(&identity_of(key));
    assert_eq!(knows(2, 9), Some((log.head(), Why::Identity { found: found(2), expected: found(9) })));
    assert_eq!(knows(1, 9), Some((Seq(1), Why::Identity { found: found(1), expected: found(9) })));
    drop(b);
}

/// A push of new wraps, each as its 60 bytes after the epoch.
fn rewrap(log: &mut Log, by: &Keys, epoch: u64, items: &[(Seq, Hash, &[u8])]) {
    let last = log.last_of(by.device);
    let bytes = items.iter().flat_map(|(seq, hash, wrapped)| [&seq.0.to_be_bytes()[..], hash.short().as_bytes(), wrapped].concat());
    let rewrap = Rewrap { epoch, items: bytes.collect::<Vec<u8>>().into() };
    let device_seq = last.device_seq.next();
    let envelopes = vec![rewrap.hash()];
    let statement =
        BatchStatement { format: FORMAT, log: LOG, device: by.device, device_seq, prev_hash: last.hash, envelopes, seen: Vec::new() };
    let signed = signed(&by.signing, CONTEXT_BATCH, &statement);
    let first = log.head().next();
    log.last.insert(by.device, LastPush { device_seq, hash: signed.hash(), seq: first });
    log.append(Batch { first, server_ts: 0, signed, operations: vec![Operation::Rewrap(rewrap)] });
}

/// Two records, `s1` of two versions, then a rotation; both have read it all and have its key.
fn rewrappable() -> (Log, Device, Device) {
    let (mut log, mut a, mut b) = two();
    write(&mut a, &mut log, "s1", value("one"));
    write(&mut a, &mut log, "s2", value("two"));
    write(&mut a, &mut log, "s1", value("one, further"));
    rotate(&mut log, &a, &[]);
    for device in [&mut a, &mut b] {
        fetched(device, 2);
        assert_eq!(device.pull(&log).cursor.seq, log.head());
    }
    (log, a, b)
}

fn place(device: &Device, record: &str) -> (Seq, Hash) {
    let held = device.tables.record(&key(record)).unwrap().unwrap();
    (held.seq, held.hash)
}

#[test]
fn newer_wraps_are_taken_and_nothing_else_of_a_record_moves() {
    let (mut log, a, mut b) = rewrappable();
    let good = wrap(2).slice(8..);
    let (first, second) = (place(&b, "s1"), place(&b, "s2"));
    rewrap(&mut log, &a.keys, 2, &[(second.0, second.1, &good), (first.0, first.1, &good)]);
    let applied = b.pull(&log);
    assert_eq!((applied.cursor.seq, applied.stopped, applied.rewraps_bad, applied.changes), (log.head(), None, 0, Vec::new()));
    assert_eq!(["s1", "s2"].map(|record| epoch_held(&b, record)), [2, 2]);
    assert_eq!((place(&b, "s1"), content(&mut b, "s1")), (first, Some(value("one, further"))));
    write(&mut b, &mut log, "s1", value("from there on"));
    assert_eq!(content(&mut b, "s1"), Some(value("from there on")));
}

#[test]
fn wraps_that_do_not_open_are_counted_and_stop_nobody() {
    let (mut log, a, mut b) = rewrappable();
    let (first, second) = (place(&b, "s1"), place(&b, "s2"));
    let good = wrap(2).slice(8..);
    let superseded =
        log.entries.iter().find_map(|entry| if let Entry::Batch(batch) = entry { Some(batch.operations[0].hash()) } else { None });
    let old = (Seq(4), superseded.unwrap(), &good[..]);
    let items = [old, (second.0, second.1, &[0xba; 60][..]), (first.0, Hash([1; 32]), &good), (Seq(900), first.1, &good)];
    rewrap(&mut log, &a.keys, 2, &items);
    let applied = b.pull(&log);
    assert_eq!((applied.stopped, applied.rewraps_bad), (None, 1), "only the one that names a row that is held");
    assert_eq!(["s1", "s2"].map(|record| epoch_held(&b, record)), [1, 1]);
    assert_eq!(content(&mut b, "s2"), Some(value("two")));
    rewrap(&mut log, &a.keys, 1, &[(first.0, first.1, &good)]);
    assert_eq!(b.pull(&log).stopped.unwrap().why, Why::KeyEpoch { found: 1, expected: 2 });
}

#[test]
fn a_newer_wrap_heals_a_record_whose_wrap_was_bad() {
    let (mut log, mut a, mut b) = two();
    put(&mut a, "s1", value("one"));
    let mut batch = a.outgoing().unwrap();
    let Operation::Put(made) = &mut batch.made[0].operation else { panic!("a put") };
    made.envelope.wrap = [&1_u64.to_be_bytes()[..], &[9; 60]].concat().into();
    log.push(&batch).unwrap();
    rotate(&mut log, &a, &[]);
    fetched(&mut b, 2);
    b.pull(&log);
    assert_eq!((content(&mut b, "s1"), b.tables.damaged().unwrap()), (Some(Content::Damaged), 1));
    let (seq, hash) = place(&b, "s1");
    rewrap(&mut log, &a.keys, 2, &[(seq, hash, &wrap(2)[8..])]);
    b.pull(&log);
    assert_eq!((content(&mut b, "s1"), b.tables.damaged().unwrap()), (Some(value("one")), 0));
}
