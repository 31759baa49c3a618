//! Policies at the command line: set once for all devices, and then the last write wins, whoever comes first and whatever a clock says.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::time::{SystemTime, UNIX_EPOCH};

use cloudsync_tests::{CommandLine, NodeProcess, Ran, Wire};
use serde_json::{Value, json};

const YEAR_MS: i64 = 31_557_600_000;

fn put(cli: &CommandLine, profile: &str, (id, value): (&str, &str)) -> anyhow::Result<Ran> {
    cli.run(profile, &["put", "goal", id, value, "--offline"])?.ended(0)
}

fn get(cli: &CommandLine, profile: &str, id: &str) -> anyhow::Result<String> {
    Ok(cli.run(profile, &["get", "goal", id])?.ended(0)?.stdout.trim().to_owned())
}

fn set(cli: &CommandLine, profile: &str, policy: &str) -> anyhow::Result<Value> {
    cli.run(profile, &["policy", "goal", policy, "--json"])?.ended(0)?.last()
}

/// A node, two devices of an account that know the policy, and a third one to watch with.
async fn devices(folder: &std::path::Path, policy: &str) -> anyhow::Result<(NodeProcess, CommandLine)> {
    let node = NodeProcess::start(folder).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b", "c"])?;
    set(&cli, "a", policy)?;
    cli.run("b", &["sync"])?.ended(0)?;
    Ok((node, cli))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_edits_made_offline_the_later_one_is_current_in_both_orders_and_history_has_both() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (node, cli) = devices(folder.path(), "last_write_wins").await?;
    let watch = cli.watch("c")?;
    for (id, first, second, told) in [("g1", "a", "b", vec!["1", "2"]), ("g2", "b", "a", vec!["2", "1", "2"])] {
        put(&cli, "a", (id, "1"))?;
        put(&cli, "b", (id, "2"))?;
        for profile in [first, second, first] {
            cli.run(profile, &["sync"])?.ended(0)?;
        }
        assert_eq!([get(&cli, "a", id)?, get(&cli, "b", id)?], ["2", "2"], "{id}");
        for value in told {
            let change = watch.change()?;
            assert_eq!((&change["id"], change["value"].to_string()), (&json!(id), value.to_owned()));
        }
        for profile in ["a", "b"] {
            let status = cli.status(profile)?;
            assert_eq!((&status["pending"], &status["conflicts"]), (&json!(0), &json!(0)), "{status}");
        }
    }
    drop(watch);
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn under_reject_the_same_edits_are_a_conflict_of_who_comes_later() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (node, cli) = devices(folder.path(), "reject").await?;
    put(&cli, "a", ("g1", "1"))?;
    put(&cli, "b", ("g1", "2"))?;
    cli.run("a", &["sync"])?.ended(0)?;
    cli.run("b", &["sync"])?.ended(5)?;
    assert_eq!((get(&cli, "b", "g1")?, &cli.status("b")?["conflicts"]), ("1".to_owned(), &json!(1)));
    node.terminate().await?;
    Ok(())
}

/// As if the machine's clock had been wrong by that since the server was reached last.
fn set_clock(cli: &CommandLine, profile: &str, ahead_ms: i64) -> anyhow::Result<()> {
    let replica = rusqlite::Connection::open(cli.profile(profile).join("replica.db"))?;
    assert_eq!(replica.execute("UPDATE login SET clock_offset_ms = ?1", [ahead_ms])?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_a_year_ahead_wins_once_and_one_a_year_behind_not_for_ever_loses() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (node, cli) = devices(folder.path(), "last_write_wins").await?;
    for round in 0..2 {
        set_clock(&cli, "a", YEAR_MS)?;
        put(&cli, "a", ("g1", "\"ahead\""))?;
        cli.run("a", &["sync"])?.ended(0)?;
        // Made after that, without having seen it.
        put(&cli, "b", ("g1", "\"right\""))?;
        cli.run("b", &["sync"])?.ended(0)?;
        assert_eq!(get(&cli, "a", "g1")?, "\"right\"", "round {round}");
    }
    put(&cli, "b", ("g2", "\"right\""))?;
    set_clock(&cli, "a", -YEAR_MS)?;
    put(&cli, "a", ("g2", "\"behind\""))?;
    cli.run("b", &["sync"])?.ended(0)?;
    cli.run("a", &["sync"])?.ended(0)?;
    assert_eq!(get(&cli, "b", "g2")?, "\"right\"");
    set_clock(&cli, "a", -YEAR_MS)?;
    put(&cli, "a", ("g2", "\"behind, having seen it\""))?;
    cli.run("a", &["sync"])?.ended(0)?;
    assert_eq!(get(&cli, "b", "g2")?, "\"behind, having seen it\"");
    for profile in ["a", "b"] {
        let status = cli.status(profile)?;
        assert_eq!((&status["pending"], &status["conflicts"]), (&json!(0), &json!(0)), "{status}");
    }
    // No stamp is ahead of the server's clock by more than it takes.
    let stamps = rusqlite::Connection::open(cli.profile("b").join("replica.db"))?;
    let latest: i64 = stamps.query_row("SELECT max(hlc >> 16) FROM records", [], |row| row.get(0))?;
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    assert!(latest <= now_ms + 300_000, "{latest}, and it is {now_ms}");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_set_offline_shown_and_no_record_among_others() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Wss)?;
    cli.account("ada@example.com", &["a", "b"])?;
    assert_eq!(cli.run("a", &["policy", "goal"])?.ended(0)?.stdout, "reject\n");
    assert_eq!(cli.run("a", &["policy", "--json"])?.ended(0)?.stdout, "");
    let watch = cli.watch("b")?;
    let set_offline = cli.run("a", &["policy", "goal", "last_write_wins", "--offline", "--json"])?.ended(0)?.last()?;
    assert_eq!(set_offline, json!({"collection": "goal", "policy": "last_write_wins", "pending": true, "acknowledged": false}));
    assert_eq!(cli.run("a", &["policy", "goal", "--offline"])?.ended(0)?.stdout, "last_write_wins\n", "in force here at once");
    cli.run("a", &["sync"])?.ended(0)?;
    let again = cli.run("a", &["policy", "goal", "last_write_wins", "--json"])?.ended(0)?.last()?;
    let in_force = json!({"collection": "goal", "policy": "last_write_wins", "pending": false});
    assert_eq!((&again["acknowledged"], &again["pending"]), (&json!(true), &json!(false)));
    assert_eq!(cli.run("b", &["policy", "--json"])?.ended(0)?.json()?, [in_force]);

    cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
    assert_eq!(watch.change()?["id"], json!("g1"), "a policy is no change that is shown");
    assert_eq!(cli.run("a", &["list", "--json"])?.ended(0)?.json()?.len(), 1);
    assert_eq!(cli.run("a", &["export", "--format", "jsonl"])?.ended(0)?.json()?.len(), 1);
    assert_eq!(cli.status("a")?["records"], json!(1));
    let own = cli.run("a", &["list", "cloudsync", "--json"])?.ended(0)?.last()?;
    assert_eq!((&own["id"], &own["value"]), (&json!("policy/goal"), &json!({"policy": "last_write_wins"})));
    cli.run("a", &["status", "--check"])?.ended(0)?;
    for refused in [
        vec!["put", "cloudsync", "policy/goal", "1", "--json"],
        vec!["delete", "cloudsync", "policy/goal", "--json"],
        vec!["policy", "cloudsync", "reject", "--json"],
    ] {
        let ran = cli.run("a", &refused)?.ended(2)?;
        assert_eq!(ran.error_code()?, "collection_reserved", "{ran:?}");
    }
    cli.run("a", &["policy", "goal", "sometimes"])?.ended(2)?;
    drop(watch);
    node.terminate().await?;
    Ok(())
}
