//! Edits that the quota has no room for: how they wait, what wakes them, and what goes past them.
//!
//! Never: an edit tried again that can't fit, or one that waits while there is room.

use cloudsync_engine::replica::{Content, Fate, Next, Onto, Pending, Reason, Replica, Start, Stretch, Tables, Usage};
use cloudsync_protocol::error::RecordIssue;
use cloudsync_protocol::{ErrorCode, Failure, Seq, TimelineId, Version, error};

use crate::desk::{conflicts, content, edit, fate, goes_over, issue, put, shown, two, write};
use crate::support::keys::{Keys, key, value};
use crate::support::log::{Device, Log};

/// A value that makes a record weigh so much more than the shortest one.
fn long(bytes: usize) -> Content {
    // The test sealer pads to the shortest body; what is over it counts byte by byte.
    Content::Value("x".repeat(SHORT + bytes).into())
}

/// The longest value that the shortest body holds.
const SHORT: usize = 92 - 32 - 4;

fn attach(device: &mut Device, log: &Log) -> Start {
    device.transact(|replica, _| replica.attached(&log.attached(Seq::ZERO))).unwrap()
}

/// A log that record `s1` fills, and room for nothing more.
fn full() -> (Log, Device, Device) {
    let (mut log, mut a, b) = two();
    write(&mut a, &mut log, "s1", long(500));
    log.quota_bytes = Some(log.live_bytes());
    attach(&mut a, &log);
    (log, a, b)
}

fn is_paused(fate: Fate) -> bool {
    matches!(fate, Fate::Paused { .. })
}

#[test]
fn an_edit_without_room_is_kept_shown_and_counted_and_not_sent_again() {
    let (mut log, mut a, _) = full();
    let id = put(&mut a, "s2", value("two"));
    a.drain(&mut log);
    let Fate::Paused { grows } = fate(&mut a, "s2", id) else { panic!() };
    let status = a.replica().status().unwrap();
    assert_eq!((status.edits.paused, status.edits.pending(), status.edits.is_idle()), (1, 1, true));
    assert_eq!(status.usage, Some(Usage { used: log.live_bytes(), limit: log.live_bytes(), at: log.head() }));
    assert!(grows > 0);
    assert_eq!(shown(&mut a, "s2"), Some((0, value("two"), Pending::Edited { version: Version(1) }, false)));
    assert_eq!((a.outgoing(), conflicts(&mut a)), (None, 0));
    attach(&mut a, &log);
    assert_eq!(a.outgoing(), None, "as full as before");
}

#[test]
fn a_delete_overtakes_a_paused_edit_which_then_goes_by_itself() {
    let (mut log, mut a, _) = full();
    let id = put(&mut a, "s2", value("two"));
    a.drain(&mut log);
    assert!(is_paused(fate(&mut a, "s2", id)));
    put(&mut a, "s1", Content::Deleted);
    a.drain(&mut log);
    assert_eq!(fate(&mut a, "s2", id), Fate::Gone);
    assert!(log.current.contains_key(&key("s2")));
}

#[test]
fn room_that_another_device_makes_wakes_the_edits_that_fit_the_oldest_first() {
    let (mut log, mut a, mut b) = full();
    let ids = [("s2", long(800)), ("s3", long(250)), ("s4", long(250))].map(|(record, content)| put(&mut a, record, content));
    a.drain(&mut log);
    assert!(ids.iter().zip(["s2", "s3", "s4"]).all(|(id, record)| is_paused(fate(&mut a, record, *id))));
    b.pull(&log);
    // In the place of s1 there is room for one of the smaller ones, and for s2 there never is.
    write(&mut b, &mut log, "s1", long(200));
    assert_eq!(fate(&mut a, "s3", ids[1]), fate(&mut a, "s4", ids[2]), "nothing before it is read");
    write(&mut b, &mut log, "s1", Content::Deleted);
    a.pull(&log);
    let fates = [("s2", 0), ("s3", 1), ("s4", 2)].map(|(record, index)| fate(&mut a, record, ids[index]));
    assert!(is_paused(fates[0]) && fates[1] == Fate::Waiting && is_paused(fates[2]), "{fates:?}");
    a.drain(&mut log);
    assert_eq!((log.current.contains_key(&key("s3")), log.current.contains_key(&key("s4"))), (true, false));
}

#[test]
fn a_refusal_that_is_older_than_what_was_read_pauses_nothing_that_there_is_room_for() {
    let (mut log, mut a, mut b) = full();
    b.pull(&log);
    let id = put(&mut a, "s2", value("two"));
    let batch = a.outgoing().unwrap();
    let late = log.push(&batch).unwrap_err();
    write(&mut b, &mut log, "s1", Content::Deleted);
    a.pull(&log);
    assert_eq!(a.fail(&batch, &late), Next::Push);
    assert_eq!(fate(&mut a, "s2", id), Fate::Waiting);
    a.drain(&mut log);
    assert_eq!(fate(&mut a, "s2", id), Fate::Gone);
}

#[test]
fn what_is_batched_anew_keeps_its_room_and_what_is_parked_gives_it_up() {
    for parked in [false, true] {
        let (mut log, mut a, mut b) = full();
        b.pull(&log);
        let [second, third] = ["s2", "s3"].map(|record| put(&mut a, record, long(250)));
        let batch = a.outgoing().unwrap();
        // Room for one of them, of which the answer names the other.
        log.quota_bytes = log.quota_bytes.map(|bytes| bytes + 800);
        attach(&mut a, &log);
        let late = log.push(&batch).unwrap_err();
        if parked {
            write(&mut b, &mut log, "s2", value("theirs"));
            write(&mut b, &mut log, "s2", Content::Deleted);
            a.pull(&log);
        }
        assert_eq!(a.fail(&batch, &late), Next::Push);
        let fates = (fate(&mut a, "s2", second), fate(&mut a, "s3", third));
        if parked {
            assert_eq!(fates, (Fate::Parked(Reason::Stale), Fate::Waiting));
        } else {
            assert!(fates.0 == Fate::Waiting && is_paused(fates.1), "{fates:?}");
        }
        a.drain(&mut log);
        assert_eq!(fate(&mut a, "s3", third) == Fate::Gone, parked);
    }
}

#[test]
fn lost_versions_that_fit_one_by_one_and_not_together_are_not_tried_together_again() {
    let (mut log, mut a, _) = two();
    a.replica().told(&log.attached(Seq::ZERO).lineage).unwrap();
    let saved = log.clone();
    ["s1", "s2"].into_iter().for_each(|record| write(&mut a, &mut log, record, long(250)));
    let timeline = TimelineId([4; 16]);
    goes_over(&mut a, timeline, saved.head().next(), saved.head());
    let (to, entries) = (saved.head(), &saved.entries);
    a.transact(|replica, keys| replica.apply(Stretch { timeline, from: Seq::ZERO, to, entries }, keys)).unwrap();
    let last = saved.last_of(a.me.device);
    a.replica().claimed(timeline, last).unwrap();
    let both = a.outgoing().unwrap();
    let [_, second] = both.made.as_slice() else { panic!("{both:?}") };
    let envelope = second.operation.envelope().unwrap();
    let (key, grows) = (envelope.check().unwrap().key(), envelope.bytes());
    let usage = error::Usage { used: 0, limit: 2 * grows - 1, need: 2 * grows, at: to };
    let records = vec![RecordIssue { key, code: ErrorCode::QuotaExceeded, current: Version::NONE, current_seq: Seq::ZERO, grows }];
    let late = Failure { records, quota: Some(Box::new(usage)), ..Failure::new(1, ErrorCode::QuotaExceeded, "") };
    let answer = |replica: &mut Replica<'_, _>| replica.push_failed(timeline, (both.device_seq, both.hash), &late);
    assert_eq!(a.transact(|replica, _| answer(replica)).unwrap(), Next::Push);
    assert_eq!(a.outgoing().unwrap().made.len(), 1, "what is batched anew keeps its room");
    assert_eq!(a.replica().status().unwrap().edits.lost_paused, 1);
}

#[test]
fn a_higher_limit_is_told_by_attaching_and_wakes_what_fits() {
    let (mut log, mut a, _) = full();
    let id = put(&mut a, "s2", value("two"));
    a.drain(&mut log);
    let Fate::Paused { grows } = fate(&mut a, "s2", id) else { panic!() };
    log.quota_bytes = Some(log.live_bytes() + grows - 1);
    attach(&mut a, &log);
    assert!(is_paused(fate(&mut a, "s2", id)), "a byte is missing");
    log.quota_bytes = Some(log.live_bytes() + grows);
    attach(&mut a, &log);
    a.drain(&mut log);
    assert_eq!((fate(&mut a, "s2", id), log.live_bytes()), (Fate::Gone, log.quota_bytes.unwrap()));
}

#[test]
fn an_edit_of_a_paused_record_is_one_with_it_and_is_tried() {
    let (mut log, mut a, _) = full();
    let first = put(&mut a, "s2", long(100));
    let grown = put(&mut a, "s1", long(501));
    a.drain(&mut log);
    assert!(is_paused(fate(&mut a, "s2", first)));
    assert_eq!(fate(&mut a, "s1", grown), Fate::Paused { grows: 1 });
    // Smaller, and gone: both fit.
    let smaller = put(&mut a, "s1", long(499));
    let gone = put(&mut a, "s2", Content::Deleted);
    assert_eq!((fate(&mut a, "s1", grown), fate(&mut a, "s2", first)), (Fate::Waiting, Fate::Waiting));
    a.drain(&mut log);
    assert_eq!((fate(&mut a, "s1", smaller), fate(&mut a, "s2", gone)), (Fate::Gone, Fate::Gone));
}

#[test]
fn an_edit_made_while_the_one_below_was_on_its_way_is_not_paused_with_it() {
    let (mut log, mut a, _) = full();
    put(&mut a, "s2", value("two"));
    let batch = a.outgoing().unwrap();
    let above = put(&mut a, "s2", Content::Deleted);
    let failure = log.push(&batch).unwrap_err();
    assert_eq!(a.fail(&batch, &failure), Next::Push);
    assert_eq!(fate(&mut a, "s2", above), Fate::Waiting);
}

#[test]
fn a_newer_version_of_a_paused_record_settles_it_or_parks_it() {
    let (mut log, mut a, mut b) = full();
    let same = put(&mut a, "s1", long(600));
    a.drain(&mut log);
    assert!(is_paused(fate(&mut a, "s1", same)));
    log.quota_bytes = Some(100_000);
    b.pull(&log);
    let mut other = a.clone();
    write(&mut b, &mut log, "s1", long(600));
    a.pull(&log);
    assert_eq!((fate(&mut a, "s1", same), content(&mut a, "s1")), (Fate::Gone, Some(long(600))));
    write(&mut b, &mut log, "s1", value("theirs"));
    other.pull(&log);
    assert_eq!(fate(&mut other, "s1", same), Fate::Gone, "it was there before");
    log.quota_bytes = Some(log.live_bytes() + 10);
    let mine = edit(&mut other, "s1", long(600), Onto::Replica).unwrap();
    other.drain(&mut log);
    assert!(is_paused(fate(&mut other, "s1", mine)));
    write(&mut b, &mut log, "s1", value("theirs again"));
    other.pull(&log);
    assert_eq!(fate(&mut other, "s1", mine), Fate::Parked(Reason::Stale));
}

#[test]
fn a_refusal_for_room_that_names_nothing_of_the_batch_stops_and_pauses_nothing() {
    let (_, mut a, _) = full();
    let id = put(&mut a, "s2", value("two"));
    let batch = a.outgoing().unwrap();
    let elsewhere = Failure { records: vec![issue(ErrorCode::QuotaExceeded)], ..Failure::new(1, ErrorCode::QuotaExceeded, "full") };
    assert_eq!(a.fail(&batch, &elsewhere), Next::Stop { code: ErrorCode::QuotaExceeded, message: "full".into() });
    assert_eq!(fate(&mut a, "s2", id), Fate::Signed);
}

#[test]
fn a_paused_edit_stays_when_the_profile_becomes_another_device() {
    let (mut log, mut a, _) = full();
    let id = put(&mut a, "s2", value("two"));
    a.drain(&mut log);
    let mut anew = Device { tables: a.tables.clone(), ..Device::new(3) };
    Replica::enrolled_anew(&mut anew.tables, &anew.me).unwrap();
    assert!(is_paused(fate(&mut anew, "s2", id)));
    log.change(Keys::new(3).enrol());
    anew.pull(&log);
    log.quota_bytes = None;
    attach(&mut anew, &log);
    anew.drain(&mut log);
    assert_eq!(fate(&mut anew, "s2", id), Fate::Gone);
}

#[test]
fn a_snapshot_that_passes_over_versions_is_counted_by_what_it_leaves() {
    let (mut log, mut a, mut b) = full();
    log.quota_bytes = None;
    b.pull(&log);
    write(&mut a, &mut log, "s1", long(700));
    attach(&mut b, &log);
    // The version that was told of is never read.
    write(&mut a, &mut log, "s1", long(900));
    b.snapshot_page(None, &log.snapshot(None, log.head(), 100)).unwrap();
    assert_eq!(b.replica().status().unwrap().usage.unwrap().used, log.live_bytes());
}

#[test]
fn what_is_known_of_the_quota_goes_along_with_what_is_written_and_with_what_was_written_before() {
    let (mut log, mut a, mut b) = full();
    b.pull(&log);
    attach(&mut b, &log);
    // Told before two rows that another process of the profile has read by the time that it is taken in.
    let late = log.attached(Seq::ZERO);
    log.quota_bytes = None;
    write(&mut a, &mut log, "s2", long(300));
    write(&mut a, &mut log, "s1", Content::Deleted);
    b.pull(&log);
    let used = |device: &mut Device| device.replica().status().unwrap().usage.unwrap().used;
    assert_eq!(used(&mut b), log.live_bytes());
    b.transact(|replica, _| replica.attached(&late)).unwrap();
    assert_eq!(used(&mut b), log.live_bytes());
    assert_eq!(used(&mut a), log.live_bytes(), "its own");
    assert_eq!(a.tables.live_bytes().unwrap(), log.live_bytes());
}
