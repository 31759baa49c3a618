//! Every bound of a user and of the node, at it and one past it.
//!
//! Never: what one session may have unanswered; that is `credit`.

use std::time::Duration;

use cloudsync_protocol::frame::{Challenge, GetKeyring, Pull, Snapshot, SnapshotToken};
use cloudsync_protocol::limits::{PAGE_BYTES, PUSH_BYTES_MAX, UNANSWERED_BYTES_MAX};
use cloudsync_protocol::{Cursor, ErrorCode, Frame, Nonce, Seq};

use super::client::decode;
use super::gates::Gate;
use super::world::{World, until, within};
use crate::{Lane, Options};

#[tokio::test(start_paused = true)]
async fn a_users_undecided_pushes_have_a_bound() {
    let world = World::start(Options { user_bytes_max: PUSH_BYTES_MAX, ..Options::default() }).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.pusher(&b).await);
    let begun = *world.store.observer.commits_begun.borrow();
    world.commits(Gate::Shut);
    let (first, second) = (a.batch("a", 1000), b.batch("b", 1000));
    let (first_request, second_request) = (first.request, second.request);
    a.session.submit(first.into(), PUSH_BYTES_MAX, Lane::Control);
    world.commits_begun(begun + 1).await;
    b.send(second);
    match b.answer(second_request).await {
        Frame::Failure(failure) => assert!(failure.code == ErrorCode::Busy && failure.retry_after_ms.is_some()),
        other => panic!("not busy: {other:?}"),
    }
    world.commits(Gate::Open);
    assert!(matches!(a.answer(first_request).await, Frame::Pushed(_)));
    b.push("b").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_with_too_much_to_do_says_busy() {
    let world = World::start(Options { node_bytes_max: UNANSWERED_BYTES_MAX, ..Options::default() }).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.open(&a).await, world.open(&b).await);
    let (first, second) = (a.request(), b.request());
    a.session.submit(GetKeyring { request: first }.into(), UNANSWERED_BYTES_MAX, Lane::Control);
    b.send(GetKeyring { request: second });
    assert_eq!(b.refusal(second).await, ErrorCode::Busy);
    assert!(matches!(a.answer(first).await, Frame::Keyring(_)));
    // A refusal holds no credit, so the same id may be sent again.
    b.send(GetKeyring { request: second });
    assert!(matches!(b.answer(second).await, Frame::Keyring(_)));
}

#[tokio::test(start_paused = true)]
async fn two_pages_of_a_session_are_in_memory_and_the_next_is_read_when_one_is_written() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    for _ in 0..5 {
        a.pull();
    }
    let pulls = || *world.store.observer.pulls_begun.borrow();
    until(|| pulls() == 2).await;
    let first = within(a.outbound.next()).await.unwrap();
    let second = within(a.outbound.next()).await.unwrap();
    // Taken, but not written.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pulls(), 2);
    drop(first);
    until(|| pulls() == 3).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pulls(), 3);
    drop(second);
    for _ in 0..3 {
        assert!(matches!(within(a.outbound.next()).await.map(|page| decode(&page)), Some(Frame::Page(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_finds_no_room_in_time_is_busy() {
    let options = Options { pages_bytes_max: PAGE_BYTES, ..Options::default() };
    let page_timeout = options.page_timeout;
    let world = World::start(options).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.open(&a).await, world.open(&b).await);
    a.pull();
    // Taken, and never written.
    let held = within(a.outbound.next()).await.unwrap();
    let (late, begun) = (b.pull(), tokio::time::Instant::now());
    match b.answer(late).await {
        Frame::Failure(failure) => assert!(failure.code == ErrorCode::Busy && failure.retry_after_ms.is_some()),
        other => panic!("not busy: {other:?}"),
    }
    assert!(begun.elapsed() >= page_timeout);
    let waits = b.pull();
    tokio::time::sleep(page_timeout / 2).await;
    drop(held);
    assert!(matches!(b.answer(waits).await, Frame::Page(_)), "room in time");
}

#[tokio::test(start_paused = true)]
async fn a_node_holds_so_many_sessions_and_no_more() {
    let world = World::start(Options { sessions_max: 1, ..Options::default() }).await;
    let a = world.enrol(1).await;
    let held = world.open(&a).await;
    let hello = world.hello(&a, world.now_ms() + 1000);
    let failure = world.region.open(hello.clone()).await.unwrap_err();
    assert!(failure.code == ErrorCode::Busy && failure.retry_after_ms.is_some());
    drop(held);
    until(|| world.region.sessions() == 0).await;
    world.region.open(hello).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_the_session_does_not_have_is_refused() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    let request = a.request();
    a.send(Pull { request, log: 1, from: Cursor::default(), to: Seq(1) });
    assert_eq!(a.refusal(request).await, ErrorCode::LogUnknown);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_from_the_future_or_of_another_row_or_timeline_is_named() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    let to = a.push("one").await;
    let head = cloudsync_storage::Store::read_head(&*world.store, world.log()).await.unwrap().unwrap();
    let right = Cursor { timeline: head.timeline, seq: to, row: head.row };
    let wrong_row = Cursor { row: cloudsync_protocol::ShortHash([1; 8]), ..right };
    let ahead = Cursor { seq: to.plus(5), ..right };
    let elsewhere = Cursor { timeline: cloudsync_protocol::TimelineId([1; 16]), ..right };
    for (from, code) in [
        (right, None),
        (wrong_row, Some(ErrorCode::StoreRewound)),
        (ahead, Some(ErrorCode::StoreRewound)),
        (elsewhere, Some(ErrorCode::TimelineUnknown)),
    ] {
        let request = a.request();
        a.send(Pull { request, log: 0, from, to: Seq(u64::MAX) });
        match a.answer(request).await {
            Frame::Page(page) => assert_eq!((page.to, code), (to, None)),
            Frame::Failure(failure) => assert_eq!(Some(failure.code), code),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_in_the_middle_of_a_batch_is_of_no_replica() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    let push = a.batch_of(&["one", "two"], cloudsync_protocol::limits::BODY_BYTES_MIN);
    let request = push.request;
    a.send(push);
    let answer = a.answer(request).await;
    let to = a.pushed(&answer);
    let head = cloudsync_storage::Store::read_head(&*world.store, world.log()).await.unwrap().unwrap();
    let inside = Seq(to.0 - 1);
    let row = cloudsync_storage::Store::row_hash(&*world.store, world.log(), inside).await.unwrap().unwrap();
    let request = a.request();
    a.send(Pull { request, log: 0, from: Cursor { timeline: head.timeline, seq: inside, row }, to });
    assert_eq!(a.refusal(request).await, ErrorCode::StoreRewound);
}

#[tokio::test(start_paused = true)]
async fn snapshots_go_on_only_where_they_began() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    let to = a.push("one").await;
    let timeline = cloudsync_storage::Store::read_head(&*world.store, world.log()).await.unwrap().unwrap().timeline;
    let token = |timeline, start| Some(SnapshotToken { timeline, start, last: None, roster_after: None });
    let elsewhere = cloudsync_protocol::TimelineId([9; 16]);
    for (resume, is_read) in [(None, true), (token(timeline, to), true), (token(timeline, to.next()), false), (token(elsewhere, to), false)]
    {
        let request = a.request();
        a.send(Snapshot { request, log: 0, resume });
        match a.answer(request).await {
            Frame::SnapshotPage(page) => assert!(is_read && page.start.seq == to && page.rows.len() == 1),
            Frame::Failure(failure) => assert!(!is_read && failure.code == ErrorCode::SnapshotInvalid),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_has_no_place_in_a_session_ends_it() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    a.send(Challenge { nonce: Nonce([0; 32]), server_ts: 0, version_min: 1, version_max: 1 });
    assert!(matches!(a.next().await, Some(Frame::Failure(failure)) if failure.code == ErrorCode::UnexpectedFrame && failure.request == 0));
    assert!(a.next().await.is_none());
    assert_eq!(a.outbound.ending(), Some(ErrorCode::UnexpectedFrame));
}
