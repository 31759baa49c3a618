//! The client is killed before and after everything that is said while it pushes: the edit is not there at all, or is sent once.
//!
//! Never: a look into the profile's files. What a person sees after a kill, by `list`, `status` and another device, is what counts.

#![expect(clippy::indexing_slicing, reason = "only JSON values are indexed here, which gives null where nothing is")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use serde_json::{Value, json};

use super::Torture;
use super::gate::{Gate, Shut};
use crate::command_line::address;
use crate::{CommandLine, NodeProcess, Wire};

/// One put takes so long at most, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_micros(200);
/// Further rounds for a place that the first ones did not hit: each hits it five times of six.
const AIMED_AT_MOST: u32 = 8;

/// Where a kill fell, as seen afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fell {
    /// Before the edit was kept: it is nowhere, and its `put` had said nothing.
    BeforeItWasQueued,
    /// The edit is kept, the server has nothing.
    BeforeItWasCommitted,
    /// The server has it, the device waits for the answer.
    BeforeTheAnswerWasStored,
    /// All was done.
    Afterwards,
}

impl std::fmt::Display for Fell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BeforeItWasQueued => "before the edit was queued",
            Self::BeforeItWasCommitted => "queued or signed, not committed",
            Self::BeforeTheAnswerWasStored => "committed, the answer not stored",
            Self::Afterwards => "all was done",
        })
    }
}

/// What the kills proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientKills {
    /// `kill -9` of `cloudsync put`.
    pub kills: u32,
    /// Things said during a put that nobody kills, both ways, the connection's own included.
    pub steps: u32,
    /// How often a kill fell where. None of them is 0.
    pub fell: BTreeMap<Fell, u32>,
}

struct Client {
    cli: CommandLine,
    gate: Gate,
    random: StdRng,
    /// What the log must hold, and nothing else: each at version 1.
    sent: BTreeSet<String>,
    seq: u64,
}

/// Kills a client at every step of a push, a round after the other, each time in another record.
pub async fn kill_client(folder: &Path, torture: &Torture) -> anyhow::Result<ClientKills> {
    let node = NodeProcess::start(folder).await?;
    let (url, pin) = address(&node, Wire::Ws)?;
    let gate = Gate::before(url.trim_start_matches("ws://").trim_end_matches('/').parse().with_context(|| url.clone())?).await?;
    let cli = CommandLine::at(format!("ws://{}", gate.address()), pin)?;
    let random = StdRng::seed_from_u64(torture.seed);
    let mut client = Client { cli, gate, random, sent: BTreeSet::new(), seq: 0 };
    let proved = tokio::task::spawn_blocking({
        let torture = *torture;
        move || client.all(&torture)
    });
    let proved = proved.await??;
    ensure!(node.terminate().await?.status().success(), "the node did not end well");
    Ok(proved)
}

impl Client {
    fn all(&mut self, torture: &Torture) -> anyhow::Result<ClientKills> {
        self.cli.account("ada@example.com", &["a", "b"])?;
        self.cli.run("a", &["put", "goal", "first", "0"])?.ended(0)?;
        self.gate.shut_at(None);
        self.cli.run("a", &["put", "goal", "second", "0"])?.ended(0)?;
        let steps = self.gate.said();
        self.sent = ["first", "second"].map(str::to_owned).into();
        self.seq = self.read()?;
        let mut proved = ClientKills { kills: 0, steps, fell: BTreeMap::new() };
        for round in 0..torture.rounds {
            for step in 0..steps {
                self.kill_at(step, &format!("r{round}"), torture, &mut proved)?;
            }
        }
        self.hit_the_rest(torture, &mut proved)?;
        Ok(proved)
    }

    /// What is said may be cut otherwise from put to put, so that a push's answer is one step earlier here and one later there: what
    /// was not hit is aimed at until it is.
    fn hit_the_rest(&mut self, torture: &Torture, proved: &mut ClientKills) -> anyhow::Result<()> {
        let everywhere = [Fell::BeforeItWasQueued, Fell::BeforeItWasCommitted, Fell::BeforeTheAnswerWasStored, Fell::Afterwards];
        for again in 0..AIMED_AT_MOST {
            for step in 0..proved.steps {
                if everywhere.iter().all(|place| proved.fell.contains_key(place)) {
                    return Ok(());
                }
                self.kill_at(step, &format!("again{again}"), torture, proved)?;
            }
        }
        anyhow::bail!("a step was never hit: {:?}", proved.fell)
    }

    fn kill_at(&mut self, step: u32, round: &str, torture: &Torture, proved: &mut ClientKills) -> anyhow::Result<()> {
        for shut in [Shut::Before(step), Shut::After(step)] {
            let id = format!("{round}-{step:02}-{}", if matches!(shut, Shut::Before(_)) { "before" } else { "after" });
            let fell = self.kill(&id, shut).with_context(|| format!("{shut:?} of {}, {round}", proved.steps))?;
            *proved.fell.entry(fell).or_insert(0) += 1;
            proved.kills += 1;
            (torture.progress)("kills of a client", proved.kills);
        }
        Ok(())
    }

    /// One put, killed there; then everything that is owed is.
    fn kill(&mut self, id: &str, shut: Shut) -> anyhow::Result<Fell> {
        self.gate.shut_at(Some(shut));
        let mut put = self.cli.command("a", &["put", "goal", id, &json!(id).to_string(), "--json"]).spawn()?;
        let began = Instant::now();
        while !self.gate.is_shut() && put.try_wait()?.is_none() {
            ensure!(began.elapsed() < PATIENCE, "the put neither came there nor ended");
            std::thread::sleep(POLL_EVERY);
        }
        if matches!(shut, Shut::After(_)) {
            // Anywhere in what the client does about it.
            std::thread::sleep(Duration::from_micros(self.random.random_range(0..20_000)));
        }
        // It may have ended by itself: then there is nothing left to kill.
        drop(put.kill());
        let said = put.wait_with_output()?;
        self.gate.shut_at(None);
        let told = String::from_utf8_lossy(&said.stdout).lines().any(|line| line.contains(id));

        let status = self.cli.status("a")?;
        let kept = self.cli.run("a", &["list", "goal", "--json", "--offline"])?.ended(0)?.json()?;
        let kept = kept.iter().any(|record| record["id"] == json!(id));
        let (before, seq) = (self.seq, self.read()?);
        let committed = seq > before;
        let fell = match (kept, status["pending"] == json!(1), committed) {
            (false, false, false) if !told => Fell::BeforeItWasQueued,
            (true, true, false) => Fell::BeforeItWasCommitted,
            (true, true, true) => Fell::BeforeTheAnswerWasStored,
            (true, false, true) => Fell::Afterwards,
            state => anyhow::bail!("kept, pending, committed: {state:?}, told: {told}"),
        };
        self.cli.run("a", &["sync"])?.ended(0)?;
        ensure!(self.cli.status("a")?["pending"] == json!(0), "it still waits");
        if fell != Fell::BeforeItWasQueued {
            self.sent.insert(id.to_owned());
        }
        let after = self.read()?;
        let due = before + u64::from(fell != Fell::BeforeItWasQueued);
        ensure!(after == due, "the log is at {after}, one edit after {before} was due ({fell:?})");
        self.seq = after;
        Ok(fell)
    }

    /// The other device reads to the head: each edit is there, once.
    fn read(&self) -> anyhow::Result<u64> {
        let seq = self.cli.run("b", &["sync", "--json"])?.ended(0)?.last()?["seq"].as_u64().context("a seq")?;
        let listed = self.cli.run("b", &["list", "goal", "--json", "--offline"])?.ended(0)?.json()?;
        let id = |record: &Value| record["id"].as_str().map(str::to_owned);
        let found: BTreeSet<String> = listed.iter().filter_map(id).collect();
        ensure!(found.is_superset(&self.sent), "lost: {:?}", self.sent.difference(&found));
        ensure!(listed.iter().all(|record| record["version"] == json!(1)), "written twice: {listed:?}");
        Ok(seq)
    }
}
