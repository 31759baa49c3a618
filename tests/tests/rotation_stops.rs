//! A process that ends at each step of a rotation, of another password, of a recovery: what is there afterwards goes on from where it stood.
//!
//! Never: a stop that unwinds or closes anything; the process aborts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands; JSON values give null where nothing is")]

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use cloudsync_client::account::Password;
use cloudsync_client::carrier::Trust;
use cloudsync_client::connection::Server;
use cloudsync_client::keys::RecoveryCode;
use cloudsync_client::profile::Profile;
use cloudsync_client::sdk::probe::{Probe, Step};
use cloudsync_client::sdk::{Client, LogIn, Target, recover};
use cloudsync_tests::command_line::{PASSWORD, address};
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::{Value, json};

type Tested = anyhow::Result<()>;

const ADA: &str = "ada@example.com";
const NEW: &str = "another horse, another battery";
const STEP: &str = "CLOUDSYNC_TEST_STOP_STEP";
const PROFILE: &str = "CLOUDSYNC_TEST_STOP_PROFILE";
const SERVER: &str = "CLOUDSYNC_TEST_STOP_SERVER";
const PIN: &str = "CLOUDSYNC_TEST_STOP_PIN";
const CODE: &str = "CLOUDSYNC_TEST_STOP_CODE";

fn var(name: &str) -> String {
    std::env::var(name).unwrap()
}

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

/// Not a test of its own: what the others start as a process. It aborts at the step that the environment says.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_stopped() {
    let Ok(step) = std::env::var(STEP) else { return };
    let stop = step.clone();
    let probe = Probe::new(move |at| {
        if format!("{at:?}") == stop {
            std::process::abort();
        }
    });
    let profile = Profile::at(var(PROFILE).into());
    let server = Server { address: var(SERVER).parse().unwrap(), trust: Trust::Pinned(var(PIN).parse().unwrap()) };
    if step.starts_with("Recovery") {
        let (address, pin, device) = (var(SERVER), Some(var(PIN)), "c".to_owned());
        let asked = LogIn { server, address, pin, email: ADA.to_owned(), password: password(NEW), device, instead_of: None, probe };
        recover(&profile, &asked, &RecoveryCode::from_text(&var(CODE)).unwrap()).await.unwrap();
    } else {
        let client = Client::open_probed(profile, Target { server }, probe).unwrap();
        if step.starts_with("Password") {
            client.change_password(&password(PASSWORD), &password(NEW)).await.unwrap();
        } else {
            let plan = client.plan_rotation(&[]).await.unwrap();
            client.rotate(&plan, &password(PASSWORD), None).await.unwrap();
        }
    }
    unreachable!("it was to be stopped at {step}");
}

struct Home {
    cli: CommandLine,
    node: NodeProcess,
    code: String,
    _folder: tempfile::TempDir,
}

impl Home {
    /// A node, and an account with two devices and a record.
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let node = NodeProcess::start(folder.path()).await?;
        let cli = CommandLine::new(&node, Wire::Quic)?;
        let code = cli.account(ADA, &["a", "b"])?;
        cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
        Ok(Self { cli, node, code, _folder: folder })
    }

    /// Runs what that step is of on a profile, until it is stopped there.
    fn stop_at(&self, profile: &Path, step: Step) -> Tested {
        let (url, pin) = address(&self.node, Wire::Quic)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", "the_process_that_is_stopped", "--nocapture"]);
        command.env(STEP, format!("{step:?}")).env(PROFILE, profile).env(SERVER, url).env(PIN, pin).env(CODE, &self.code);
        let ended = command.output()?;
        ensure!(ended.status.code().is_none(), "it was not stopped at {step:?}: {ended:?}");
        Ok(())
    }

    fn key_epoch(&self, profile: &str) -> anyhow::Result<u64> {
        let keys: Value = serde_json::from_slice(&std::fs::read(self.cli.profile(profile).join("keys.json"))?)?;
        keys["account_keys"].as_array().and_then(|keys| keys.last()?["epoch"].as_u64()).context("no account key")
    }

    fn opens(&self, password: &str) -> anyhow::Result<bool> {
        let tried = self.cli.sign_in("probe", ("login", ADA, password), &[])?;
        if tried.code == Some(0) {
            self.cli.run("probe", &["logout"])?.ended(0)?;
            return Ok(true);
        }
        ensure!(tried.ended(4)?.error_code()? == "credentials_invalid", "refused for something else");
        Ok(false)
    }
}

/// Both devices read and write, and the code opens the account.
fn all_is_well(home: &Home, code: &str) -> Tested {
    let cli = &home.cli;
    cli.run("a", &["put", "goal", "g2", "2"])?.ended(0)?;
    for id in ["g1", "g2"] {
        ensure!(cli.run("b", &["get", "goal", id])?.ended(0)?.stdout.trim() == &id[1..], "{id}");
    }
    cli.run("b", &["put", "goal", "g3", "3"])?.ended(0)?;
    let status = cli.run("a", &["status", "--check", "--json"])?.ended(0)?.last()?;
    ensure!((&status["damaged"], &status["rotation"]) == (&json!(0), &Value::Null), "{status}");
    cli.recover("d", (ADA, code, NEW), &[])?.ended(0)?;
    ensure!(cli.run("d", &["get", "goal", "g1"])?.ended(0)?.stdout.trim() == "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_stopped_before_it_was_stored_never_was() -> Tested {
    let home = Home::start().await?;
    home.stop_at(&home.cli.profile("a"), Step::RotationMade)?;
    assert_eq!(home.cli.status("a")?["rotation"], Value::Null);
    assert_eq!(home.key_epoch("a")?, 1);
    all_is_well(&home, &home.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_stopped_before_it_was_sent_is_not_decided_and_the_next_one_goes_on_with_it() -> Tested {
    let home = Home::start().await?;
    let (cli, file) = (&home.cli, home.cli.profile("a").join("rotation.json"));
    home.stop_at(&cli.profile("a"), Step::RotationStored)?;
    let stored = std::fs::read(&file)?;
    let status = cli.status("a")?;
    assert_eq!((&status["rotation"], home.key_epoch("a")?), (&json!("pending"), 1));
    cli.run("a", &["put", "goal", "g9", "9"])?.ended(0)?;
    assert_eq!(std::fs::read(&file)?, stored, "only who knows the password sends it");
    assert_eq!(cli.run("a", &["logout", "--json"])?.error_code()?, "rotation_pending");
    assert_eq!(cli.rotate("a", NEW, &[])?.ended(4)?.error_code()?, "credentials_invalid");
    let said = cli.rotate("a", PASSWORD, &[])?.ended(0)?.last()?;
    assert_eq!((&said["keyring_version"], home.key_epoch("a")?), (&json!(2), 2), "that very one, and no other");
    all_is_well(&home, said["recovery_code"].as_str().context("a code")?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_stopped_after_the_server_took_it_goes_on_by_itself_and_shows_its_code_when_asked() -> Tested {
    for step in [Step::RotationAnswered, Step::KeysWritten, Step::RotationInstalled] {
        let home = Home::start().await?;
        let cli = &home.cli;
        home.stop_at(&cli.profile("a"), step)?;
        let put = cli.run("a", &["put", "goal", "g4", "4"])?.ended(0)?;
        assert!(put.stderr.contains("a new recovery code waits"), "{step:?}: {}", put.stderr);
        assert_eq!((home.key_epoch("a")?, cli.status("a")?["rotation"].clone()), (2, json!("code_not_shown")), "{step:?}");
        let said = cli.rotate("a", "nobody asks for it", &[])?.ended(0)?.last()?;
        assert_eq!((&said["keyring_version"], home.key_epoch("a")?), (&json!(2), 2), "{step:?}");
        all_is_well(&home, said["recovery_code"].as_str().context("a code")?)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_another_device_was_before_is_lost_and_said_to_be() -> Tested {
    let home = Home::start().await?;
    let cli = &home.cli;
    home.stop_at(&cli.profile("a"), Step::RotationStored)?;
    let other = cli.rotate("b", PASSWORD, &[])?.ended(0)?.last()?;
    let put = cli.run("a", &["put", "goal", "g4", "4"])?.ended(0)?;
    assert!(put.stderr.contains("rotation_lost"), "{}", put.stderr);
    assert!(!cli.profile("a").join("rotation.json").exists());
    all_is_well(&home, other["recovery_code"].as_str().context("a code")?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_a_profile_that_was_copied_back_is_never_sent() -> Tested {
    let home = Home::start().await?;
    let cli = &home.cli;
    let file = cli.profile("a").join("rotation.json");
    home.stop_at(&cli.profile("a"), Step::RotationStored)?;
    std::fs::rename(&file, cli.profile("b").join("rotation.json"))?;
    assert_eq!(cli.rotate("b", PASSWORD, &[])?.ended(6)?.error_code()?, "profile_damaged");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_stopped_is_the_old_one_before_the_server_took_it_and_the_new_one_after() -> Tested {
    for (step, is_new) in [(Step::PasswordMade, false), (Step::PasswordAnswered, true)] {
        let home = Home::start().await?;
        home.stop_at(&home.cli.profile("a"), step)?;
        assert_eq!((home.opens(PASSWORD)?, home.opens(NEW)?), (!is_new, is_new), "{step:?}");
        home.cli.run("a", &["put", "goal", "g2", "2"])?.ended(0)?;
        assert_eq!(home.cli.run("b", &["get", "goal", "g2"])?.ended(0)?.stdout.trim(), "2");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_was_stopped_is_done_again_by_the_code_or_by_the_new_password() -> Tested {
    for (step, is_new) in [(Step::RecoveryStored, false), (Step::RecoveryChanged, true)] {
        let home = Home::start().await?;
        let cli = &home.cli;
        home.stop_at(&cli.profile("c"), step)?;
        assert_eq!((home.opens(PASSWORD)?, home.opens(NEW)?), (!is_new, is_new), "{step:?}");
        if is_new {
            cli.sign_in("c", ("login", ADA, NEW), &[])?.ended(0)?;
        } else {
            cli.recover("c", (ADA, &home.code, NEW), &[])?.ended(0)?;
        }
        assert_eq!(cli.run("c", &["get", "goal", "g1"])?.ended(0)?.stdout.trim(), "1");
    }
    Ok(())
}
