//! Clients that read nothing, and devices that only listen and read nothing: nobody else waits for them, and the node's
//! memory stays bounded; the devices are told, and lose nothing.
//!
//! Never: a node in process; its memory is measured from outside. Nor a reader that is merely slow: the actors' tests.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
#![allow(clippy::print_stdout, reason = "a proof says what it measured")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use cloudsync_engine::replica::{Record, Tables as _};
use cloudsync_protocol::frame::{Attach, GetKeyring, OWN_LOG, Ping};
use cloudsync_protocol::{Cursor, Frame, codec};
use cloudsync_tests::device::{Access, OpenSession, key, value};
use cloudsync_tests::node::Wire;
use cloudsync_tests::process::last_words;
use cloudsync_tests::raw::read_frame;
use cloudsync_tests::{NodeProcess, Person, RawClient, Received, Stop, SyncDevice};
use rand::RngExt as _;

const MIB: u64 = 1024 * 1024;
/// Records of one push, and of each the bytes: together below what an event may hold.
const RECORDS: usize = 3;
const RECORD_BYTES: usize = 20 * 1024;
const QUIET_PUSHES: usize = 60;
/// Events that make, without a bound on what waits for the devices that don't read, far more than the node may grow by. All
/// queues hold the same bytes, so that it is the bytes of one queue that count.
const LOADED_PUSHES: usize = 1060;
/// SQLite's page caches (32 MiB of the writer, 8 of each reader) fill meanwhile.
const LOADED_GROWTH_BYTES_MAX: u64 = 44 * MIB;
const _: () = assert!((LOADED_PUSHES * RECORDS * RECORD_BYTES) as u64 > LOADED_GROWTH_BYTES_MAX * 5 / 4);
/// Requests of one client, each with an answer of so many bytes: without a bound three clients make three times what the
/// node may grow by.
const FLOOD_REQUESTS: u32 = 40_000;
const FLOOD_ANSWER_BYTES: u64 = 500;
const FLOOD_GROWTH_BYTES_MAX: u64 = 16 * MIB;
const _: () = assert!(3 * FLOOD_REQUESTS as u64 * FLOOD_ANSWER_BYTES > 3 * FLOOD_GROWTH_BYTES_MAX);
/// The bound on a loaded median: so many quiet ones, and a busy machine's ups and downs.
const SLOWER_MAX: u32 = 4;
const SLACK: Duration = Duration::from_millis(5);
/// A node gives a connection up that takes nothing for so long (`node/src/framing.rs`).
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(240);

fn wrong(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Lost(why) | Stop::Unreachable(why) => anyhow!(why),
        Stop::Wrong(error) => error,
    }
}

/// Text that gzip makes hardly shorter.
fn noise(bytes: usize) -> String {
    let mut random = rand::rng();
    (0..bytes).map(|_| char::from(random.random_range(b'#'..=b'['))).collect()
}

/// A device that listens, reading events as they come.
struct Listener {
    device: SyncDevice,
    online: OpenSession,
    noise: String,
}

impl Listener {
    async fn connect(person: Person, node: &NodeProcess, wire: Wire) -> anyhow::Result<Self> {
        let mut device = SyncDevice::new(person);
        let online = device.connect(&node.server(wire)?, Access::Held).await.map_err(wrong)?;
        device.catch_up(&online).await.map_err(wrong)?;
        Ok(Self { device, online, noise: noise(RECORD_BYTES) })
    }

    /// Pushes once: how long until it is acknowledged, and until `other` has read it.
    async fn push(&mut self, other: &mut Self, number: usize) -> anyhow::Result<[Duration; 2]> {
        for record in 0..RECORDS {
            let name = key("timer_session", &format!("{number}-{record}"))?;
            self.device.edit(&name, &value(&format!("{number} {}", self.noise), 0), 0)?;
        }
        let batch = self.device.next_batch()?.context("a batch")?;
        let began = Instant::now();
        let (answered, head) = self.device.push(&self.online, &batch).await.map_err(wrong)?;
        let acknowledged = answered - began;
        other.device.follow(&mut other.online, head).await.map_err(wrong)?;
        let received = began.elapsed();
        self.device.follow(&mut self.online, head).await.map_err(wrong)?;
        Ok([acknowledged, received])
    }

    fn records(&self) -> anyhow::Result<Vec<Record>> {
        Ok(self.device.tables().records(None, None, usize::MAX)?)
    }
}

/// Two users; of the first one there are devices that don't read.
struct Pushing {
    writer: Listener,
    watcher: Listener,
    stranger: Listener,
    stranger_watcher: Listener,
    pushed: usize,
}

/// Medians of one run: acknowledged and received of the user, and of another user.
struct Medians([Duration; 4]);

impl Pushing {
    async fn run(&mut self, pushes: usize, node: &NodeProcess) -> anyhow::Result<(Medians, u64)> {
        let mut took: [Vec<Duration>; 4] = Default::default();
        let mut resident_max = 0;
        for number in self.pushed..self.pushed + pushes {
            let own = self.writer.push(&mut self.watcher, number).await?;
            let others = if number % 8 == 0 { self.stranger.push(&mut self.stranger_watcher, number).await?.to_vec() } else { Vec::new() };
            took.iter_mut().zip(own.into_iter().chain(others)).for_each(|(samples, sample)| samples.push(sample));
            resident_max = resident_max.max(node.resident_bytes()?);
        }
        self.pushed += pushes;
        let medians = took.map(|mut samples| {
            samples.sort_unstable();
            samples.get(samples.len() / 2).copied().unwrap_or_default()
        });
        Ok((Medians(medians), resident_max))
    }
}

/// A device that attaches and then reads nothing.
struct Deaf {
    person: Person,
    wire: Wire,
    raw: RawClient,
    since: Instant,
}

impl Deaf {
    async fn attach(first: &Person, node: &NodeProcess, wire: Wire) -> anyhow::Result<Self> {
        let person = first.log_in_again_at(&node.server(wire)?).await?;
        let (mut raw, _) = RawClient::welcomed(&node.server(wire)?, &person).await?;
        raw.send(Attach { request: 1, log: OWN_LOG, cursor: Cursor::default() }).await?;
        ensure!(matches!(raw.frame().await?, Frame::Attached(_)), "not attached");
        Ok(Self { person, wire, raw, since: Instant::now() })
    }

    /// Reads at last: it is told that events were dropped; or it took nothing for so long that it was given up.
    async fn listen(&mut self) -> anyhow::Result<&'static str> {
        let stalled = self.since.elapsed() >= WRITE_STALL_MAX;
        match self.read_to_word().await {
            Ok(()) => Ok("told that it lags"),
            Err(error) if stalled => {
                println!("over {} the connection ended, after {:?}: {error:#}", self.wire.scheme(), self.since.elapsed());
                Ok("given up")
            }
            Err(error) => Err(error),
        }
    }

    async fn read_to_word(&mut self) -> anyhow::Result<()> {
        if self.wire == Wire::Quic {
            let mut events = self.raw.quic()?.accept_uni().await?;
            while let Some(frame) = read_frame(&mut events).await? {
                if matches!(frame, Frame::Lagging(_)) {
                    return Ok(());
                }
            }
            bail!("the event stream ended without a word");
        }
        loop {
            match self.raw.next().await? {
                Received::Frame(frame) if matches!(*frame, Frame::Lagging(_)) => return Ok(()),
                Received::Frame(frame) => drop(frame),
                closed @ (Received::Closed { .. } | Received::Lost(_)) => bail!("{closed:?} before a word of what was dropped"),
            }
        }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes / MIB
}

async fn pushing(node: &NodeProcess) -> anyhow::Result<(Pushing, Person)> {
    let first = Person::register_at(&node.server(Wire::Quic)?, "ada@example.com").await?;
    let stranger = Person::register_at(&node.server(Wire::Wss)?, "grace@example.com").await?;
    let watcher = first.log_in_again_at(&node.server(Wire::Wss)?).await?;
    let stranger_watcher = stranger.log_in_again_at(&node.server(Wire::Quic)?).await?;
    let again = first.log_in_again_at(&node.server(Wire::Quic)?).await?;
    let mut pushing = Pushing {
        writer: Listener::connect(first, node, Wire::Quic).await?,
        watcher: Listener::connect(watcher, node, Wire::Wss).await?,
        stranger: Listener::connect(stranger, node, Wire::Wss).await?,
        stranger_watcher: Listener::connect(stranger_watcher, node, Wire::Quic).await?,
        pushed: 0,
    };
    for writer in [&mut pushing.writer, &mut pushing.stranger] {
        writer.device.claim(&writer.online).await.map_err(wrong)?;
    }
    Ok((pushing, again))
}

async fn prove(node: &NodeProcess) -> anyhow::Result<()> {
    let (mut pushing, again) = Box::pin(pushing(node)).await?;
    // Every cache and allocator is as full before as it will be after.
    pushing.run(QUIET_PUSHES, node).await?;
    let (Medians(quiet), before) = pushing.run(QUIET_PUSHES, node).await?;
    let mut deaf = Vec::new();
    for wire in Wire::ALL {
        deaf.push(Deaf::attach(&again, node, wire).await?);
    }
    let (Medians(loaded), after) = pushing.run(LOADED_PUSHES, node).await?;
    let fanned_out = mib((LOADED_PUSHES * RECORDS * RECORD_BYTES) as u64);
    println!("quiet {quiet:?}, loaded {loaded:?}; resident {} MiB, then {} MiB at most; {fanned_out} MiB each", mib(before), mib(after));
    for (quiet, loaded) in quiet.into_iter().zip(loaded) {
        ensure!(loaded <= quiet * SLOWER_MAX + SLACK, "slowed down from {quiet:?} to {loaded:?} by devices that don't read");
    }
    ensure!(after <= before + LOADED_GROWTH_BYTES_MAX, "grew from {} MiB to {} MiB", mib(before), mib(after));
    let expected = pushing.watcher.records()?;
    ensure!(expected.len() == pushing.pushed * RECORDS, "{} records", expected.len());
    for mut deaf in deaf {
        let told = deaf.listen().await.with_context(|| format!("over {}", deaf.wire.scheme()))?;
        println!("over {}: {told}", deaf.wire.scheme());
        deaf.raw.vanish();
        let caught_up = Listener::connect(deaf.person, node, deaf.wire).await?;
        ensure!(caught_up.records()? == expected, "over {} it did not catch up", deaf.wire.scheme());
    }
    Ok(())
}

/// Asks until the node takes no more, or has closed.
async fn flood(client: &mut RawClient) {
    for request in 1..=FLOOD_REQUESTS {
        let frame = codec::encode(&Frame::from(GetKeyring { request }));
        match tokio::time::timeout(Duration::from_secs(2), client.send_bytes(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn prove_flood(node: &NodeProcess) -> anyhow::Result<()> {
    let ada = Person::register_at(&node.server(Wire::Quic)?, "ada@example.com").await?;
    let bob = Person::register_at(&node.server(Wire::Ws)?, "bob@example.com").await?;
    let before = node.resident_bytes()?;
    let mut deaf = Vec::new();
    for wire in Wire::ALL {
        let (mut client, _) = RawClient::welcomed(&node.server(wire)?, &ada).await?;
        flood(&mut client).await;
        deaf.push(client);
    }
    for wire in Wire::ALL {
        let (mut client, _) = RawClient::welcomed(&node.server(wire)?, &bob).await?;
        for number in 0..20 {
            let begun = Instant::now();
            client.send(Ping { number }).await?;
            ensure!(matches!(client.frame().await?, Frame::Pong(pong) if pong.number == number), "no pong");
            ensure!(begun.elapsed() < Duration::from_secs(1), "{:?} over {wire:?}", begun.elapsed());
        }
    }
    let after = node.resident_bytes()?;
    println!("flooded: resident {} MiB, then {} MiB", mib(before), mib(after));
    ensure!(after <= before + FLOOD_GROWTH_BYTES_MAX, "grew from {} MiB to {} MiB", mib(before), mib(after));
    drop(deaf);
    Ok(())
}

/// Runs a proof on a node of its own, which must end in time afterwards, whoever is connected.
async fn on_a_node(prove: impl AsyncFnOnce(&NodeProcess) -> anyhow::Result<()>) {
    let folder = tempfile::TempDir::new().unwrap();
    // The load is more than a user has room for otherwise.
    let node = NodeProcess::start_with_quota(folder.path(), u64::MAX).await.unwrap();
    let proved = tokio::time::timeout(TIMEOUT, Box::pin(prove(&node))).await;
    match proved {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("{error:#}\nthe node's last words:\n{}", last_words(folder.path())),
        Err(_) => panic!("not done after {} s\nthe node's last words:\n{}", TIMEOUT.as_secs(), last_words(folder.path())),
    }
    assert!(node.terminate().await.unwrap().status().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_read_no_event_slow_nobody_down_take_no_memory_and_lose_nothing() {
    on_a_node(prove).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_flood_and_read_no_answer_hold_nobody_up_and_take_no_memory() {
    on_a_node(prove_flood).await;
}
