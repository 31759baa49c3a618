//! W8: whether a push waits longer in a log of a million records than in one of a thousand, and what users cost a node who are
//! registered and not there.
//!
//! Never: a log that was pushed full; it is written through the store.

use std::time::Duration;

use anyhow::Context as _;
use cloudsync_engine::log::Commit;
use cloudsync_protocol::{Batch, CommitId, Entry};
use cloudsync_storage::Store;

use super::closed::push;
use super::cores::Cores;
use super::fixture::{Fixture, Member, now_ms};
use super::pushes::{BODY_BYTES, Known, Made, Pusher};
use super::report::{Aim, Bound, Figure, Section, Table, Unit};
use super::seat::{Dialler, Seat};
use super::stats::Percentiles;
use super::{Effort, cpu};
use crate::node::Wire;

const SMALL: usize = 1_000;
const LARGE: usize = 1_000_000;
const FEW: usize = 1_000;
const MANY: usize = 100_000;
/// Written as one commit.
const COMMIT_PUSHES: usize = 2_000;
/// Each record is written again at most so often apart, so that no page of the log stays at hand by chance.
const KEPT_EVERY: usize = 251;
/// Flat: what is within the noise of a disk that others use too.
const FLAT: f64 = 1.25;
/// A registered user who is not there costs a page of nothing.
const USER_BYTES_MAX: f64 = 100.0;
const SETTLE: Duration = Duration::from_secs(2);
/// What is said where an aim is missed.
const REASONS: &[&str] = &[];

/// A member whose log has records.
struct Filled {
    member: Member,
    pusher: Pusher,
    /// Some of its records, which are pushed to.
    kept: Vec<Known>,
}

async fn fill(store: &dyn Store, mut member: Member, records: usize) -> anyhow::Result<Filled> {
    let device = member.devices.first().context("a device")?.id;
    let mut pusher = Pusher::new(member.user.into(), device, BODY_BYTES)?;
    let (mut kept, mut made) = (Vec::new(), 0);
    while made < records {
        let (after, now_ms, mut entries) = (member.head.seq, now_ms()?, Vec::new());
        for _ in 0..COMMIT_PUSHES.min(records - made) {
            let Made { push, known, .. } = pusher.create(1, now_ms)?;
            let entry =
                Entry::Batch(Batch { first: member.head.seq.next(), server_ts: now_ms, signed: push.signed, operations: push.operations });
            member.head.follow(&entry, |_, _| None)?;
            entries.push(entry);
            if made % KEPT_EVERY.min(records / 500) == 0 {
                kept.push(known);
            }
            made += 1;
        }
        (member.head.commit, member.head.state_seq) = (CommitId(rand::random()), member.head.seq);
        let (log, head) = (member.user.into(), member.head.clone());
        store.commit(Commit { log, after, entries, head, credentials: None, wraps: Vec::new() }).await?;
    }
    Ok(Filled { member, pusher, kept })
}

/// One who pushes new versions of records, each of another place of the log.
struct Author {
    seat: Seat,
    filled: Filled,
    next: usize,
}

impl Author {
    async fn one(&mut self) -> anyhow::Result<Duration> {
        let count = self.filled.kept.len();
        let known = self.filled.kept.get_mut(self.next % count).context("a record")?;
        // Steps that visit all, far from one another.
        self.next += 7919;
        let Made { push: made, known: now, envelope_bytes } = self.filled.pusher.next(self.seat.request(), known.clone(), now_ms()?);
        *known = now.clone();
        push(&mut self.seat, &Made { push: made, known: now, envelope_bytes }.frame()).await
    }
}

async fn latency(effort: &Effort, cores: Cores) -> anyhow::Result<[Vec<Percentiles>; 2]> {
    let folder = effort.folder.join("latency");
    std::fs::create_dir(&folder)?;
    let fixture = Fixture::new(&folder, cores).await?;
    let mut filled = Vec::new();
    for (member, records) in fixture.members(2, 1).await?.into_iter().zip([SMALL, LARGE]) {
        super::told(&format!("W8: writing a log of {records} records"));
        filled.push(fill(&*fixture.store(), member, records).await?);
    }
    let (node, mint) = fixture.start().await?;
    let dialler = Dialler::new(&node.server(Wire::Ws)?, Wire::Ws)?;
    let mut authors = Vec::new();
    for filled in filled {
        let device = filled.member.devices.first().context("a device")?;
        let token = mint.token((filled.member.user, device.id), now_ms()?, 1)?;
        let mut seat = dialler.open(device, &token).await?;
        seat.attach().await?;
        seat.claim().await?;
        authors.push(Author { seat, filled, next: 0 });
    }
    let mut rounds: [Vec<Percentiles>; 2] = Default::default();
    for number in 1..=effort.rounds {
        let mut samples: [Vec<Duration>; 2] = Default::default();
        for _ in 0..effort.samples {
            for (author, samples) in authors.iter_mut().zip(&mut samples) {
                samples.push(author.one().await?);
            }
        }
        for ((samples, rounds), records) in samples.into_iter().zip(&mut rounds).zip([SMALL, LARGE]) {
            let of = Percentiles::of(samples).context("no samples")?;
            super::told(&format!("W8 round {number}: {records} records, p50 {:.0} µs, p99 {:.0} µs", of.p50_us, of.p99_us));
            rounds.push(of);
        }
    }
    Ok(rounds)
}

/// Resident bytes of a node with so many users, none of them there, and the time of its start's core.
async fn at_rest(effort: &Effort, cores: Cores, users: usize) -> anyhow::Result<(f64, f64)> {
    let folder = effort.folder.join(format!("users-{users}"));
    std::fs::create_dir(&folder)?;
    let fixture = Fixture::new(&folder, cores).await?;
    super::told(&format!("W8: writing {users} users"));
    drop(fixture.members(users, 1).await?);
    let (node, _) = fixture.start().await?;
    tokio::time::sleep(SETTLE).await;
    Ok((node.resident_bytes()? as f64, cpu::of(node.pid())?.as_secs_f64() * 1e6))
}

/// Measures.
pub async fn run(effort: Effort, cores: Cores) -> anyhow::Result<Section> {
    let [small, large] = latency(&effort, cores).await?;
    let (few, few_cpu) = at_rest(&effort, cores, FEW).await?;
    let (many, many_cpu) = at_rest(&effort, cores, MANY).await?;
    let mut pushes = Table::of_percentiles();
    pushes.add_percentiles("push → acknowledged, 1,000 records in the log", "WS", &small);
    pushes.add_percentiles("push → acknowledged, 1,000,000 records in the log", "WS", &large);
    let mut users = Table::new(&["node at rest", "resident memory", "core time of its start"]);
    for (name, bytes, cpu_us) in [("1,000 registered users", few, few_cpu), ("100,000 registered users", many, many_cpu)] {
        users.rows.push(vec![name.into(), Figure::of(Unit::Bytes, [bytes]).into(), Figure::of(Unit::Micros, [cpu_us]).into()]);
    }
    let ratio = small.iter().zip(&large).map(|(small, large)| large.p50_us / small.p50_us);
    let ratio = Figure::of(Unit::Ratio, ratio).context("no rounds")?;
    let each = Figure::of(Unit::Bytes, [(many - few).max(0.0) / (MANY - FEW) as f64]).context("a figure")?;
    let mut section = Section {
        id: "W8".into(),
        title: "how it grows: records of one log, users of one node".into(),
        method: format!(
            "Two users on one node, one core for it, plain WebSocket; by turns each pushes a new version of a record, {} times a round, far from the \
             one before, and waits for the answer. The node's store holds both logs and was opened anew. Then two more nodes, which nobody \
             connects to, {} s after their start.",
            effort.samples,
            SETTLE.as_secs()
        ),
        tables: vec![pushes, users],
        aims: vec![
            Aim { what: "p50 with 1,000,000 records ÷ p50 with 1,000".into(), measured: ratio, bound: Bound::AtMost(FLAT) },
            Aim { what: "memory of one more registered user".into(), measured: each, bound: Bound::AtMost(USER_BYTES_MAX) },
        ],
        sentences: vec![
            "More than 200,000 records of a log take no new ones (`docs/wire.md`, Limits); a log of a million is there to show how it grows.".into(),
        ],
    };
    section.explain_if_missed(REASONS);
    Ok(section)
}
