//! Ten thousand random operations of three devices on a full quota, and the node killed again and again meanwhile: what
//! its head row says is used is what a recount finds, to the byte, after every kill and at the end.
//!
//! Never: a node in process, or one that is asked to end. It is the release binary, killed by `kill -9`.

#![allow(clippy::print_stdout, reason = "a proof says what it proved, and under which seed")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail, ensure};
use cloudsync_client::connection::Server;
use cloudsync_engine::replica::{Content, EditState, Tables as _};
use cloudsync_tests::device::{Access, key, value};
use cloudsync_tests::node::Wire;
use cloudsync_tests::process::last_words;
use cloudsync_tests::{NodeProcess, Person, Stop, SyncDevice};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

const OPERATIONS: u64 = 10_000;
const KILLS: u64 = 12;
const WIRES: [Wire; 3] = [Wire::Quic, Wire::Wss, Wire::Ws];
/// For about a third of the records that are written to.
const QUOTA_BYTES: u64 = 150_000;
/// Nothing takes so long, whatever else the machine does.
const TIMEOUT: Duration = Duration::from_secs(300);
const SEED: &str = "CLOUDSYNC_TEST_SEED";

/// Which start of the node this is; nothing while it is down.
type Life = Option<u64>;

#[derive(Debug, Clone)]
struct World {
    server: Server,
    life: watch::Receiver<Life>,
    made: watch::Sender<u64>,
}

fn now_ms() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Edits of one batch or two: most of the device's own records, some that the others write too.
fn edit_some(device: &mut SyncDevice, random: &mut StdRng, own: &str) -> anyhow::Result<u64> {
    let count = random.random_range(20..=80);
    for _ in 0..count {
        let key = match random.random_ratio(1, 20) {
            true => key("preset", &format!("shared-{}", random.random_range(0..8)))?,
            false => key("timer_session", &format!("{own}-{}", random.random_range(0..400)))?,
        };
        let text = format!("{own} {}", random.random::<u64>());
        let content = if random.random_ratio(1, 4) { Content::Deleted } else { value(&text, random.random_range(20..600)) };
        device.edit(&key, &content, now_ms()?)?;
    }
    Ok(count)
}

/// What the node told as used is what this device holds, once it has read to where that was told.
fn recount(device: &mut SyncDevice) -> anyhow::Result<u64> {
    let status = device.replica()?.status()?;
    let usage = status.usage.context("nothing was told of the quota")?;
    ensure!(usage.at <= status.cursor.seq, "told of {} and read to {}", usage.at, status.cursor.seq);
    let held = device.tables().live_bytes()?;
    ensure!(usage.used == held, "told: {} B and on, held: {held} B", usage.used);
    ensure!(usage.limit == QUOTA_BYTES && held <= QUOTA_BYTES, "{held} of {}", usage.limit);
    Ok(held)
}

/// A session until it is lost, or this device has made its share.
async fn serve(device: &mut SyncDevice, random: &mut StdRng, (own, left): (&str, &mut u64), world: &World) -> Result<(), Stop> {
    let mut online = device.connect(&world.server, Access::Renewed).await?;
    device.catch_up(&online).await?;
    recount(device)?;
    device.claim(&online).await?;
    loop {
        device.push_all(&mut online, &|| ()).await?;
        if *left == 0 {
            return Ok(());
        }
        let made = edit_some(device, random, own)?;
        *left = left.saturating_sub(made);
        world.made.send_modify(|sum| *sum += made);
    }
}

/// Serves again in every life of the node.
async fn live(mut device: SyncDevice, own: String, mut random: StdRng, world: World) -> anyhow::Result<SyncDevice> {
    let mut left = OPERATIONS.div_ceil(WIRES.len() as u64);
    let mut lives = world.life.clone();
    loop {
        let life = *lives.wait_for(Option::is_some).await?;
        match serve(&mut device, &mut random, (&own, &mut left), &world).await {
            Ok(()) => return Ok(device),
            Err(Stop::Wrong(error)) => return Err(error.context(own)),
            // A machine this busy may be late with a connection.
            Err(Stop::Unreachable(_)) => {}
            Err(Stop::Lost(_)) if *world.life.borrow() != life => {}
            Err(Stop::Lost(why)) => bail!("{own} lost its connection to a node that was up: {why}"),
        }
    }
}

async fn kill_all_along(mut node: NodeProcess, life: &watch::Sender<Life>, made: &mut watch::Receiver<u64>) -> anyhow::Result<NodeProcess> {
    for kill in 1..=KILLS {
        let target = kill * OPERATIONS / (KILLS + 1);
        made.wait_for(|made| *made >= target).await?;
        life.send_replace(None);
        node = NodeProcess::start_again(&node.kill().await?).await?;
        life.send_replace(Some(kill));
    }
    Ok(node)
}

/// Everybody reads to the head: all hold as much as the head row says, and nothing waits that there is room for.
async fn compare(devices: &mut [SyncDevice], node: &NodeProcess) -> anyhow::Result<()> {
    let wrong = |stop: Stop| anyhow!("{stop:?}");
    let mut reader = SyncDevice::new(devices.first().context("a device")?.person.log_in_again_at(&node.server(Wire::Wss)?).await?);
    let online = reader.connect(&node.server(Wire::Wss)?, Access::Held).await.map_err(wrong)?;
    reader.read_log(&online).await?;
    reader.catch_up(&online).await.map_err(wrong)?;
    let held = recount(&mut reader)?;
    let mut waiting = 0;
    for device in devices {
        let mut online = device.connect(&node.server(Wire::Quic)?, Access::Renewed).await.map_err(wrong)?;
        device.catch_up(&online).await.map_err(wrong)?;
        // What was woken by others' deletes since goes too.
        device.claim(&online).await.map_err(wrong)?;
        device.push_all(&mut online, &|| ()).await.map_err(wrong)?;
        let room = QUOTA_BYTES - recount(device)?;
        for edit in device.tables().edits(None, None, usize::MAX)? {
            match edit.state {
                EditState::Paused { grows } => ensure!(grows > room, "{} grows by {grows} and waits, with room for {room}", edit.key),
                EditState::Parked(_) => {}
                EditState::Waiting | EditState::Signed(_) => bail!("{} is not decided", edit.key),
            }
            waiting += u64::from(matches!(edit.state, EditState::Paused { .. }));
        }
    }
    println!("{held} B of {QUOTA_BYTES} B after the kills, {waiting} edits wait");
    Ok(())
}

async fn prove(folder: &Path, seed: u64) -> anyhow::Result<()> {
    let mut node = NodeProcess::start_with_quota(folder, QUOTA_BYTES).await?;
    let (life, lives) = watch::channel(Some(0));
    let (made, mut sum) = watch::channel(0);
    let first = Person::register_at(&node.server(Wire::Quic)?, "ada@example.com").await?;
    let mut people = Vec::new();
    for wire in WIRES.into_iter().skip(1) {
        people.push(first.log_in_again_at(&node.server(wire)?).await?);
    }
    people.push(first);
    let mut tasks = JoinSet::new();
    for ((person, wire), number) in people.into_iter().zip(WIRES).zip(0..) {
        let world = World { server: node.server(wire)?, life: lives.clone(), made: made.clone() };
        let random = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number));
        tasks.spawn(Box::pin(live(SyncDevice::new(person), wire.scheme().to_owned(), random, world)));
    }
    let mut devices = Vec::new();
    let mut killing = std::pin::pin!(kill_all_along(node, &life, &mut sum));
    node = loop {
        tokio::select! {
            killed = &mut killing => break killed?,
            Some(ended) = tasks.join_next() => devices.push(ended??),
        }
    };
    while let Some(ended) = tasks.join_next().await {
        devices.push(ended??);
    }
    compare(&mut devices, &node).await?;
    let sum = |count: fn(&SyncDevice) -> u64| devices.iter().map(count).sum::<u64>();
    let (refused, lost) = (sum(|device| device.ledger.without_room), sum(|device| device.ledger.lost_answers));
    println!("{} operations, {KILLS} kills, {refused} pushes without room, {lost} lost answers settled", *made.borrow());
    ensure!(*made.borrow() >= OPERATIONS && refused > 20, "the quota was hardly met");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_ten_thousand_operations_and_many_kills_the_figure_is_what_a_recount_finds() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed}: {SEED}={seed} repeats the draws");
    let folder = tempfile::TempDir::new().unwrap();
    match tokio::time::timeout(TIMEOUT, Box::pin(prove(folder.path(), seed))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("seed {seed}: {error:#}\nthe node's last words:\n{}", last_words(folder.path())),
        Err(_) => panic!("seed {seed}: not done after {} s\nthe node's last words:\n{}", TIMEOUT.as_secs(), last_words(folder.path())),
    }
}
