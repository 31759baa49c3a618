//! Collections where the last write wins: whatever the order, all come to the same, history has all, and nobody is asked.
//!
//! Never: an outcome by who came first, or by who came by last.

use cloudsync_engine::replica::{Content, EditError, Fate, NewEdit, Onto, Pending, Policy, Reason, Tables, is_reserved, policy_key};
use cloudsync_protocol::{CollectionName, ErrorCode, Operation, Seq};

use crate::desk::{conflicts, content, edit, fate, put, shown, two, write};
use crate::support::keys::{key, value};
use crate::support::log::{Device, Log};

fn collection() -> CollectionName {
    key("s1").collection
}

pub(crate) fn set(device: &mut Device, policy: Policy) {
    device.transact(|replica, _| replica.set_policy(&collection(), policy, 10)).unwrap();
}

fn policy(device: &mut Device) -> Policy {
    device.replica().policy(&collection()).unwrap()
}

/// Made at that time, wherever the record stands.
pub(crate) fn at(device: &mut Device, record: &str, content: Content, now_ms: u64) {
    device.transact(|replica, _| replica.edit(NewEdit { key: key(record), content, onto: Onto::Replica, now_ms })).unwrap();
}

/// So many devices that know that the last write wins.
pub(crate) fn devices(count: u8) -> (Log, Vec<Device>) {
    let mut devices: Vec<Device> = (1..=count).map(Device::new).collect();
    let mut log = Log::with(&devices.iter().map(|device| &device.keys).collect::<Vec<_>>());
    set(&mut devices[0], Policy::LastWriteWins);
    devices[0].drain(&mut log);
    devices.iter_mut().for_each(|device| drop(device.pull(&log)));
    (log, devices)
}

/// Reads, sends, reads.
pub(crate) fn sync(device: &mut Device, log: &mut Log) {
    device.pull(log);
    device.drain(log);
    device.pull(log);
}

/// What was ever committed of a record, in order.
pub(crate) fn history(log: &Log, device: &Device, record: &str) -> Vec<Content> {
    use cloudsync_engine::replica::Opener as _;
    let batches = log.entries.iter().filter_map(|entry| match entry {
        cloudsync_protocol::Entry::Batch(batch) => Some(batch),
        cloudsync_protocol::Entry::Roster(_) => None,
    });
    let envelopes = batches.flat_map(|batch| &batch.operations).filter_map(Operation::envelope);
    let of_record = envelopes.filter(|envelope| envelope.check().unwrap().key() == key(record));
    of_record.map(|envelope| device.keys.open(&envelope.check().unwrap(), envelope).unwrap()).collect()
}

fn stamp_of(device: &Device, record: &str) -> u64 {
    device.tables.record(&key(record)).unwrap().unwrap().hlc.ms()
}

pub(crate) fn is_settled(device: &mut Device) -> bool {
    let edits = device.replica().status().unwrap().edits;
    edits.pending() == 0 && edits.parked == 0
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Three devices edit one record without each other, then come in that order; all of them signed what they have before, or none.
fn in_order(order: [usize; 3], edits: &[(Content, u64); 3], signed: bool) -> (Log, Vec<Device>) {
    let (mut log, mut devices) = devices(3);
    write(&mut devices[0], &mut log, "s1", value("before"));
    devices.iter_mut().for_each(|device| drop(device.pull(&log)));
    for (device, (content, now_ms)) in devices.iter_mut().zip(edits) {
        at(device, "s1", content.clone(), *now_ms);
        if signed {
            device.outgoing().unwrap();
        }
    }
    order.iter().for_each(|device| if signed { devices[*device].drain(&mut log) } else { sync(&mut devices[*device], &mut log) });
    devices.iter_mut().for_each(|device| drop(device.pull(&log)));
    (log, devices)
}

/// What all three come to, having no edit left, with every edit in the record's history.
fn outcome(order: [usize; 3], edits: &[(Content, u64); 3], signed: bool) -> (Content, u64) {
    let (log, mut devices) = in_order(order, edits, signed);
    let current = content(&mut devices[0], "s1").unwrap();
    let history = history(&log, &devices[0], "s1");
    assert!(edits.iter().all(|(content, _)| history.contains(content)), "{order:?}: {history:?}");
    for device in &mut devices {
        assert_eq!(content(device, "s1").as_ref(), Some(&current), "{order:?}");
        assert!(is_settled(device) && conflicts(device) == 0, "{order:?}");
    }
    (current, stamp_of(&devices[0], "s1"))
}

#[test]
fn in_every_order_the_latest_edit_is_current_and_the_others_are_in_its_history() {
    let (x, y, w) = (value("x"), value("y"), value("w"));
    let sets = [
        [(x.clone(), 5_000), (y.clone(), 6_000), (w.clone(), 10_000)],
        [(Content::Deleted, 5_000), (y.clone(), 6_000), (w.clone(), 10_000)],
        [(x.clone(), 5_000), (y, 6_000), (Content::Deleted, 10_000)],
        // The same content counts with its later stamp.
        [(w.clone(), 5_000), (x, 6_000), (w, 10_000)],
    ];
    for edits in &sets {
        for (order, signed) in ORDERS.iter().flat_map(|order| [(*order, false), (*order, true)]) {
            assert_eq!(outcome(order, edits, signed), (edits[2].0.clone(), 10_000), "{order:?}, signed before: {signed}");
        }
    }
}

#[test]
fn equal_stamps_come_to_the_same_content_in_every_order() {
    let edits = [(value("x"), 5_000), (value("y"), 5_000), (Content::Deleted, 5_000)];
    let first = outcome(ORDERS[0], &edits, false);
    assert!(ORDERS.iter().all(|order| outcome(*order, &edits, false) == first && outcome(*order, &edits, true) == first));
}

#[test]
fn without_a_policy_the_same_edits_are_a_conflict_for_who_comes_later() {
    let (mut log, mut a, mut b) = two();
    at(&mut a, "s1", value("a"), 5_000);
    at(&mut b, "s1", value("b"), 6_000);
    sync(&mut a, &mut log);
    sync(&mut b, &mut log);
    assert_eq!((conflicts(&mut a), conflicts(&mut b), policy(&mut b)), (0, 1, Policy::Reject));
}

#[test]
fn two_devices_of_three_hundred_edits_each_come_to_the_later_of_every_record() {
    let (mut log, mut devices) = devices(2);
    for number in 0..300_u64 {
        let (record, first) = (format!("r{number}"), number % 2);
        at(&mut devices[0], &record, value("a"), 5_000 + first);
        at(&mut devices[1], &record, value("b"), 6_000 - 1_500 * first);
    }
    for device in [0, 1, 0] {
        sync(&mut devices[device], &mut log);
    }
    for (number, device) in (0..300).flat_map(|number| [(number, 0), (number, 1)]) {
        let (record, winner) = (format!("r{number}"), if number % 2 == 0 { "b" } else { "a" });
        assert_eq!(content(&mut devices[device], &record), Some(value(winner)), "{record}");
    }
    assert!(devices.iter_mut().all(is_settled));
    assert_eq!(log.entries.iter().map(cloudsync_protocol::Entry::last).max(), Some(Seq(3 + 1 + 300 + 150 + 2 * 150)), "each once");
}

#[test]
fn a_change_of_policy_is_of_what_becomes_stale_from_then_on() {
    let (mut log, mut a, mut b) = two();
    for record in ["before", "after"] {
        at(&mut a, record, value("mine"), 9_000);
    }
    at(&mut b, "before", value("theirs"), 5_000);
    sync(&mut b, &mut log);
    set(&mut b, Policy::LastWriteWins);
    sync(&mut b, &mut log);
    at(&mut b, "after", value("theirs"), 6_000);
    sync(&mut b, &mut log);
    sync(&mut a, &mut log);
    assert_eq!((policy(&mut a), conflicts(&mut a)), (Policy::LastWriteWins, 1));
    assert_eq!(shown(&mut a, "before"), Some((1, value("theirs"), Pending::Committed, true)), "what is parked stays parked");
    assert_eq!(shown(&mut a, "after"), Some((2, value("mine"), Pending::Committed, false)));
    set(&mut a, Policy::Reject);
    at(&mut b, "after", value("theirs again"), 20_000);
    sync(&mut a, &mut log);
    sync(&mut b, &mut log);
    assert_eq!((policy(&mut b), conflicts(&mut b)), (Policy::Reject, 0), "its edit was settled, or stood on current");
    sync(&mut a, &mut log);
    at(&mut a, "after", value("mine again"), 30_000);
    at(&mut b, "after", value("and again"), 31_000);
    sync(&mut a, &mut log);
    sync(&mut b, &mut log);
    assert_eq!(conflicts(&mut b), 1);
}

#[test]
fn a_policy_that_comes_in_the_same_push_is_of_what_that_push_makes_stale() {
    let (mut log, mut a, mut b) = two();
    at(&mut a, "s1", value("mine"), 5_000);
    // The record's edit is the older one: its row comes first.
    at(&mut b, "s1", value("theirs"), 6_000);
    set(&mut b, Policy::LastWriteWins);
    sync(&mut b, &mut log);
    sync(&mut a, &mut log);
    assert_eq!((conflicts(&mut a), content(&mut a, "s1")), (0, Some(value("theirs"))));
    assert_eq!(history(&log, &a, "s1").len(), 3);
}

#[test]
fn an_import_adds_what_is_missing_and_goes_over_no_edit_whoever_comes_first() {
    for import_first in [true, false] {
        let (mut log, mut devices) = devices(2);
        devices[0].transact(|replica, _| replica.import(key("s1"), value("imported"))).unwrap();
        devices[0].transact(|replica, _| replica.import(key("s2"), value("imported"))).unwrap();
        at(&mut devices[1], "s1", value("edited"), 5_000);
        let order = if import_first { [0, 1, 0] } else { [1, 0, 1] };
        order.iter().for_each(|device| sync(&mut devices[*device], &mut log));
        for device in &mut devices {
            assert_eq!((content(device, "s1"), content(device, "s2")), (Some(value("edited")), Some(value("imported"))));
            assert!(is_settled(device));
        }
    }
}

#[test]
fn the_reserved_collection_takes_no_edit_and_is_listed_where_it_is_asked_for_only() {
    let (_, mut devices) = devices(1);
    let own = policy_key(&collection());
    assert!(is_reserved(&own.collection));
    let new = NewEdit { key: own.clone(), content: value("x"), onto: Onto::Current, now_ms: 1 };
    assert_eq!(devices[0].transact(|replica, _| replica.edit(new)), Err(EditError::Reserved));
    assert_eq!(devices[0].transact(|replica, _| replica.import(own.clone(), value("x"))), Err(EditError::Reserved));
    let of_itself = devices[0].transact(|replica, _| replica.set_policy(&own.collection, Policy::Reject, 1));
    assert_eq!(of_itself, Err(EditError::Reserved));
    put(&mut devices[0], "s1", value("one"));
    let listed = |device: &mut Device, collection| device.replica().list(collection, None, 1).unwrap();
    let first = listed(&mut devices[0], None);
    assert!(first.records.is_empty() && first.more.is_some(), "and what comes after it is");
    let rest = devices[0].replica().list(None, first.more.as_ref(), 1).unwrap();
    assert_eq!(rest.records.iter().map(|shown| shown.key.clone()).collect::<Vec<_>>(), [key("s1")]);
    assert_eq!(listed(&mut devices[0], Some(&own.collection)).records[0].key, own);
    assert_eq!(devices[0].replica().policies().unwrap(), [(collection(), Policy::LastWriteWins)]);
}

#[test]
fn a_policy_that_is_set_twice_is_no_edit_and_one_that_two_devices_set_is_the_later_one() {
    let (mut log, mut a, mut b) = two();
    assert_eq!(a.transact(|replica, _| replica.set_policy(&collection(), Policy::Reject, 1)).unwrap(), None);
    a.transact(|replica, _| replica.set_policy(&collection(), Policy::LastWriteWins, 5_000)).unwrap().unwrap();
    assert_eq!(policy(&mut a), Policy::LastWriteWins, "in force here at once");
    b.transact(|replica, _| replica.set_policy(&collection(), Policy::LastWriteWins, 4_000)).unwrap().unwrap();
    b.transact(|replica, _| replica.set_policy(&collection(), Policy::Reject, 4_500)).unwrap().unwrap();
    for device in [&mut a, &mut b] {
        sync(device, &mut log);
    }
    a.pull(&log);
    assert_eq!((policy(&mut a), policy(&mut b)), (Policy::LastWriteWins, Policy::LastWriteWins));
    assert!(is_settled(&mut a) && is_settled(&mut b));
}

#[test]
fn what_cannot_be_written_again_is_a_conflict_and_so_is_what_the_server_refuses() {
    let (mut log, mut devices) = devices(2);
    let id = edit(&mut devices[0], "s1", value("mine"), Onto::Replica).unwrap();
    at(&mut devices[1], "s1", value("theirs"), 5_000);
    sync(&mut devices[1], &mut log);
    // It does not open here.
    let mut entries = log.entries_of(devices[0].replica().cursor().unwrap().seq, log.head());
    for entry in &mut entries {
        if let cloudsync_protocol::Entry::Batch(batch) = entry
            && let Operation::Put(put) = &mut batch.operations[0]
        {
            let length = put.envelope.wrap.len();
            put.envelope.wrap = [&1_u64.to_be_bytes()[..], &vec![9; length - 8]].concat().into();
        }
    }
    let from = devices[0].replica().cursor().unwrap().seq;
    devices[0].apply(from, log.head(), &entries).unwrap();
    assert_eq!(content(&mut devices[0], "s1"), Some(Content::Damaged));
    assert_eq!(fate(&mut devices[0], "s1", id), Fate::Parked(Reason::Stale));
    let late = edit(&mut devices[1], "s2", value("refused"), Onto::Replica).unwrap();
    log.refuses.insert(key("s2"), ErrorCode::RecordsFull);
    devices[1].drain(&mut log);
    assert_eq!(fate(&mut devices[1], "s2", late), Fate::Parked(Reason::Refused(ErrorCode::RecordsFull)));
}
