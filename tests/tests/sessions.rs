//! Who gets a session, what ends it, and what it is told.
//!
//! Never: a token or key that was not made by signing in.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects and fails where it stands"
)]

use std::sync::Arc;
use std::time::Duration;

use cloudsync_client::account;
use cloudsync_client::connection::Connection;
use cloudsync_client::keys::DeviceKeys;
use cloudsync_client::statement::hello_proof;
use cloudsync_node::config::StoreSource;
use cloudsync_protocol::frame::{Authenticate, Hello, LoginFinish, Ping};
use cloudsync_protocol::limits::{FRAME_BYTES_MAX, PROTOCOL_VERSION};
use cloudsync_protocol::statement::{Carrier, hello_message};
use cloudsync_protocol::{ErrorCode, Frame, Nonce, Signature};
use cloudsync_storage::MemoryStore;
use cloudsync_tests::{Person, RawClient, Received, TestNode, Wire, raw};

type Tested = anyhow::Result<()>;

async fn welcomed(node: &TestNode, wire: Wire, person: &Person) -> anyhow::Result<RawClient> {
    let (client, welcome) = RawClient::welcomed(&node.server(wire)?, person).await?;
    assert_eq!((welcome.version, welcome.user), (PROTOCOL_VERSION, person.keys.secrets.user));
    assert_eq!(welcome.keyring_version, 1);
    Ok(client)
}

async fn refused(node: &TestNode, wire: Wire, device: &DeviceKeys, token: &str) -> anyhow::Result<ErrorCode> {
    let mut client = RawClient::connect(node, wire).await?;
    client.hello(device, token).await?;
    let (failure, close) = client.failure().await?;
    assert!(matches!(&close, Received::Closed { reason, .. } if reason == failure.code.name()), "{close:?}");
    Ok(failure.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_device_is_welcome_on_every_wire() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    for wire in Wire::ALL {
        let mut client = welcomed(&node, wire, &ada).await?;
        client.send(Ping { number: 7 }).await?;
        assert!(matches!(client.frame().await?, Frame::Pong(pong) if pong.number == 7));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_clients_close_is_answered_by_a_close() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    for wire in [Wire::Wss, Wire::Ws] {
        let mut early = RawClient::connect(&node, wire).await?;
        early.challenge().await?;
        for mut client in [early, welcomed(&node, wire, &ada).await?] {
            client.close(1000).await?;
            assert_eq!(client.next().await?, Received::Closed { code: 1000, reason: String::new() }, "{wire:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_device_or_past_its_time_is_refused() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Ws, "ada@example.com").await?;
    let phone = ada.log_in_again(&node, Wire::Wss).await?;
    let bob = Person::register(&node, Wire::Quic, "bob@example.com").await?;
    for wire in Wire::ALL {
        let token = &ada.tokens.access_token;
        assert_eq!(refused(&node, wire, &phone.keys.device, token).await?, ErrorCode::TokenMismatch);
        assert_eq!(refused(&node, wire, &bob.keys.device, token).await?, ErrorCode::TokenMismatch);
    }
    node.clock().advance(Duration::from_secs(16 * 60));
    for wire in Wire::ALL {
        assert_eq!(refused(&node, wire, &ada.keys.device, &ada.tokens.access_token).await?, ErrorCode::TokenExpired);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_opens_nothing_without_the_devices_key() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let mut thief = DeviceKeys::random();
    thief.id = ada.keys.device.id;
    for wire in Wire::ALL {
        assert_eq!(refused(&node, wire, &thief, &ada.tokens.access_token).await?, ErrorCode::SignatureInvalid);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_another_connection_or_carrier_is_refused() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let token = &ada.tokens.access_token;
    for (wire, other) in [(Wire::Quic, Carrier::WebSocket), (Wire::Wss, Carrier::Quic)] {
        for (nonce, carrier) in
            [(None, other), (Some(Nonce([1; 32])), if other == Carrier::Quic { Carrier::WebSocket } else { Carrier::Quic })]
        {
            let mut client = RawClient::connect(&node, wire).await?;
            let nonce = nonce.unwrap_or(client.challenge().await?.nonce);
            let signature = hello_proof(&ada.keys.device, &nonce, carrier, token)?;
            assert_ne!(hello_message(&nonce, Carrier::Quic, token), hello_message(&nonce, Carrier::WebSocket, token));
            client.send(hello(&ada, signature)).await?;
            assert_eq!(client.failure().await?.0.code, ErrorCode::SignatureInvalid, "{wire:?}");
        }
    }
    Ok(())
}

fn hello(person: &Person, signature: Signature) -> Hello {
    raw::hello(person.keys.device.id, &person.tokens.access_token, signature)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bytes_end_a_session_with_their_code() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let account_call = Frame::from(LoginFinish { request: 1, message: vec![1].into() });
    for wire in Wire::ALL {
        let cases: Vec<(Vec<u8>, ErrorCode)> = vec![
            (vec![0x91; 800], ErrorCode::Malformed),
            (vec![0x92, 5, 1, 0], ErrorCode::Malformed),
            (cloudsync_protocol::codec::encode(&account_call), ErrorCode::UnexpectedFrame),
            (cloudsync_protocol::codec::encode(&Frame::from(hello(&ada, Signature([0; 64])))), ErrorCode::UnexpectedFrame),
            (vec![0; FRAME_BYTES_MAX + 1], ErrorCode::FrameTooLarge),
        ];
        for (bytes, code) in cases {
            let mut client = welcomed(&node, wire, &ada).await?;
            // QUIC refuses an oversize frame by its length; the rest may not be taken any more.
            let _ = client.send_bytes(bytes).await;
            let (failure, close) = client.failure().await?;
            assert_eq!(failure.code, code, "{wire:?}: {}", failure.message);
            assert!(matches!(&close, Received::Closed { reason, .. } if reason == code.name()), "{close:?}");
        }
    }
    Ok(())
}

/// Sends *authenticate* with that token, for the connection of that nonce.
async fn authenticate(client: &mut RawClient, device: &DeviceKeys, nonce: &Nonce, token: &str) -> anyhow::Result<Frame> {
    let signature = hello_proof(device, nonce, client.carrier(), token)?;
    client.send(Authenticate { request: 9, token: token.to_owned(), signature }).await?;
    client.frame().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_token_carries_a_session_past_the_end_of_the_old_one_and_then_ends_it_itself() -> Tested {
    const MINUTE: Duration = Duration::from_secs(60);
    for wire in Wire::ALL {
        // With a clock of its own, on which tokens hold for 15 minutes; sessions are looked at every second.
        let node = TestNode::start_with(|config| {
            config.store = StoreSource::Given(Arc::new(MemoryStore::new()));
            config.region.keep_alive_interval = Duration::from_secs(1);
        })
        .await?;
        let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
        let device = &ada.keys.device;
        let mut client = RawClient::connect(&node, wire).await?;
        let nonce = client.challenge().await?.nonce;
        let signature = hello_proof(device, &nonce, client.carrier(), &ada.tokens.access_token)?;
        client.send(hello(&ada, signature)).await?;
        assert!(matches!(client.frame().await?, Frame::Welcome(_)));
        let mut left_alone = welcomed(&node, wire, &ada).await?;

        node.clock().advance(10 * MINUTE);
        let connection = Connection::open(&node.server(wire)?).await?;
        let fresh = account::refresh(&connection, device, &ada.tokens.refresh_token).await?;
        assert_ne!(fresh.access_token, ada.tokens.access_token);
        let Frame::Authenticated(answer) = authenticate(&mut client, device, &nonce, &fresh.access_token).await? else {
            anyhow::bail!("{wire:?}: it was not authenticated")
        };
        assert_eq!((answer.request, answer.token_expires_ts), (9, fresh.access_expires_ts));
        // The old one, which still holds, takes nothing away.
        let Frame::Authenticated(answer) = authenticate(&mut client, device, &nonce, &ada.tokens.access_token).await? else {
            anyhow::bail!("{wire:?}: it was not authenticated")
        };
        assert_eq!(answer.token_expires_ts, fresh.access_expires_ts);

        node.clock().advance(10 * MINUTE);
        assert_eq!(left_alone.failure().await?.0.code, ErrorCode::TokenExpired, "{wire:?}: the other session has the old token only");
        client.send(Ping { number: 8 }).await?;
        assert!(matches!(client.frame().await?, Frame::Pong(_)), "{wire:?}: the old token's end is no longer this session's");

        node.clock().advance(10 * MINUTE);
        assert_eq!(client.failure().await?.0.code, ErrorCode::TokenExpired, "{wire:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_signed_for_changes_nothing() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    for wire in Wire::ALL {
        let mut client = welcomed(&node, wire, &ada).await?;
        client.send(Authenticate { request: 10, token: ada.tokens.access_token.clone(), signature: Signature([0; 64]) }).await?;
        let Frame::Failure(failure) = client.frame().await? else { anyhow::bail!("a failure was due") };
        assert_eq!((failure.request, failure.code), (10, ErrorCode::SignatureInvalid));
        client.send(Ping { number: 8 }).await?;
        assert!(matches!(client.frame().await?, Frame::Pong(_)), "{wire:?}: the session goes on");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_drips_in_ends_the_session() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let mut client = welcomed(&node, Wire::Quic, &ada).await?;
    client.send_unframed(&[0, 0, 1, 0, 0x92]).await?;
    let (failure, close) = client.failure().await?;
    assert_eq!(failure.code, ErrorCode::FrameTooSlow);
    assert_eq!(close, Received::Closed { code: 3, reason: "frame_too_slow".to_owned() });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_tells_every_session_and_waits_for_none() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let mut clients = Vec::new();
    for wire in Wire::ALL {
        clients.push((wire, welcomed(&node, wire, &ada).await?));
    }
    let mut waiting = RawClient::connect(&node, Wire::Quic).await?;
    waiting.challenge().await?;
    // One that reads nothing at all.
    let silent = welcomed(&node, Wire::Wss, &ada).await?;
    let begun = std::time::Instant::now();
    let left = tokio::spawn(node.shutdown());
    for (wire, client) in &mut clients {
        let mut told = false;
        loop {
            match client.next().await? {
                Received::Frame(frame) => {
                    told |= matches!(&*frame, Frame::GoingAway(away) if away.retry_after_ms > 0)
                        || matches!(&*frame, Frame::Failure(failure) if failure.code == ErrorCode::GoingAway && failure.retry_after_ms.is_some());
                }
                Received::Closed { code, reason } => {
                    assert_eq!((code, reason.as_str()), (if *wire == Wire::Quic { 4 } else { 1012 }, "going_away"));
                    break;
                }
                Received::Lost(why) => anyhow::bail!("{wire:?}: {why}"),
            }
        }
        assert!(told, "{wire:?}");
    }
    assert_eq!(waiting.failure().await?.0.code, ErrorCode::GoingAway);
    left.await?;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(silent);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_knows_its_people_and_shows_the_same_certificate() -> Tested {
    let node = TestNode::start().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let pin = node.pin();
    let node = node.restart().await?;
    assert_eq!(node.pin(), pin);
    for wire in Wire::ALL {
        welcomed(&node, wire, &ada).await?;
    }
    Ok(())
}
