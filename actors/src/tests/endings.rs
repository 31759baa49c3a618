//! How sessions begin and end: hello, revoke, tokens, drain.

use std::time::Duration;

use cloudsync_engine::verify::HelloProof;
use cloudsync_protocol::frame::{Authenticate, Push};
use cloudsync_protocol::limits::BODY_BYTES_MIN;
use cloudsync_protocol::statement::{Carrier, hello_message};
use cloudsync_protocol::{DeviceId, ErrorCode, FamilyId, Frame, Nonce, Signature};
use cloudsync_storage::Store as _;
use cloudsync_storage::store::Family;
use ed25519_dalek::Signer as _;

use super::client::Client;
use super::gates::Gate;
use super::world::{Phone, TOKEN_LIFE, World, by_account, token, until, within};
use crate::Options;
use crate::region_actor::RegionMessage;
use crate::user_message::UserMessage;

#[tokio::test(start_paused = true)]
async fn hello_needs_an_enrolled_device_and_its_signature() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let expires_ts = world.now_ms() + 1000;
    let stranger = Phone { id: DeviceId([9; 16]), key: a.key.clone() };
    let failure = world.region.open(world.hello(&stranger, expires_ts)).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::DeviceUnknown);
    let mut hello = world.hello(&a, expires_ts);
    hello.carrier = Carrier::WebSocket;
    assert_eq!(world.region.open(hello).await.unwrap_err().code, ErrorCode::SignatureInvalid);
    let (session, _outbound) = world.region.open(world.hello(&a, expires_ts)).await.unwrap();
    assert_eq!((session.user(), session.device(), session.keyring_version()), (world.user, a.id, 1));
    until(|| world.region.sessions() == 1).await;
    assert!(world.region.is_serving());
}

#[tokio::test(start_paused = true)]
async fn revoking_a_device_ends_its_sessions_at_once_and_its_log_ins() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (id, user, device) = (FamilyId([4; 16]), world.user, b.id);
    let signing = cloudsync_protocol::statement::PublicKey([0; 32]);
    let family = Family { id, user, device, signing, number: 1, expires_ts: u64::MAX, revoked: false };
    world.store.create_family(family).await.unwrap();
    let (mut by, mut pushes, mut only_open) = (world.attached(&a).await, world.pusher(&b).await, world.open(&b).await);
    pushes.push("one").await;
    assert!(matches!(by.event().await, Frame::Event(_)));
    let revoke = by_account(vec![world.revoke(&b, &a, pushes.last.device_seq)]);
    world.region.change_roster(world.user, revoke).await.unwrap();
    assert!(matches!(by.event().await, Frame::Event(_)), "the others are told");
    for client in [&mut pushes, &mut only_open] {
        assert_eq!(end_of(client).await, ErrorCode::DeviceRevoked);
        assert_eq!(client.outbound.ending(), Some(ErrorCode::DeviceRevoked));
    }
    until(|| world.region.sessions() == 1).await;
    let again = world.region.open(world.hello(&b, world.now_ms() + 1000)).await;
    assert_eq!(again.unwrap_err().code, ErrorCode::DeviceRevoked);
    within(async {
        while !world.store.family(id).await.unwrap().unwrap().revoked {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_erased_user_is_told_so_on_every_session_and_at_every_hello() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let mut open = world.attached(&a).await;
    world.store.erase(world.log()).await.unwrap();
    world.region.erased(world.user);
    let hellos = [&a, &b].map(|phone| world.region.open(world.hello(phone, world.now_ms() + 1000)));
    for answer in futures_util::future::join_all(hellos).await {
        assert_eq!(answer.map(drop).unwrap_err().code, ErrorCode::AccountErased);
    }
    assert_eq!(end_of(&mut open).await, ErrorCode::AccountErased);
    until(|| world.region.sessions() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_hello_of_an_erased_user_is_told_so_however_they_crowd() {
    let world = World::start(Options::default()).await;
    let phones = [world.enrol(1).await, world.enrol(2).await];
    world.store.erase(world.log()).await.unwrap();
    world.region.erased(world.user);
    for round in 0..500 {
        let hellos = (0..8).map(|number| {
            let (region, hello) = (world.region.clone(), world.hello(&phones[number % 2], world.now_ms() + 1000));
            tokio::spawn(async move { region.open(hello).await.map(drop).unwrap_err().code })
        });
        for answer in futures_util::future::join_all(hellos).await {
            assert_eq!(answer.unwrap(), ErrorCode::AccountErased, "round {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hello_whose_session_ended_before_it_was_decided_is_told_how() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let hello = world.hello(&a, world.now_ms() + 1000);
    let Client { session, outbound: _outbound, .. } = world.open(&a).await;
    session.fail(ErrorCode::AccountErased, "this user's data was erased");
    let (reply, answer) = tokio::sync::oneshot::channel();
    let proof = Box::new(HelloProof { nonce: hello.nonce, carrier: hello.carrier, token: hello.token, signature: hello.signature });
    world.region.shared.directory.send(world.log(), UserMessage::Open { session: session.inside(), proof, reply });
    assert_eq!(within(answer).await.unwrap().unwrap_err().code, ErrorCode::AccountErased);
}

#[tokio::test(start_paused = true)]
async fn the_last_word_is_there_for_the_writer_when_the_reader_has_let_go() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let Client { session, mut outbound, .. } = world.open(&a).await;
    session.fail(ErrorCode::Malformed, "not a frame");
    within(session.ended()).await;
    session.close();
    drop(session);
    until(|| world.region.sessions() == 0).await;
    let word = within(outbound.next()).await.map(|outgoing| super::client::decode(&outgoing));
    assert!(matches!(word, Some(Frame::Failure(failure)) if failure.code == ErrorCode::Malformed));
    assert!(within(outbound.next()).await.is_none());
    assert_eq!(outbound.ending(), Some(ErrorCode::Malformed));
}

/// Reads to the end and returns the code of the last word.
async fn end_of(client: &mut Client) -> ErrorCode {
    let mut last = None;
    while let Some(frame) = client.next().await {
        last = Some(frame);
    }
    match last {
        Some(Frame::Failure(failure)) => failure.code,
        Some(Frame::GoingAway(going)) => going.code,
        other => panic!("the last word was {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_token_and_goes_on_with_a_fresh_one() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b) = (world.open(&a).await, world.open(&b).await);
    let expires_ts = a.session.token_expires_ts() + 60_000;
    assert!(matches!(authenticate(&mut a, &world, expires_ts).await, Frame::Authenticated(_)));
    assert_eq!(a.session.token_expires_ts(), expires_ts);
    assert_eq!(end_of(&mut b).await, ErrorCode::TokenExpired);
    let ended_ms = world.now_ms() - super::world::START_MS;
    let due_ms = u64::try_from(TOKEN_LIFE.as_millis()).unwrap();
    assert!((due_ms..due_ms + 3000).contains(&ended_ms), "ended after {ended_ms} ms");
    assert!(a.outbound.ending().is_none());
    assert_eq!(end_of(&mut a).await, ErrorCode::TokenExpired);
}

async fn authenticate(client: &mut Client, world: &World, expires_ts: u64) -> Frame {
    let (request, token) = (client.request(), token(world.user, client.phone.id, expires_ts));
    let message = hello_message(&Nonce([client.phone.id.0[0]; 32]), Carrier::Quic, &token);
    let signature = Signature(client.phone.key.sign(&message).to_bytes());
    client.send(Authenticate { request, token, signature });
    client.answer(request).await
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_of_another_device_or_without_signature_is_refused() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let mut client = world.open(&a).await;
    let expires_ts = client.session.token_expires_ts();
    for (device, key, code) in [(b.id, &a.key, ErrorCode::TokenMismatch), (a.id, &b.key, ErrorCode::SignatureInvalid)] {
        let (request, token) = (client.request(), token(world.user, device, expires_ts + 1));
        let signature = Signature(key.sign(&hello_message(&Nonce([1; 32]), Carrier::Quic, &token)).to_bytes());
        client.send(Authenticate { request, token, signature });
        assert_eq!(client.refusal(request).await, code);
    }
    assert_eq!(client.session.token_expires_ts(), expires_ts);
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_everything_then_sends_everybody_away() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut b, mut idle) = (world.pusher(&a).await, world.pusher(&b).await, world.attached(&b).await);
    let begun = *world.store.observer.commits_begun.borrow();
    world.commits(Gate::Shut);
    let (first, second) = (a.batch("a", BODY_BYTES_MIN), b.batch("b", BODY_BYTES_MIN));
    let (first_request, second_request) = (first.request, second.request);
    a.send(first);
    world.commits_begun(begun + 1).await;
    b.send(second);
    let region = world.region.clone();
    let drain = tokio::spawn(async move { region.drain(Duration::from_secs(10)).await });
    until(|| world.region.shared.is_draining()).await;
    let late = a.pull();
    assert_eq!(a.refusal(late).await, ErrorCode::GoingAway);
    let hello = world.hello(&a.phone, world.now_ms() + 1000);
    assert_eq!(world.region.open(hello).await.unwrap_err().code, ErrorCode::GoingAway);
    world.commits(Gate::Open);
    assert!(matches!(a.answer(first_request).await, Frame::Pushed(_)));
    assert!(matches!(b.answer(second_request).await, Frame::Pushed(_)));
    let drained = within(drain).await.unwrap();
    assert_eq!((drained.sessions, drained.users_cut_off), (3, 0));
    assert!(!world.region.is_serving());
    assert_eq!(world.region.users_active(), 0);
    for client in [&mut a, &mut b, &mut idle] {
        assert_eq!(end_of(client).await, ErrorCode::GoingAway);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_whose_time_is_over_answers_busy_and_ends() {
    let world = World::start(Options::default()).await;
    let a = world.enrol(1).await;
    let mut a = world.pusher(&a).await;
    let begun = *world.store.observer.commits_begun.borrow();
    world.commits(Gate::Shut);
    let push: Push = a.batch("a", BODY_BYTES_MIN);
    let request = push.request;
    a.send(push);
    world.commits_begun(begun + 1).await;
    let drained = within(world.region.drain(Duration::from_secs(2))).await;
    assert_eq!((drained.sessions, drained.users_cut_off), (1, 1));
    assert_eq!(a.refusal(request).await, ErrorCode::Busy);
    match a.next().await {
        Some(Frame::GoingAway(going)) => assert!((1000..=2000).contains(&going.retry_after_ms)),
        other => panic!("the last word was {other:?}"),
    }
    assert!(a.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_region_actor_that_dies_is_noticed_and_everybody_is_sent_away() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, mut idle) = (world.pusher(&a).await, world.open(&b).await);
    let begun = *world.store.observer.commits_begun.borrow();
    world.commits(Gate::Shut);
    let push = a.batch("a", BODY_BYTES_MIN);
    a.send(push);
    world.commits_begun(begun + 1).await;
    assert!(world.region.is_serving());
    world.region.shared.directory.tell_region(RegionMessage::Panic);
    within(world.region.failed()).await;
    assert!(!world.region.is_serving());
    for client in [&mut a, &mut idle] {
        assert_eq!(end_of(client).await, ErrorCode::GoingAway);
        assert_eq!(client.outbound.ending(), Some(ErrorCode::GoingAway));
    }
    let hello = world.hello(&b, world.now_ms() + 1000);
    let failure = world.region.open(hello).await.unwrap_err();
    assert!(failure.code == ErrorCode::GoingAway && failure.retry_after_ms.is_some());
    let failure = world.region.change_roster(world.user, by_account(vec![world.enrolment(3).1])).await.unwrap_err();
    assert!(failure.retry_after_ms.is_some(), "{failure:?}");
    until(|| world.region.sessions() == 0).await;
    // The node still ends as it should.
    within(world.region.drain(Duration::from_secs(1))).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_connection_is_gone_is_forgotten() {
    let world = World::start(Options::default()).await;
    let (a, b) = (world.enrol(1).await, world.enrol(2).await);
    let (mut a, gone) = (world.pusher(&a).await, world.attached(&b).await);
    drop(gone);
    until(|| world.region.sessions() == 1).await;
    a.push("one").await;
    drop(a);
    until(|| world.region.sessions() == 0 && world.region.users_active() == 0).await;
}
