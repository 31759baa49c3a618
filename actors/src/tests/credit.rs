//! What one session may have unanswered: where credit begins and ends, at the bound and one past it.
//!
//! Never: a bound of a user or of the node; those are `limits`.

use std::collections::VecDeque;

use cloudsync_protocol::frame::{GetKeyring, Ping};
use cloudsync_protocol::limits::{UNANSWERED_BYTES_MAX, UNANSWERED_REQUESTS_MAX};
use cloudsync_protocol::{ErrorCode, Frame};

use super::client::{Client, decode};
use super::recorder::Numbers;
use super::world::{World, until, within};
use crate::{Lane, Options, Outgoing};

const LANE: Lane = Lane::Stream(3);

/// Asks on a request stream with a frame that counts as `bytes`, and takes the answer as a writer does that puts it into its
/// stream's queue.
async fn taken(client: &mut Client, bytes: usize) -> (u32, Outgoing) {
    let request = client.request();
    client.session.submit(GetKeyring { request }.into(), bytes, LANE);
    let outgoing = within(client.outbound.next()).await.unwrap();
    assert_eq!(outgoing.lane, LANE);
    (request, outgoing)
}

fn is_refused(outgoing: &Outgoing, request: u32) -> bool {
    matches!(decode(outgoing), Frame::Failure(failure) if failure.code == ErrorCode::TooManyRequests && failure.request == request)
}

#[tokio::test(start_paused = true)]
async fn a_request_is_unanswered_until_its_answer_begins_to_be_written() {
    let numbers = Numbers::default();
    let _recording = metrics::set_default_local_recorder(&numbers);
    let waiting = || numbers.gauge("cloudsync_queue_frames");
    let world = World::start(Options { session_pages_max: 64, ..Options::default() }).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    let mut held = VecDeque::new();
    for _ in 0..UNANSWERED_REQUESTS_MAX {
        let (request, outgoing) = taken(&mut a, 100).await;
        assert!(!is_refused(&outgoing, request));
        held.push_back(outgoing);
    }
    assert!((waiting() - UNANSWERED_REQUESTS_MAX as f64).abs() < f64::EPSILON, "they wait for their streams: {}", waiting());
    let (request, refusal) = taken(&mut a, 100).await;
    assert!(is_refused(&refusal, request), "{:?}", decode(&refusal));
    drop(refusal);
    // Begun, though it is not written whole: there is room for one more, and for no second one.
    let mut begun = held.pop_front().unwrap();
    begun.begin();
    let (request, outgoing) = taken(&mut a, 100).await;
    assert!(!is_refused(&outgoing, request));
    held.push_back(outgoing);
    let (request, refusal) = taken(&mut a, 100).await;
    assert!(is_refused(&refusal, request));
    drop((begun, refusal));
    // A stream that was given up takes its answers along.
    held.clear();
    assert!(waiting().abs() < f64::EPSILON);
    let (request, outgoing) = taken(&mut a, 100).await;
    assert!(!is_refused(&outgoing, request));
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_a_request_are_unanswered_as_long() {
    let world = World::start(Options { node_bytes_max: UNANSWERED_BYTES_MAX, ..Options::default() }).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.open(&a).await, world.open(&b).await);
    let (_, mut held) = taken(&mut a, UNANSWERED_BYTES_MAX).await;
    let (request, refusal) = taken(&mut a, 1).await;
    assert!(is_refused(&refusal, request));
    // The same bytes count for the node.
    let request = b.request();
    b.send(GetKeyring { request });
    assert_eq!(b.refusal(request).await, ErrorCode::Busy);
    held.begin();
    let (request, outgoing) = taken(&mut a, UNANSWERED_BYTES_MAX).await;
    assert!(!is_refused(&outgoing, request));
}

#[tokio::test(start_paused = true)]
async fn refusals_that_wait_for_a_stream_are_unread_refusals() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    let mut held = Vec::new();
    for number in 0..UNANSWERED_REQUESTS_MAX as u64 {
        a.session.submit(Ping { number }.into(), 10, LANE);
        held.push(within(a.outbound.next()).await.unwrap());
    }
    assert!(a.outbound.ending().is_none());
    a.session.submit(Ping { number: 99 }.into(), 10, LANE);
    assert_eq!(a.outbound.ending(), Some(ErrorCode::TooManyRequests));
}

#[tokio::test(start_paused = true)]
async fn one_request_more_than_may_be_unanswered_is_refused_and_all_others_are_answered() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    let requests: Vec<u32> = (0..=UNANSWERED_REQUESTS_MAX).map(|_| a.request()).collect();
    for request in &requests {
        a.send(GetKeyring { request: *request });
    }
    let (last, all) = requests.split_last().unwrap();
    for request in all {
        assert!(matches!(a.answer(*request).await, Frame::Keyring(_)));
    }
    assert_eq!(a.refusal(*last).await, ErrorCode::TooManyRequests);
    // Answers that were taken make room.
    let request = a.request();
    a.send(GetKeyring { request });
    assert!(matches!(a.answer(request).await, Frame::Keyring(_)));
}

#[tokio::test(start_paused = true)]
async fn unanswered_bytes_have_a_bound_of_their_own() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    let (fits, exceeds) = (a.request(), a.request());
    a.session.submit(GetKeyring { request: fits }.into(), UNANSWERED_BYTES_MAX, Lane::Control);
    a.session.submit(GetKeyring { request: exceeds }.into(), 1, Lane::Control);
    assert_eq!(a.refusal(exceeds).await, ErrorCode::TooManyRequests);
    assert!(matches!(a.answer(fits).await, Frame::Keyring(_)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_on_and_never_reads_is_ended() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    for number in 0..UNANSWERED_REQUESTS_MAX as u64 {
        a.send(Ping { number });
    }
    assert!(a.outbound.ending().is_none());
    a.send(Ping { number: 99 });
    assert_eq!(a.outbound.ending(), Some(ErrorCode::TooManyRequests));
    within(a.session.ended()).await;
    let mut frames = Vec::new();
    while let Some(frame) = a.next().await {
        frames.push(frame);
    }
    assert_eq!(frames.len(), UNANSWERED_REQUESTS_MAX + 1);
    assert!(matches!(frames.last(), Some(Frame::Failure(failure)) if failure.request == 0));
    until(|| world.region.sessions() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_id_that_is_zero_or_unanswered_ends_the_session() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    for requests in [&[0][..], &[5, 5]] {
        let mut a = world.open(&a).await;
        for &request in requests {
            a.send(GetKeyring { request });
        }
        // A failure by that number could be taken for the other request's answer.
        let mut last = None;
        while let Some(frame) = a.next().await {
            last = Some(frame);
        }
        assert!(matches!(last, Some(Frame::Failure(failure)) if failure.code == ErrorCode::RequestIdInUse && failure.request == 0));
        assert_eq!(a.outbound.ending(), Some(ErrorCode::RequestIdInUse));
    }
}
