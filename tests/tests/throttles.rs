//! Throttles of a real node, over every wire: who has had enough is refused and told for how long, keeps nobody else from
//! anything, and is served again.
//!
//! Never: a limit as it is by default; those are for people. What the buckets do is in the node's own tests.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::time::Duration;

use cloudsync_client::connection::Connection;
use cloudsync_node::throttle::{Loopback, Options, Rate};
use cloudsync_protocol::frame::{LoginStart, Ping, RegisterStart};
use cloudsync_protocol::{ErrorCode, Failure, Frame};
use cloudsync_tests::device::{Access, key, value};
use cloudsync_tests::{Person, RawClient, SyncDevice, TestNode, Wire};

async fn node(change: impl FnOnce(&mut Options)) -> TestNode {
    let throttled = |options: &mut Options| {
        options.loopback = Loopback::Throttled;
        change(options);
    };
    TestNode::start_with(|config| throttled(&mut config.throttles)).await.unwrap()
}

async fn refusal(client: &mut RawClient, call: Frame) -> Failure {
    client.send(call).await.unwrap();
    let answer = client.frame().await.unwrap();
    let Frame::Failure(failure) = answer else { panic!("{}", answer.name()) };
    failure
}

fn log_in(request: u32, email: &str) -> Frame {
    LoginStart { request, email: email.into(), message: b"no OPAQUE message".as_slice().into() }.into()
}

async fn counted(node: &TestNode, metric: &str) -> bool {
    node.metrics().await.unwrap().lines().any(|line| line.starts_with(metric) && !line.ends_with(" 0"))
}

#[tokio::test]
async fn log_ins_to_one_account_run_out_over_all_wires_together_and_those_to_another_go_on() {
    let node = node(|options| options.log_ins.account = Rate::new(3, 600)).await;
    for wire in Wire::ALL {
        let mut client = RawClient::connect(&node, wire).await.unwrap();
        client.challenge().await.unwrap();
        assert_eq!(refusal(&mut client, log_in(1, "ada@example.com")).await.code, ErrorCode::OpaqueInvalid, "{wire:?}");
    }
    for wire in Wire::ALL {
        let mut client = RawClient::connect(&node, wire).await.unwrap();
        client.challenge().await.unwrap();
        let refused = refusal(&mut client, log_in(1, "ada@example.com")).await;
        assert_eq!((refused.request, refused.code), (1, ErrorCode::Throttled), "{wire:?}");
        let wait = refused.retry_after_ms.unwrap();
        assert!((190_000..=200_000).contains(&wait), "{wait} ms");
        // The connection goes on.
        assert_eq!(refusal(&mut client, log_in(2, "grace@example.com")).await.code, ErrorCode::OpaqueInvalid, "{wire:?}");
    }
    assert!(counted(&node, "cloudsync_throttled_total{what=\"log_ins\",whose=\"account\"}").await);
}

#[tokio::test]
async fn registrations_from_one_address_run_out() {
    let node = node(|options| options.registrations.address = Rate::new(2, 600)).await;
    let mut client = RawClient::connect(&node, Wire::Quic).await.unwrap();
    client.challenge().await.unwrap();
    for number in 1..4 {
        let call = RegisterStart { request: number, email: format!("{number}@example.com"), message: b"none".as_slice().into() };
        let expected = if number < 3 { ErrorCode::OpaqueInvalid } else { ErrorCode::Throttled };
        assert_eq!(refusal(&mut client, call.into()).await.code, expected);
    }
}

#[tokio::test]
async fn pushes_beyond_the_account_s_are_refused_until_they_may_come_and_all_are_committed_in_the_end() {
    let node = node(|options| options.pushes.account = Rate::new(2, 1)).await;
    let person = Person::register(&node, Wire::Quic, "ada@example.com").await.unwrap();
    let mut device = SyncDevice::new(person);
    let server = node.server(Wire::Quic).unwrap();
    let mut online = device.connect(&server, Access::Held).await.unwrap();
    device.catch_up(&online).await.unwrap();
    device.claim(&online).await.unwrap();
    let began = std::time::Instant::now();
    for number in 0..5 {
        device.edit(&key("timer_session", &number.to_string()).unwrap(), &value("x", 0), 0).unwrap();
        device.push_all(&mut online, &|| {}).await.unwrap();
    }
    assert_eq!(device.ledger.acknowledgements(), 5);
    assert!(began.elapsed() >= Duration::from_millis(1400), "three of them waited: {:?}", began.elapsed());
    assert!(counted(&node, "cloudsync_throttled_total{what=\"pushes\",whose=\"account\"}").await);
}

#[tokio::test]
async fn a_user_with_too_many_hellos_is_told_when_to_come_again_and_others_come_in() {
    let node = node(|options| options.connections.account = Rate::new(1, 60)).await;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await.unwrap();
    let grace = Person::register(&node, Wire::Quic, "grace@example.com").await.unwrap();
    let server = node.server(Wire::Wss).unwrap();
    RawClient::welcomed(&server, &ada).await.unwrap();
    let connection = Connection::open(&server).await.unwrap();
    let refused = connection.hello(&ada.keys.device, &ada.tokens.access_token).await.map(|_| ()).unwrap_err();
    let failure = refused.failure().unwrap();
    assert!(failure.code == ErrorCode::Throttled && failure.retry_after_ms.unwrap() > 50_000, "{failure:?}");
    RawClient::welcomed(&server, &grace).await.unwrap();
}

#[tokio::test]
async fn connections_from_one_address_run_out_and_quic_asks_for_proof_of_the_address_first() {
    let node = node(|options| options.connections.address = Rate::new(3, 600)).await;
    for wire in Wire::ALL.into_iter().filter(|wire| *wire != Wire::Ws).cycle().take(3) {
        RawClient::connect(&node, wire).await.unwrap().challenge().await.unwrap();
    }
    assert!(!counted(&node, "cloudsync_quic_retries_total").await);
    for wire in [Wire::Quic, Wire::Wss] {
        assert!(RawClient::connect(&node, wire).await.is_err(), "{wire:?}");
    }
    assert!(counted(&node, "cloudsync_quic_retries_total").await, "an address that is not proven is not believed to be the one");
    assert!(counted(&node, "cloudsync_throttled_total{what=\"connections\",whose=\"address\"}").await);
    // Behind a proxy nobody's address is known.
    RawClient::connect(&node, Wire::Ws).await.unwrap().challenge().await.unwrap();
}

#[tokio::test]
async fn with_many_handshakes_under_way_a_quic_client_proves_its_address_and_comes_in() {
    let node = node(|options| options.unproven_handshakes_max = 0).await;
    let person = Person::register(&node, Wire::Quic, "ada@example.com").await.unwrap();
    RawClient::welcomed(&node.server(Wire::Quic).unwrap(), &person).await.unwrap();
    assert!(counted(&node, "cloudsync_quic_retries_total").await);
}

#[tokio::test]
async fn a_session_that_sends_too_much_is_read_more_slowly_and_refused_and_goes_on() {
    // 40 frames at 256 B each, then one a quarter of a second.
    let node = node(|options| options.bytes.account = Rate::new(40 * 256, 10)).await;
    let person = Person::register(&node, Wire::Wss, "ada@example.com").await.unwrap();
    let (mut client, _) = RawClient::welcomed(&node.server(Wire::Wss).unwrap(), &person).await.unwrap();
    let began = std::time::Instant::now();
    for number in 0..44 {
        client.send(Ping { number }).await.unwrap();
        let Frame::Pong(pong) = client.frame().await.unwrap() else { panic!("no pong") };
        assert_eq!(pong.number, number);
    }
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_node_of_a_developer_spares_its_own_machine() {
    let tight = |options: &mut Options| options.log_ins.account = Rate::new(1, 600);
    let node = TestNode::start_with(|config| tight(&mut config.throttles)).await.unwrap();
    let mut client = RawClient::connect(&node, Wire::Quic).await.unwrap();
    client.challenge().await.unwrap();
    for request in 1..9 {
        assert_eq!(refusal(&mut client, log_in(request, "ada@example.com")).await.code, ErrorCode::OpaqueInvalid);
    }
}
