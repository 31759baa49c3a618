//! What is acknowledged is durable, whatever the store or an actor does meanwhile.

use cloudsync_engine::log::Acquire;
use cloudsync_protocol::{ErrorCode, Frame, OwnerId, Seq, TimelineId, View};
use cloudsync_storage::Store as _;
use cloudsync_storage::memory::{Fault, Faults, MemoryStore, Target};
use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::client::Client;
use super::gates::Gate;
use super::world::{World, by_account, until, within};
use crate::Options;
use crate::user_message::UserMessage;

const BODY: usize = cloudsync_protocol::limits::BODY_BYTES_MIN;

/// Every committed operation, as a replica that starts from nothing reads it.
async fn records(client: &mut Client) -> Vec<Seq> {
    let request = client.pull();
    match client.answer(request).await {
        Frame::Page(page) => {
            assert_eq!(page.to, page.head);
            page.entries.iter().map(cloudsync_protocol::Entry::last).collect()
        }
        other => panic!("no page: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_is_acknowledged_and_fanned_out_only_once_the_store_has_committed_it() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
    let begun = *world.store.observer.commits_begun.borrow();
    world.commits(Gate::Shut);
    let push = a.batch("one", BODY);
    let request = push.request;
    a.send(push);
    world.commits_begun(begun + 1).await;
    // Everything that could run has run: virtual time passes only when all are idle.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(a.outbound.next().now_or_never().is_none());
    assert!(b.outbound.next().now_or_never().is_none());
    world.commits(Gate::Open);
    let answer = a.answer(request).await;
    let to = a.pushed(&answer);
    match a.event().await {
        Frame::Committed(committed) => assert_eq!((committed.to, committed.device_seq), (to, a.last.device_seq)),
        other => panic!("the pusher got {other:?}"),
    }
    match b.event().await {
        Frame::Event(event) => assert_eq!((event.to, event.entries.len()), (to, 1)),
        other => panic!("the other device got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_devices_push_at_once_and_each_sees_every_commit_in_order() {
    const PUSHES: usize = 40;
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.pusher(&b).await);
    let start = a.last.seq.max(world.store.read_head(world.log()).await.unwrap().unwrap().seq);
    let (mut a_to, mut b_to) = (start, start);
    let work_a = async {
        for number in 0..PUSHES {
            a.push(&format!("a{number}")).await;
        }
        while a_to < Seq(start.0 + 2 * PUSHES as u64) {
            a_to = follow(&mut a, a_to).await;
        }
    };
    let work_b = async {
        for number in 0..PUSHES {
            b.push(&format!("b{number}")).await;
        }
        while b_to < Seq(start.0 + 2 * PUSHES as u64) {
            b_to = follow(&mut b, b_to).await;
        }
    };
    within(async { tokio::join!(work_a, work_b) }).await;
    assert_eq!(world.store.read_head(world.log()).await.unwrap().unwrap().seq, a_to);
    assert_eq!(a_to, b_to);
}

/// Takes one event and checks that it begins where the last ended.
async fn follow(client: &mut Client, at: Seq) -> Seq {
    let (from, to) = match client.event().await {
        Frame::Event(event) => (event.from, event.to),
        Frame::Committed(committed) => (committed.from, committed.to),
        other => panic!("not an event of a commit: {other:?}"),
    };
    assert_eq!(from, at, "a gap");
    to
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_resolved_and_committed_once() {
    for fault in [Fault::Applied, Fault::Lost, Fault::Late] {
        let faults = Faults::none();
        let world = World::over(MemoryStore::with_faults(faults.clone()), Options::default()).await;
        let (a, b) = (world.enrol(1).await, world.enrol(2).await);
        let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
        faults.script(Target::Commit, fault);
        let to = a.push("one").await;
        match b.event().await {
            Frame::Event(event) => assert_eq!(event.to, to, "{fault:?}"),
            other => panic!("{fault:?}: {other:?}"),
        }
        world.store.store.unpark_all();
        let then = a.push("two").await;
        assert_eq!(then, to.next(), "{fault:?}");
        assert_eq!(records(&mut b).await.last(), Some(&then));
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_fenced_is_replaced_and_its_sessions_are_told() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
    let first = a.push("one").await;
    assert!(matches!(b.event().await, Frame::Event(_)));
    let (log, owner, timeline) = (world.log(), OwnerId([9; 16]), TimelineId([9; 16]));
    world.store.acquire(Acquire { log, view: View(1), owner, timeline }).await.unwrap();
    let push = a.batch("two", BODY);
    a.send(push.clone());
    assert_eq!(a.refusal(push.request).await, ErrorCode::Busy);
    assert!(matches!(b.event().await, Frame::HeadAt(at) if at.head == first));
    assert_eq!(a.claim().await.seq, first);
    let request = a.request();
    a.send(cloudsync_protocol::frame::Push { request, ..push });
    let answer = a.answer(request).await;
    assert_eq!(a.pushed(&answer), first.next());
    assert!(matches!(b.event().await, Frame::Event(event) if event.to == first.next()), "still attached");
}

#[tokio::test(start_paused = true)]
async fn a_user_actor_that_panics_is_replaced_and_nothing_acknowledged_is_lost() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.pusher(&a).await, world.attached(&b).await);
    let first = a.push("one").await;
    assert!(matches!(b.event().await, Frame::Event(_)));
    let begun = *world.store.observer.commits_begun.borrow();
    world.commits(Gate::Shut);
    let push = a.batch("two", BODY);
    a.send(push.clone());
    world.commits_begun(begun + 1).await;
    let parked = a.batch("three", BODY);
    let waiting = b.pull();
    world.region.shared.directory.send(world.log(), UserMessage::Panic);
    a.send(parked.clone());
    assert_eq!(a.refusal(push.request).await, ErrorCode::Busy);
    assert!(matches!(b.event().await, Frame::HeadAt(at) if at.head == first));
    assert!(matches!(b.answer(waiting).await, Frame::Page(_)));
    assert!(matches!(a.answer(parked.request).await, Frame::Failure(_)));
    world.commits(Gate::Open);
    let last = a.claim().await;
    let second = if last.seq == first {
        let request = a.request();
        a.send(cloudsync_protocol::frame::Push { request, ..push });
        let answer = a.answer(request).await;
        a.pushed(&answer)
    } else {
        last.seq
    };
    assert_eq!(second, first.next());
    assert_eq!(b.attach().await, second);
    let seqs = records(&mut b).await;
    assert_eq!(&seqs[seqs.len() - 2..], [first, second]);
    assert_eq!(world.region.users_active(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_meets_a_stopping_actor_is_answered_by_the_next_one() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    let before = world.store.read_head(world.log()).await.unwrap().unwrap().epoch;
    let directory = &world.region.shared.directory;
    let ask = |number| {
        let (reply, answer) = oneshot::channel();
        directory.send(world.log(), UserMessage::ChangeRoster { change: Box::new(by_account(vec![world.enrolment(number).1])), reply });
        answer
    };
    directory.send(world.log(), UserMessage::Passivate);
    // Behind the word to stop, in the same mailbox; nothing has run in between.
    let behind = ask(2);
    let first = within(behind).await.expect("answered, not dropped").unwrap();
    // And what finds an actor that takes no more: the directory still has it while it stops.
    directory.send(world.log(), UserMessage::Passivate);
    let (second, third) = (ask(3), ask(4));
    let second = within(second).await.expect("answered, not dropped").unwrap();
    let third = within(third).await.expect("answered, not dropped").unwrap();
    assert_eq!((second, third), (first.next(), first.next().next()), "in order");
    a.claim().await;
    a.push("one").await;
    let after = world.store.read_head(world.log()).await.unwrap().unwrap().epoch;
    assert!(after > before, "another actor has acquired the log: {before} then {after}");
    until(|| world.region.users_active() == 1).await;
}
