//! Backups of the real node: made while it serves, looked at, and brought back.
//!
//! Never: a folder copied by the test itself.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::process::node_binary;
use cloudsync_tests::{CommandLine, NodeProcess, Ran, Wire};
use serde_json::json;

fn backup(arguments: &[&str]) -> anyhow::Result<Ran> {
    Command::new(node_binary()?).args(["backup", "--json"]).args(arguments).output()?.try_into()
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_node_serves_in_an_empty_folder_to_whoever_logs_in() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, second, copy) = (folder.path().join("first"), folder.path().join("second"), folder.path().join("copy"));
    std::fs::create_dir(&first)?;
    std::fs::create_dir(&second)?;
    let node = NodeProcess::start(&first).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a"])?;
    cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
    let data = first.join("data");
    let made = backup(&["create", text(&copy)?, "--data", text(&data)?])?.ended(0)?.last()?;
    ensure!(made["accounts"] == json!(1) && made["bytes"].as_u64() > Some(50_000) && made["seconds"].is_f64(), "{made}");
    cli.run("a", &["put", "goal", "g2", "2"])?.ended(0)?;

    let verified = backup(&["verify", text(&copy)?])?.ended(0)?.last()?;
    for key in ["taken_ts", "group", "accounts", "bytes"] {
        ensure!(verified[key] == made[key], "{key}: {verified} of {made}");
    }
    let refused = backup(&["restore", text(&copy)?, "--into", text(&data)?])?.ended(1)?;
    ensure!(refused.stderr.contains("another node runs on this folder"), "{refused:?}");
    let refused = backup(&["create", text(&copy)?, "--data", text(&data)?])?.ended(1)?;
    ensure!(refused.stderr.contains("not empty"), "{refused:?}");

    let restored = backup(&["restore", text(&copy)?, "--into", text(&second.join("data"))?])?.ended(0)?.last()?;
    ensure!(restored["database_rewinds"] == json!(1) && restored["kept"].is_null(), "{restored}");
    let node = (node.terminate().await?, NodeProcess::start(&second).await?).1;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.sign_in("c", ("login", "ada@example.com", PASSWORD), &[])?.ended(0)?;
    let listed = cli.run("c", &["list", "goal", "--json"])?.ended(0)?.json()?;
    ensure!(listed.len() == 1 && listed[0]["id"] == json!("g1"), "what was acknowledged before it: {listed:?}");
    cli.run("c", &["put", "goal", "g3", "3"])?.ended(0)?;
    node.terminate().await?;
    Ok(())
}
