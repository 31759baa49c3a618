//! Registering, logging in and out: what is kept, what is refused, and by which exit codes.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use cloudsync_tests::command_line::{PASSWORD, address};
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::json;

const ADA: &str = "ada@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_keeps_its_queue_when_it_logs_in_again_and_refuses_another_account() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a"])?;
    cli.account("bob@example.com", &["bob"])?;
    cli.run("a", &["put", "goal", "g1", "1", "--offline"])?.ended(0)?;
    let again = cli.sign_in("a", ("login", ADA, PASSWORD), &[])?.ended(0)?.last()?;
    assert_eq!((&again["pending"], again.get("recovery_code")), (&json!(1), None));
    let other = cli.sign_in("a", ("login", "bob@example.com", PASSWORD), &[])?.ended(4)?;
    assert_eq!(other.error_code()?, "other_account");
    assert_eq!(cli.sign_in("a", ("register", "eve@example.com", PASSWORD), &[])?.ended(4)?.error_code()?, "already_signed_in");
    let devices = cli.run("a", &["devices", "list", "--json"])?.ended(0)?.json()?;
    assert_eq!(devices.len(), 1, "it is the same device");
    assert_eq!(cli.run("a", &["logout", "--json"])?.ended(4)?.error_code()?, "edits_queued");
    cli.run("a", &["sync"])?.ended(0)?;
    cli.run("a", &["logout"])?.ended(0)?;
    cli.sign_in("a", ("login", "bob@example.com", PASSWORD), &[])?.ended(0)?;
    assert_eq!(cli.run("a", &["list", "--json"])?.ended(0)?.stdout, "", "nothing of the other account is left");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_taken_addresses_and_foreign_certificates_have_their_codes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Wss)?;
    cli.account(ADA, &["a"])?;
    assert_eq!(cli.sign_in("b", ("login", ADA, "wrong"), &[])?.ended(4)?.error_code()?, "credentials_invalid");
    assert_eq!(cli.sign_in("b", ("login", "nobody@example.com", PASSWORD), &[])?.ended(4)?.error_code()?, "credentials_invalid");
    assert_eq!(cli.sign_in("b", ("register", ADA, PASSWORD), &[])?.ended(4)?.error_code()?, "email_taken");
    assert_eq!(cli.sign_in("b", ("login", ADA, ""), &[])?.code, Some(2));
    assert_eq!(cli.sign_in("b", ("register", "eve@example.com", "1234567"), &[])?.ended(2)?.error_code()?, "password_short");
    assert!(!cli.profile("b").exists(), "what failed leaves nothing");
    assert_eq!(cli.run("b", &["list", "--json"])?.ended(7)?.error_code()?, "not_signed_in");
    let pin = format!("sha256:{}", "00".repeat(32));
    for wire in [Wire::Quic, Wire::Wss] {
        let (url, _) = address(&node, wire)?;
        for command in [["sync", "--json"], ["list", "--json"]] {
            let ran = cli.run("a", &[&["--server", &url, "--pin", &pin], command.as_slice()].concat())?.ended(3)?;
            assert_eq!(ran.error_code()?, "certificate_not_pinned");
        }
    }
    // The profile goes on as before.
    cli.run("a", &["sync"])?.ended(0)?;
    cli.sign_in("b", ("login", ADA, PASSWORD), &[])?.ended(0)?;
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_in_at_another_address_keeps_the_pin_of_the_profile_unless_another_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a"])?;
    let (url, pin) = address(&node, Wire::Wss)?;
    cli.log_in_naming("a", (ADA, PASSWORD), &["--server", &url])?.ended(0)?;
    let status = cli.run("a", &["status", "--json"])?.ended(0)?.last()?;
    assert_eq!((&status["server"], &status["online"]), (&json!(url), &json!(true)), "address and pin are remembered");
    let other = format!("sha256:{}", "00".repeat(32));
    let refused = cli.log_in_naming("a", (ADA, PASSWORD), &["--server", &url, "--pin", &other])?.ended(3)?;
    assert_eq!(refused.error_code()?, "certificate_not_pinned");
    cli.log_in_naming("a", (ADA, PASSWORD), &["--server", &url, "--pin", &pin])?.ended(0)?;
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_out_at_once_and_keeps_its_edits_for_its_next_log_in() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a", "b"])?;
    cli.run("b", &["put", "goal", "g1", "1"])?.ended(0)?;
    cli.run("b", &["put", "goal", "g2", "2", "--offline"])?.ended(0)?;
    let watch = cli.watch("a")?;
    assert_eq!(cli.revoke("a", ("nobody", PASSWORD))?.ended(4)?.error_code()?, "device_unknown");
    assert_eq!(cli.revoke("a", ("a", PASSWORD))?.ended(4)?.error_code()?, "device_own");
    let said = cli.revoke("a", ("b", PASSWORD))?.ended(0)?.json()?;
    let [revoked, rotated] = said.as_slice() else { anyhow::bail!("{said:?}") };
    assert_eq!(rotated["keyring_version"], json!(2), "keys that it knows are not used any more");
    assert!(rotated["recovery_code"].is_string());
    assert_eq!((&revoked["device"], &revoked["revoked"]), (&json!("b"), &json!(true)));
    let again = cli.run("a", &["devices", "revoke", "b", "--yes"])?.ended(0)?.stderr;
    assert!(again.contains("b was revoked already"), "{again}");
    let shown = |arguments: &[&str]| anyhow::Ok(cli.run("a", arguments)?.ended(0)?.stdout.lines().count());
    assert_eq!((shown(&["devices"])?, shown(&["devices", "list"])?, shown(&["devices", "list", "--all"])?), (1, 1, 2));
    assert_eq!(shown(&["devices", "list", "--json"])?, 2, "scripts get all of them");
    let put = cli.run("b", &["put", "goal", "g3", "3", "--json"])?.ended(7)?;
    let put = put.last()?;
    assert_eq!((&put["acknowledged"], &put["pending"], &put["error"]["code"]), (&json!(false), &json!(true), &json!("device_revoked")));
    let rows = cli.home().join("rows.csv");
    std::fs::write(
        &rows,
        "\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n\"@a\",\"1\",1,1,2009-04-09,NA,2\n",
    )?;
    let import = cli.run("b", &["import", "--format", "pomodoro", &rows.to_string_lossy(), "--json"])?.ended(7)?;
    assert_eq!((&import.last()?["imported"], import.error_code()?.as_str()), (&json!(1), "device_revoked"));
    assert!(import.stderr.contains("is kept, queued"), "as a put says: {import:?}");
    let status = cli.run("b", &["status", "--json"])?.ended(0)?.last()?;
    assert_eq!((&status["online"], &status["problem"]), (&json!(true), &json!("device_revoked")));
    let spoken = cli.run("b", &["status"])?.ended(0)?.stderr;
    assert!(spoken.contains("queued: `cloudsync --profile b login` on this profile"), "a sync would not send them: {spoken}");
    let kept = cli.run("b", &["logout"])?.ended(4)?.stderr;
    assert!(kept.contains("edits_queued") && kept.contains("(device_revoked)") && kept.contains("`cloudsync --profile b login`"), "{kept}");
    cli.run("b", &["watch"])?.ended(7)?;
    assert_eq!(cli.run("b", &["get", "goal", "g2", "--offline"])?.ended(0)?.stdout, "2\n");
    let back = cli.sign_in("b", ("login", ADA, PASSWORD), &[])?.ended(0)?.last()?;
    assert_eq!(back["pending"], json!(3), "what was typed after the revoke as well");
    assert_ne!(back["device_id"], revoked["device_id"], "a device id is never used again");
    cli.run("b", &["sync"])?.ended(0)?;
    for value in [2, 3] {
        assert_eq!(watch.change()?["value"], json!(value), "its edits come from the new device");
    }
    assert_eq!(watch.end("INT")?.0, Some(0));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_cut_off_is_finished_by_logging_in_and_shows_its_code() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    let code = cli.account(ADA, &["a"])?;
    // As a crash leaves it after the account was created and before anybody was signed in.
    let profile = cli.profile("a");
    let card = std::fs::read_to_string(profile.join("profile.json"))?;
    let card: serde_json::Value = serde_json::from_str(&card)?;
    let pending = json!({"format": 1, "email": ADA, "user": card["user"], "device": "a", "recovery_code": code});
    for file in ["profile.json", "replica.db", "replica.db-wal", "replica.db-shm", "replica.writer"] {
        drop(std::fs::remove_file(profile.join(file)));
    }
    std::fs::write(profile.join("pending.json"), pending.to_string())?;
    assert_eq!(cli.run("a", &["list", "--json"])?.ended(7)?.error_code()?, "registration_pending");
    let finished = cli.sign_in("a", ("login", ADA, PASSWORD), &[])?.ended(0)?.last()?;
    assert_eq!(finished["recovery_code"], json!(code));
    assert!(!profile.join("pending.json").exists(), "it is shown once");
    assert_eq!(cli.sign_in("a", ("login", ADA, PASSWORD), &[])?.ended(0)?.last()?.get("recovery_code"), None);
    cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_restored_from_an_older_copy_becomes_a_new_device_by_logging_in() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a"])?;
    let copy = cli.home().join("copy.db");
    cli.run("a", &["put", "goal", "g0", "0"])?.ended(0)?;
    let replica = cli.profile("a").join("replica.db");
    std::fs::copy(&replica, &copy)?;
    cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
    for beside in ["replica.db-wal", "replica.db-shm"] {
        drop(std::fs::remove_file(cli.profile("a").join(beside)));
    }
    std::fs::copy(&copy, &replica)?;
    let put = cli.run("a", &["put", "goal", "g2", "2", "--json"])?.ended(7)?;
    assert_eq!(put.error_code()?, "rolled_back");
    let before = cli.status("a")?["device_id"].clone();
    let back = cli.sign_in("a", ("login", ADA, PASSWORD), &[])?.ended(0)?.last()?;
    assert_ne!(back["device_id"], before);
    cli.run("a", &["sync"])?.ended(0)?;
    let listed = cli.run("a", &["list", "goal", "--json"])?.ended(0)?.json()?;
    assert_eq!(listed.iter().map(|record| record["value"].clone()).collect::<Vec<_>>(), [json!(0), json!(1), json!(2)]);
    node.terminate().await?;
    Ok(())
}
