//! Clocks that are wrong, by a year: a device's, or the server's.
//!
//! Never: an edit that wins for ever, or one that can't be committed for ever.

use cloudsync_engine::replica::{Fate, Next, Reason, Tables};
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::envelope::Hlc;

use crate::desk::{conflicts, content, fate, put, two, write};
use crate::policies::{at, devices, sync};
use crate::support::keys::{key, value};
use crate::support::log::Device;

const NOW_MS: u64 = 1_800_000_000_000;
const YEAR_MS: u64 = 31_557_600_000;

fn stamp(device: &Device, record: &str) -> Hlc {
    device.tables.record(&key(record)).unwrap().unwrap().hlc
}

#[test]
fn an_edit_of_a_clock_a_year_ahead_is_stamped_by_the_servers_and_wins_once() {
    let (mut log, mut devices) = devices(2);
    log.now_ms = Some(NOW_MS);
    at(&mut devices[0], "s1", value("ahead"), NOW_MS + YEAR_MS);
    at(&mut devices[0], "s2", value("ahead, too"), NOW_MS + YEAR_MS);
    sync(&mut devices[0], &mut log);
    assert_eq!((stamp(&devices[0], "s1").ms(), conflicts(&mut devices[0])), (NOW_MS, 0));
    // Who wrote later, without having seen it, wins; and again.
    for round in 1..3 {
        log.now_ms = Some(NOW_MS + 1_000 * round);
        at(&mut devices[0], "s1", value("ahead again"), NOW_MS + YEAR_MS);
        sync(&mut devices[0], &mut log);
        log.now_ms = Some(NOW_MS + 1_000 * round + 500);
        at(&mut devices[1], "s1", value("right"), NOW_MS + 1_000 * round + 400);
        sync(&mut devices[1], &mut log);
        devices[0].pull(&log);
        assert_eq!(content(&mut devices[0], "s1"), Some(value("right")));
    }
    assert!(devices.iter_mut().all(|device| device.replica().status().unwrap().edits.pending() == 0));
}

#[test]
fn an_edit_of_a_clock_a_year_behind_loses_to_what_it_did_not_see_and_wins_over_what_it_did() {
    let (mut log, mut devices) = devices(2);
    log.now_ms = Some(NOW_MS);
    at(&mut devices[1], "s1", value("right"), NOW_MS);
    at(&mut devices[0], "s1", value("behind"), NOW_MS - YEAR_MS);
    sync(&mut devices[1], &mut log);
    sync(&mut devices[0], &mut log);
    assert_eq!(content(&mut devices[0], "s1"), Some(value("right")));
    // Having seen that, it is later.
    at(&mut devices[0], "s1", value("behind, and later"), NOW_MS - YEAR_MS);
    sync(&mut devices[0], &mut log);
    sync(&mut devices[1], &mut log);
    assert_eq!(content(&mut devices[1], "s1"), Some(value("behind, and later")));
    assert!(stamp(&devices[1], "s1") > Hlc::from_ms(NOW_MS));
}

#[test]
fn who_is_ahead_is_batched_anew_at_once_and_holds_nobody_up() {
    let (mut log, mut a, mut b) = two();
    write(&mut b, &mut log, "s2", value("theirs"));
    log.now_ms = Some(NOW_MS);
    at(&mut a, "s1", value("one"), NOW_MS + YEAR_MS);
    let stale = put(&mut a, "s2", value("mine"));
    let batch = a.outgoing().unwrap();
    let above = put(&mut a, "s1", value("two"));
    a.pull(&log);
    let failure = log.push(&batch).unwrap_err();
    assert_eq!(a.fail(&batch, &failure), Next::Push);
    assert_eq!(fate(&mut a, "s1", above), Fate::Waiting);
    assert_eq!(fate(&mut a, "s2", stale), Fate::Parked(Reason::Stale));
    // Its machine's clock is set meanwhile; what it has signed by then is right.
    let stamped = a.tables.edits_of(&key("s1")).unwrap();
    assert_eq!((stamped.len(), stamped[0].hlc.ms(), &stamped[0].content), (1, NOW_MS, &value("two")));
    a.drain(&mut log);
    assert_eq!(content(&mut a, "s1"), Some(value("two")));
}

#[test]
fn after_the_servers_clock_was_a_year_ahead_everybody_goes_on_and_refusals_end() {
    let (mut log, mut devices) = devices(2);
    log.now_ms = Some(NOW_MS + YEAR_MS);
    at(&mut devices[0], "s1", value("then"), NOW_MS + YEAR_MS);
    sync(&mut devices[0], &mut log);
    log.now_ms = Some(NOW_MS);
    for device in [0, 1, 0] {
        devices[device].pull(&log);
        at(&mut devices[device], "s1", value(&format!("by {device}")), NOW_MS);
        sync(&mut devices[device], &mut log);
    }
    assert_eq!((content(&mut devices[0], "s1"), stamp(&devices[0], "s1").ms() < NOW_MS + YEAR_MS), (Some(value("by 0")), true));
    assert!(devices.iter_mut().all(|device| conflicts(device) == 0));
}

#[test]
fn a_pair_whose_winner_has_a_stamp_that_is_not_taken_any_more_is_a_conflict() {
    let (mut log, mut devices) = devices(2);
    at(&mut devices[0], "s1", value("mine"), NOW_MS);
    log.now_ms = Some(NOW_MS + YEAR_MS);
    at(&mut devices[1], "s1", value("then"), NOW_MS + YEAR_MS);
    sync(&mut devices[1], &mut log);
    log.now_ms = Some(NOW_MS);
    sync(&mut devices[0], &mut log);
    let conflicts = devices[0].replica().conflicts().unwrap();
    assert_eq!(conflicts.iter().map(|conflict| conflict.reason).collect::<Vec<_>>(), [Reason::Refused(ErrorCode::ClockAhead)]);
    assert_eq!(content(&mut devices[0], "s1"), Some(value("then")));
}

#[test]
fn an_edit_is_later_than_the_one_it_goes_over_here_whatever_the_clock_was_set_to() {
    let (mut log, mut devices) = devices(2);
    at(&mut devices[0], "s1", value("first"), 9_000);
    devices[0].outgoing().unwrap();
    at(&mut devices[0], "s1", value("second"), 5_000);
    at(&mut devices[1], "s1", value("between"), 8_000);
    for device in [1, 0, 1] {
        sync(&mut devices[device], &mut log);
    }
    assert_eq!(content(&mut devices[1], "s1"), Some(value("second")));
}

#[test]
fn a_push_that_is_refused_for_its_clock_and_commits_after_all_is_recognised_and_a_later_edit_stays_the_later_one() {
    for is_edited in [false, true] {
        let (mut log, mut devices) = devices(2);
        log.now_ms = Some(NOW_MS);
        let before = log.entries.len();
        at(&mut devices[0], "s1", value("ahead"), NOW_MS + YEAR_MS);
        let batch = devices[0].outgoing().unwrap();
        let failure = log.push(&batch).unwrap_err();
        assert_eq!(devices[0].fail(&batch, &failure), Next::Push);
        if is_edited {
            put(&mut devices[0], "s1", value("later"));
        }
        // Another process had the same bytes in hand, and the server's clock has got there meanwhile.
        log.now_ms = Some(NOW_MS + YEAR_MS);
        log.push(&batch).unwrap();
        sync(&mut devices[0], &mut log);
        let shown = if is_edited { "later" } else { "ahead" };
        assert_eq!(content(&mut devices[0], "s1"), Some(value(shown)));
        assert_eq!(stamp(&devices[0], "s1") > Hlc::from_ms(NOW_MS + YEAR_MS), is_edited, "{shown}");
        assert_eq!(devices[0].replica().status().unwrap().edits.pending(), 0);
        assert_eq!(log.entries.len() - before, if is_edited { 2 } else { 1 }, "it is sent once");
    }
}
