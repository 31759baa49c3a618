//! Clients that take nothing of what is sent to them: each is given up in time, and told so as far as it listens again.
//!
//! Never: the node's own patience waited for; it is made short.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test names what it expects and fails where it stands")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use cloudsync_node::config::{Patience, StoreSource};
use cloudsync_protocol::frame::{Attach, OWN_LOG, Pull};
use cloudsync_protocol::{Cursor, ErrorCode, Frame, Seq};
use cloudsync_storage::MemoryStore;
use cloudsync_tests::device::{Access, OpenSession, key, value};
use cloudsync_tests::{Person, RawClient, Received, Stop, SyncDevice, TestNode, Wire};

type Tested = anyhow::Result<()>;

const STALL_MAX: Duration = Duration::from_secs(1);
/// Records of 48 KiB: one push of them is more than a page asks for, thirty pages more than sockets and windows take.
const RECORDS: usize = 8;
const RECORD_BYTES: usize = 48 * 1024;
const PULLS: u32 = 30;
const EVENTS: usize = 40;

/// Gives a client up after a second, but then lets it take its time to read why.
async fn node() -> anyhow::Result<TestNode> {
    TestNode::start_with(|config| {
        config.store = StoreSource::Given(Arc::new(MemoryStore::new()));
        config.patience = Patience { write_stall_max: STALL_MAX, close_timeout: Duration::from_secs(20), ..Patience::default() };
    })
    .await
}

fn wrong(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Lost(why) | Stop::Unreachable(why) => anyhow!(why),
        Stop::Wrong(error) => error,
    }
}

/// Text that does not get shorter.
fn noise(bytes: usize) -> String {
    (0..bytes).map(|_| char::from(rand::random_range(b'#'..=b'['))).collect()
}

/// Pushes one batch of so many records.
async fn push(device: &mut SyncDevice, online: &OpenSession, records: usize, round: usize) -> Tested {
    for record in 0..records {
        device.edit(&key("notes", &format!("{round}-{record}"))?, &value(&noise(RECORD_BYTES), 0), 0)?;
    }
    let batch = device.next_batch()?.context("a batch")?;
    device.push(online, &batch).await.map_err(wrong)?;
    Ok(())
}

async fn writer(node: &TestNode) -> anyhow::Result<(SyncDevice, OpenSession)> {
    let mut device = SyncDevice::new(Person::register(node, Wire::Quic, "ada@example.com").await?);
    let online = device.connect(&node.server(Wire::Quic)?, Access::Held).await.map_err(wrong)?;
    device.catch_up(&online).await.map_err(wrong)?;
    device.claim(&online).await.map_err(wrong)?;
    Ok((device, online))
}

async fn welcomed(node: &TestNode, wire: Wire, person: &Person) -> anyhow::Result<RawClient> {
    let mut client = RawClient::connect(node, wire).await?;
    client.hello(&person.keys.device, &person.tokens.access_token).await?;
    assert!(matches!(client.frame().await?, Frame::Welcome(_)));
    Ok(client)
}

/// WebSocket sessions that were given up as too slow, of every node in this process: one test has any.
async fn given_up(node: &TestNode) -> anyhow::Result<u64> {
    let metrics = node.metrics().await?;
    let counted = metrics.lines().find_map(|line| {
        let labels = line.strip_prefix("cloudsync_session_closes_total{")?;
        (labels.contains("\"websocket\"") && labels.contains("\"too_slow\"")).then(|| labels.rsplit(' ').next())?
    });
    Ok(counted.map_or(Ok(0), str::parse)?)
}

/// Asks for more than it reads; what comes once it was given up and reads again.
async fn deaf(node: &TestNode, wire: Wire, person: &Person) -> anyhow::Result<Received> {
    let before = given_up(node).await?;
    let mut client = welcomed(node, wire, person).await?;
    for request in 1..=PULLS {
        client.send(Pull { request, log: OWN_LOG, from: Cursor::default(), to: Seq(u64::MAX) }).await?;
    }
    let begun = Instant::now();
    match wire {
        Wire::Quic => drop(client.quic()?.closed().await),
        // A WebSocket that isn't read learns nothing: the node is asked.
        Wire::Wss | Wire::Ws => {
            while given_up(node).await? == before {
                ensure!(begun.elapsed() < Duration::from_secs(20), "{wire:?}: it was not given up");
            }
        }
    }
    assert!(begun.elapsed() >= STALL_MAX / 2, "{wire:?}: given up too soon, after {:?}", begun.elapsed());
    loop {
        match client.next().await? {
            Received::Frame(_) => {}
            end => return Ok(end),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_answers_is_closed_with_too_slow_on_every_wire() -> Tested {
    let node = node().await?;
    let (mut device, online) = writer(&node).await?;
    push(&mut device, &online, RECORDS, 0).await?;
    for wire in Wire::ALL {
        let code = if wire == Wire::Quic { 3 } else { 1008 };
        assert_eq!(deaf(&node, wire, &device.person).await?, Received::Closed { code, reason: "too_slow".to_owned() }, "{wire:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_not_read_end_a_quic_session_by_a_reset_and_a_word() -> Tested {
    let node = node().await?;
    let (mut device, online) = writer(&node).await?;
    let listener = device.person.log_in_again(&node, Wire::Quic).await?;
    let mut client = welcomed(&node, Wire::Quic, &listener).await?;
    let connection = client.quic()?.clone();
    client.send(Attach { request: 1, log: OWN_LOG, cursor: Cursor::default() }).await?;
    assert!(matches!(client.frame().await?, Frame::Attached(_)));
    // Each push is an event of its own, with its body; together they are more than a stream's window.
    for round in 0..EVENTS {
        push(&mut device, &online, 1, round).await?;
    }
    let mut events = connection.accept_uni().await?;
    let (reset, failed) = tokio::join!(events.received_reset(), client.failure());
    assert_eq!(reset?.map(quinn::VarInt::into_inner), Some(3), "the stream does not just end, inside a frame");
    let (failure, close) = failed?;
    assert_eq!(failure.code, ErrorCode::TooSlow);
    assert_eq!(close, Received::Closed { code: 3, reason: "too_slow".to_owned() });
    Ok(())
}
