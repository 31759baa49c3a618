//! `torture`: kills the node and a client again and again, and says what was proved; `cargo xtask torture` calls it.
//!
//! Never: a proof of its own; those are in `torture/`.

use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use cloudsync_tests::process::last_words;
use cloudsync_tests::torture::{ClientKills, NodeKills, Torture, kill_client, kill_node};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// A round of kills of a client for so many kills of the node.
const KILLS_A_ROUND: u32 = 50;

static PROGRESS: LazyLock<ProgressBar> = LazyLock::new(ProgressBar::no_length);

/// Kills the node under load, and a client at every step of a push; then everything that was acknowledged must be there, once.
#[derive(Debug, Parser)]
#[command(name = "torture")]
struct CommandLine {
    /// `kill -9` of the node, at least
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
    /// Repeats the draws of a run [default: a fresh one, which is shown]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Prints what was proved as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Proved {
    seed: u64,
    node: NodeKills,
    client: ClientKills,
    seconds: u64,
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program: this is its output")]
async fn torture(options: CommandLine) -> anyhow::Result<()> {
    let (began, seed) = (Instant::now(), options.seed.unwrap_or_else(rand::random));
    eprintln!("seed {seed}: --seed {seed} repeats the draws");
    PROGRESS.set_style(ProgressStyle::with_template("{elapsed_precise} {msg}: {pos}")?);
    let progress = |what: &str, count: u32| {
        PROGRESS.set_message(what.to_owned());
        PROGRESS.set_position(count.into());
    };
    let torture = Torture { kills: options.kills, rounds: options.kills.div_ceil(KILLS_A_ROUND), seed, progress };
    let (nodes, clients) = (tempfile::TempDir::new()?, tempfile::TempDir::new()?);
    let words = |folder: &tempfile::TempDir| format!("seed {seed}; the node's last words:\n{}", last_words(folder.path()));
    let node = Box::pin(kill_node(nodes.path(), &torture)).await.with_context(|| words(&nodes))?;
    let client = kill_client(clients.path(), &torture).await.with_context(|| words(&clients))?;
    PROGRESS.finish_and_clear();
    let proved = Proved { seed, node, client, seconds: began.elapsed().as_secs() };
    if options.json {
        println!("{}", serde_json::to_string(&proved)?);
        return Ok(());
    }
    println!("{} kills of the node:", proved.node.kills);
    for log in &proved.node.logs {
        println!(
            "  {} pushes to seq {}, {} acknowledged, {} lost answers settled, {} stale, lagged {} times",
            log.pushes, log.seq, log.acknowledged, log.lost_answers, log.stale, log.lagged
        );
    }
    println!("{} kills of a client, at each of {} steps of a push, before and after:", proved.client.kills, proved.client.steps);
    for (fell, count) in &proved.client.fell {
        println!("  {fell}: {count}");
    }
    println!("nothing acknowledged was lost, nothing is there twice; {} s", proved.seconds);
    Ok(())
}

#[allow(clippy::print_stderr, reason = "it is a program: this is its output")]
fn main() -> ExitCode {
    let options = CommandLine::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.context("no runtime").and_then(|runtime| runtime.block_on(torture(options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
