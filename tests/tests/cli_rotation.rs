//! Rotating by the real command line, over every carrier: who stays goes on, who leaves is out, and nothing that was written is lost.
//!
//! Never: a look at keys; what opens for whom is tried.

#![allow(clippy::indexing_slicing, reason = "only JSON values are indexed, which gives null where nothing is")]

use anyhow::Context as _;
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::{Value, json};

type Tested = anyhow::Result<()>;

const ADA: &str = "ada@example.com";
const NEW: &str = "another horse, another battery";

/// The account key's epoch that a profile has come to.
fn key_epoch(cli: &CommandLine, profile: &str) -> anyhow::Result<u64> {
    let keys: Value = serde_json::from_slice(&std::fs::read(cli.profile(profile).join("keys.json"))?)?;
    keys["account_keys"].as_array().and_then(|keys| keys.last()?["epoch"].as_u64()).context("no account key")
}

/// Rotates, and gives the code.
fn rotated(cli: &CommandLine, profile: &str, password: &str) -> anyhow::Result<String> {
    let said = cli.rotate(profile, password, &[])?.ended(0)?.last()?;
    Ok(said["recovery_code"].as_str().context("a code")?.to_owned())
}

fn value(cli: &CommandLine, profile: &str, id: &str) -> anyhow::Result<String> {
    Ok(cli.run(profile, &["get", "goal", id])?.ended(0)?.stdout.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_every_device_goes_on_under_new_keys_and_the_old_recovery_code_opens_nothing() -> Tested {
    CommandLine::on_each_wire(|cli| {
        let old = cli.account(ADA, &["a", "b", "c"])?;
        cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
        let watch = cli.watch("c")?;
        let code = rotated(cli, "a", PASSWORD)?;
        assert!(!cli.profile("a").join("rotation.json").exists(), "what was shown is forgotten");
        cli.run("a", &["put", "goal", "g2", "2"])?.ended(0)?;
        assert_eq!(watch.change()?["value"], json!(2), "a session that was open follows");
        // What it sends from there on is under the new keys too: the others read it.
        cli.run("c", &["put", "goal", "g3", "3", "--offline"])?.ended(0)?;
        assert_eq!(watch.change()?["value"], json!(3));
        assert_eq!((value(cli, "b", "g1")?, value(cli, "b", "g2")?, value(cli, "b", "g3")?), ("1".into(), "2".into(), "3".into()));
        cli.run("b", &["put", "goal", "g1", "10"])?.ended(0)?;
        assert_eq!(watch.change()?["value"], json!(10));
        assert_eq!(watch.end("INT")?.0, Some(0));
        assert_eq!([key_epoch(cli, "a")?, key_epoch(cli, "b")?, key_epoch(cli, "c")?], [2; 3]);
        assert_eq!(cli.recover("d", (ADA, &old, NEW), &[])?.ended(4)?.error_code()?, "credentials_invalid");
        cli.recover("d", (ADA, &code, NEW), &[])?.ended(0)?;
        assert_eq!((value(cli, "d", "g1")?, value(cli, "d", "g3")?), ("10".into(), "3".into()));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_away_through_two_rotations_and_all_wrapping_anew_reads_everything() -> Tested {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a", "away", "fresh"])?;
    cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
    cli.run("away", &["sync"])?.ended(0)?;
    cli.run("away", &["put", "goal", "queued", "5", "--offline"])?.ended(0)?;
    for number in 2..=3 {
        rotated(&cli, "a", PASSWORD)?;
        cli.run("a", &["put", "goal", &format!("g{number}"), &number.to_string()])?.ended(0)?;
    }
    rotated(&cli, "a", PASSWORD)?;
    for profile in ["away", "fresh"] {
        cli.run(profile, &["sync"])?.ended(0)?;
        let status = cli.run(profile, &["status", "--check", "--json"])?.ended(0)?.last()?;
        assert_eq!((&status["damaged"], &status["pending"]), (&json!(0), &json!(0)), "{status}");
        assert_eq!([1, 2, 3].map(|n| value(&cli, profile, &format!("g{n}")).unwrap_or_default()), ["1", "2", "3"], "{profile}");
        assert_eq!(key_epoch(&cli, profile)?, 4);
    }
    cli.run("fresh", &["sync", "--from-snapshot"])?.ended(0)?;
    assert_eq!((value(&cli, "a", "queued")?, value(&cli, "fresh", "g1")?), ("5".into(), "1".into()));
    // Every wrap that a new device is given is under the newest key: the one before would not have to be there.
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_an_unanswered_batch_go_on_under_the_new_keys() -> Tested {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a", "b"])?;
    cli.run("b", &["put", "goal", "g1", "1", "--offline"])?.ended(0)?;
    rotated(&cli, "a", PASSWORD)?;
    cli.run("b", &["put", "goal", "g2", "2"])?.ended(0)?;
    assert_eq!((value(&cli, "a", "g1")?, value(&cli, "a", "g2")?), ("1".into(), "2".into()));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_comes_with_the_new_keys_where_it_is_asked_for() -> Tested {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a", "b"])?;
    assert_eq!(cli.rotate("a", NEW, &[])?.ended(4)?.error_code()?, "credentials_invalid");
    assert_eq!(cli.run("a", &["rotate", "--password-stdin"])?.ended(2)?.stdout, "", "nobody can be asked");
    assert!(!cli.profile("a").join("rotation.json").exists());
    cli.rotate("a", &format!("{PASSWORD}\n{NEW}"), &["--new-password"])?.ended(0)?;
    assert_eq!(cli.sign_in("c", ("login", ADA, PASSWORD), &[])?.ended(4)?.error_code()?, "credentials_invalid");
    cli.sign_in("c", ("login", ADA, NEW), &[])?.ended(0)?;
    cli.run("b", &["put", "goal", "g1", "1"])?.ended(0)?;
    assert_eq!(value(&cli, "c", "g1")?, "1");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_stays_out_even_by_keys_that_it_has_and_a_log_in_in_its_place_rotates_too() -> Tested {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a", "b"])?;
    assert_eq!(cli.run("b", &["rotate", "--yes", "--offline"])?.code, Some(2));
    let revoked = cli.revoke("a", ("b", PASSWORD))?.ended(0)?;
    assert!(revoked.stderr.contains("b (") && revoked.stderr.contains("a ("), "who stays and who leaves is said: {}", revoked.stderr);
    assert_eq!(cli.rotate("b", PASSWORD, &[])?.ended(7)?.error_code()?, "device_revoked", "from a device that is out");
    let device = cli.status("a")?["device_id"].as_str().context("an id")?.to_owned();
    let said = cli.sign_in("c", ("login", ADA, PASSWORD), &["--instead-of", &device])?.ended(0)?.json()?;
    let [_, rotated] = said.as_slice() else { anyhow::bail!("{said:?}") };
    assert_eq!((&rotated["keyring_version"], key_epoch(&cli, "c")?), (&json!(3), 3));
    assert_eq!(cli.status("c")?["rotation_due"], json!(false));
    node.terminate().await?;
    Ok(())
}
