//! Who gets events, who loses them and is told so, and what passivation keeps.

use std::time::Duration;

use cloudsync_protocol::limits::{BODY_BYTES_MIN, DEVICE_QUEUE_FRAMES_MAX};
use cloudsync_protocol::{Frame, Seq};
use tokio::time::Instant;

use super::world::{World, until};
use crate::{Lane, Options};

#[tokio::test(start_paused = true)]
async fn a_session_that_reads_nothing_is_marked_lagging_and_slows_nobody() {
    let world = World::start(Options::default()).await;
    let (a, b, c) = (world.enrol(1).await, world.enrol(2).await, world.enrol(3).await);
    let (mut a, mut slow, mut quick) = (world.pusher(&a).await, world.attached(&b).await, world.attached(&c).await);
    let mut last = Seq::ZERO;
    for number in 0..2 * DEVICE_QUEUE_FRAMES_MAX {
        last = a.push(&format!("record {number}")).await;
        assert!(matches!(a.event().await, Frame::Committed(committed) if committed.to == last));
        assert!(matches!(quick.event().await, Frame::Event(event) if event.to == last));
    }
    // All that waits for the slow one is one word.
    assert!(matches!(slow.event().await, Frame::Lagging(_)));
    assert_eq!(slow.attach().await, last);
    let next = a.push("after").await;
    assert!(matches!(slow.event().await, Frame::Event(event) if event.from == last && event.to == next));
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_bounded_in_bytes_too() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut slow) = (world.pusher(&a).await, world.attached(&b).await);
    for number in 0..20 {
        let push = a.batch(&format!("record {number}"), 60 * 1024);
        let request = push.request;
        a.send(push);
        let answer = a.answer(request).await;
        a.pushed(&answer);
    }
    assert!(matches!(slow.event().await, Frame::Lagging(_)));
}

#[tokio::test(start_paused = true)]
async fn a_passive_user_keeps_its_sessions_and_a_later_push_reaches_them() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
    let first = a.push("one").await;
    assert!(matches!(b.event().await, Frame::Event(_)));
    until(|| world.region.users_active() == 0).await;
    assert_eq!(world.region.sessions(), 2);
    a.claim().await;
    let second = a.push("two").await;
    loop {
        match b.event().await {
            Frame::Event(event) => {
                assert_eq!((event.from, event.to), (first, second));
                break;
            }
            Frame::HeadAt(at) => assert_eq!(at.head, first, "a keep-alive of a passive user"),
            other => panic!("instead of the event: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_gets_the_head_every_twenty_seconds_active_or_passive() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.attached(&a).await;
    let head = a.attach().await;
    let started = Instant::now();
    for turn in 1..=4_u32 {
        match a.event().await {
            Frame::HeadAt(at) => assert_eq!(at.head, head),
            other => panic!("not a keep-alive: {other:?}"),
        }
        let elapsed = started.elapsed();
        let (due, late) = (20 * u64::from(turn), 2 * u64::from(turn));
        assert!((due..=due + late).contains(&elapsed.as_secs()), "keep-alive {turn} after {elapsed:?}");
    }
    assert_eq!(world.region.users_active(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_did_not_attach_gets_no_events() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.open(&b).await);
    let first = a.push("one").await;
    assert_eq!(b.attach().await, first);
    assert!(b.aside.is_empty(), "{:?}", b.aside);
}

#[tokio::test(start_paused = true)]
async fn an_event_with_too_many_bytes_of_bodies_is_announced_as_a_head() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
    let push = a.batch_of(&["one half", "the other"], 32 * 1024 + 1);
    let request = push.request;
    a.send(push);
    let answer = a.answer(request).await;
    let to = a.pushed(&answer);
    assert!(matches!(b.event().await, Frame::HeadAt(at) if at.head == to));
}

#[tokio::test(start_paused = true)]
async fn answers_go_back_on_the_lane_that_their_request_came_on() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
    a.push("one").await;
    let (mut answers, mut events) = {
        let request = b.request();
        let pull = cloudsync_protocol::frame::Pull { request, log: 0, from: cloudsync_protocol::Cursor::default(), to: Seq(9) };
        b.session.submit(pull.into(), BODY_BYTES_MIN, Lane::Stream(8));
        b.outbound.split()
    };
    let page = super::world::within(answers.next()).await.unwrap();
    assert_eq!(page.lane, Lane::Stream(8));
    assert!(matches!(super::client::decode(&page), Frame::Page(_)));
    assert_eq!(super::world::within(events.next()).await.unwrap().lane, Lane::Events);
    b.session.close();
    assert!(answers.next().await.is_none() && events.next().await.is_none());
    until(|| world.region.sessions() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}
