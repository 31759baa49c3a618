//! Wraps that this device makes anew: of what it holds, behind everything else, and of a batch that a rotation overtook.
//!
//! Never: what others make of them; reading them has a file of its own.

use cloudsync_engine::replica::{BatchState, Next, OutboxBatch, SnapshotError, Tables, Why};
use cloudsync_engine::roster::Roster;
use cloudsync_protocol::limits::REWRAP_ITEMS_MAX;
use cloudsync_protocol::{DeviceId, DeviceSeq, Entry, ErrorCode, Failure, Operation, codec};

use crate::desk::{content, put, two, write};
use crate::support::keys::{LOG, key, rotate_of, rotation, value, wrap};
use crate::support::log::{Device, Log};

fn rotate(log: &mut Log, by: &Device, leaving: &[(DeviceId, DeviceSeq)]) {
    let rows = log.entries.iter().filter_map(|entry| if let Entry::Roster(row) = entry { Some(row) } else { None });
    let statement = rotation(&Roster::from_rows(LOG, rows).unwrap(), by.me.device, leaving);
    log.change(rotate_of(&statement, &by.keys.signing));
}

/// It rotates, and reads its own row.
fn rotated(log: &mut Log, device: &mut Device) {
    rotate(log, device, &[]);
    device.keys.key_epoch += 1;
    device.pull(log);
}

fn rewrap(device: &mut Device) -> Option<OutboxBatch> {
    device.transact(|replica, keys| replica.outgoing_rewrap(keys)).unwrap()
}

fn epochs(device: &Device) -> Vec<u64> {
    device.tables.records(None, None, 9).unwrap().iter().map(|record| record.envelope.key_epoch()).collect()
}

fn key_epoch_old() -> Failure {
    Failure::new(1, ErrorCode::KeyEpochOld, "")
}

fn wrapped_anew(device: &mut Device, batch: &OutboxBatch) -> Next {
    device.transact(|replica, keys| replica.wrap_anew((batch.device_seq, batch.hash), keys)).unwrap()
}

#[test]
fn what_is_held_is_wrapped_anew_behind_edits_and_others_take_it() {
    let (mut log, mut a, mut b) = two();
    for record in ["s1", "s2", "s3"] {
        write(&mut a, &mut log, record, value(record));
    }
    b.pull(&log);
    assert_eq!(rewrap(&mut a), None, "nothing is under an earlier key");
    rotated(&mut log, &mut a);
    assert!(a.replica().is_to_rewrap().unwrap());
    put(&mut a, "s4", value("an edit"));
    let edit = a.outgoing().unwrap();
    assert_eq!(rewrap(&mut a), None, "behind what is not answered");
    let pushed = log.push(&edit).unwrap();
    a.transact(|replica, _| replica.pushed(&pushed)).unwrap();
    let batch = rewrap(&mut a).unwrap();
    assert_eq!(a.outgoing(), Some(batch.clone()), "the same bytes until it is answered");
    let pushed = log.push(&batch).unwrap();
    let committed = log.committed(&pushed);
    assert_eq!(a.transact(|replica, _| replica.pushed(&pushed)).unwrap(), Next::Push);
    assert_eq!((epochs(&a), rewrap(&mut a)), (vec![2; 4], None));
    a.pull(&log);
    a.transact(|replica, _| replica.committed(&committed)).unwrap();
    b.keys.key_epoch = 2;
    let applied = b.pull(&log);
    assert_eq!((applied.stopped, applied.rewraps_bad, epochs(&b)), (None, 0, vec![2; 4]));
    write(&mut a, &mut log, "s1", value("goes on"));
    b.pull(&log);
    assert_eq!(content(&mut b, "s1"), Some(value("goes on")));
}

#[test]
fn a_thousand_wraps_are_one_push_of_less_than_80_kb() {
    let (mut log, mut a, _) = two();
    for number in 0..=REWRAP_ITEMS_MAX {
        put(&mut a, &format!("{number:04}"), value("v"));
    }
    a.drain(&mut log);
    a.pull(&log);
    rotated(&mut log, &mut a);
    let batch = rewrap(&mut a).unwrap();
    let operations: usize = batch.operations().iter().map(|operation| codec::encode(operation).len()).sum();
    let bytes = operations + codec::encode(&batch.signed).len();
    assert!((76_000..80_000).contains(&bytes), "{bytes} B");
    let pushed = log.push(&batch).unwrap();
    a.transact(|replica, _| replica.pushed(&pushed)).unwrap();
    let Some(Operation::Rewrap(last)) = rewrap(&mut a).and_then(|batch| batch.operations().pop()) else { panic!("one is left") };
    assert_eq!(last.items().count(), 1);
}

#[test]
fn an_open_batch_that_a_rotation_overtook_keeps_its_name_and_gets_newer_wraps() {
    let (mut log, mut a, mut b) = two();
    put(&mut a, "s1", value("made before"));
    let old = a.outgoing().unwrap();
    rotated(&mut log, &mut b);
    assert_eq!(a.fail(&old, &key_epoch_old()), Next::Rewrap);
    a.pull(&log);
    assert_eq!(a.outgoing(), None, "while a key is missing nothing is sent");
    a.keys.key_epoch = 2;
    assert_eq!(wrapped_anew(&mut a, &old), Next::Push);
    let new = a.outgoing().unwrap();
    assert_eq!((new.device_seq, &new.signed, new.hash), (old.device_seq, &old.signed, old.hash));
    log.push(&new).unwrap();
    assert_eq!((b.pull(&log).stopped, content(&mut b, "s1")), (None, Some(value("made before"))));
}

#[test]
fn a_server_that_says_for_ever_that_the_key_is_old_and_shows_no_newer_one_is_left() {
    let (_, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let batch = a.outgoing().unwrap();
    assert_eq!(a.fail(&batch, &key_epoch_old()), Next::Rewrap);
    assert!(matches!(wrapped_anew(&mut a, &batch), Next::Stop { code: ErrorCode::KeyEpochOld, .. }));
    assert_eq!(a.outgoing(), Some(batch), "it is kept");
}

#[test]
fn a_batch_whose_wraps_can_not_be_made_anew_is_given_up_and_its_edits_are_not() {
    let (mut log, mut a, _) = two();
    put(&mut a, "s1", value("one"));
    let mut old = a.outgoing().unwrap();
    let Operation::Put(made) = &mut old.made[0].operation else { panic!("a put") };
    made.envelope.wrap = [&1_u64.to_be_bytes()[..], &[7; 60]].concat().into();
    a.tables.put_batch(&old).unwrap();
    rotated(&mut log, &mut a);
    assert_eq!(wrapped_anew(&mut a, &old), Next::Push);
    let again = a.outgoing().unwrap();
    assert_eq!((again.device_seq, again.made[0].operation.key_epoch()), (DeviceSeq(old.device_seq.0 + 1), 2));
}

#[test]
fn wraps_under_way_are_given_up_when_keys_change_again_and_made_under_the_newest() {
    let (mut log, mut a, mut b) = two();
    write(&mut a, &mut log, "s1", value("one"));
    rotated(&mut log, &mut a);
    let overtaken = rewrap(&mut a).unwrap();
    b.keys.key_epoch = 2;
    b.pull(&log);
    rotated(&mut log, &mut b);
    assert_eq!(a.fail(&overtaken, &key_epoch_old()), Next::Rewrap);
    a.keys.key_epoch = 3;
    a.pull(&log);
    assert_eq!(wrapped_anew(&mut a, &overtaken), Next::Push);
    assert_eq!(a.tables.batch(a.me.device, overtaken.device_seq).unwrap().unwrap().state, BatchState::Closed);
    let batch = rewrap(&mut a).unwrap();
    assert_eq!(batch.made[0].operation.key_epoch(), 3);
    let pushed = log.push(&batch).unwrap();
    a.transact(|replica, _| replica.pushed(&pushed)).unwrap();
    a.pull(&log);
    assert_eq!(epochs(&a), [3]);
}

#[test]
fn wraps_that_the_server_refuses_are_not_made_again_in_a_circle_and_hold_no_edit_up() {
    let (mut log, mut a, _) = two();
    write(&mut a, &mut log, "s1", value("one"));
    rotated(&mut log, &mut a);
    let batch = rewrap(&mut a).unwrap();
    let next = a.fail(&batch, &Failure::new(1, ErrorCode::StatementInvalid, ""));
    assert!(matches!(next, Next::Stop { code: ErrorCode::StatementInvalid, .. }));
    put(&mut a, "s2", value("two"));
    assert!(a.outgoing().unwrap().made[0].operation.as_put().is_some());
}

#[test]
fn a_device_that_the_log_was_led_back_for_sends_nothing() {
    let (mut log, mut a, _) = two();
    let before = log.clone();
    rotated(&mut log, &mut a);
    let mut led_back = Device { keys: a.keys.clone(), ..Device::new(1) };
    (led_back.me.identity_epoch, led_back.me.identity) = (2, crate::support::keys::public(&crate::support::keys::identity_of(2)));
    assert_eq!(led_back.pull(&before).stopped, None);
    put(&mut led_back, "s1", value("nobody's"));
    assert_eq!(led_back.outgoing(), None);
    led_back.pull(&log);
    assert!(led_back.outgoing().is_some());
}

#[test]
fn a_snapshot_waits_for_a_key_and_takes_newer_wraps_of_what_is_held() {
    let (mut log, mut a, mut b) = two();
    write(&mut a, &mut log, "s1", value("one"));
    b.pull(&log);
    rotated(&mut log, &mut a);
    write(&mut a, &mut log, "s2", value("two"));
    let mut page = log.snapshot(None, log.head(), 9);
    assert_eq!(b.snapshot_page(None, &page), Err(SnapshotError::NeedsKeys { epoch: 2 }));
    b.keys.key_epoch = 2;
    page.rows[0].envelope.wrap = wrap(2);
    b.snapshot_page(None, &page).unwrap();
    assert_eq!((epochs(&b), content(&mut b, "s2")), (vec![2, 2], Some(value("two"))));
    assert_eq!(b.tables.record(&key("s1")).unwrap().unwrap().envelope.wrap, wrap(2));
}

#[test]
fn a_row_of_a_snapshot_under_a_key_that_the_log_had_left_or_of_who_had_left_stops_it() {
    let (mut log, mut a, mut b) = two();
    write(&mut a, &mut log, "s1", value("one"));
    rotate(&mut log, &b, &[(a.me.device, DeviceSeq(1))]);
    b.keys.key_epoch = 2;
    let start = log.head();
    let mut page = log.snapshot(None, start, 9);
    page.rows[0].seq = start;
    page.rows[0].seq.0 += 1;
    let why = |refused| match refused {
        Err(SnapshotError::Untrusted(untrusted)) => untrusted.why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(b.snapshot_page(None, &page)), Why::KeyEpoch { found: 1, expected: 2 });
    let mut forged = a.clone();
    forged.keys.key_epoch = 2;
    put(&mut forged, "s1", value("by who had left"));
    put(&mut forged, "s2", value("and another"));
    let batch = forged.outgoing().unwrap();
    let Operation::Put(put) = &batch.made[1].operation else { panic!("a put") };
    page.rows[0].envelope = put.envelope.clone();
    assert_eq!(why(b.snapshot_page(None, &page)), Why::Chain { last: DeviceSeq(1) });
}
