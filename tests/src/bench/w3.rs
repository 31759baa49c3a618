//! W3: what a connected device costs a node in memory while it is idle, after some messages each.
//!
//! Never: a figure while a user's actor is still there; an idle device has none.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cloudsync_protocol::Frame;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::Effort;
use super::cores::Cores;
use super::fixture::{Fixture, Member, now_ms};
use super::pushes::{BODY_BYTES, Pusher};
use super::report::{Aim, Bound, Figure, Section, Table, Unit};
use super::seat::{Dialler, Seat};
use crate::NodeProcess;
use crate::minted::Mint;
use crate::node::Wire;

/// Devices that are connected when it is measured; each stage adds to the one before.
const STAGES: [usize; 3] = [2_000, 5_000, 10_000];
/// Each pushes so often; each push is answered and echoed.
const MESSAGES: u32 = 20;
/// Connecting, or pushing, at once: below what a node's backlog takes.
const AT_ONCE: usize = 64;
/// In bytes, for each device.
const AIMS: [(Wire, f64); 3] = [(Wire::Ws, 13_000.0), (Wire::Wss, 20_000.0), (Wire::Quic, 42_000.0)];
/// A user's actor goes after half a minute without work, and the region looks every five seconds.
const PASSIVE_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_EVERY: Duration = Duration::from_millis(500);
/// What is said where an aim is missed.
const REASONS: &[&str] = &[];

async fn sit(dialler: &Dialler, member: &Member, mint: &Mint) -> anyhow::Result<Seat> {
    let device = member.devices.first().context("a device")?;
    let token = mint.token((member.user, device.id), now_ms()?, 1)?;
    let mut seat = dialler.open(device, &token).await?;
    seat.attach().await?;
    seat.claim().await?;
    let mut pusher = Pusher::new(member.user.into(), device.id, BODY_BYTES)?;
    for _ in 0..MESSAGES {
        let frame = pusher.create(seat.request(), now_ms()?)?.frame();
        seat.send(&frame).await?;
        let (mut answered, mut echoed) = (false, false);
        while !(answered && echoed) {
            match seat.frame().await? {
                Frame::Pushed(_) => answered = true,
                Frame::Committed(_) => echoed = true,
                Frame::HeadAt(_) => {}
                other => anyhow::bail!("a push was answered by {other:?}"),
            }
        }
    }
    Ok(seat)
}

/// Waits until no user has an actor.
async fn passive(node: &NodeProcess) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    loop {
        let metrics = node.metrics().await?;
        let active = metrics.lines().find_map(|line| line.strip_prefix("cloudsync_users_active ")).context("no cloudsync_users_active")?;
        if active.trim() == "0" {
            return Ok(());
        }
        ensure!(began.elapsed() < PASSIVE_TIMEOUT, "{active} users still have an actor while all are idle");
        // Nothing tells when the last one has gone.
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Bytes for each device at each stage.
async fn carrier(effort: &Effort, cores: Cores, wire: Wire) -> anyhow::Result<Vec<f64>> {
    let folder = effort.folder.join(wire.scheme());
    std::fs::create_dir(&folder)?;
    let fixture = Fixture::new(&folder, cores).await?;
    let members = fixture.members(STAGES.into_iter().max().unwrap_or_default() + AT_ONCE, 1).await?;
    let (node, mint) = fixture.start().await?;
    let dialler = Dialler::new(&node.server(wire)?, wire)?;
    // What a node takes once, for its pools and caches, is no device's.
    let (few, many) = members.split_at(AT_ONCE);
    let warm: Vec<Seat> =
        futures_util::stream::iter(few).map(|member| sit(&dialler, member, &mint)).buffered(AT_ONCE).try_collect().await?;
    passive(&node).await?;
    let before = node.resident_bytes()?;
    let (mut seats, mut figures): (Vec<Seat>, Vec<f64>) = (Vec::new(), Vec::new());
    for stage in STAGES {
        let new = many.get(seats.len()..stage).context("members")?;
        let new = futures_util::stream::iter(new).map(|member| sit(&dialler, member, &mint));
        seats.extend(new.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?);
        passive(&node).await?;
        let bytes = node.resident_bytes()?.saturating_sub(before) as f64 / seats.len() as f64;
        super::told(&format!("W3 {}: {bytes:.0} B for each of {stage} devices", wire.scheme()));
        figures.push(bytes);
    }
    drop((warm, seats));
    Ok(figures)
}

/// Measures.
pub async fn run(effort: Effort, cores: Cores) -> anyhow::Result<Section> {
    let mut table = Table::new(&["carrier", "2,000 devices", "5,000 devices", "10,000 devices"]);
    let mut aims = Vec::new();
    for (wire, bytes_max) in AIMS {
        let figures = carrier(&effort, cores, wire).await?;
        let name = wire.scheme().to_uppercase();
        let cells = figures.iter().map(|bytes| Figure::of(Unit::Bytes, [*bytes]).into());
        table.rows.push(std::iter::once(name.as_str().into()).chain(cells).collect());
        let measured = Figure::of(Unit::Bytes, figures).context("no stages")?;
        aims.push(Aim {
            what: format!("{name}: resident bytes for each device (the median stage)"),
            measured,
            bound: Bound::AtMost(bytes_max),
        });
    }
    let mut section = Section {
        id: "W3".into(),
        title: "memory of a connected, idle device".into(),
        method: format!(
            "Each device is a user's only one, has attached and claimed, and pushed {MESSAGES} records of 150 B of content, one after the other: \
             {MESSAGES} answers and {MESSAGES} echoes came back. Then all are idle until no user has an actor (`cloudsync_users_active` is 0). Resident \
             memory of the node (`VmRSS`), less what it was with the first {AT_ONCE} devices, by the devices that came since. Once, not in rounds."
        ),
        tables: vec![table],
        aims,
        sentences: vec!["No user has an actor while all are idle: it was waited for, and would have failed the measurement.".into()],
    };
    section.explain_if_missed(REASONS);
    Ok(section)
}
