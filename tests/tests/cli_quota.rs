//! The quota as a person meets it: to the byte, kept and sent later, said everywhere.
//!
//! Never: a quota that depends on how long sealing makes a record; what it weighs is asked of the client first.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use anyhow::Context as _;
use cloudsync_tests::{CommandLine, NodeProcess, Ran, Wire};
use serde_json::{Value, json};

const AMPLE: u64 = 10_000_000;

fn used(cli: &CommandLine, profile: &str) -> anyhow::Result<u64> {
    // What is used stands in what attaching said, or in what was pushed since.
    cli.run(profile, &["sync"])?.ended(0)?;
    cli.status(profile)?["used_bytes"].as_u64().context("used_bytes")
}

fn put(cli: &CommandLine, profile: &str, id: &str, value: &str) -> anyhow::Result<Ran> {
    cli.run(profile, &["put", "goal", id, value, "--json"])
}

fn pending(cli: &CommandLine, profile: &str) -> anyhow::Result<(Value, Value, Value)> {
    let status = cli.status(profile)?;
    Ok((status["pending"].clone(), status["paused"].clone(), status["paused_edits"].clone()))
}

/// A node whose quota is what `g1` and `g2` weigh together, and `missing` bytes less; `g1` is there.
async fn with_one_of_two(folder: &std::path::Path, missing: u64) -> anyhow::Result<(NodeProcess, CommandLine)> {
    let node = NodeProcess::start_with_quota(folder, AMPLE).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    for id in ["g1", "g2"] {
        put(&cli, "a", id, "1")?.ended(0)?;
    }
    let both = used(&cli, "a")?;
    cli.run("a", &["delete", "goal", "g2"])?.ended(0)?;
    assert!(used(&cli, "a")? < both);
    let node = NodeProcess::start_again_with_quota(&node.terminate().await?, both - missing).await?;
    Ok((node, cli))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_fits_to_the_byte() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (node, cli) = with_one_of_two(folder.path(), 0).await?;
    // Made from the tombstone, it has a hash more to carry where a new one has zeros: as long.
    put(&cli, "a", "g2", "1")?.ended(0)?;
    assert_eq!(cli.status("a")?["used_bytes"], cli.status("a")?["quota_bytes"]);
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_one_byte_past_the_quota_is_kept_said_and_sent_by_itself_when_a_delete_makes_room() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (node, cli) = with_one_of_two(folder.path(), 1).await?;
    let refused = put(&cli, "a", "g2", "1")?.ended(4)?;
    assert_eq!(refused.error_code()?, "quota_exceeded");
    let said = refused.last()?;
    assert_eq!((&said["acknowledged"], &said["pending"], &said["conflict"]), (&json!(false), &json!(true), &Value::Null));
    let message = said["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("quota") && message.contains("your edit is kept"), "{message}");
    assert_eq!(pending(&cli, "a")?, (json!(1), json!("quota"), json!(1)));
    let spoken = cli.run("a", &["status", "--offline"])?.ended(0)?;
    assert!(spoken.stderr.contains("paused: quota: 1 edit waits for room"), "{spoken:?}");
    assert!(spoken.stdout.lines().any(|line| line.starts_with("used\t") && line.ends_with(" B")), "{spoken:?}");
    let shown = cli.run("a", &["get", "goal", "g2", "--json"])?.ended(0)?.last()?;
    assert_eq!((&shown["value"], &shown["pending"]), (&json!(1), &json!(true)));
    // It can't fit, so that it is not tried: nothing is refused again.
    let refusals = |metrics: &str| {
        let line = metrics.lines().find(|line| line.starts_with("cloudsync_requests_refused_total{code=\"quota_exceeded\"}"));
        line.map(str::to_owned)
    };
    let before = refusals(&node.metrics().await?);
    assert!(before.is_some(), "refusals for the quota are counted");
    cli.run("a", &["sync"])?.ended(0)?;
    assert_eq!(refusals(&node.metrics().await?), before);
    // The delete goes past it, and takes it along.
    cli.run("a", &["delete", "goal", "g1", "--json"])?.ended(0)?;
    assert_eq!(pending(&cli, "a")?, (json!(0), Value::Null, json!(0)));
    assert_eq!(cli.run("b", &["get", "goal", "g2", "--json"])?.ended(0)?.last()?["value"], json!(1));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sends_a_paused_edit_when_another_device_makes_room() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (node, cli) = with_one_of_two(folder.path(), 1).await?;
    let watch = cli.watch("a")?;
    put(&cli, "a", "g2", "1")?.ended(4)?;
    watch.said("paused: quota: 1 edit waits for room")?;
    cli.run("b", &["delete", "goal", "g1"])?.ended(0)?;
    assert_eq!((watch.change()?["id"].clone(), watch.change()?["id"].clone()), (json!("g1"), json!("g2")));
    assert_eq!(watch.end("INT")?, (Some(0), vec![]));
    assert_eq!(pending(&cli, "a")?, (json!(0), Value::Null, json!(0)));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_quota_that_was_lowered_smaller_versions_and_deletes_go_in_and_more_room_wakes_the_rest() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Wss)?;
    cli.account("ada@example.com", &["a"])?;
    let text = |letters: usize| {
        // Nothing that compresses to nothing.
        let letters: String = (0..letters).map(|n| char::from(b'a' + u8::try_from((n * n + n / 3) % 26).unwrap_or_default())).collect();
        format!("\"{letters}\"")
    };
    for id in ["g1", "g2"] {
        put(&cli, "a", id, &text(2000))?.ended(0)?;
    }
    let node = NodeProcess::start_again_with_quota(&node.terminate().await?, 500).await?;
    assert_eq!(put(&cli, "a", "g3", "3")?.ended(4)?.error_code()?, "quota_exceeded");
    put(&cli, "a", "g1", "1")?.ended(0)?;
    cli.run("a", &["delete", "goal", "g2"])?.ended(0)?;
    assert_eq!(pending(&cli, "a")?, (json!(1), json!("quota"), json!(1)), "g1 alone fills it");
    let node = NodeProcess::start_again_with_quota(&node.terminate().await?, AMPLE).await?;
    cli.run("a", &["sync"])?.ended(0)?;
    assert_eq!(pending(&cli, "a")?, (json!(0), Value::Null, json!(0)));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_over_the_quota_goes_on_and_says_how_many_wait() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start_with_quota(folder.path(), 100_000).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a"])?;
    let rows: Vec<String> = (0..2000).map(|n| format!("@planning,1,{n},1,2020-01-01,1,1\n")).collect();
    let csv = format!("X.words,word_cnt,description,DONE,date,estimate,actual\n{}", rows.concat());
    let file = folder.path().join("sessions.csv");
    std::fs::write(&file, csv)?;
    let file = file.to_str().context("a path")?;
    let imported = cli.run("a", &["import", "--format", "pomodoro", file, "--json"])?.ended(0)?.last()?;
    assert_eq!((&imported["rows"], &imported["imported"], &imported["acknowledged"]), (&json!(2000), &json!(2000), &json!(false)));
    let waiting = imported["paused_edits"].as_u64().context("a number")?;
    assert!((1500..2000).contains(&waiting), "{waiting}");
    let status = cli.status("a")?;
    let (used, quota) = (status["used_bytes"].as_u64().context("used")?, status["quota_bytes"].as_u64().context("quota")?);
    assert!(used <= quota && quota - used < 1000, "{used} of {quota}: it is filled up");
    assert_eq!(status["pending"], json!(waiting));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_and_the_wraps_after_it_go_through_where_there_is_no_room_for_a_byte() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start_with_quota(folder.path(), AMPLE).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    for id in ["g1", "g2", "g3"] {
        put(&cli, "a", id, "1")?.ended(0)?;
    }
    let half = used(&cli, "a")? / 2;
    let node = NodeProcess::start_again_with_quota(&node.terminate().await?, half).await?;
    assert_eq!(put(&cli, "a", "g4", "1")?.ended(4)?.last()?["error"]["code"], json!("quota_exceeded"));
    cli.rotate("a", cloudsync_tests::command_line::PASSWORD, &[])?.ended(0)?;
    // As a device that starts anew is given them.
    cli.run("b", &["sync", "--from-snapshot"])?.ended(0)?;
    let replica = rusqlite::Connection::open(cli.profile("b").join("replica.db"))?;
    let wraps: (i64, i64) = replica.query_row("SELECT count(*), min(epoch) FROM records", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    assert_eq!(wraps, (3, 2), "every one is under the new key");
    node.terminate().await?;
    Ok(())
}
