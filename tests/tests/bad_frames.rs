//! What a node says to bytes that are no frame, or a frame that has no place, on each wire.
//!
//! Never: a sleep in place of an answer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects and fails where it stands"
)]

use anyhow::Context as _;
use cloudsync_client::account::Error as AccountError;
use cloudsync_protocol::frame::{GoingAway, Hello, LoginFinish, LoginStart, Ping, Pull, RegisterStart};
use cloudsync_protocol::limits::{ACCOUNT_CALLS_MAX, FRAME_BYTES_MAX, PROTOCOL_VERSION, REQUEST_STREAMS_MAX};
use cloudsync_protocol::{Cursor, DeviceId, ErrorCode, Frame, Seq, Signature, codec};
use cloudsync_storage::MemoryStore;
use cloudsync_tests::{Person, RawClient, Received, TestNode, Wire, raw};
use futures_util::FutureExt as _;
use std::sync::Arc;

type Tested = anyhow::Result<()>;

/// Of nobody's device.
fn hello(token: &str) -> Hello {
    raw::hello(DeviceId([7; 16]), token, Signature([0; 64]))
}

fn pull() -> Frame {
    Pull { request: 1, log: 0, from: Cursor::default(), to: Seq(1) }.into()
}

/// The QUIC code, the WebSocket code.
fn closed(wire: Wire, code: ErrorCode, numbers: (u32, u32)) -> Received {
    Received::Closed { code: if wire == Wire::Quic { numbers.0 } else { numbers.1 }, reason: code.name().to_owned() }
}

const PROTOCOL: (u32, u32) = (1, 1002);
const TOO_LARGE: (u32, u32) = (2, 1009);
const POLICY: (u32, u32) = (3, 1008);

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_comes_first_and_is_another_each_time() -> Tested {
    let node = TestNode::start_in_memory().await?;
    for wire in Wire::ALL {
        let first = RawClient::connect(&node, wire).await?.challenge().await?;
        let second = RawClient::connect(&node, wire).await?.challenge().await?;
        assert_ne!(first.nonce, second.nonce);
        assert_eq!((first.version_min, first.version_max), (PROTOCOL_VERSION, PROTOCOL_VERSION));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_frame_are_malformed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ping = codec::encode(&Frame::from(Ping { number: 1 }));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("truncated", ping[..ping.len() - 1].to_vec()),
        ("trailing bytes", [ping.as_slice(), &[0]].concat()),
        ("an unknown tag", vec![0x91, 0xcc, 200]),
        ("no tag", vec![0x90]),
        ("a tag that is text", vec![0x92, 0xa1, b'x', 1]),
        ("too deep", vec![0x91; 800]),
        ("a map", vec![0x81, 1, 2]),
        ("not MessagePack", vec![0xc1]),
        ("an array that claims 4 billion elements", vec![0xdd, 0xff, 0xff, 0xff, 0xff]),
        ("bytes that claim 4 billion", vec![0x93, 19, 1, 0xc6, 0xff, 0xff, 0xff, 0xff]),
        ("as long as may be", vec![0xc1; FRAME_BYTES_MAX]),
    ];
    for wire in Wire::ALL {
        for (what, bytes) in &cases {
            let mut client = RawClient::connect(&node, wire).await?;
            client.send_bytes(bytes.clone()).await?;
            let (failure, close) = client.failure().await?;
            assert_eq!(failure.code, ErrorCode::Malformed, "{what} over {wire:?}: {}", failure.message);
            assert_eq!(close, closed(wire, ErrorCode::Malformed, PROTOCOL), "{what}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_over_the_limit_is_refused_before_it_has_come_in() -> Tested {
    let node = TestNode::start_in_memory().await?;
    for wire in [Wire::Wss, Wire::Ws] {
        let mut client = RawClient::connect(&node, wire).await?;
        client.send_bytes(vec![0; FRAME_BYTES_MAX + 1]).await?;
        let (failure, close) = client.failure().await?;
        assert_eq!(failure.code, ErrorCode::FrameTooLarge);
        assert_eq!(close, closed(wire, ErrorCode::FrameTooLarge, TOO_LARGE));
    }
    let mut client = RawClient::connect(&node, Wire::Quic).await?;
    client.send_unframed(&u32::try_from(FRAME_BYTES_MAX + 1)?.to_be_bytes()).await?;
    let (failure, close) = client.failure().await?;
    assert_eq!(failure.code, ErrorCode::FrameTooLarge);
    assert_eq!(close, closed(Wire::Quic, ErrorCode::FrameTooLarge, TOO_LARGE));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_inside_a_frame_is_malformed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    for bytes in [&[0_u8, 0][..], &[0, 0, 0, 9, 0x91]] {
        let mut client = RawClient::connect(&node, Wire::Quic).await?;
        client.send_unframed(bytes).await?;
        client.finish()?;
        let (failure, close) = client.failure().await?;
        assert_eq!(failure.code, ErrorCode::Malformed);
        assert_eq!(close, closed(Wire::Quic, ErrorCode::Malformed, PROTOCOL));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_message_is_malformed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let mut client = RawClient::connect(&node, Wire::Ws).await?;
    client.send_text("hello").await?;
    let (failure, close) = client.failure().await?;
    assert_eq!(failure.code, ErrorCode::Malformed);
    assert_eq!(close, closed(Wire::Ws, ErrorCode::Malformed, PROTOCOL));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_has_no_place_before_hello_ends_the_connection() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let server_frame = GoingAway { code: ErrorCode::Busy, message: String::new(), retry_after_ms: 1 };
    for wire in Wire::ALL {
        for frame in [pull(), Ping { number: 1 }.into(), server_frame.clone().into()] {
            let mut client = RawClient::connect(&node, wire).await?;
            client.send(frame).await?;
            let (failure, close) = client.failure().await?;
            assert_eq!(failure.code, ErrorCode::UnexpectedFrame);
            assert_eq!(close, closed(wire, ErrorCode::UnexpectedFrame, PROTOCOL));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_proves_nothing_is_refused() -> Tested {
    let node = TestNode::start_in_memory().await?;
    for wire in Wire::ALL {
        for (hello, code, numbers) in [
            (hello("not a token"), ErrorCode::TokenInvalid, POLICY),
            (hello(&"x".repeat(100_000)), ErrorCode::TokenInvalid, POLICY),
            (Hello { version_min: 2, version_max: 3, ..hello("") }, ErrorCode::VersionUnsupported, PROTOCOL),
            (Hello { version_min: 0, version_max: 0, ..hello("") }, ErrorCode::VersionUnsupported, PROTOCOL),
        ] {
            let mut client = RawClient::connect(&node, wire).await?;
            client.send(hello).await?;
            let (failure, close) = client.failure().await?;
            assert_eq!(failure.code, code);
            assert_eq!(close, closed(wire, code, numbers));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_call_that_is_refused_leaves_the_connection_open() -> Tested {
    let node = TestNode::start_in_memory().await?;
    for wire in Wire::ALL {
        let mut client = RawClient::connect(&node, wire).await?;
        client.challenge().await?;
        let calls: [(Frame, ErrorCode); 3] = [
            (RegisterStart { request: 1, email: "no address".to_owned(), message: vec![0; 32].into() }.into(), ErrorCode::EmailInvalid),
            (LoginStart { request: 2, email: "a@b.example".to_owned(), message: vec![1].into() }.into(), ErrorCode::OpaqueInvalid),
            (LoginFinish { request: 3, message: vec![1].into() }.into(), ErrorCode::OpaqueInvalid),
        ];
        for (number, (call, code)) in (1_u32..).zip(calls) {
            client.send(call).await?;
            let Frame::Failure(failure) = client.frame().await? else { anyhow::bail!("a failure was due") };
            assert_eq!((failure.request, failure.code), (number, code));
        }
        client.send(hello("not a token")).await?;
        assert_eq!(client.failure().await?.0.code, ErrorCode::TokenInvalid);
    }
    Ok(())
}

/// Makes as many account calls as one connection may; each is answered.
async fn all_account_calls(node: &TestNode, wire: Wire) -> anyhow::Result<RawClient> {
    let mut client = RawClient::connect(node, wire).await?;
    client.challenge().await?;
    for request in 1..=ACCOUNT_CALLS_MAX {
        client.send(LoginFinish { request, message: vec![1].into() }).await?;
        let Frame::Failure(failure) = client.frame().await? else { anyhow::bail!("a failure was due") };
        assert_eq!((failure.request, failure.code), (request, ErrorCode::OpaqueInvalid));
    }
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_makes_only_so_many_account_calls_and_may_then_say_hello() -> Tested {
    let node = TestNode::start_in_memory().await?;
    for wire in Wire::ALL {
        let mut client = all_account_calls(&node, wire).await?;
        client.send(LoginFinish { request: ACCOUNT_CALLS_MAX + 1, message: vec![1].into() }).await?;
        let Received::Frame(frame) = client.next().await? else { anyhow::bail!("a failure was due") };
        let Frame::Failure(failure) = *frame else { anyhow::bail!("a failure was due") };
        assert_eq!((failure.request, failure.code), (0, ErrorCode::TooManyRequests), "{wire:?}");
        assert_eq!(client.next().await?, closed(wire, ErrorCode::TooManyRequests, POLICY));
        let mut client = all_account_calls(&node, wire).await?;
        client.send(hello("not a token")).await?;
        assert_eq!(client.failure().await?.0.code, ErrorCode::TokenInvalid, "{wire:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_only_so_many_request_streams_at_a_time() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let (client, _) = RawClient::welcomed(&node.server(Wire::Quic)?, &ada).await?;
    let mut streams = Vec::new();
    for _ in 0..REQUEST_STREAMS_MAX {
        streams.push(client.quic()?.open_bi().now_or_never().context("as many as may be")??);
    }
    assert!(client.quic()?.open_bi().now_or_never().is_none(), "one more");
    for (mut send, mut receive) in streams {
        send.finish()?;
        assert!(raw::read_frame(&mut receive).await?.is_none());
    }
    tokio::time::timeout(std::time::Duration::from_secs(10), client.quic()?.open_bi()).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_are_refused_and_the_others_stay() -> Tested {
    let node = TestNode::start_with(|config| {
        config.connections_max = 2;
        config.store = cloudsync_node::config::StoreSource::Given(Arc::new(MemoryStore::new()));
    })
    .await?;
    let mut quic = RawClient::connect(&node, Wire::Quic).await?;
    let mut wss = RawClient::connect(&node, Wire::Wss).await?;
    for wire in Wire::ALL {
        assert!(RawClient::connect(&node, wire).await.is_err(), "{wire:?}");
    }
    quic.challenge().await?;
    wss.challenge().await?;
    wss.vanish();
    // The place is free once the node has seen it; ask until then.
    let freed = async { while RawClient::connect(&node, Wire::Ws).await.is_err() {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), freed).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_no_registrations_says_so() -> Tested {
    let node = TestNode::start_with(|config| {
        config.accounts.registration = cloudsync_accounts::Registration::Closed;
        config.store = cloudsync_node::config::StoreSource::Given(Arc::new(MemoryStore::new()));
    })
    .await?;
    let error = Person::register(&node, Wire::Quic, "ada@example.com").await.unwrap_err();
    let code = error.downcast_ref::<AccountError>().and_then(AccountError::code);
    assert_eq!(code, Some(ErrorCode::RegistrationClosed), "{error:#}");
    Ok(())
}
