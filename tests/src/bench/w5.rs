//! W5: a reconnect storm. How many sessions a node authenticates for each core, beside the handshakes of the carrier alone.
//!
//! Never: a TLS session resumed; these are strangers.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::cores::Cores;
use super::fixture::{Fixture, Member, now_ms};
use super::hop::Echo;
use super::report::{Aim, Bound, Figure, Section, Table, Unit};
use super::seat::Dialler;
use super::{Effort, cpu};
use crate::NodeProcess;
use crate::node::Wire;

const WIRES: [Wire; 2] = [Wire::Wss, Wire::Quic];
const CLIENTS: usize = 1_000;
const AT_ONCE: usize = 64;
/// Of a client.
const ATTEMPTS: u32 = 4;
const PART_MIN: f64 = 0.7;
/// What closing takes is counted to its connection.
const SETTLE: Duration = Duration::from_millis(200);
/// What is said where an aim is missed.
const REASONS: &[&str] = &[];

/// By a second of the server's core.
#[derive(Debug, Clone, Copy)]
struct Round {
    sessions: f64,
    sessions_by_clock: f64,
    handshakes: f64,
}

/// Runs all of `work`, some at a time: by a second of that process's core, and of the clock.
async fn storm<W: Future<Output = anyhow::Result<()>>>(process: u32, work: impl Iterator<Item = W>) -> anyhow::Result<(f64, f64)> {
    let (before, began) = (cpu::of(process)?, Instant::now());
    futures_util::stream::iter(work).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let took = began.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let core = (cpu::of(process)? - before).as_secs_f64();
    Ok((CLIENTS as f64 / core, CLIENTS as f64 / took))
}

/// Once more where it was turned away: what a client does too, and what the server spent on it is counted.
async fn persistent<W: Future<Output = anyhow::Result<()>>>(work: impl Fn() -> W) -> anyhow::Result<()> {
    for _ in 1..ATTEMPTS {
        if work().await.is_ok() {
            return Ok(());
        }
    }
    work().await
}

async fn round(node: (&NodeProcess, &Dialler), echo: (&Echo, &Dialler), clients: &[(Member, String)]) -> anyhow::Result<Round> {
    let bare = (0..CLIENTS).map(|_| async { persistent(|| echo.1.handshake()).await });
    let (handshakes, _) = storm(echo.0.pid()?, bare).await?;
    let sessions = clients.iter().map(|(member, token)| async move {
        let device = member.devices.first().context("a device")?;
        persistent(|| async { node.1.open(device, token).await.map(drop) }).await
    });
    let (sessions, sessions_by_clock) = storm(node.0.pid(), sessions).await?;
    Ok(Round { sessions, sessions_by_clock, handshakes })
}

/// Measures.
pub async fn run(effort: Effort, cores: Cores) -> anyhow::Result<Section> {
    let mut table = Table::new(&[
        "carrier",
        "sessions by a second of the node's core",
        "bare handshakes by a second of the echo's",
        "sessions by a second of the clock",
    ]);
    let mut aims = Vec::new();
    for wire in WIRES {
        let folder = effort.folder.join(wire.scheme());
        std::fs::create_dir(&folder)?;
        let fixture = Fixture::new(&folder, cores).await?;
        let members = fixture.members(CLIENTS, 1).await?;
        let (node, mint) = fixture.start().await?;
        let token = |member: Member| {
            let device = member.devices.first().context("a device")?.id;
            let token = mint.token((member.user, device), now_ms()?, 1)?;
            anyhow::Ok((member, token))
        };
        let clients = members.into_iter().map(token).collect::<anyhow::Result<Vec<_>>>()?;
        let echo = Echo::start_before(&cores.before_node()).await?;
        let (to_node, to_echo) = (Dialler::new(&node.server(wire)?, wire)?, Dialler::new(&echo.server(wire)?, wire)?);
        let mut rounds = Vec::new();
        for number in 1..=effort.rounds {
            let round = round((&node, &to_node), (&echo, &to_echo), &clients).await?;
            let Round { sessions, handshakes, .. } = round;
            super::told(&format!("W5 round {number}, {}: {sessions:.0} sessions, {handshakes:.0} handshakes a core", wire.scheme()));
            rounds.push(round);
        }
        let name = wire.scheme().to_uppercase();
        let of = |pick: fn(&Round) -> f64| Figure::of(Unit::PerSecond, rounds.iter().map(pick));
        table.rows.push(vec![
            name.as_str().into(),
            of(|round| round.sessions).into(),
            of(|round| round.handshakes).into(),
            of(|round| round.sessions_by_clock).into(),
        ]);
        let measured = Figure::of(Unit::Ratio, rounds.iter().map(|round| round.sessions / round.handshakes)).context("no rounds")?;
        aims.push(Aim { what: format!("{name}: sessions ÷ bare handshakes"), measured, bound: Bound::AtLeast(PART_MIN) });
    }
    let mut section = Section {
        id: "W5".into(),
        title: "reconnect storm: authenticated sessions for each core".into(),
        method: format!(
            "{CLIENTS} users with a device each connect, {AT_ONCE} at a time, say hello with a token and a proof, are welcomed, and go; no TLS session is \
             resumed. In the first round nobody has an actor yet: each log is acquired, durably. The bare handshake is that of the same crates \
             and kinds of key in a process of its own on the node's core: TLS and the WebSocket's upgrade, or QUIC."
        ),
        tables: vec![table],
        aims,
        sentences: Vec::new(),
    };
    section.explain_if_missed(REASONS);
    Ok(section)
}
