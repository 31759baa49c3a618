//! What is measured says what happened.

use cloudsync_protocol::frame::{GetKeyring, History, OWN_LOG, Ping, Push, Snapshot};
use cloudsync_protocol::limits::{BODY_BYTES_MAX, BODY_BYTES_MIN, DEVICE_QUEUE_FRAMES_MAX, HISTORY_ROWS_MAX, UNANSWERED_REQUESTS_MAX};
use cloudsync_protocol::{CollectionName, ErrorCode, Frame, RecordId};
use cloudsync_storage::memory::{Fault, Faults, MemoryStore, Target};

use super::gates::Gate;
use super::recorder::Numbers;
use super::world::{World, until};
use crate::Options;

fn outcome(numbers: &Numbers, outcome: &str) -> u64 {
    numbers.count(&format!("cloudsync_pushes_total{{outcome={outcome}}}"))
}

fn refused(numbers: &Numbers, code: ErrorCode) -> u64 {
    numbers.count(&format!("cloudsync_requests_refused_total{{code={}}}", code.name()))
}

#[tokio::test(start_paused = true)]
async fn a_push_that_was_committed_before_is_counted_as_repeated_and_not_timed() {
    let numbers = Numbers::default();
    let _recording = metrics::set_default_local_recorder(&numbers);
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    let push = a.batch("one", BODY_BYTES_MIN);
    for expected in [(1, 0), (1, 1), (1, 2)] {
        let request = a.request();
        a.send(Push { request, ..push.clone() });
        assert!(matches!(a.answer(request).await, Frame::Pushed(_)));
        assert_eq!((outcome(&numbers, "committed"), outcome(&numbers, "repeated")), expected);
        assert_eq!(numbers.count("cloudsync_push_fan_out_seconds"), 1);
    }
    // A fresh owner, which knows the push from its head alone.
    world.region.shared.directory.send(world.log(), crate::user_message::UserMessage::Passivate);
    let mut a = world.pusher(&a.phone).await;
    let request = a.request();
    a.send(Push { request, ..push });
    assert!(matches!(a.answer(request).await, Frame::Pushed(_)));
    assert_eq!((outcome(&numbers, "committed"), outcome(&numbers, "repeated")), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_push_whose_commit_was_in_doubt_is_counted_as_committed_once() {
    for fault in [Fault::Applied, Fault::Lost] {
        let numbers = Numbers::default();
        let _recording = metrics::set_default_local_recorder(&numbers);
        let faults = Faults::none();
        let world = World::over(MemoryStore::with_faults(faults.clone()), Options::default()).await;
        let a = world.enrol(1).await;
        let mut a = world.pusher(&a).await;
        faults.script(Target::Commit, fault);
        a.push("one").await;
        assert_eq!((outcome(&numbers, "committed"), outcome(&numbers, "repeated")), (1, 0), "{fault:?}");
        assert_eq!(numbers.count("cloudsync_commits_total{outcome=unknown}"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn queues_are_measured_while_they_wait_and_empty_when_they_are_over() {
    let numbers = Numbers::default();
    let _recording = metrics::set_default_local_recorder(&numbers);
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, slow) = (world.pusher(&a).await, world.attached(&b).await);
    let (frames, requests) = ("cloudsync_queue_frames", "cloudsync_requests_unanswered");
    world.commits(Gate::Shut);
    let (one, two) = (a.batch("one", BODY_BYTES_MIN), a.request());
    let request = one.request;
    a.send(one);
    a.send(GetKeyring { request: two });
    a.answer(two).await;
    assert!((numbers.gauge(requests) - 1.0).abs() < f64::EPSILON);
    world.commits(Gate::Open);
    let answer = a.answer(request).await;
    a.pushed(&answer);
    assert!(numbers.gauge(requests).abs() < f64::EPSILON);
    for number in 0..DEVICE_QUEUE_FRAMES_MAX {
        a.push(&format!("record {number}")).await;
        a.event().await;
    }
    assert_eq!(numbers.count("cloudsync_lagging_total"), 1);
    assert!((numbers.gauge("cloudsync_sessions") - 2.0).abs() < f64::EPSILON);
    drop((a, slow));
    until(|| world.region.sessions() == 0).await;
    assert!(numbers.gauge(frames).abs() < f64::EPSILON && numbers.gauge("cloudsync_sessions").abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_counted_by_its_code() {
    let numbers = Numbers::default();
    let _recording = metrics::set_default_local_recorder(&numbers);
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    let requests: Vec<u32> = (0..=UNANSWERED_REQUESTS_MAX).map(|_| a.request()).collect();
    requests.iter().for_each(|request| a.send(GetKeyring { request: *request }));
    for request in requests {
        a.answer(request).await;
    }
    assert_eq!(refused(&numbers, ErrorCode::TooManyRequests), 1);
    let push = a.batch("one", BODY_BYTES_MIN);
    let request = push.request;
    a.send(push);
    assert_eq!(a.refusal(request).await, ErrorCode::ClaimFirst);
    assert_eq!((refused(&numbers, ErrorCode::ClaimFirst), outcome(&numbers, ErrorCode::ClaimFirst.name())), (1, 1));
    (0..=UNANSWERED_REQUESTS_MAX as u64).for_each(|number| a.send(Ping { number }));
    assert_eq!(a.outbound.ending(), Some(ErrorCode::TooManyRequests));
    assert_eq!(refused(&numbers, ErrorCode::TooManyRequests), 2, "the session's end is one");
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_refused_for_its_records_is_counted_by_each_of_their_codes_once() {
    let numbers = Numbers::default();
    let _recording = metrics::set_default_local_recorder(&numbers);
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    let push = a.batch_of(&["one", "two"], BODY_BYTES_MAX + 1);
    let request = push.request;
    a.send(push);
    assert_eq!(a.refusal(request).await, ErrorCode::Refused);
    let codes = [ErrorCode::Refused, ErrorCode::BodyTooLarge, ErrorCode::Stale];
    assert_eq!(codes.map(|code| refused(&numbers, code)), [1, 1, 0]);
    assert_eq!((outcome(&numbers, "refused"), outcome(&numbers, "body_too_large")), (1, 0), "one push, one outcome");
    a.push("one").await;
    a.push("two").await;
    let push = a.batch_of(&["one", "two"], BODY_BYTES_MIN);
    let request = push.request;
    a.send(push);
    assert_eq!(a.refusal(request).await, ErrorCode::Stale);
    assert_eq!(codes.map(|code| refused(&numbers, code)), [1, 1, 1]);
    assert_eq!(numbers.count("cloudsync_conflicts_total"), 2, "both records");
}

#[tokio::test(start_paused = true)]
async fn a_push_without_room_is_counted_and_one_with_it_is_not() {
    let numbers = Numbers::default();
    let _recording = metrics::set_default_local_recorder(&numbers);
    let world = World::start(Options { quota_bytes: 1000, ..Options::default() }).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    a.push("one").await;
    let push = a.batch_of(&["two", "three"], 1000);
    let request = push.request;
    a.send(push);
    assert_eq!(a.refusal(request).await, ErrorCode::QuotaExceeded);
    assert_eq!(
        (refused(&numbers, ErrorCode::QuotaExceeded), outcome(&numbers, "quota_exceeded"), outcome(&numbers, "committed")),
        (1, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn limits_that_refuse_nothing_are_counted_when_they_have_an_effect() {
    let numbers = Numbers::default();
    let _recording = metrics::set_default_local_recorder(&numbers);
    let reached = |limit: &str| numbers.count(&format!("cloudsync_limits_reached_total{{limit={limit}}}"));
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
    let push = |client: &mut super::client::Client, names: &[&str]| {
        let push = client.batch_of(names, BODY_BYTES_MAX);
        let request = push.request;
        client.send(push);
        request
    };
    let request = push(&mut a, &["one"]);
    let answer = a.answer(request).await;
    a.pushed(&answer);
    assert!(matches!(b.event().await, Frame::Event(_)));
    assert_eq!(reached("event_bodies"), 0);
    let request = push(&mut a, &["two", "three", "four", "five"]);
    let answer = a.answer(request).await;
    a.pushed(&answer);
    assert!(matches!(b.event().await, Frame::HeadAt(_)));
    assert_eq!((reached("event_bodies"), reached("page_bytes"), reached("history_rows")), (1, 0, 0));
    let key = |request| History {
        request,
        log: OWN_LOG,
        collection: CollectionName::new("timer_session").unwrap(),
        record: RecordId::new("one").unwrap(),
        before: None,
        count: HISTORY_ROWS_MAX,
    };
    for (count, expected) in [(HISTORY_ROWS_MAX, 0), (HISTORY_ROWS_MAX + 1, 1)] {
        let request = a.request();
        a.send(History { count, ..key(request) });
        a.answer(request).await;
        assert_eq!(reached("history_rows"), expected);
    }
    for expected in [1, 2] {
        let request = a.request();
        a.send(Snapshot { request, log: OWN_LOG, resume: None });
        let Frame::SnapshotPage(page) = a.answer(request).await else { panic!() };
        assert!(page.resume.is_some());
        assert_eq!(reached("page_bytes"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn every_metric_has_a_name_of_the_field() {
    let numbers = Numbers::default();
    let _recording = metrics::set_default_local_recorder(&numbers);
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    world.pusher(&a).await.push("one").await;
    for name in numbers.names() {
        let name = name.split('{').next().unwrap_or_default();
        assert!(name.starts_with("cloudsync_"), "{name}");
        assert!(crate::metrics::NAMES.contains(&name), "{name} is not described");
    }
}
