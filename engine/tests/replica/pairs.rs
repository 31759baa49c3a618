//! Edits that yield to a later one: in one push with it, below it again, and never seen.
//!
//! Never: a half of a pair without the other.

use cloudsync_engine::replica::{Pending, Policy, Tables};
use cloudsync_protocol::error::{RecordIssue, Usage};
use cloudsync_protocol::limits::PUSH_OPERATIONS_MAX;
use cloudsync_protocol::{ErrorCode, Failure, Seq, Version};

use crate::desk::{content, issue, shown};
use crate::policies::{at, devices, history, is_settled, set, sync};
use crate::support::keys::{key, value};

#[test]
fn an_edit_that_yields_is_not_shown_and_a_new_one_takes_its_place_on_what_is() {
    let (mut log, mut devices) = devices(2);
    at(&mut devices[0], "s1", value("early"), 5_000);
    at(&mut devices[1], "s1", value("late"), 6_000);
    sync(&mut devices[1], &mut log);
    devices[0].pull(&log);
    assert_eq!(shown(&mut devices[0], "s1"), Some((1, value("late"), Pending::Committed, false)));
    assert_eq!(devices[0].replica().list(None, None, 9).unwrap().records.len(), 1);
    at(&mut devices[0], "s1", value("new"), 5_500);
    assert_eq!(shown(&mut devices[0], "s1"), Some((1, value("new"), Pending::Edited { version: Version(2) }, false)));
    sync(&mut devices[0], &mut log);
    assert_eq!(history(&log, &devices[0], "s1"), [value("late"), value("new")], "it was made from what was shown");
}

#[test]
fn an_edit_made_while_a_pair_is_under_way_goes_above_it() {
    for is_refused in [false, true] {
        let (mut log, mut devices) = devices(3);
        at(&mut devices[0], "s1", value("early"), 5_000);
        at(&mut devices[1], "s1", value("late"), 6_000);
        sync(&mut devices[1], &mut log);
        devices[0].pull(&log);
        let pair = devices[0].outgoing().unwrap();
        assert_eq!(pair.made.len(), 2);
        at(&mut devices[0], "s1", value("above"), 5_500);
        let edits = devices[0].tables.edits_of(&key("s1")).unwrap();
        assert_eq!((edits[1].base.0, edits[1].parent, edits[1].yields), (3, pair.made[1].operation.hash(), false));
        if is_refused {
            devices[2].pull(&log);
            at(&mut devices[2], "s1", value("between"), 5_800);
            devices[2].drain(&mut log);
        }
        sync(&mut devices[0], &mut log);
        assert_eq!(content(&mut devices[0], "s1"), Some(value("above")), "later than all that it saw");
        assert!(is_settled(&mut devices[0]));
        assert_eq!(
            history(&log, &devices[0], "s1").contains(&value("early")),
            !is_refused,
            "merged with the one above where the pair was not taken"
        );
    }
}

#[test]
fn a_pair_that_goes_stale_again_is_settled_again_from_its_own_stamp() {
    let (mut log, mut devices) = devices(3);
    at(&mut devices[0], "s1", value("mine"), 5_500);
    at(&mut devices[1], "s1", value("first"), 6_000);
    sync(&mut devices[1], &mut log);
    devices[0].pull(&log);
    let pair = devices[0].outgoing().unwrap();
    sync(&mut devices[2], &mut log);
    at(&mut devices[2], "s1", value("second"), 7_000);
    sync(&mut devices[2], &mut log);
    assert_eq!(log.push(&pair).unwrap_err().code, ErrorCode::Stale);
    sync(&mut devices[0], &mut log);
    assert_eq!(history(&log, &devices[0], "s1"), ["first", "second", "mine", "second"].map(value));
    assert_eq!(content(&mut devices[0], "s1"), Some(value("second")));
}

#[test]
fn between_the_two_halves_of_a_pair_nothing_is_settled() {
    let (mut log, mut devices) = devices(3);
    at(&mut devices[0], "s1", value("early"), 5_000);
    at(&mut devices[1], "s1", value("late"), 6_000);
    sync(&mut devices[1], &mut log);
    devices[0].pull(&log);
    let pair = devices[0].outgoing().unwrap();
    // Its user is to be asked by now, and says what the pair's first half says.
    set(&mut devices[2], Policy::Reject);
    devices[2].drain(&mut log);
    devices[2].pull(&log);
    at(&mut devices[2], "s1", value("early"), 7_000);
    let pushed = log.push(&pair).unwrap();
    devices[0].transact(|replica, _| replica.pushed(&pushed)).unwrap();
    devices[2].pull(&log);
    assert_eq!(shown(&mut devices[2], "s1"), Some((3, value("late"), Pending::Committed, true)), "parked, not gone");
}

#[test]
fn a_pair_needs_no_room_and_where_it_does_it_waits_unseen() {
    let (mut log, mut devices) = devices(2);
    at(&mut devices[0], "s1", value(&"long ".repeat(200)), 5_000);
    at(&mut devices[1], "s1", value("late"), 6_000);
    sync(&mut devices[1], &mut log);
    log.quota_bytes = Some(log.live_bytes());
    sync(&mut devices[0], &mut log);
    assert_eq!((history(&log, &devices[0], "s1").len(), is_settled(&mut devices[0])), (3, true), "what is current is no larger");
    at(&mut devices[1], "s1", value("earlier"), 7_000);
    at(&mut devices[0], "s1", value("later"), 8_000);
    sync(&mut devices[0], &mut log);
    devices[1].pull(&log);
    let batch = devices[1].outgoing().unwrap();
    let named = RecordIssue { grows: 9, ..issue(ErrorCode::QuotaExceeded) };
    let usage = Usage { used: log.live_bytes(), limit: log.live_bytes(), need: 9, at: log.head() };
    let failure = Failure { records: vec![named], quota: Some(Box::new(usage)), ..Failure::new(1, ErrorCode::QuotaExceeded, "") };
    devices[1].fail(&batch, &failure);
    assert_eq!((devices[1].replica().status().unwrap().edits.paused, devices[1].outgoing()), (1, None));
    assert_eq!(shown(&mut devices[1], "s1"), Some((4, value("later"), Pending::Committed, false)), "the winner is not hidden meanwhile");
    log.quota_bytes = None;
    devices[1].transact(|replica, _| replica.attached(&log.attached(Seq::ZERO))).unwrap();
    sync(&mut devices[1], &mut log);
    assert!(is_settled(&mut devices[1]) && history(&log, &devices[1], "s1").contains(&value("earlier")));
}

#[test]
fn a_push_is_never_cut_between_the_halves_of_a_pair() {
    for (count, bytes) in [(PUSH_OPERATIONS_MAX, 1), (12, 60_000)] {
        let (mut log, mut devices) = devices(2);
        for number in 0..count {
            at(&mut devices[0], &format!("r{number:04}"), value(&"a".repeat(bytes)), 5_000);
            at(&mut devices[1], &format!("r{number:04}"), value(&"b".repeat(bytes)), 6_000);
        }
        // An odd number of operations before the pairs.
        at(&mut devices[0], "single", value("a"), 5_000);
        sync(&mut devices[1], &mut log);
        devices[0].pull(&log);
        let mut batches = 0;
        while let Some(batch) = devices[0].outgoing() {
            let keys: Vec<_> = batch.operations().iter().map(|operation| operation.envelope().unwrap().check().unwrap().key()).collect();
            for key in keys.iter().filter(|key| key.record.as_str() != "single") {
                assert_eq!(keys.iter().filter(|other| *other == key).count(), 2);
            }
            let pushed = log.push(&batch).unwrap();
            devices[0].transact(|replica, _| replica.pushed(&pushed)).unwrap();
            batches += 1;
        }
        assert!(batches > 2, "{batches}");
        assert!(is_settled(&mut devices[0]));
        devices[1].pull(&log);
        assert_eq!(content(&mut devices[1], "r0003"), Some(value(&"b".repeat(bytes))));
    }
}
