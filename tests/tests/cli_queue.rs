//! Offline and back: what was queued catches up; a watch survives a restart of the node; who is stopped holds nobody up.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use cloudsync_tests::command_line::send;
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_queues_while_the_server_is_gone_and_catches_up_later() -> anyhow::Result<()> {
    for wire in [Wire::Quic, Wire::Wss] {
        let folder = tempfile::tempdir()?;
        let node = NodeProcess::start(folder.path()).await?;
        let cli = CommandLine::new(&node, wire)?;
        cli.account("ada@example.com", &["a", "b"])?;
        cli.run("a", &["put", "goal", "g0", "0"])?.ended(0)?;
        let ended = node.kill().await?;
        for n in 1..4 {
            let put = cli.run("a", &["put", "goal", &format!("g{n}"), &n.to_string(), "--json"])?.ended(0)?.last()?;
            assert_eq!((&put["acknowledged"], &put["pending"]), (&json!(false), &json!(true)), "{wire:?}");
        }
        assert_eq!(cli.run("a", &["list", "goal", "--json"])?.ended(0)?.json()?.len(), 4);
        cli.run("b", &["sync"])?.ended(3)?;
        cli.run("a", &["logout"])?.ended(3)?;
        let node = NodeProcess::start_again(&ended).await?;
        cli.run("a", &["sync"])?.ended(0)?;
        let listed = cli.run("b", &["list", "goal", "--json"])?.ended(0)?.json()?;
        let values: Vec<_> = listed.iter().map(|record| record["value"].clone()).collect();
        assert_eq!(values, [json!(0), json!(1), json!(2), json!(3)], "{wire:?}");
        node.terminate().await?;
    }
    Ok(())
}

async fn a_watch_and_a_killed_node(wire: Wire) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, wire)?;
    cli.account("ada@example.com", &["a", "b"])?;
    let watch = cli.watch("b")?;
    cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
    assert_eq!(watch.change()?["value"], json!(1));
    let ended = node.kill().await?;
    cli.run("b", &["put", "goal", "g2", "2", "--offline"])?.ended(0)?;
    let node = NodeProcess::start_again(&ended).await?;
    // The watch itself sends what another process of its profile queued.
    assert_eq!(watch.change()?["value"], json!(2));
    watch.said("offline: ")?;
    watch.said("live at seq ")?;
    cli.run("a", &["put", "goal", "g3", "3"])?.ended(0)?;
    assert_eq!(watch.change()?["value"], json!(3));
    assert_eq!(cli.status("b")?["pending"], json!(0));
    assert_eq!(watch.end("INT")?, (Some(0), vec![]));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_quic_goes_on_after_the_node_was_killed_and_misses_nothing() -> anyhow::Result<()> {
    a_watch_and_a_killed_node(Wire::Quic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_wss_goes_on_after_the_node_was_killed_and_misses_nothing() -> anyhow::Result<()> {
    a_watch_and_a_killed_node(Wire::Wss).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_watch_holds_nobody_up_and_shows_everything_when_it_goes_on() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Wss)?;
    cli.account("ada@example.com", &["a", "b"])?;
    let watch = cli.watch("a")?;
    cli.run("a", &["put", "goal", "g0", "0"])?.ended(0)?;
    assert_eq!(watch.change()?["value"], json!(0));
    send(watch.pid(), "TSTP")?;
    for n in 1..6 {
        let put = cli.run("a", &["put", "goal", &format!("g{n}"), &n.to_string(), "--json"])?.ended(0)?.last()?;
        assert_eq!(put["acknowledged"], json!(true));
    }
    assert!(watch.is_silent());
    send(watch.pid(), "CONT")?;
    for n in 1..6 {
        assert_eq!(watch.change()?["value"], json!(n));
    }
    assert_eq!(watch.end("INT")?, (Some(0), vec![]));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_of_two_profiles_push_at_once_and_every_edit_is_committed_once() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    let watch = cli.watch("b")?;
    let mut children = Vec::new();
    for n in 0..12 {
        let profile = if n % 3 == 0 { "b" } else { "a" };
        children.push(cli.command(profile, &["put", "goal", &format!("g{n}"), &n.to_string(), "--json"]).spawn()?);
    }
    for child in children {
        cloudsync_tests::Ran::try_from(child.wait_with_output()?)?.ended(0)?;
    }
    for profile in ["a", "b"] {
        cli.run(profile, &["sync"])?.ended(0)?;
    }
    let mut seen = Vec::new();
    for _ in 0..12 {
        let change = watch.change()?;
        assert_eq!(change["version"], json!(1));
        seen.push((change["seq"].as_u64(), change["value"].as_u64()));
    }
    assert!(seen.is_sorted(), "in the order of the log: {seen:?}");
    let mut values: Vec<_> = seen.into_iter().map(|(_, value)| value).collect();
    values.sort_unstable();
    assert_eq!(values, (0..12).map(Some).collect::<Vec<_>>());
    assert_eq!(watch.end("INT")?, (Some(0), vec![]));
    node.terminate().await?;
    Ok(())
}
