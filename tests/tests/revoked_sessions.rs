//! Devices that are revoked while they read nothing: their connections are closed all the same, at once.
//!
//! Never: another test in this file; the counts of connections are those of the whole process.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test names what it expects and fails where it stands")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use cloudsync_protocol::frame::{Attach, OWN_LOG, Pull};
use cloudsync_protocol::{Cursor, Frame, Seq};
use cloudsync_storage::MemoryStore;
use cloudsync_tests::device::{Access, OpenSession, key, value};
use cloudsync_tests::{Person, RawClient, Received, Stop, SyncDevice, TestNode, Wire};

type Tested = anyhow::Result<()>;

/// What "at once" is.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Records of 48 KiB: one push of them is more than a page asks for, thirty pages more than sockets and windows take.
const RECORDS: usize = 8;
const RECORD_BYTES: usize = 48 * 1024;
const PULLS: u32 = 30;
const EVENTS: usize = 40;

fn wrong(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Lost(why) | Stop::Unreachable(why) => anyhow!(why),
        Stop::Wrong(error) => error,
    }
}

/// The device that stays.
struct Keeper {
    node: TestNode,
    device: SyncDevice,
    online: OpenSession,
    rounds: usize,
}

impl Keeper {
    async fn start() -> anyhow::Result<Self> {
        let node = TestNode::start_on(Arc::new(MemoryStore::new())).await?;
        let mut device = SyncDevice::new(Person::register(&node, Wire::Quic, "ada@example.com").await?);
        let online = device.connect(&node.server(Wire::Quic)?, Access::Held).await.map_err(wrong)?;
        device.catch_up(&online).await.map_err(wrong)?;
        device.claim(&online).await.map_err(wrong)?;
        Ok(Self { node, device, online, rounds: 0 })
    }

    /// Pushes one batch of so many records that don't get shorter.
    async fn push(&mut self, records: usize) -> Tested {
        self.rounds += 1;
        for record in 0..records {
            let noise: String = (0..RECORD_BYTES).map(|_| char::from(rand::random_range(b'#'..=b'['))).collect();
            self.device.edit(&key("notes", &format!("{}-{record}", self.rounds))?, &value(&noise, 0), 0)?;
        }
        let batch = self.device.next_batch()?.context("a batch")?;
        self.device.push(&self.online, &batch).await.map_err(wrong)?;
        Ok(())
    }

    /// The sum of a metric's samples.
    async fn sum(&self, name: &str) -> anyhow::Result<f64> {
        let metrics = self.node.metrics().await?;
        let samples = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        Ok(samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until there is no connection but this device's own; how long that took.
    async fn alone(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        while self.sum("cloudsync_connections").await? > 1.0 {
            ensure!(begun.elapsed() < TIMEOUT, "there are others still");
        }
        Ok(begun.elapsed())
    }

    /// Waits until the node finds nobody any more who takes its bytes.
    async fn stalled(&self) -> Tested {
        let mut before = -1.0;
        loop {
            let sent = self.sum("cloudsync_sent_bytes_total").await?;
            if sent <= before {
                return Ok(());
            }
            before = sent;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn connect(&self, wire: Wire) -> anyhow::Result<(RawClient, Person)> {
        let person = self.device.person.log_in_again(&self.node, wire).await?;
        self.alone().await?;
        let (client, _) = RawClient::welcomed(&self.node.server(wire)?, &person).await?;
        Ok((client, person))
    }

    /// Revokes a device that reads nothing, and sees its connection end.
    async fn revoke(&self, mut client: RawClient, person: &Person) -> anyhow::Result<Received> {
        self.stalled().await?;
        self.device.person.log_in_instead_of(&self.node, Wire::Quic, person.keys.device.id).await?;
        let took = self.alone().await?;
        ensure!(took < AT_ONCE, "closed only after {took:?}");
        // What the kernel holds is still to be read, then the end.
        loop {
            match client.next().await? {
                Received::Frame(_) => {}
                end => return Ok(end),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_that_reads_nothing_is_closed_at_once_on_every_wire() -> Tested {
    let mut keeper = Keeper::start().await?;
    keeper.push(RECORDS).await?;
    for wire in Wire::ALL {
        let (mut client, person) = keeper.connect(wire).await?;
        for request in 1..=PULLS {
            client.send(Pull { request, log: OWN_LOG, from: Cursor::default(), to: Seq(u64::MAX) }).await?;
        }
        let end = keeper.revoke(client, &person).await.with_context(|| format!("answers over {wire:?}"))?;
        if wire == Wire::Quic {
            assert_eq!(end, Received::Closed { code: 3, reason: "device_revoked".to_owned() });
        }
    }
    let (mut client, person) = keeper.connect(Wire::Quic).await?;
    client.send(Attach { request: 1, log: OWN_LOG, cursor: Cursor::default() }).await?;
    assert!(matches!(client.frame().await?, Frame::Attached(_)));
    for _ in 0..EVENTS {
        keeper.push(1).await?;
    }
    let end = keeper.revoke(client, &person).await.context("events over QUIC")?;
    assert_eq!(end, Received::Closed { code: 3, reason: "device_revoked".to_owned() });
    Ok(())
}
