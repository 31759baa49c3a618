//! W1: from a signed push handed to the session until the user's other device has it, durable in between; one at a time.
//!
//! Never: a push that overlaps the one before, or what the receiver does with it counted to the way there.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use cloudsync_protocol::Seq;
use tokio::sync::mpsc;

use super::disk::Fdatasync;
use super::hop::{Echo, Hops};
use super::report::{Aim, Bound, Figure, Section, Table, Unit};
use super::stats::{Percentiles, Spread};
use super::{Effort, WIRES};
use crate::device::{Access, OpenSession, key, value};
use crate::node::Wire;
use crate::{NodeProcess, Person, Stop, SyncDevice};

const CONTENT_BYTES: usize = 150;
/// So many samples make one ratio: a disk that others use too changes within the second, and its floor with it.
const BLOCK: u32 = 10;
const AIM: f64 = 2.0;
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(10);

/// One round over one carrier.
#[derive(Debug, Clone, Copy)]
struct Round {
    fsync: Percentiles,
    hop: Percentiles,
    acknowledged: Percentiles,
    received: Percentiles,
    shown: Percentiles,
    /// The median of its blocks' ratios, each of p50 to p50.
    ratio: f64,
}

/// One of a round's figures.
type Pick = fn(&Round) -> Percentiles;

/// When the other device had an event, when it had verified, opened and stored it, and how far it then was.
struct Arrival {
    received: Instant,
    shown: Instant,
    seq: Seq,
}

/// A user's two devices over one carrier.
struct Pair {
    sender: SyncDevice,
    online: OpenSession,
    arrivals: mpsc::Receiver<anyhow::Result<Arrival>>,
    _receiver: tokio::task::JoinSet<()>,
    sent: u64,
}

fn wrong(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Lost(why) | Stop::Unreachable(why) => anyhow!(why),
        Stop::Wrong(error) => error,
    }
}

async fn receive(mut device: SyncDevice, mut online: OpenSession, arrivals: mpsc::Sender<anyhow::Result<Arrival>>) {
    loop {
        let arrival = match device.receive(&mut online).await {
            Ok((received, seq)) => Ok(Arrival { received, shown: Instant::now(), seq }),
            Err(stop) => Err(wrong(stop)),
        };
        let over = arrival.is_err();
        if arrivals.send(arrival).await.is_err() || over {
            return;
        }
    }
}

impl Pair {
    async fn sign_in(node: &NodeProcess, wire: Wire) -> anyhow::Result<Self> {
        let server = node.server(wire)?;
        let first = Person::register_at(&server, &format!("w1-{}@example.com", wire.scheme())).await?;
        let mut receiver = SyncDevice::new(first.log_in_again_at(&server).await?);
        let mut sender = SyncDevice::new(first);
        let online = sender.connect(&server, Access::Held).await.map_err(wrong)?;
        sender.catch_up(&online).await.map_err(wrong)?;
        sender.claim(&online).await.map_err(wrong)?;
        let receiving = receiver.connect(&server, Access::Held).await.map_err(wrong)?;
        receiver.catch_up(&receiving).await.map_err(wrong)?;
        let (arrived, arrivals) = mpsc::channel(64);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(Box::pin(receive(receiver, receiving, arrived)));
        Ok(Self { sender, online, arrivals, _receiver: tasks, sent: 0 })
    }

    /// Pushes one new record: how long until acknowledged, received and shown.
    async fn one(&mut self) -> anyhow::Result<[Duration; 3]> {
        self.sent += 1;
        let content = value(&format!("session {}", self.sent), CONTENT_BYTES - "{\"text\":\"\"}".len());
        self.sender.edit(&key("timer_session", &format!("s{}", self.sent))?, &content, 0)?;
        let batch = self.sender.next_batch()?.context("an edit without a batch")?;
        let began = Instant::now();
        let (answered, to) = self.sender.push(&self.online, &batch).await.map_err(wrong)?;
        loop {
            let arrival = self.arrivals.recv().await.context("the other device is gone")??;
            if arrival.seq >= to {
                // What this session is told of its own push is not measured, and must not be in the way of the next one.
                self.sender.follow(&mut self.online, to).await.map_err(wrong)?;
                return Ok([answered - began, arrival.received - began, arrival.shown - began]);
            }
        }
    }

    /// Disk, hop and push by turns, so that whatever else the machine does meets all of them alike.
    async fn round(&mut self, floors: (&mut Fdatasync, &mut Hops), samples: u32) -> anyhow::Result<Round> {
        let (disk, hops) = floors;
        let mut all: [Vec<Duration>; 5] = Default::default();
        let mut ratios = Vec::new();
        for first in (0..samples).step_by(BLOCK as usize) {
            let mut block: [Vec<Duration>; 5] = Default::default();
            for _ in first..samples.min(first + BLOCK) {
                let (fsync, hop) = (disk.one()?, hops.one().await?);
                let [acknowledged, received, shown] = self.timed().await?;
                block.iter_mut().zip([fsync, hop, acknowledged, received, shown]).for_each(|(samples, sample)| samples.push(sample));
            }
            all.iter_mut().zip(&block).for_each(|(all, block)| all.extend(block));
            let [fsync, hop, _, received, _] = block;
            let p50 = |samples| Percentiles::of(samples).map(|percentiles| percentiles.p50_us).context("an empty block");
            ratios.push(p50(received)? / (p50(fsync)? + 2.0 * p50(hop)?));
        }
        let ratio = Spread::of(ratios).context("no samples")?.median;
        let [Some(fsync), Some(hop), Some(acknowledged), Some(received), Some(shown)] = all.map(Percentiles::of) else {
            bail!("no samples")
        };
        Ok(Round { fsync, hop, acknowledged, received, shown, ratio })
    }

    async fn timed(&mut self) -> anyhow::Result<[Duration; 3]> {
        tokio::time::timeout(SAMPLE_TIMEOUT, self.one()).await.context("a push never arrived")?
    }
}

/// Measures.
pub async fn run(effort: &Effort) -> anyhow::Result<Section> {
    let node = NodeProcess::start_with_quota(&effort.folder, u64::MAX).await?;
    let echo = Echo::start().await?;
    let mut disk = Fdatasync::new(&effort.folder)?;
    let mut carriers = Vec::new();
    for wire in WIRES {
        carriers.push((wire, Pair::sign_in(&node, wire).await?, echo.connect(wire).await?, Vec::new()));
    }
    for number in 1..=effort.rounds {
        for (wire, pair, hops, rounds) in &mut carriers {
            let round = pair.round((&mut disk, hops), effort.samples).await?;
            progress(number, *wire, &round);
            rounds.push(round);
        }
    }
    drop(node.terminate().await?);
    let carriers: Vec<(Wire, Vec<Round>)> = carriers.into_iter().map(|(wire, _, _, rounds)| (wire, rounds)).collect();
    section(&carriers, effort.samples)
}

fn progress(number: u32, wire: Wire, round: &Round) {
    let Round { fsync, hop, acknowledged, received, shown, ratio } = round;
    super::told(&format!(
        "W1 round {number} {:>4}: fdatasync {:.0} µs, hop {:.0} µs, acknowledged {:.0} µs, received {:.0} µs (p99 {:.0} µs), shown {:.0} µs, ratio {ratio:.2}",
        wire.scheme(),
        fsync.p50_us,
        hop.p50_us,
        acknowledged.p50_us,
        received.p50_us,
        received.p99_us,
        shown.p50_us
    ));
}

fn section(carriers: &[(Wire, Vec<Round>)], samples: u32) -> anyhow::Result<Section> {
    let (mut table, mut aims) = (Table::of_percentiles(), Vec::new());
    let fsync: Vec<Percentiles> = carriers.iter().flat_map(|(_, rounds)| rounds.iter().map(|round| round.fsync)).collect();
    table.add_percentiles("floor: append 4 KiB, `fdatasync`", "", &fsync);
    for (wire, rounds) in carriers {
        let name = wire.scheme().to_uppercase();
        let figures: [(&str, Pick); 4] = [
            ("floor: one bare hop of 200 B", |round| round.hop),
            ("push → acknowledged, durable", |round| round.acknowledged),
            ("**push → received by the other device**", |round| round.received),
            ("push → verified, opened and stored there", |round| round.shown),
        ];
        for (what, figure) in figures {
            table.add_percentiles(what, &name, &rounds.iter().map(figure).collect::<Vec<_>>());
        }
        let measured = Figure::of(Unit::Ratio, rounds.iter().map(|round| round.ratio)).context("no rounds")?;
        aims.push(Aim { what: format!("{name}: received p50 ÷ (`fdatasync` p50 + 2 hops p50)"), measured, bound: Bound::AtMost(AIM) });
    }
    let sentence = "Sample by sample: one `fdatasync`, one hop, one push. A ratio is taken of every ten (p50 to p50) and their median is the \
         round's, since a disk that others use as well changes its own floor from one moment to the next; p99 is shown as it was met.";
    Ok(Section {
        id: "W1".into(),
        title: "durable push → received by the user's other device, at light load".into(),
        method: format!(
            "One user, two devices over the same carrier, in one process; `cloudsync-node dev` (release) in another, both on this machine, on \
             any core. A new record of {CONTENT_BYTES} B of content a push, sealed and signed before the clock starts; the next push begins when \
             the other device has stored the last; {samples} a round. *Received*: its connection has decoded the event. Floors are measured by \
             turns with the pushes: the file is in the folder of the node's data, the bare hop is half a round trip to an echo of the same \
             crates in a process of its own."
        ),
        tables: vec![table],
        aims,
        sentences: vec![sentence.into()],
    })
}
