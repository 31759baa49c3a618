//! A disk that fills up, by pushes and by others' files: `store_full` before anything breaks, reads go on, room heals it.
//!
//! Never: a disk of the machine's. It is a small one in memory, in a mount namespace of the node's own.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use cloudsync_tests::process::Start;
use cloudsync_tests::{CommandLine, Namespace, NodeProcess, Wire};
use serde_json::{Value, json};

/// What a store keeps in reserve is 256 MiB.
const DISK_BYTES: u64 = 300 * 1024 * 1024;
const RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// What pushes may use before the store calls itself full: less than an account may have.
const LEFT_BYTES: u64 = 4 * 1024 * 1024;

/// Text that does not shrink.
fn text(number: u64) -> String {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap_or(0))
    };
    (0..60_000).map(letter).collect()
}

fn available(disk: &Path) -> anyhow::Result<u64> {
    let stat = rustix::fs::statvfs(disk)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// A file of somebody else's, of that size.
fn foreign(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let made = Command::new("fallocate").args(["--length", &bytes.to_string()]).arg(path).status()?;
    ensure!(made.success(), "fallocate {bytes}: {made}");
    Ok(())
}

fn put(cli: &CommandLine, id: &str, value: &str) -> anyhow::Result<bool> {
    let put = cli.run("a", &["put", "goal", id, &json!(value).to_string(), "--json"])?.ended(0)?.last()?;
    let (is_acknowledged, is_held) = (put["acknowledged"] == json!(true), put["held"] == json!("store_full"));
    ensure!(is_acknowledged != is_held, "one of both: {put}");
    Ok(is_acknowledged)
}

fn ids(cli: &CommandLine, profile: &str) -> anyhow::Result<Vec<String>> {
    let listed = cli.run(profile, &["list", "goal", "--json"])?.ended(0)?.json()?;
    let mut ids: Vec<String> = listed.iter().filter_map(|record| record["id"].as_str().map(str::to_owned)).collect();
    ids.sort();
    Ok(ids)
}

async fn refusals(node: &NodeProcess) -> anyhow::Result<bool> {
    let metrics = node.metrics().await?;
    let line = metrics.lines().find(|line| line.starts_with("cloudsync_store_errors_total{outcome=\"full\"}")).context("no metric")?;
    Ok(!line.ends_with(" 0"))
}

/// Everything that was acknowledged is on the other device, which reads from the server.
fn is_there(cli: &CommandLine, acknowledged: &[String]) -> anyhow::Result<()> {
    let mut expected = acknowledged.to_vec();
    expected.sort();
    let mut found = ids(cli, "b")?;
    found.retain(|id| expected.contains(id));
    ensure!(found == expected, "{found:?} of {expected:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_before_anything_breaks_and_heals_without_a_restart() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    let test = "a_full_disk_refuses_writes_before_anything_breaks_and_heals_without_a_restart";
    let Some(namespace) = Namespace::with_disk(&data, DISK_BYTES, test)? else { return Ok(()) };
    let disk = namespace.path(&data);
    let node = NodeProcess::start_with(folder.path(), Start { before: namespace.enter(), ..Start::default() }).await?;
    let cli = CommandLine::new(&node, Wire::Wss)?;
    cli.account("ada@example.com", &["a", "b"])?;
    let watch = cli.watch("b")?;
    foreign(&disk.join("foreign"), available(&disk)? - RESERVE_BYTES - LEFT_BYTES)?;
    let mut acknowledged: Vec<String> = Vec::new();
    for number in 0.. {
        let id = format!("g{number:03}");
        if !put(&cli, &id, &text(number))? {
            break;
        }
        acknowledged.push(id);
        ensure!(number < 200, "the disk does not fill");
    }
    let status = cli.run("a", &["status", "--json"])?.ended(0)?.last()?;
    assert_eq!((&status["pending"], &status["held"]), (&json!(1), &json!("store_full")));
    assert_eq!(cli.run("a", &["sync", "--json"])?.ended(4)?.error_code()?, "store_full");
    let said = cli.run("a", &["status"])?.ended(0)?.stderr;
    ensure!(said.contains("store_full: the server's disk is full"), "{said}");
    ensure!(acknowledged.len() > 5 && refusals(&node).await?, "{} were acknowledged before it was full", acknowledged.len());
    ensure!(available(&disk)? > RESERVE_BYTES - LEFT_BYTES, "refused while there is room for what is under way");
    for id in &acknowledged {
        ensure!(watch.change()?["id"] == json!(id), "the watch goes on");
    }
    let refused = cli.sign_in("c", ("register", "bob@example.com", cloudsync_tests::command_line::PASSWORD), &[])?.ended(4)?;
    assert_eq!(refused.error_code()?, "store_full");
    is_there(&cli, &acknowledged)?;

    // Others take all that is left; then the node is killed and started again on what there is.
    foreign(&disk.join("more"), available(&disk)?)?;
    ensure!(available(&disk)? == 0, "not full");
    is_there(&cli, &acknowledged)?;
    cli.run("b", &["sync"])?.ended(0)?;
    std::fs::remove_file(disk.join("more"))?;
    let ended = node.kill().await?;
    let node = NodeProcess::start_again(&ended).await?;
    cli.run("b", &["sync"])?.ended(0)?;
    is_there(&cli, &acknowledged)?;
    ensure!(!put(&cli, "still", "full")?, "acknowledged below the reserve");

    // Room: what waited goes, with the same node.
    std::fs::remove_file(disk.join("foreign"))?;
    // The node looks at its disk now and then.
    let begun = std::time::Instant::now();
    while cli.run("a", &["sync"])?.code != Some(0) {
        ensure!(begun.elapsed() < std::time::Duration::from_secs(30), "it does not notice that there is room");
    }
    assert_eq!(cli.status("a")?["held"], Value::Null);
    acknowledged.extend([format!("g{:03}", acknowledged.len()), "still".to_owned()]);
    is_there(&cli, &acknowledged)?;
    ensure!(put(&cli, "after", "all")?, "not healed");
    let seen: Value = loop {
        let change = watch.change()?;
        if change["id"] == json!("after") {
            break change;
        }
    };
    assert_eq!(seen["value"], json!("all"));
    ensure!(node.terminate().await?.status().success(), "it ended as it should");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_any_room_is_refused_with_what_to_do_and_works_once_there_is_some() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    let test = "a_start_without_any_room_is_refused_with_what_to_do_and_works_once_there_is_some";
    let Some(namespace) = Namespace::with_disk(&data, DISK_BYTES, test)? else { return Ok(()) };
    let disk = namespace.path(&data);
    let node = NodeProcess::start_with(folder.path(), Start { before: namespace.enter(), ..Start::default() }).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    ensure!(put(&cli, "g1", "kept")?, "there is room");
    let ended = node.terminate().await?;
    foreign(&disk.join("foreign"), available(&disk)?)?;
    let (code, message) = cloudsync_tests::process::refused(&data, (&namespace.enter(), &[]))?;
    assert_eq!(code, Some(1));
    ensure!(message.contains("no space is left") && message.contains("free some space"), "{message}");
    std::fs::remove_file(disk.join("foreign"))?;
    let node = NodeProcess::start_again(&ended).await?;
    is_there(&cli, &["g1".to_owned()])?;
    node.terminate().await?;
    Ok(())
}
