//! A node whose backup was restored: its devices, each with a folder of its own and one long offline, bring back what was lost, and
//! nobody's later work goes.
//!
//! Never: a device that knows of the restore, or is told what to do about it.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::process::{EndedNode, node_binary};
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::{Value, json};

fn backup(arguments: &[&str]) -> anyhow::Result<Value> {
    cloudsync_tests::Ran::try_from(Command::new(node_binary()?).args(["backup", "--json"]).args(arguments).output()?)?.ended(0)?.last()
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

/// What a profile shows: id, value.
fn shown(cli: &CommandLine, profile: &str) -> anyhow::Result<Vec<(String, Value)>> {
    let listed = cli.run(profile, &["list", "goal", "--json"])?.ended(0)?.json()?;
    listed
        .into_iter()
        .map(|record| {
            ensure!(record.get("pending").is_none(), "not committed: {record}");
            Ok((record["id"].as_str().context("an id")?.to_owned(), record["value"].clone()))
        })
        .collect()
}

fn put(cli: &CommandLine, profile: &str, (id, value): (&str, &str)) -> anyhow::Result<()> {
    cli.run(profile, &["put", "goal", id, value])?.ended(0).map(drop)
}

fn sync(cli: &CommandLine, profile: &str, code: i32) -> anyhow::Result<Value> {
    cli.run(profile, &["sync", "--json"])?.ended(code)?.last()
}

async fn restored(ended: &EndedNode, copy: &Path) -> anyhow::Result<NodeProcess> {
    backup(&["restore", text(copy)?, "--into", text(&ended.data())?])?;
    NodeProcess::start_again(ended).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_backup_lacks_comes_back_from_the_devices_and_work_done_since_stays() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b", "c"])?;
    for record in [("changed", "1"), ("deleted", "1"), ("kept", "1")] {
        put(&cli, "a", record)?;
    }
    for profile in ["b", "c"] {
        sync(&cli, profile, 0)?;
    }
    let copy = folder.path().join("copy");
    backup(&["create", text(&copy)?, "--data", text(&folder.path().join("data"))?])?;

    // All of this is lost; `c` has read it, and works on it for long without the node.
    put(&cli, "a", ("changed", "2"))?;
    put(&cli, "a", ("new", "1"))?;
    cli.run("b", &["delete", "goal", "deleted"])?.ended(0)?;
    sync(&cli, "c", 0)?;
    for (id, value) in [("changed", "3"), ("offline", "1")] {
        cli.run("c", &["put", "goal", id, value, "--offline"])?.ended(0)?;
    }
    // This only `a` knows.
    put(&cli, "a", ("again", "\"lost\""))?;
    put(&cli, "a", ("twice", "\"lost\""))?;

    let node = restored(&node.terminate().await?, &copy).await?;
    sync(&cli, "b", 0)?;
    cli.sign_in("d", ("login", "ada@example.com", PASSWORD), &[])?.ended(0)?;
    put(&cli, "d", ("again", "\"since\""))?;
    put(&cli, "d", ("twice", "\"since\""))?;
    let said = sync(&cli, "a", 0)?;
    ensure!(said["pending"] == json!(0), "{said}");
    let conflicts = cli.run("a", &["conflicts", "--json"])?.ended(0)?.json()?;
    ensure!(conflicts.len() == 2 && conflicts[0]["reason"] == json!("lost") && conflicts[0]["id"] == json!("again"), "{conflicts:?}");
    ensure!(conflicts[0]["mine"]["value"] == json!("lost") && conflicts[0]["current"]["value"] == json!("since"), "{conflicts:?}");
    sync(&cli, "c", 0)?;

    let expected = [
        ("again", json!("since")),
        ("changed", json!(3)),
        ("kept", json!(1)),
        ("new", json!(1)),
        ("offline", json!(1)),
        ("twice", json!("since")),
    ];
    let expected = expected.map(|(id, value)| (id.to_owned(), value));
    for profile in ["a", "b", "c", "d"] {
        sync(&cli, profile, 0)?;
        ensure!(shown(&cli, profile)? == expected, "{profile}: {:?}", shown(&cli, profile)?);
        let status = cli.status(profile)?;
        ensure!(status["lost"] == json!(0) && status["pending"] == json!(0), "{status}");
    }
    // The person gives one that was lost up and writes the other onto what is there, and the log goes on as any.
    let hash = conflicts[0]["lost"].as_str().context("a hash")?;
    cli.run("a", &["conflicts", "drop", "goal", "again", "--lost", hash])?.ended(0)?;
    let hash = conflicts[1]["lost"].as_str().context("a hash")?;
    cli.run("a", &["conflicts", "keep", "goal", "twice", "--lost", hash])?.ended(0)?;
    ensure!(cli.run("b", &["get", "goal", "twice"])?.ended(0)?.stdout == "\"lost\"\n", "kept");
    ensure!(cli.run("a", &["conflicts", "--json"])?.ended(0)?.json()?.is_empty(), "settled");
    put(&cli, "a", ("again", "\"later\""))?;
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_last_write_wins_what_was_lost_goes_into_history_below_what_was_made_since_and_nobody_is_asked() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    cli.run("a", &["policy", "goal", "last_write_wins"])?.ended(0)?;
    sync(&cli, "b", 0)?;
    let copy = folder.path().join("copy");
    backup(&["create", text(&copy)?, "--data", text(&folder.path().join("data"))?])?;
    put(&cli, "a", ("again", "\"lost\""))?;
    let node = restored(&node.terminate().await?, &copy).await?;
    put(&cli, "b", ("again", "\"since\""))?;
    let watch = cli.watch("b")?;
    sync(&cli, "a", 0)?;
    for value in ["lost", "since"] {
        let change = watch.change()?;
        ensure!((&change["id"], &change["value"]) == (&json!("again"), &json!(value)), "{change}");
    }
    drop(watch);
    let status = cli.status("a")?;
    ensure!((&status["conflicts"], &status["pending"], &status["lost"]) == (&json!(0), &json!(0), &json!(0)), "{status}");
    ensure!(cli.run("a", &["get", "goal", "again"])?.ended(0)?.stdout == "\"since\"\n", "what was made since stays");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_restored_twice_loses_nothing_of_either_time() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Wss)?;
    cli.account("ada@example.com", &["a", "b", "c"])?;
    put(&cli, "a", ("first", "0"))?;
    for profile in ["b", "c"] {
        sync(&cli, profile, 0)?;
    }
    let copy = folder.path().join("copy");
    backup(&["create", text(&copy)?, "--data", text(&folder.path().join("data"))?])?;
    put(&cli, "a", ("first", "1"))?;
    // It reads the first branch, and is away until the end.
    sync(&cli, "c", 0)?;
    let node = restored(&node.terminate().await?, &copy).await?;
    put(&cli, "b", ("second", "2"))?;
    let node = restored(&node.terminate().await?, &copy).await?;
    put(&cli, "b", ("third", "3"))?;
    for profile in ["c", "a", "b", "c"] {
        sync(&cli, profile, 0)?;
    }
    let expected = [("first", json!(1)), ("second", json!(2)), ("third", json!(3))].map(|(id, value)| (id.to_owned(), value));
    for profile in ["a", "b", "c"] {
        sync(&cli, profile, 0)?;
        ensure!(shown(&cli, profile)? == expected, "{profile}: {:?}", shown(&cli, profile)?);
    }
    node.terminate().await?;
    Ok(())
}
