//! W4: what it costs a node to tell others: one user's 64 devices, and a thousand users with three.
//!
//! Never: a receiver that falls behind. One that is told to attach again fails the measurement.

use std::time::Instant;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cloudsync_protocol::limits::DEVICES_MAX;
use cloudsync_protocol::{Frame, codec};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::task::JoinSet;

use super::cores::Cores;
use super::fixture::{Fixture, Member, now_ms};
use super::pushes::{BODY_BYTES, Pusher};
use super::report::{Figure, Section, Table, Unit};
use super::seat::{Dialler, Seat};
use super::{Effort, cpu};
use crate::minted::Mint;
use crate::node::Wire;

/// Pushes of each user that are under way.
const UNDER_WAY: usize = 4;

/// Users who connect at a time.
const AT_ONCE: usize = 16;

/// One of the crowds.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    name: &'static str,
    users: usize,
    devices: usize,
    /// Pushes of each user in a round.
    pushes: usize,
}

const CROWDS: [Crowd; 2] = [
    Crowd { name: "one user, 64 devices", users: 1, devices: DEVICES_MAX, pushes: 1_500 },
    Crowd { name: "1,000 users, 3 devices each", users: 1_000, devices: 3, pushes: 30 },
];

/// One round.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Deliveries a second of the node's core.
    a_core: f64,
    /// Deliveries a second.
    a_second: f64,
}

/// The one that pushes, and those who are told.
struct Group {
    pusher: Pusher,
    first: Seat,
    others: Vec<Seat>,
}

async fn group(dialler: &Dialler, member: &Member, mint: &Mint) -> anyhow::Result<Group> {
    let mut seats = Vec::new();
    for device in &member.devices {
        let mut seat = dialler.open(device, &mint.token((member.user, device.id), now_ms()?, 1)?).await?;
        seat.attach().await?;
        seats.push(seat);
    }
    let first = seats.remove(0);
    let device = member.devices.first().context("a device")?.id;
    Ok(Group { pusher: Pusher::new(member.user.into(), device, BODY_BYTES)?, first, others: seats })
}

async fn push(mut seat: Seat, frames: Vec<Bytes>) -> anyhow::Result<Seat> {
    let (mut sent, mut answered) = (0, 0);
    while answered < frames.len() {
        while sent < frames.len().min(answered + UNDER_WAY) {
            seat.send(frames.get(sent).context("a frame")?).await?;
            sent += 1;
        }
        match seat.frame().await? {
            Frame::Pushed(_) => answered += 1,
            Frame::Committed(_) | Frame::HeadAt(_) => {}
            other => bail!("a push was answered by {other:?}"),
        }
    }
    Ok(seat)
}

async fn hear(mut seat: Seat, pushes: usize) -> anyhow::Result<Seat> {
    let mut heard = 0;
    while heard < pushes {
        match codec::decode(&seat.control.bytes().await?)? {
            Frame::Event(event) => heard += event.entries.len(),
            Frame::HeadAt(_) => {}
            other => bail!("an event was due, there came {other:?}"),
        }
    }
    Ok(seat)
}

/// Everybody pushes at once; each push is told to all others of its user.
async fn round(groups: Vec<Group>, crowd: Crowd, node: u32) -> anyhow::Result<(Vec<Group>, Round)> {
    let (mut pushing, mut hearing, mut pushers) = (Vec::new(), Vec::new(), Vec::new());
    for Group { mut pusher, mut first, others } in groups {
        // An actor that went for want of work has forgotten who pushes.
        first.claim().await?;
        let now_ms = now_ms()?;
        let made = (0..crowd.pushes).map(|_| Ok(pusher.create(first.request(), now_ms)?.frame()));
        let frames = made.collect::<anyhow::Result<Vec<Bytes>>>()?;
        pushing.push((first, frames));
        hearing.push(others);
        pushers.push(pusher);
    }
    let (before, began, mut tasks) = (cpu::of(node)?, Instant::now(), JoinSet::new());
    for (group, others) in hearing.into_iter().enumerate() {
        for seat in others {
            tasks.spawn(async move { Ok::<_, anyhow::Error>((group, None, Some(hear(seat, crowd.pushes).await?))) });
        }
    }
    for (group, (seat, frames)) in pushing.into_iter().enumerate() {
        tasks.spawn(async move { Ok::<_, anyhow::Error>((group, Some(push(seat, frames).await?), None)) });
    }
    let mut seats: Vec<(Option<Seat>, Vec<Seat>)> = pushers.iter().map(|_| (None, Vec::new())).collect();
    while let Some(done) = tasks.join_next().await {
        let (group, first, other) = done??;
        let (of_first, of_others) = seats.get_mut(group).context("a group")?;
        *of_first = first.or_else(|| of_first.take());
        of_others.extend(other);
    }
    let took = began.elapsed().as_secs_f64();
    let core = (cpu::of(node)? - before).as_secs_f64();
    let deliveries = (crowd.users * (crowd.devices - 1) * crowd.pushes) as f64;
    let groups = pushers
        .into_iter()
        .zip(seats)
        .map(|(pusher, (first, others))| Ok(Group { pusher, first: first.context("the one that pushes")?, others }));
    Ok((groups.collect::<anyhow::Result<_>>()?, Round { a_core: deliveries / core, a_second: deliveries / took }))
}

async fn measured(effort: &Effort, cores: Cores, crowd: Crowd) -> anyhow::Result<Vec<Round>> {
    let folder = effort.folder.join(format!("users-{}", crowd.users));
    std::fs::create_dir(&folder)?;
    let fixture = Fixture::new(&folder, cores).await?;
    let members = fixture.members(crowd.users, crowd.devices).await?;
    let (node, mint) = fixture.start().await?;
    let dialler = Dialler::new(&node.server(Wire::Ws)?, Wire::Ws)?;
    let groups = futures_util::stream::iter(&members).map(|member| group(&dialler, member, &mint));
    let mut groups: Vec<Group> = groups.buffer_unordered(AT_ONCE).try_collect().await?;
    let mut rounds = Vec::new();
    for number in 1..=effort.rounds {
        let (back, round) = round(groups, crowd, node.pid()).await?;
        groups = back;
        super::told(&format!(
            "W4 round {number}, {}: {:.0}/s, {:.0} a second of the node's core",
            crowd.name, round.a_second, round.a_core
        ));
        rounds.push(round);
    }
    Ok(rounds)
}

/// Measures.
pub async fn run(effort: Effort, cores: Cores) -> anyhow::Result<Section> {
    let mut table = Table::new(&["who", "deliveries by a second of the node's core", "deliveries by a second of the clock"]);
    for crowd in CROWDS {
        let rounds = measured(&effort, cores, crowd).await?;
        let of = |pick: fn(&Round) -> f64| Figure::of(Unit::PerSecond, rounds.iter().map(pick));
        table.rows.push(vec![crowd.name.into(), of(|round| round.a_core).into(), of(|round| round.a_second).into()]);
    }
    Ok(Section {
        id: "W4".into(),
        title: "fan-out: deliveries for each core".into(),
        method: format!(
            "Plain WebSocket, the node on one core, all clients on another. In each user one device pushes records of 150 B of content, {UNDER_WAY} \
             under way at a time; every other device of that user is told each of them. A delivery is one push, durable, decoded by one other \
             device. The node's own time is that of all its threads: what it takes to decide, commit and answer the pushes is in it."
        ),
        tables: vec![table],
        aims: Vec::new(),
        sentences: vec!["By the clock the clients' core is the slower one where it has many devices to decode for.".into()],
    })
}
