//! W2: the real history imported, and a new device's cold sync: by snapshot, into the replica that apps have.
//!
//! Never: a replica in memory, or records that do not open. What is timed is what a person waits for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use cloudsync_client::connection::Server;
use cloudsync_client::profile::Profile;
use cloudsync_client::sdk::{Client, LogIn, Target, log_in, register};
use cloudsync_engine::replica::{Content, Onto};

use super::Effort;
use super::cores::Cores;
use super::report::{Aim, Bound, Figure, Section, Table, Unit};
use crate::NodeProcess;
use crate::command_line::CommandLine;
use crate::device::key;
use crate::node::Wire;
use crate::person::log_in_as;
use crate::process::Start;

/// Records, and how long a device may take to have them all, in microseconds.
const LOGS: [(usize, f64); 2] = [(1_000, 20_000.0), (100_000, 1e6)];
const BYTES_PART_MAX: f64 = 1.1;
const CONTENT_BYTES: usize = 150;
const EDITS_AT_A_TIME: usize = 2_000;
const PUSH_PATIENCE: Duration = Duration::from_secs(120);
const SENT: &str = "cloudsync_sent_bytes_total{carrier=\"quic\"} ";
/// What is said where an aim is missed.
const REASONS: &[&str] = &[];

/// One cold sync.
#[derive(Debug, Clone, Copy)]
struct Cold {
    took_us: f64,
    /// Bytes that the node sent, by the envelopes'.
    part: f64,
}

/// A person with one log, whose devices are profiles in a folder.
struct Owner<'a> {
    node: &'a NodeProcess,
    server: Server,
    folder: PathBuf,
    email: String,
}

fn history() -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/renzo-pomodoro.csv");
    file.is_file().then_some(file)
}

impl Owner<'_> {
    fn asked(&self, device: &str) -> anyhow::Result<LogIn> {
        log_in_as(&self.server, &self.email, device)
    }

    /// Signs the first device in and has it push so many records.
    async fn fill(&self, records: usize) -> anyhow::Result<()> {
        let profile = Profile::at(self.folder.join("first"));
        register(&profile, &self.asked("first")?).await?.shown()?;
        let client = Client::open(profile, Target { server: self.server.clone() })?;
        let mut online = client.connect().await?;
        for first in (0..records).step_by(EDITS_AT_A_TIME) {
            let edit = |number: usize| {
                let text = format!("session {number:x<width$}", width = CONTENT_BYTES - "{\"text\":\"session \"}".len());
                anyhow::Ok((
                    key("timer_session", &format!("{number:032x}"))?,
                    Content::Value(Bytes::from(format!("{{\"text\":\"{text}\"}}"))),
                ))
            };
            let edits = (first..records.min(first + EDITS_AT_A_TIME)).map(edit).collect::<anyhow::Result<Vec<_>>>()?;
            client.edit_all(edits, Onto::Replica).await?;
            online.push_all(PUSH_PATIENCE).await?;
        }
        online.close().await;
        Ok(())
    }

    async fn sent_bytes(&self) -> anyhow::Result<f64> {
        let metrics = self.node.metrics().await?;
        let sent = metrics.lines().find_map(|line| line.strip_prefix(SENT)).with_context(|| format!("no {SENT}"))?;
        Ok(sent.trim().parse()?)
    }

    /// A new device: from its open session until its replica holds every record.
    async fn cold(&self, number: u32, records: usize) -> anyhow::Result<Cold> {
        let profile = Profile::at(self.folder.join(format!("new-{number}")));
        log_in(&profile, &self.asked("new")?).await?.shown()?;
        let client = Client::open(profile, Target { server: self.server.clone() })?;
        let mut online = client.connect().await?;
        let (before, began) = (self.sent_bytes().await?, Instant::now());
        online.catch_up().await?;
        let took_us = began.elapsed().as_secs_f64() * 1e6;
        let sent = self.sent_bytes().await? - before;
        let held = client.records_count().await?;
        ensure!(held == records as u64, "the replica has {held} of {records} records");
        let envelopes = client.status().await?.usage.context("no figures of the log")?.used as f64;
        online.close().await;
        Ok(Cold { took_us, part: sent / envelopes })
    }
}

/// The real file by the command line, from its start to its end: microseconds.
fn import(cli: &CommandLine, number: u32, file: &Path) -> anyhow::Result<(f64, u64)> {
    let profile = format!("import-{number}");
    cli.account(&format!("{profile}@example.com"), &[&profile])?;
    let file = file.to_str().context("a path")?;
    let began = Instant::now();
    let imported = cli.run(&profile, &["import", "--format", "pomodoro", file, "--json"])?.ended(0)?.last()?;
    let took = began.elapsed().as_secs_f64() * 1e6;
    ensure!(imported.get("acknowledged") == Some(&true.into()), "{imported}");
    Ok((took, imported.get("imported").and_then(serde_json::Value::as_u64).context("no count")?))
}

async fn cold_syncs(effort: &Effort, node: &NodeProcess, records: usize) -> anyhow::Result<Vec<Cold>> {
    let folder = effort.folder.join(format!("profiles-{records}"));
    std::fs::create_dir(&folder)?;
    let owner = Owner { node, server: node.server(Wire::Quic)?, folder, email: format!("owner-{records}@example.com") };
    super::told(&format!("W2: pushing {records} records"));
    owner.fill(records).await?;
    let mut rounds = Vec::new();
    for number in 1..=effort.rounds {
        let cold = owner.cold(number, records).await?;
        super::told(&format!(
            "W2 round {number}: {records} records in {:.1} ms, {:.3} of the envelopes' bytes",
            cold.took_us / 1000.0,
            cold.part
        ));
        rounds.push(cold);
    }
    Ok(rounds)
}

/// Measures.
pub async fn run(effort: Effort, cores: Cores) -> anyhow::Result<Section> {
    let folder = effort.folder.join("node");
    std::fs::create_dir(&folder)?;
    let options = vec!["--quota-bytes".to_owned(), u64::MAX.to_string()];
    let node = NodeProcess::start_with(&folder, Start { options, before: cores.before_node(), ..Start::default() }).await?;
    let mut table = Table::new(&["measured", "time", "sent by the node ÷ envelopes"]);
    if let Some(file) = history() {
        let cli = CommandLine::new(&node, Wire::Quic)?;
        let (mut times, mut rows) = (Vec::new(), 0);
        for number in 1..=effort.rounds {
            let (took, imported) = import(&cli, number, &file)?;
            super::told(&format!("W2 round {number}: {imported} rows imported in {:.2} s", took / 1e6));
            times.push(took);
            rows = imported;
        }
        table.rows.push(vec![format!("import of the real file, {rows} rows").into(), Figure::of(Unit::Micros, times).into(), "".into()]);
    }
    let mut aims = Vec::new();
    for (records, us_max) in LOGS {
        let rounds = cold_syncs(&effort, &node, records).await?;
        let time = Figure::of(Unit::Micros, rounds.iter().map(|cold| cold.took_us)).context("no rounds")?;
        let part = Figure::of(Unit::Ratio, rounds.iter().map(|cold| cold.part)).context("no rounds")?;
        table.rows.push(vec![format!("cold sync of {records} records").into(), Some(time).into(), Some(part).into()]);
        aims.push(Aim { what: format!("cold sync of {records} records"), measured: time, bound: Bound::AtMost(us_max) });
        aims.push(Aim { what: format!("bytes ÷ envelopes, {records} records"), measured: part, bound: Bound::AtMost(BYTES_PART_MAX) });
    }
    let mut section = Section {
        id: "W2".into(),
        title: "import, and a new device's cold sync".into(),
        method: format!(
            "Over QUIC, the node on one core, the client on another. The import is `cloudsync import` of the real file, from the start of the \
             command to its end, each time by a new account: read, sealed, signed, pushed, acknowledged. A cold sync is the SDK's, into its \
             replica on SQLite: from the open session until the last of the records ({CONTENT_BYTES} B of content each, one version) is verified, \
             opened and committed there. The bytes are those of the frames that the node sent meanwhile, by those of all envelopes (header, body, wrap)."
        ),
        tables: vec![table],
        aims,
        sentences: Vec::new(),
    };
    section.explain_if_missed(REASONS);
    Ok(section)
}
