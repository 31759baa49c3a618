//! The node is killed again and again under load: what it acknowledged is there, in order, once, on every device.
//!
//! Never: a node in process, or one that is asked to end. It is the release binary, killed by `kill -9`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail, ensure};
use cloudsync_client::connection::Server;
use cloudsync_protocol::RecordKey;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Torture;
use crate::device::{Access, key, value};
use crate::ledger::CheckedLog;
use crate::node::Wire;
use crate::{NodeProcess, Person, Stop, SyncDevice};

/// Lost answers are what kills are for: it goes on until one was seen, but not for more than so many times the kills asked for.
const KILLS_FACTOR_MAX: u32 = 3;
const USERS: u64 = 2;
/// Of each user's devices.
const WIRES: [Wire; 3] = [Wire::Quic, Wire::Wss, Wire::Ws];
/// From one kill to the next as many acknowledgements as were drawn; that long at most.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// What the kills proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeKills {
    /// `kill -9` of the node.
    pub kills: u32,
    /// One for each user's log.
    pub logs: Vec<LogProof>,
}

/// A log that has everything that was acknowledged, once, and is the same on every device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogProof {
    /// Batches in it.
    pub pushes: usize,
    /// Its head.
    pub seq: u64,
    /// Answers that a device had.
    pub acknowledged: usize,
    /// Pushes whose answer a kill took, and that were found committed.
    pub lost_answers: u64,
    /// Pushes refused as stale.
    pub stale: u64,
    /// Sessions that were lagging.
    pub lagged: u64,
}

/// Which start of the node this is; nothing while it is down.
type Life = Option<u32>;

/// What the one that kills looks at.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    acknowledged: u64,
    lost_answers: u64,
}

#[derive(Debug, Clone)]
struct World {
    server: Server,
    life: watch::Receiver<Life>,
    progress: watch::Sender<Progress>,
    stopping: watch::Receiver<bool>,
}

impl World {
    async fn up(&self) -> anyhow::Result<u32> {
        let mut life = self.life.clone();
        let up = life.wait_for(Option::is_some).await?;
        up.context("a life")
    }
    fn is_over(&self, life: u32) -> bool {
        *self.life.borrow() != Some(life)
    }
}

fn now_ms() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// One of a device's own records, or now and then one that its user's other devices write too.
fn draw_key(random: &mut StdRng, own: &str) -> anyhow::Result<RecordKey> {
    if random.random_ratio(1, 12) {
        key("preset", &format!("shared-{}", random.random_range(0..8)))
    } else {
        key("timer_session", &format!("{own}-{}", random.random_range(0..40)))
    }
}

fn edit_some(device: &mut SyncDevice, random: &mut StdRng, own: &str) -> anyhow::Result<()> {
    for _ in 0..random.random_range(1..=4) {
        let bytes = if random.random_ratio(1, 60) { random.random_range(8_000..20_000) } else { random.random_range(20..300) };
        let content = value(&format!("{own} {}", random.random::<u64>()), bytes);
        device.edit(&draw_key(random, own)?, &content, now_ms()?)?;
    }
    Ok(())
}

/// A session until it is lost, or there is nothing left to do.
async fn serve(device: &mut SyncDevice, random: &mut StdRng, own: &str, world: &World) -> Result<(), Stop> {
    let access = if random.random_ratio(1, 3) { Access::Renewed } else { Access::Held };
    let mut online = device.connect(&world.server, access).await?;
    device.catch_up(&online).await?;
    let lost_before = device.ledger.lost_answers;
    device.claim(&online).await?;
    let lost_answers = device.ledger.lost_answers - lost_before;
    world.progress.send_modify(|progress| progress.lost_answers += lost_answers);
    let acknowledged = || world.progress.send_modify(|progress| progress.acknowledged += 1);
    loop {
        device.push_all(&mut online, &acknowledged).await?;
        if *world.stopping.borrow() {
            return Ok(());
        }
        edit_some(device, random, own)?;
    }
}

/// Serves again in every life of the node.
async fn live(mut device: SyncDevice, own: String, seed: u64, world: World) -> anyhow::Result<SyncDevice> {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        let life = world.up().await?;
        match serve(&mut device, &mut random, &own, &world).await {
            Ok(()) => return Ok(device),
            Err(Stop::Wrong(error)) => return Err(error.context(own)),
            // A machine this busy may be late with a connection.
            Err(Stop::Unreachable(_)) => {}
            Err(Stop::Lost(_)) if world.is_over(life) => {}
            Err(Stop::Lost(why)) => bail!("{own} lost its connection to a node that was up: {why}"),
        }
    }
}

async fn sign_in(node: &NodeProcess, user: u64) -> anyhow::Result<Vec<SyncDevice>> {
    let first = Person::register_at(&node.server(Wire::Quic)?, &format!("user{user}@example.com")).await?;
    let mut devices = Vec::new();
    for wire in WIRES.into_iter().skip(1) {
        devices.push(SyncDevice::new(first.log_in_again_at(&node.server(wire)?).await?));
    }
    devices.insert(0, SyncDevice::new(first));
    Ok(devices)
}

/// When the next kill comes: after so many acknowledgements, and then a little, so that it falls anywhere in a commit.
fn draw_moment(random: &mut StdRng) -> (u64, Duration) {
    (random.random_range(5..=120), Duration::from_micros(random.random_range(0..4_000)))
}

struct Killer<'a> {
    torture: &'a Torture,
    life: watch::Sender<Life>,
    progress: watch::Receiver<Progress>,
    random: StdRng,
}

impl Killer<'_> {
    /// Kills at random moments until it has been done often enough.
    async fn run(
        &mut self,
        mut node: NodeProcess,
        devices: &mut JoinSet<anyhow::Result<SyncDevice>>,
    ) -> anyhow::Result<(NodeProcess, u32)> {
        let mut kills = 0;
        let (wanted, most) = (self.torture.kills, self.torture.kills.saturating_mul(KILLS_FACTOR_MAX));
        while kills < wanted || (kills < most && self.progress.borrow().lost_answers == 0) {
            let (more, delay) = draw_moment(&mut self.random);
            let target = self.progress.borrow().acknowledged + more;
            let reached = tokio::time::timeout(PROGRESS_TIMEOUT, self.progress.wait_for(|progress| progress.acknowledged >= target));
            tokio::select! {
                reached = reached => drop(reached.with_context(|| format!("no progress after {kills} kills"))??),
                ended = devices.join_next() => {
                    ended.context("no devices")???;
                    bail!("a device ended while it was to push");
                }
            }
            // Shorter than a timer of the runtime can be set: the moment is random, nothing is waited for.
            std::thread::sleep(delay);
            self.life.send_replace(None);
            let ended = node.kill().await?;
            ensure!(!ended.status().success(), "the node had ended by itself: {}", ended.status());
            node = NodeProcess::start_again(&ended).await?;
            kills += 1;
            (self.torture.progress)("kills of the node", kills);
            self.life.send_replace(Some(kills));
        }
        Ok((node, kills))
    }
}

/// Every device reads to the head; then all replicas are one, and what each was acknowledged and told is what the log has.
async fn compare(devices: &mut [SyncDevice], node: &NodeProcess) -> anyhow::Result<CheckedLog> {
    let wrong = |stop: Stop| anyhow!("{stop:?}");
    let first = devices.first().context("a device")?;
    let mut reader = SyncDevice::new(first.person.log_in_again_at(&node.server(Wire::Wss)?).await?);
    let online = reader.connect(&node.server(Wire::Wss)?, Access::Renewed).await.map_err(wrong)?;
    let entries = reader.read_log(&online).await?;
    let log = CheckedLog::of(&entries)?;
    let replica = records(&mut reader)?;
    ensure!(!replica.is_empty(), "nothing was written");
    for device in &mut *devices {
        let mut online = device.connect(&node.server(Wire::Quic)?, Access::Renewed).await.map_err(wrong)?;
        device.catch_up(&online).await.map_err(wrong)?;
        device.follow(&mut online, log.head()).await.map_err(wrong)?;
        let id = device.person.keys.device.id;
        device.ledger.check(id, &log, &reader.ledger)?;
        ensure!(records(device)? == replica, "the replica of {id} is another one than the log makes");
    }
    ensure!(log.devices() == devices.iter().map(|device| device.person.keys.device.id).collect(), "a device pushed nothing");
    let mut fresh = SyncDevice::new(first_of(devices)?.person.log_in_again_at(&node.server(Wire::Quic)?).await?);
    let online = fresh.connect(&node.server(Wire::Quic)?, Access::Held).await.map_err(wrong)?;
    fresh.read_snapshot(&online).await?;
    ensure!(records(&mut fresh)? == replica, "the snapshot is another state than the log makes");
    Ok(log)
}

fn first_of(devices: &[SyncDevice]) -> anyhow::Result<&SyncDevice> {
    devices.first().context("a device")
}

/// Everything committed that a replica holds: version, place, hash and content of each record.
fn records(device: &mut SyncDevice) -> anyhow::Result<Vec<cloudsync_engine::replica::Record>> {
    use cloudsync_engine::replica::Tables as _;
    Ok(device.tables().records(None, None, usize::MAX)?)
}

/// Kills the node under load, then compares everything.
pub async fn kill_node(folder: &Path, torture: &Torture) -> anyhow::Result<NodeKills> {
    let seed = torture.seed;
    let node = NodeProcess::start(folder).await?;
    let (life, lives) = watch::channel(Some(0));
    let (progress, seen) = watch::channel(Progress::default());
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for user in 0..USERS {
        for ((device, wire), number) in sign_in(&node, user).await?.into_iter().zip(WIRES).zip(0..) {
            let world = World { server: node.server(wire)?, life: lives.clone(), progress: progress.clone(), stopping: stopping.clone() };
            let own = format!("user{user}-{}", wire.scheme());
            tasks.spawn(Box::pin(live(device, own, seed.wrapping_mul(31).wrapping_add(user * 8 + number), world)));
        }
    }
    let mut killer = Killer { torture, life, progress: seen, random: StdRng::seed_from_u64(seed) };
    let (node, kills) = killer.run(node, &mut tasks).await?;
    stop.send_replace(true);
    let mut devices = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        devices.push(ended??);
    }
    ensure!(devices.iter().all(|device| !device.waits()), "a push without an answer");
    let mut logs = Vec::new();
    for log in devices.iter().map(|device| device.person.keys.log()).collect::<std::collections::BTreeSet<_>>() {
        let (mut own, others) = devices.into_iter().partition::<Vec<_>, _>(|device| device.person.keys.log() == log);
        devices = others;
        let checked = Box::pin(compare(&mut own, &node)).await?;
        let sum = |count: fn(&SyncDevice) -> u64| own.iter().map(count).sum::<u64>();
        logs.push(LogProof {
            pushes: checked.pushes(),
            seq: checked.head().0,
            acknowledged: own.iter().map(|device| device.ledger.acknowledgements()).sum(),
            lost_answers: sum(|device| device.ledger.lost_answers),
            stale: sum(|device| device.ledger.stale),
            lagged: sum(|device| device.ledger.lagged),
        });
    }
    let ended = node.terminate().await?;
    ensure!(ended.status().success(), "after all that SIGTERM ended it with {}", ended.status());
    ensure!(killer.progress.borrow().lost_answers > 0, "no kill fell between a commit and its answer");
    Ok(NodeKills { kills, logs })
}
