//! A user whose actor ends in trouble while sessions wait for its events: they learn where the head is, and nobody has to ask.

use std::time::Duration;

use cloudsync_engine::log::Acquire;
use cloudsync_protocol::limits::BODY_BYTES_MIN;
use cloudsync_protocol::{ErrorCode, Frame, OwnerId, Seq, TimelineId, View};
use cloudsync_storage::Store as _;
use cloudsync_storage::memory::{Faults, MemoryStore, Reach};
use futures_util::FutureExt as _;

use super::client::Client;
use super::gates::Gate;
use super::world::{World, until, within};
use crate::Options;
use crate::recovery::{WAIT_MAX, WAIT_MIN};
use crate::user_message::UserMessage;

async fn head_at(client: &mut Client) -> Seq {
    match client.event().await {
        Frame::HeadAt(at) => at.head,
        other => panic!("not a head: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_durable_and_not_told_is_noticed_without_another_write() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
    let first = a.push("one").await;
    assert!(matches!(a.event().await, Frame::Committed(committed) if committed.to == first));
    assert!(matches!(b.event().await, Frame::Event(event) if event.to == first));
    let done = *world.store.observer.commits_done.borrow();
    world.store.observer.verdicts.send_replace(Gate::Shut);
    let push = a.batch("two", BODY_BYTES_MIN);
    let (request, killed) = (push.request, world.now_ms());
    a.send(push);
    within(world.store.observer.commits_done.subscribe().wait_for(|count| *count > done)).await.unwrap();
    world.region.shared.directory.send(world.log(), UserMessage::Panic);
    assert_eq!(a.refusal(request).await, ErrorCode::Busy);
    assert_eq!(head_at(&mut b).await, first.next());
    assert_eq!(head_at(&mut a).await, first.next(), "the pusher too: it has no answer");
    assert!(world.now_ms() - killed < 1000, "at once, not by a keep-alive");
    world.store.observer.verdicts.send_replace(Gate::Open);
    assert_eq!(a.claim().await.seq, first.next());
    let third = a.push("three").await;
    assert!(matches!(b.event().await, Frame::Event(event) if (event.from, event.to) == (first.next(), third)), "still attached");
}

#[tokio::test(start_paused = true)]
async fn what_another_owner_committed_is_noticed_when_this_one_finds_itself_fenced() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.open(&a).await, world.attached(&b).await);
    let (log, owner, timeline) = (world.log(), OwnerId([9; 16]), TimelineId([9; 16]));
    let head = world.store.acquire(Acquire { log, view: View(1), owner, timeline }).await.unwrap();
    // Only a claim reads the head and finds out; it writes nothing.
    let request = a.request();
    a.send(cloudsync_protocol::frame::Claim { request, log: cloudsync_protocol::frame::OWN_LOG });
    assert_eq!(a.refusal(request).await, ErrorCode::Busy);
    assert_eq!(head_at(&mut b).await, head.seq);
    assert_eq!(world.region.users_active(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_activations_are_tried_with_waits_and_the_sessions_stay() {
    let faults = Faults::none();
    let world = World::over(MemoryStore::with_faults(faults.clone()), Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.attached(&a).await;
    let (begun, head) = (*world.store.observer.acquires_begun.borrow(), a.attach().await);
    faults.set_reach(Reach::Down);
    world.region.shared.directory.send(world.log(), UserMessage::Panic);
    let away = Duration::from_secs(300);
    tokio::time::sleep(away).await;
    let tried = *world.store.observer.acquires_begun.borrow() - begun;
    let activations = tried / usize::try_from(cloudsync_engine::user::ACQUIRE_ATTEMPTS_MAX).unwrap();
    let most = usize::try_from(away.as_secs() / WAIT_MAX.as_secs()).unwrap() + 16;
    assert!((10..most).contains(&activations), "{activations} activations in {away:?}, waits from {WAIT_MIN:?} to {WAIT_MAX:?}");
    // Keep-alives.
    while a.outbound.next().now_or_never().flatten().is_some() {}
    faults.set_reach(Reach::Up);
    let (back, was) = (world.now_ms(), *world.store.observer.acquires_begun.borrow());
    assert_eq!(head_at(&mut a).await, head);
    until(|| *world.store.observer.acquires_begun.borrow() > was).await;
    assert!(world.now_ms() - back <= u64::try_from(2 * WAIT_MAX.as_millis()).unwrap());
    a.claim().await;
    a.push("one").await;
}

#[tokio::test(start_paused = true)]
async fn a_user_without_attached_sessions_is_activated_only_when_somebody_asks() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.open(&a).await;
    let begun = *world.store.observer.acquires_begun.borrow();
    world.region.shared.directory.send(world.log(), UserMessage::Panic);
    until(|| world.region.users_active() == 0).await;
    tokio::time::sleep(WAIT_MAX * 3).await;
    assert_eq!(*world.store.observer.acquires_begun.borrow(), begun);
    a.claim().await;
    assert_eq!(*world.store.observer.acquires_begun.borrow(), begun + 1);
}
