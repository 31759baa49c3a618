//! W1b: durable pushes a second of 100 users with two devices each, the node on one core, until p99 passes 50 ms.
//!
//! Never: a closed loop, which would slow down with the node and hide that it is slow.

pub mod bare;
mod floor;
mod open_loop;

use std::time::Duration;

use anyhow::Context as _;

use self::bare::Shape;
use self::open_loop::OpenLoop;
use super::cores::Cores;
use super::disk::Fdatasync;
use super::fixture::Fixture;
use super::pushes::{BODY_BYTES, Lengths};
use super::report::{Aim, Bound, Figure, Section, Table, Unit};
use super::seat::Dialler;
use super::stats::Percentiles;
use super::{Effort, cpu};
use crate::NodeProcess;
use crate::node::Wire;

const USERS: usize = 100;
const RUN_SECONDS: u32 = 3;
const P99_MAX_US: f64 = 50_000.0;
const FIRST_RATE: u32 = 3_000;
/// Three tenths more each time.
const FASTER_TENTHS: u32 = 13;
/// Halvings between the last rate that was met and the first that was not.
const HALVINGS: u32 = 3;
/// A rate is given up when it was missed so often: others use this machine too.
const ATTEMPTS: u32 = 2;
const FSYNCS: u32 = 300;
/// Pushes that are all due within the moment.
const FLOOD: u32 = 40_000;
const FLOOD_DUE: Duration = Duration::from_millis(100);
const RATE_MIN: f64 = 12_000.0;
const FLOOR_PART: f64 = 0.6;

/// What is said where an aim is missed.
const REASONS: &[&str] = &[
    "The profile (`perf`, everything due at once, before what was tried) of 79 µs of the core a push: 22 % sending, three system calls a push; 22 % the \
     user's actor with its rules; 20 % the store's transactions; 16 % look-ups, two thirds of that SQLite planning one statement anew at each value; \
     across all of them a fifth in `malloc` and copying.",
    "Tried, and kept: the statement is planned once, and frames that are ready together are one write: 44 µs a push when everything is due at once. Below \
     that a push costs more, since few share a group: a commit, its sync and the wake-ups of two threads are then its own. Not tried yet: another \
     allocator, look-ups answered without a thread of their own.",
];

/// What a rate that was kept up came to.
#[derive(Debug, Clone, Copy)]
struct Kept {
    rate: u32,
    acknowledged: Percentiles,
    received: Percentiles,
    /// Of the node's core, for each push.
    cpu_us: f64,
}

/// One round.
#[derive(Debug, Clone, Copy)]
struct Round {
    fsync: Percentiles,
    floor: f64,
    kept: Kept,
    /// Pushes a second, and the node's core for each, when everything is due at once.
    flooded: (f64, f64),
}

/// One of a round's figures.
type Pick = fn(&Round) -> f64;

/// The node under load.
struct World {
    node: NodeProcess,
    pushes: OpenLoop,
}

impl World {
    async fn start(effort: &Effort, cores: Cores) -> anyhow::Result<Self> {
        let fixture = Fixture::new(&effort.folder, cores).await?;
        let members = fixture.members(USERS, 2).await?;
        let (node, mint) = fixture.start().await?;
        let dialler = Dialler::new(&node.server(Wire::Ws)?, Wire::Ws)?;
        let pushes = OpenLoop::open(&dialler, &members, &mint).await?;
        Ok(Self { node, pushes })
    }

    /// What it does when every user has as many pushes under way as are allowed: pushes a second, and its core for each.
    async fn flooded(&mut self) -> anyhow::Result<(f64, f64)> {
        let before = cpu::of(self.node.pid())?;
        let step = self.pushes.step(FLOOD, FLOOD_DUE).await?;
        let pushes = step.acknowledged.len() as f64;
        let cpu_us = (cpu::of(self.node.pid())? - before).as_secs_f64() * 1e6 / pushes;
        let rate = pushes / step.took.as_secs_f64();
        super::told(&format!("W1b flooded: {rate:.0}/s, {cpu_us:.1} µs of the node's core a push"));
        Ok((rate, cpu_us))
    }

    /// Whether the node keeps up with a rate; the better of some attempts.
    async fn keeps(&mut self, rate: u32) -> anyhow::Result<Option<Kept>> {
        for _ in 0..ATTEMPTS {
            let before = cpu::of(self.node.pid())?;
            let step = self.pushes.step(rate * RUN_SECONDS, Duration::from_secs(RUN_SECONDS.into())).await?;
            let pushes = step.acknowledged.len() as f64;
            let cpu_us = (cpu::of(self.node.pid())? - before).as_secs_f64() * 1e6 / pushes;
            let of = |samples| Percentiles::of(samples).context("no samples");
            let kept = Kept { rate, acknowledged: of(step.acknowledged)?, received: of(step.received)?, cpu_us };
            tell(&kept);
            if kept.acknowledged.p99_us <= P99_MAX_US {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    /// The highest rate that it keeps up with: ever faster, then between the last that was met and the first that was not.
    async fn highest(&mut self, first: u32) -> anyhow::Result<Kept> {
        let (mut best, mut rate) = (None::<Kept>, first);
        while let Some(kept) = self.keeps(rate).await? {
            best = Some(kept);
            rate = rate * FASTER_TENTHS / 10;
        }
        let mut missed = rate;
        for _ in 0..HALVINGS {
            let from = best.map_or(0, |kept| kept.rate);
            let middle = u32::midpoint(from, missed);
            match self.keeps(middle).await? {
                Some(kept) => best = Some(kept),
                None => missed = middle,
            }
        }
        best.with_context(|| format!("not even {missed}/s"))
    }
}

fn tell(kept: &Kept) {
    let Kept { rate, acknowledged, received, cpu_us } = kept;
    let ms = |us: f64| us / 1000.0;
    super::told(&format!(
        "W1b at {rate}/s: acknowledged p50 {:.1} ms, p99 {:.1} ms, received p99 {:.1} ms, {cpu_us:.1} µs of the node's core a push",
        ms(acknowledged.p50_us),
        ms(acknowledged.p99_us),
        ms(received.p99_us)
    ));
}

/// Measures.
pub async fn run(effort: Effort, cores: Cores) -> anyhow::Result<Section> {
    let lengths = Lengths::of(BODY_BYTES)?;
    let shape = Shape {
        users: USERS,
        push_bytes: lengths.push,
        answer_bytes: lengths.answer,
        event_bytes: lengths.event,
        row_bytes: lengths.entry,
    };
    let mut world = World::start(&effort, cores).await?;
    let (mut rounds, mut first) = (Vec::new(), FIRST_RATE);
    for number in 1..=effort.rounds {
        let mut disk = Fdatasync::new(&effort.folder)?;
        let fsyncs = (0..FSYNCS).map(|_| disk.one()).collect::<Result<_, _>>()?;
        let fsync = Percentiles::of(fsyncs).context("no samples")?;
        let floor = floor::measure(&effort.folder, cores, shape).await?;
        super::told(&format!("W1b round {number}: the bare loop does {floor:.0}/s, fdatasync p99 {:.0} µs", fsync.p99_us));
        let flooded = world.flooded().await?;
        let kept = world.highest(first).await?;
        first = kept.rate * 10 / FASTER_TENTHS;
        rounds.push(Round { fsync, floor, kept, flooded });
    }
    section(&rounds)
}

fn section(rounds: &[Round]) -> anyhow::Result<Section> {
    let figure = |unit, pick: Pick| Figure::of(unit, rounds.iter().map(pick));
    let mut table = Table::new(&["measured", "rounds"]);
    let rows: [(&str, Unit, Pick); 10] = [
        ("**durable pushes, acknowledged within 50 ms (p99)**", Unit::PerSecond, |round| round.kept.rate.into()),
        ("floor: the bare loop", Unit::PerSecond, |round| round.floor),
        ("everything due at once: durable pushes", Unit::PerSecond, |round| round.flooded.0),
        ("everything due at once: the node's core for each push", Unit::Micros, |round| round.flooded.1),
        ("append 4 KiB, `fdatasync`, p50", Unit::Micros, |round| round.fsync.p50_us),
        ("append 4 KiB, `fdatasync`, p99", Unit::Micros, |round| round.fsync.p99_us),
        ("at that rate: due → acknowledged, p50", Unit::Micros, |round| round.kept.acknowledged.p50_us),
        ("at that rate: due → acknowledged, p99", Unit::Micros, |round| round.kept.acknowledged.p99_us),
        ("at that rate: due → received by the other device, p99", Unit::Micros, |round| round.kept.received.p99_us),
        ("at that rate: the node's core for each push", Unit::Micros, |round| round.kept.cpu_us),
    ];
    for (what, unit, pick) in rows {
        table.rows.push(vec![what.into(), figure(unit, pick).into()]);
    }
    let aim = |what: &str, unit, bound, pick: Pick| -> anyhow::Result<Aim> {
        Ok(Aim { what: what.to_owned(), measured: figure(unit, pick).context("no rounds")?, bound })
    };
    let aims = vec![
        aim("durable pushes a second ÷ the bare loop's", Unit::Ratio, Bound::AtLeast(FLOOR_PART), |round| {
            f64::from(round.kept.rate) / round.floor
        })?,
        aim("durable pushes a second", Unit::PerSecond, Bound::AtLeast(RATE_MIN), |round| round.kept.rate.into())?,
    ];
    let mut section = Section {
        id: "W1b".into(),
        title: "durable pushes a second, the node on one core".into(),
        method: format!(
            "{USERS} users with two devices each, plain WebSocket; `cloudsync-node dev` (release) on one core, all clients on another. \
             Pushes of one new record with a sealed body of {BODY_BYTES} B (150 B of content), made before the clock starts and due at fixed \
             times, one user after the other, for {RUN_SECONDS} s a rate; a push that waits, in the client or in the node, counts from when it was due. The rate rises \
             by three tenths until p99 passes 50 ms, twice; {HALVINGS} halvings then find the highest that does not. The bare loop runs on the \
             node's core, without a protocol: one receive of a push's length, the rows of the node's own tables in an SQLite transaction that \
             everything that is ready shares, one sync, then two sends of an answer's and an event's length; its clients keep it busy."
        ),
        tables: vec![table],
        aims,
        sentences: Vec::new(),
    };
    section.explain_if_missed(REASONS);
    Ok(section)
}
