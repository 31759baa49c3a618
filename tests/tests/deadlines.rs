//! Connections that take their time: each ends within its deadline, whatever it is waiting for.
//!
//! Never: a deadline checked by sleeping; the test waits for the close and looks at the clock.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects and fails where it stands"
)]

use std::time::{Duration, Instant};

use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::frame::LoginStart;
use cloudsync_protocol::limits::HELLO_TIMEOUT;
use cloudsync_tests::{RawClient, Received, TestNode, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

type Tested = anyhow::Result<()>;

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(4);

fn in_time(begun: Instant) {
    let elapsed = begun.elapsed();
    assert!(elapsed >= HELLO_TIMEOUT - Duration::from_millis(500), "closed too soon, after {elapsed:?}");
    assert!(elapsed <= HELLO_TIMEOUT + SLACK, "closed too late, after {elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_told_why_it_is_closed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let silent = Wire::ALL.map(|wire| {
        let node = &node;
        async move {
            let mut client = RawClient::connect(node, wire).await?;
            client.challenge().await?;
            let begun = Instant::now();
            let (failure, close) = client.failure().await?;
            in_time(begun);
            assert_eq!(failure.code, ErrorCode::HelloTimeout);
            let code = if wire == Wire::Quic { 3 } else { 1008 };
            assert_eq!(close, Received::Closed { code, reason: "hello_timeout".to_owned() });
            anyhow::Ok(())
        }
    });
    for done in futures_util::future::join_all(silent).await {
        done?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_hello_does_not_gain_time() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let mut client = RawClient::connect(&node, Wire::Quic).await?;
    client.challenge().await?;
    let begun = Instant::now();
    client.send_unframed(&[0, 0, 1, 0, 0x92]).await?;
    let (failure, _) = client.failure().await?;
    in_time(begun);
    assert!([ErrorCode::HelloTimeout, ErrorCode::FrameTooSlow].contains(&failure.code), "{}", failure.code);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_account_call_does_not_gain_time() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let mut client = RawClient::connect(&node, Wire::Ws).await?;
    client.challenge().await?;
    let begun = Instant::now();
    client.send(LoginStart { request: 1, email: "a@b.example".to_owned(), message: vec![1].into() }).await?;
    client.frame().await?;
    let (failure, _) = client.failure().await?;
    in_time(begun);
    assert_eq!(failure.code, ErrorCode::HelloTimeout);
    Ok(())
}

async fn closes(mut stream: TcpStream, sent: &[u8]) -> Tested {
    stream.write_all(sent).await?;
    let begun = Instant::now();
    let mut rest = Vec::new();
    // A reset is a close as well.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await?;
    in_time(begun);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_tls_handshake_is_closed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let address = node.address(Wire::Wss)?;
    let nothing = closes(TcpStream::connect(address).await?, b"");
    // The head of a TLS record that does not follow.
    let half = closes(TcpStream::connect(address).await?, &[22, 3, 1, 2, 0, 1, 0]);
    let (nothing, half) = tokio::join!(nothing, half);
    nothing.and(half)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_http_head_is_closed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let address = node.address(Wire::Ws)?;
    let nothing = closes(TcpStream::connect(address).await?, b"");
    let half = closes(TcpStream::connect(address).await?, b"GET /v1/sync HTTP/1.1\r\nhost: here\r\n");
    let (nothing, half) = tokio::join!(nothing, half);
    nothing.and(half)
}
