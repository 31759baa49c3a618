//! B1: how long a push waits while a backup is being made of the node that answers it.
//!
//! Never: a backup that is over before the pushes that are counted to it.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use rand::RngExt as _;
use serde_json::Value;
use tokio::process::Command;

use super::Effort;
use super::report::{Section, Table};
use super::stats::Percentiles;
use crate::device::{Access, OpenSession, key, value};
use crate::node::Wire;
use crate::process::node_binary;
use crate::{NodeProcess, Person, Stop, SyncDevice};

const CONTENT_BYTES: usize = 150;
/// What the store holds: records of random text, which does not compress to much less than half.
const FILLING_RECORDS: usize = 6_000;
const FILLING_BYTES: usize = 60_000;
const EDITS_AT_A_TIME: usize = 200;

struct Sender {
    device: SyncDevice,
    online: OpenSession,
    sent: u64,
}

fn wrong(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Lost(why) | Stop::Unreachable(why) => anyhow!(why),
        Stop::Wrong(error) => error,
    }
}

impl Sender {
    async fn sign_in(node: &NodeProcess) -> anyhow::Result<Self> {
        let server = node.server(Wire::Quic)?;
        let mut device = SyncDevice::new(Person::register_at(&server, "b1@example.com").await?);
        let online = device.connect(&server, Access::Held).await.map_err(wrong)?;
        device.catch_up(&online).await.map_err(wrong)?;
        device.claim(&online).await.map_err(wrong)?;
        Ok(Self { device, online, sent: 0 })
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        for first in (0..FILLING_RECORDS).step_by(EDITS_AT_A_TIME) {
            for number in first..first + EDITS_AT_A_TIME {
                let text: String = (0..FILLING_BYTES / 16).map(|_| format!("{:016x}", rand::rng().random::<u64>())).collect();
                self.device.edit(&key("filling", &format!("f{number}"))?, &value(&text, 0), 0)?;
            }
            self.device.push_all(&mut self.online, &|| {}).await.map_err(wrong)?;
        }
        Ok(())
    }

    async fn one(&mut self) -> anyhow::Result<Duration> {
        self.sent += 1;
        self.device.edit(&key("timer_session", &format!("s{}", self.sent))?, &value("session", CONTENT_BYTES), 0)?;
        let batch = self.device.next_batch()?.context("an edit without a batch")?;
        let began = Instant::now();
        let (answered, to) = self.device.push(&self.online, &batch).await.map_err(wrong)?;
        self.device.follow(&mut self.online, to).await.map_err(wrong)?;
        Ok(answered - began)
    }
}

/// Pushes one after the other for as long as a backup is made. What that says of itself comes along.
async fn during_backup(sender: &mut Sender, data: &Path, into: &Path) -> anyhow::Result<(Vec<Duration>, Value)> {
    let mut command = Command::new(node_binary()?);
    command.args(["backup", "create", "--json", "--data"]).arg(data).arg(into).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut samples = Vec::new();
    while child.try_wait()?.is_none() {
        samples.push(sender.one().await?);
    }
    // The last one may have ended after it.
    samples.pop();
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "the backup failed");
    Ok((samples, serde_json::from_slice(&output.stdout)?))
}

/// Measures.
pub async fn run(effort: &Effort) -> anyhow::Result<Section> {
    let folder = effort.folder.join("b1");
    std::fs::create_dir(&folder)?;
    let node = NodeProcess::start_with_quota(&folder, u64::MAX).await?;
    let mut sender = Sender::sign_in(&node).await?;
    sender.fill().await?;
    let (mut alone, mut during, mut backups, mut taken) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 1..=effort.rounds {
        let mut samples = Vec::new();
        for _ in 0..effort.samples {
            samples.push(sender.one().await?);
        }
        alone.extend(Percentiles::of(samples));
        let into = folder.join("backup");
        let (samples, said) = during_backup(&mut sender, &folder.join("data"), &into).await?;
        std::fs::remove_dir_all(&into)?;
        taken += samples.len();
        super::told(&format!("B1 round {round}: {} pushes during {said}", samples.len()));
        during.extend(Percentiles::of(samples));
        backups.push(said);
    }
    drop(node.terminate().await?);
    section((&alone, &during), &backups, taken)
}

fn section((alone, during): (&[Percentiles], &[Percentiles]), backups: &[Value], taken: usize) -> anyhow::Result<Section> {
    let rows = [("push → acknowledged, durable", alone), ("the same, while a backup is made", during)];
    let mut table = Table::of_percentiles();
    rows.into_iter().for_each(|(what, rounds)| table.add_percentiles(what, "QUIC", rounds));
    let bytes = backups.last().and_then(|said| said["bytes"].as_u64()).context("no size")? / (1024 * 1024);
    let seconds: Vec<String> = backups.iter().filter_map(|said| said["seconds"].as_f64()).map(|seconds| format!("{seconds:.1}")).collect();
    Ok(Section {
        id: "B1".into(),
        title: "a push while a backup is made".into(),
        method: format!(
            "One user, one device over QUIC, a new record of {CONTENT_BYTES} B of content a push, one after the other; `cloudsync-node dev` (release) in \
             another process. `cloudsync-node backup create` copies its store to the same disk in a third one."
        ),
        tables: vec![table],
        aims: Vec::new(),
        sentences: vec![format!("The backups of {bytes} MiB took {} s; {taken} pushes were made meanwhile.", seconds.join(", "))],
    })
}
