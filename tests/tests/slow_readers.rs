//! Clients that ask and never read: the node bounds what it keeps for them, and nobody else waits.
//!
//! Never: a reader that is merely slow; those are the actors' tests.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects and fails on the rest")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloudsync_protocol::frame::{GetKeyring, Ping};
use cloudsync_protocol::{Frame, codec};
use cloudsync_storage::MemoryStore;
use cloudsync_tests::{Person, RawClient, TestNode, Wire};

/// Answers of about 500 B each: more than every buffer between node and client holds.
const REQUESTS: u32 = 40_000;

async fn welcomed(node: &TestNode, wire: Wire, person: &Person) -> anyhow::Result<RawClient> {
    let mut client = RawClient::connect(node, wire).await?;
    client.hello(&person.keys.device, &person.tokens.access_token).await?;
    match client.frame().await? {
        Frame::Welcome(_) => Ok(client),
        other => anyhow::bail!("a welcome was due, there came {}", other.name()),
    }
}

/// Asks until the node takes no more, or has closed.
async fn flood(client: &mut RawClient) {
    for request in 1..=REQUESTS {
        let frame = codec::encode(&Frame::from(GetKeyring { request }));
        match tokio::time::timeout(Duration::from_secs(2), client.send_bytes(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_floods_and_reads_nothing_holds_nobody_up() -> anyhow::Result<()> {
    let node = TestNode::start_on(Arc::new(MemoryStore::new())).await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let bob = Person::register(&node, Wire::Ws, "bob@example.com").await?;
    let mut deaf = Vec::new();
    for wire in Wire::ALL {
        let mut client = welcomed(&node, wire, &ada).await?;
        flood(&mut client).await;
        deaf.push(client);
    }
    for wire in Wire::ALL {
        let mut client = welcomed(&node, wire, &bob).await?;
        for number in 0..20 {
            let begun = Instant::now();
            client.send(Ping { number }).await?;
            assert!(matches!(client.frame().await?, Frame::Pong(pong) if pong.number == number));
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?} over {wire:?}", begun.elapsed());
        }
    }
    let begun = Instant::now();
    node.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    drop(deaf);
    Ok(())
}
