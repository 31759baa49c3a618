//! Attacks on a node in a process of its own: its memory stays bounded, and another user's pushes go on beside them.
//!
//! Never: a node in process; its memory is measured from outside. Nor a bound on time that only a quiet machine keeps.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
#![allow(clippy::print_stdout, reason = "a proof says what it measured")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use cloudsync_tests::attack::{Attack, Lagging, Target};
use cloudsync_tests::device::{Access, OpenSession, key, value};
use cloudsync_tests::process::{Start, last_words};
use cloudsync_tests::{NodeProcess, Person, Stop, SyncDevice, Wire};

const MIB: u64 = 1024 * 1024;
/// Pushes of a run; the 99th percentile is the last but one of a hundred.
const PUSHES: usize = 100;
const PUSH_EVERY: Duration = Duration::from_millis(25);
/// What a node may grow by under all attacks together: SQLite's caches and the allocator's, and what the bounds of connections allow.
const GROWTH_BYTES_MAX: u64 = 64 * MIB;
/// A push beside an attack: so many quiet ones, and what a machine takes that runs the attacker as well.
const SLOWER_MAX: u32 = 20;
const SLACK: Duration = Duration::from_millis(250);
const DEVICES: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(300);

fn wrong(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Lost(why) | Stop::Unreachable(why) => anyhow!(why),
        Stop::Wrong(error) => error,
    }
}

/// Somebody who goes on with their work.
struct Victim {
    device: SyncDevice,
    online: OpenSession,
    pushed: usize,
}

impl Victim {
    async fn new(node: &NodeProcess) -> anyhow::Result<Self> {
        let person = Person::register_at(&node.server(Wire::Quic)?, "victim@example.com").await?;
        let mut device = SyncDevice::new(person);
        let online = device.connect(&node.server(Wire::Quic)?, Access::Held).await.map_err(wrong)?;
        device.catch_up(&online).await.map_err(wrong)?;
        device.claim(&online).await.map_err(wrong)?;
        Ok(Self { device, online, pushed: 0 })
    }

    /// Pushes one after the other, below what the throttles let pass: the median, the 99th percentile, and the most that the node held meanwhile.
    async fn push(&mut self, node: &NodeProcess) -> anyhow::Result<Measured> {
        let (mut took, mut resident) = (Vec::new(), 0);
        let mut turns = tokio::time::interval(PUSH_EVERY);
        for _ in 0..PUSHES {
            turns.tick().await;
            self.pushed += 1;
            self.device.edit(&key("timer_session", &self.pushed.to_string())?, &value("x", 200), 0)?;
            let batch = self.device.next_batch()?.context("a batch")?;
            let began = Instant::now();
            let (answered, head) = self.device.push(&self.online, &batch).await.map_err(wrong)?;
            took.push(answered - began);
            resident = resident.max(node.resident_bytes()?);
            self.device.follow(&mut self.online, head).await.map_err(wrong)?;
        }
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 100).or(took.last()).copied().unwrap_or_default();
        Ok(Measured { median: at(50), p99: at(98), resident })
    }
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    median: Duration,
    p99: Duration,
    resident: u64,
}

impl Measured {
    fn stays_within(self, quiet: Self, what: &str) -> anyhow::Result<()> {
        let (grown, bound) = (self.resident.saturating_sub(quiet.resident), quiet.median * SLOWER_MAX + SLACK);
        println!("{what}: median {:?}, p99 {:?}; {} MiB, {} more", self.median, self.p99, self.resident / MIB, grown / MIB);
        ensure!(grown <= GROWTH_BYTES_MAX, "{what}: grew by {} MiB", grown / MIB);
        ensure!(self.median <= bound, "{what}: a push took {:?}, {:?} before", self.median, quiet.median);
        Ok(())
    }
}

/// While `attack` goes on, the victim works.
async fn beside(attack: impl Future<Output = ()>, work: impl Future<Output = anyhow::Result<Measured>>) -> anyhow::Result<Measured> {
    tokio::select! {
        measured = work => measured,
        () = attack => Err(anyhow!("the attacker gave up")),
    }
}

async fn every_attack(node: &NodeProcess) -> anyhow::Result<()> {
    let mut victim = Victim::new(node).await?;
    let (quic, wss) = (node.server(Wire::Quic)?, node.server(Wire::Wss)?);
    let attacker = Person::register_at(&quic, "attacker@example.com").await?;
    // Caches and allocators fill first.
    victim.push(node).await?;
    let quiet = victim.push(node).await?;
    println!("quiet: {quiet:?}");
    let target = Target { quic: &quic, wss: &wss, attacker: &attacker };
    for attack in Attack::ALL {
        let measured = beside(attack.wage(target), victim.push(node)).await.with_context(|| format!("{attack:?}"))?;
        measured.stays_within(quiet, &format!("{attack:?}"))?;
    }
    Ok(())
}

async fn devices_that_lag(node: &NodeProcess) -> anyhow::Result<()> {
    let mut victim = Victim::new(node).await?;
    let crowd = Lagging::gather(node, DEVICES).await?;
    victim.push(node).await?;
    let quiet = victim.push(node).await?;
    println!("quiet: {quiet:?}");
    beside(crowd.write(), victim.push(node)).await?.stays_within(quiet, "64 devices that lag")
}

async fn on_a_node(arguments: &[&str], prove: impl AsyncFnOnce(&NodeProcess) -> anyhow::Result<()>) {
    let folder = tempfile::TempDir::new().unwrap();
    let start = Start { arguments: arguments.iter().map(|&one| one.to_owned()).collect(), ..Start::default() };
    let node = NodeProcess::start_with(folder.path(), start).await.unwrap();
    let proved = tokio::time::timeout(TIMEOUT, Box::pin(prove(&node))).await;
    let proved = proved.unwrap_or_else(|_| Err(anyhow!("not done after {} s", TIMEOUT.as_secs())));
    if let Err(error) = proved {
        panic!("{error:#}\nthe node's last words:\n{}", last_words(folder.path()));
    }
    assert!(node.terminate().await.unwrap().status().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_attack_a_node_keeps_its_memory_and_another_user_s_pushes_go_on() {
    on_a_node(&["--throttle-loopback"], every_attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_64_devices_that_all_lag_costs_the_node_little_and_others_nothing() {
    // Enrolling as many is what the throttles are against.
    on_a_node(&[], devices_that_lag).await;
}
