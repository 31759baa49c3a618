//! Another password by the real command line, over every carrier: by the one in force, and by the recovery code.
//!
//! Never: a look at what the server stores; what opens the account is tried.

#![allow(clippy::indexing_slicing, reason = "only JSON values are indexed, which gives null where nothing is")]

use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::{Value, json};

type Tested = anyhow::Result<()>;

const ADA: &str = "ada@example.com";
const NEW: &str = "another horse, another battery";
const NEWEST: &str = "a third horse and no battery";

/// The version of the newest keyring that a profile has seen.
fn pinned(cli: &CommandLine, profile: &str) -> anyhow::Result<Value> {
    let keys: Value = serde_json::from_slice(&std::fs::read(cli.profile(profile).join("keys.json"))?)?;
    Ok(keys["keyring_version"].clone())
}

/// Whether a password opens the account to a device that has nothing else.
fn opens(cli: &CommandLine, profile: &str, password: &str) -> anyhow::Result<bool> {
    let tried = cli.sign_in(profile, ("login", ADA, password), &[])?;
    if tried.code == Some(0) {
        cli.run(profile, &["logout"])?.ended(0)?;
        return Ok(true);
    }
    anyhow::ensure!(tried.ended(4)?.error_code()? == "credentials_invalid", "refused for something else");
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_opens_the_account_the_old_one_opens_nothing_and_every_device_stays_signed_in() -> Tested {
    CommandLine::on_each_wire(|cli| {
        cli.account(ADA, &["a", "b"])?;
        cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
        let watch = cli.watch("b")?;
        let changed = cli.change_password("a", (PASSWORD, NEW))?.ended(0)?.last()?;
        assert_eq!(changed, json!({"email": ADA, "keyring_version": 2}));
        assert_eq!((opens(cli, "c", PASSWORD)?, opens(cli, "d", NEW)?), (false, true));
        cli.run("a", &["put", "goal", "g2", "2"])?.ended(0)?;
        assert_eq!(watch.change()?["value"], json!(2), "a session that was open goes on");
        assert_eq!(watch.end("INT")?.0, Some(0));
        cli.run("b", &["put", "goal", "g3", "3"])?.ended(0)?;
        assert_eq!((pinned(cli, "a")?, pinned(cli, "b")?), (json!(2), json!(2)), "whoever read the row takes no older keyring");
        // By another device, and by one that is signed in again.
        assert_eq!(cli.change_password("b", (NEW, NEWEST))?.ended(0)?.last()?["keyring_version"], json!(3));
        assert_eq!(cli.sign_in("a", ("login", ADA, NEWEST), &[])?.ended(0)?.last()?["device"], json!("a"));
        assert_eq!(pinned(cli, "a")?, json!(3));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_replaced_by_the_recovery_code_and_all_else_stays() -> Tested {
    CommandLine::on_each_wire(|cli| {
        let code = cli.account(ADA, &["a", "b"])?;
        cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
        cli.run("b", &["put", "goal", "g2", "2", "--offline"])?.ended(0)?;
        let recovered = cli.recover("c", (ADA, &code.to_lowercase(), NEW), &[])?.ended(0)?.last()?;
        assert_eq!((&recovered["email"], &recovered["device"]), (&json!(ADA), &json!("c")));
        assert_eq!(recovered.get("recovery_code"), None, "it is the same as before");
        assert_eq!(cli.run("c", &["get", "goal", "g1"])?.ended(0)?.stdout, "1\n");
        assert_eq!((opens(cli, "d", PASSWORD)?, opens(cli, "e", NEW)?), (false, true));
        cli.run("b", &["sync"])?.ended(0)?;
        assert_eq!(cli.run("a", &["get", "goal", "g2"])?.ended(0)?.stdout, "2\n", "the others go on, with what they had queued");
        // The code stays in force; a profile that is signed in stays the device that it is.
        let before = cli.status("b")?["device_id"].clone();
        let again = cli.recover("b", (ADA, &code, NEWEST), &[])?.ended(0)?.last()?;
        assert_eq!(again["device_id"], before);
        assert_eq!((opens(cli, "f", NEW)?, opens(cli, "g", NEWEST)?), (false, true));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_code_changes_nothing_and_leaves_no_profile() -> Tested {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    let code = cli.account(ADA, &["a"])?;
    let other = cli.account("eve@example.com", &["eve"])?;
    assert_eq!(cli.change_password("a", (NEW, NEWEST))?.ended(4)?.error_code()?, "credentials_invalid");
    assert_eq!(cli.change_password("a", (PASSWORD, "short"))?.ended(2)?.error_code()?, "password_short");
    assert_eq!(cli.recover("c", (ADA, &other, NEW), &[])?.ended(4)?.error_code()?, "credentials_invalid");
    assert_eq!(cli.recover("c", ("nobody@example.com", &code, NEW), &[])?.ended(4)?.error_code()?, "credentials_invalid");
    let mistyped = code.replacen(code.get(..1).unwrap_or_default(), if code.starts_with('7') { "8" } else { "7" }, 1);
    assert_eq!(cli.recover("c", (ADA, &mistyped, NEW), &[])?.ended(2)?.error_code()?, "recovery_code");
    assert_eq!(cli.recover("eve", (ADA, &code, NEW), &[])?.ended(4)?.error_code()?, "other_account");
    assert!(!cli.profile("c").exists(), "a recovery that failed leaves no folder");
    assert_eq!((opens(&cli, "d", NEW)?, opens(&cli, "e", PASSWORD)?), (false, true));
    assert_eq!(pinned(&cli, "a")?, json!(1));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shows_the_keyring_of_the_password_before_is_refused_by_a_device_that_saw_the_new_one() -> Tested {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a"])?;
    node.terminate().await?;
    let copy = tempfile::tempdir()?;
    let data = folder.path().join("data");
    for entry in std::fs::read_dir(&data)? {
        let entry = entry?;
        std::fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
    }
    let node = NodeProcess::start(folder.path()).await?;
    let cli = cli.again(&node, Wire::Quic)?;
    cli.change_password("a", (PASSWORD, NEW))?.ended(0)?;
    node.terminate().await?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(copy.path(), &data)?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = cli.again(&node, Wire::Quic)?;
    let refused = cli.sign_in("a", ("login", ADA, PASSWORD), &[])?.ended(4)?;
    assert_eq!(refused.error_code()?, "server_untrusted");
    assert!(refused.stderr.contains("this profile has seen 2"), "{}", refused.stderr);
    node.terminate().await?;
    Ok(())
}
