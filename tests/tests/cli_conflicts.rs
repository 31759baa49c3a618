//! Stale edits: parked, shown, settled; equal content settles by itself; the rest of the queue goes on.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::{Value, json};

fn put(cli: &CommandLine, profile: &str, (id, value): (&str, &str), more: &[&str]) -> anyhow::Result<cloudsync_tests::Ran> {
    cli.run(profile, &[&["put", "goal", id, value, "--json"], more].concat())
}

fn conflicts(cli: &CommandLine, profile: &str) -> anyhow::Result<Vec<Value>> {
    cli.run(profile, &["conflicts", "--json"])?.ended(0)?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_edit_is_parked_and_the_rest_of_the_queue_goes_on() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    put(&cli, "a", ("g1", "1"), &["--offline"])?.ended(0)?;
    put(&cli, "a", ("g2", "2"), &["--offline"])?.ended(0)?;
    put(&cli, "a", ("g3", "{\"same\":true}"), &["--offline"])?.ended(0)?;
    put(&cli, "b", ("g1", "\"b\""), &[])?.ended(0)?;
    put(&cli, "b", ("g3", "{ \"same\": true }"), &[])?.ended(0)?;

    let sync = cli.run("a", &["sync", "--json"])?.ended(5)?;
    assert_eq!(sync.error_code()?, "conflict");
    assert_eq!((&sync.last()?["pending"], &sync.last()?["conflicts_new"]), (&json!(0), &json!(1)));
    let expected = json!({"collection": "goal", "id": "g1", "reason": "stale",
        "mine": {"version": 0, "deleted": false, "value": 1}, "current": {"version": 1, "deleted": false, "value": "b"}});
    assert_eq!(conflicts(&cli, "a")?, [expected]);
    assert_eq!(cli.status("a")?["conflicts"], json!(1));
    let shown = cli.run("a", &["get", "goal", "g1", "--json"])?.ended(0)?.last()?;
    assert_eq!((&shown["value"], &shown["conflict"], &shown["version"]), (&json!("b"), &json!(true), &json!(1)));
    assert_eq!(cli.run("b", &["get", "goal", "g2"])?.ended(0)?.stdout, "2\n", "what was behind it in the queue is there");
    cli.run("a", &["list"])?.ended(0)?;
    cli.run("a", &["sync"])?.ended(0)?;

    let refused = put(&cli, "a", ("g1", "3"), &[])?.ended(5)?;
    assert_eq!((&refused.last()?["acknowledged"], &refused.last()?["conflict"]), (&json!(false), &json!(true)));
    assert!(refused.stderr.contains("is not kept") && refused.stderr.contains("put goal g1 … --onto current"), "{refused:?}");
    let refused = cli.run("a", &["delete", "goal", "g1"])?.ended(5)?.stderr;
    assert!(refused.contains("delete goal g1 --onto current") && !refused.contains(" put "), "who deletes is not told to write: {refused}");
    cli.run("a", &["logout"])?.ended(4)?;
    assert_eq!(put(&cli, "a", ("g1", "4"), &["--onto", "current"])?.ended(0)?.last()?["version"], json!(2));
    assert_eq!(conflicts(&cli, "a")?, Vec::<Value>::new());
    assert_eq!(cli.run("b", &["get", "goal", "g1"])?.ended(0)?.stdout, "4\n");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_settled_by_deleting_onto_current_or_by_dropping_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Wss)?;
    cli.account("ada@example.com", &["a", "b"])?;
    for id in ["g1", "g2"] {
        put(&cli, "a", (id, "1"), &["--offline"])?.ended(0)?;
        put(&cli, "b", (id, "2"), &[])?.ended(0)?;
    }
    cli.run("a", &["sync"])?.ended(5)?;
    assert_eq!(conflicts(&cli, "a")?.len(), 2);
    let deleted = cli.run("a", &["delete", "goal", "g1", "--onto", "current", "--json"])?.ended(0)?.last()?;
    assert_eq!((&deleted["acknowledged"], &deleted["version"]), (&json!(true), &json!(2)));
    let dropped = cli.run("a", &["conflicts", "drop", "goal", "g2", "--json"])?.ended(0)?.last()?;
    assert_eq!(dropped["value"], json!(1), "it says what is given up");
    cli.run("a", &["conflicts", "drop", "goal", "g2"])?.ended(4)?;
    assert_eq!(conflicts(&cli, "a")?, Vec::<Value>::new());
    assert_eq!(cli.run("a", &["get", "goal", "g2"])?.ended(0)?.stdout, "2\n");
    cli.run("a", &["logout"])?.ended(0)?;
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_kept_without_being_typed_again_a_deletion_too() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    for id in ["g1", "g2"] {
        put(&cli, "b", (id, "0"), &[])?.ended(0)?;
    }
    cli.run("a", &["sync"])?.ended(0)?;
    put(&cli, "a", ("g1", "1"), &["--offline"])?.ended(0)?;
    cli.run("a", &["delete", "goal", "g2", "--offline"])?.ended(0)?;
    for id in ["g1", "g2"] {
        put(&cli, "b", (id, "2"), &[])?.ended(0)?;
    }
    cli.run("a", &["sync"])?.ended(5)?;
    let missing = cli.run("a", &["conflicts", "keep", "goal", "g1", "--lost", "00", "--json"])?.ended(4)?;
    assert_eq!(missing.error_code()?, "not_found");
    let kept = cli.run("a", &["conflicts", "keep", "goal", "g1", "--json"])?.ended(0)?.last()?;
    assert_eq!((&kept["value"], &kept["version"], &kept["acknowledged"]), (&json!(1), &json!(3), &json!(true)));
    let gone = cli.run("a", &["conflicts", "keep", "goal", "g2", "--json"])?.ended(0)?.last()?;
    assert_eq!((&gone["deleted"], &gone["acknowledged"]), (&json!(true), &json!(true)));
    assert_eq!(conflicts(&cli, "a")?, Vec::<Value>::new());
    cli.run("a", &["conflicts", "keep", "goal", "g1"])?.ended(4)?;
    assert_eq!(cli.run("b", &["get", "goal", "g1"])?.ended(0)?.stdout, "1\n");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_too_large_is_refused_and_blocks_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a"])?;
    // Six bits a letter: no compression gets that below the limit. It must fit an argument, of 128 KiB.
    let letters: String =
        (0..110_000).map(|_| char::from(b'0' + rand::random_range(0..64_u8))).map(|c| if c == '\\' { 'z' } else { c }).collect();
    let refused = put(&cli, "a", ("big", &format!("\"{letters}\"")), &[])?;
    assert_eq!((refused.code, refused.error_code()?.as_str()), (Some(4), "body_too_large"));
    assert_eq!((&refused.last()?["acknowledged"], &refused.last()?["conflict"]), (&json!(false), &json!(true)));
    let next = put(&cli, "a", ("g1", "1"), &[])?.ended(0)?;
    assert!(next.stderr.contains("1 edit of this device is refused (body_too_large)") && !next.stderr.contains("newer"), "{next:?}");
    assert_eq!(conflicts(&cli, "a")?[0]["reason"], json!("body_too_large"));
    cli.run("a", &["conflicts", "drop", "goal", "big"])?.ended(0)?;
    // One that another process of the profile queues while a watch is live: the watch sends it, and says what came of it.
    let watch = cli.watch("a")?;
    put(&cli, "a", ("huge", &format!("\"{letters}\"")), &["--offline"])?.ended(0)?;
    watch.said("goal/huge: your edit is refused (body_too_large)")?;
    assert!(watch.is_silent(), "it is no change");
    let found = cli.run("a", &["sync"])?.ended(0)?;
    assert!(found.stderr.contains("is refused (body_too_large)"), "{found:?}");
    drop(watch);
    node.terminate().await?;
    Ok(())
}
