//! `account delete` by the real command line: for ever, for every device, and nothing of it stays in the node's folder.
//!
//! Never: a deletion that somebody did not mean.

#![allow(clippy::indexing_slicing, reason = "only JSON values are indexed, which gives null where nothing is")]

use std::path::Path;

use anyhow::Context as _;
use cloudsync_protocol::{ErrorCode, Failure, Frame};
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::{CommandLine, DishonestServer, NodeProcess, TestNode, Wire};
use serde_json::json;

type Tested = anyhow::Result<()>;

const ADA: &str = "ada@example.com";

/// How often something stands in the store's files.
fn left(data: &Path, needle: &[u8]) -> anyhow::Result<usize> {
    let mut found = 0;
    for file in ["cloudsync.db", "cloudsync.db-wal"] {
        let bytes = std::fs::read(data.join(file)).with_context(|| file.to_owned())?;
        found += bytes.windows(needle.len()).filter(|window| *window == needle).count();
    }
    Ok(found)
}

fn bytes(hex: &serde_json::Value) -> anyhow::Result<Vec<u8>> {
    let digits = hex.as_str().context("hexadecimal digits")?;
    (0..digits.len()).step_by(2).map(|at| Ok(u8::from_str_radix(digits.get(at..at + 2).context("two digits")?, 16)?)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_gone_from_every_device_and_from_the_folder_and_its_address_is_free() -> Tested {
    for wire in Wire::ALL {
        let folder = tempfile::tempdir()?;
        let node = NodeProcess::start(folder.path()).await?;
        let cli = CommandLine::new(&node, wire)?;
        cli.account(ADA, &["a", "b"])?;
        cli.account("bob@example.com", &["bob"])?;
        for profile in ["a", "bob"] {
            cli.run(profile, &["put", "goal", "marked-record-of-a-goal", "1"])?.ended(0)?;
        }
        let status = cli.status("a")?;
        let (user, device) = (bytes(&status["user"])?, bytes(&status["device_id"])?);
        let data = folder.path().join("data");
        assert!(left(&data, ADA.as_bytes())? > 0 && left(&data, &device)? > 0, "what is looked for is found while it is there");
        let watch = cli.watch("b")?;

        let wrong = cli.delete_account("a", "not the password at all")?.ended(4)?;
        assert_eq!(wrong.error_code()?, "credentials_invalid");
        assert_eq!(cli.run("a", &["get", "goal", "marked-record-of-a-goal"])?.ended(0)?.stdout, "1\n", "nothing was deleted");

        let deleted = cli.delete_account("a", PASSWORD)?.ended(0)?.last()?;
        assert_eq!((&deleted["email"], &deleted["deleted"]), (&json!(ADA), &json!(true)));
        watch.ended()?.ended(7).context("an open session ends at once")?;
        assert_eq!((left(&data, ADA.as_bytes())?, left(&data, &device)?), (0, 0));
        assert!(left(&data, &user)? > 0, "the id stays taken");
        assert_eq!(left(&data, b"marked-record-of-a-goal")?, left_of_bob(&cli, &data)?);

        assert_eq!(cli.run("a", &["list", "goal"])?.ended(7)?.code, Some(7));
        assert!(!cli.profile("a").join("keys.json").exists() && !cli.profile("a").join("replica.db").exists());
        cli.run("b", &["sync"])?.ended(7)?;
        assert_eq!(
            cli.run("b", &["get", "goal", "marked-record-of-a-goal", "--offline"])?.ended(0)?.stdout,
            "1\n",
            "what b holds it keeps"
        );
        assert_eq!(cli.sign_in("c", ("login", ADA, PASSWORD), &[])?.ended(4)?.error_code()?, "credentials_invalid");
        cli.account(ADA, &["d"])?;
        assert_eq!(cli.run("d", &["list"])?.ended(0)?.stdout, "", "a new account of the same address begins with nothing");
        assert_eq!(cli.run("bob", &["get", "goal", "marked-record-of-a-goal"])?.ended(0)?.stdout, "1\n");
        node.terminate().await?;
    }
    Ok(())
}

/// Records of the other account of the same name, as the store keeps them.
fn left_of_bob(cli: &CommandLine, data: &Path) -> anyhow::Result<usize> {
    let device = bytes(&cli.status("bob")?["device_id"])?;
    anyhow::ensure!(left(data, &device)? > 0, "the other account went too");
    left(data, b"marked-record-of-a-goal")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_without_a_yes_a_password_and_a_server() -> Tested {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account(ADA, &["a"])?;
    for arguments in [&["account", "delete", "--json"][..], &["account", "delete", "--yes", "--offline", "--json"], &["account"]] {
        cli.run("a", arguments)?.ended(2)?;
    }
    assert_eq!(cli.run("nobody", &["account", "delete", "--yes"])?.ended(7)?.code, Some(7));
    cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
    node.terminate().await?;
    cli.run("a", &["put", "goal", "g2", "2"])?.ended(0)?;
    let unreached = cli.delete_account("a", PASSWORD)?.ended(3)?;
    assert_eq!(unreached.error_code()?, "unreachable");
    assert_eq!(cli.status("a")?["pending"], json!(1), "what was queued is there");
    Ok(())
}

/// A profile of an account, with a line to its node on which something happens.
async fn on_a_bad_line() -> anyhow::Result<(TestNode, DishonestServer, CommandLine)> {
    let node = TestNode::start_in_memory().await?;
    let line = DishonestServer::before(&node, Wire::Ws).await?;
    let cli = CommandLine::at(line.url(), node.pin().to_string())?;
    cli.account(ADA, &["a"])?;
    cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?;
    Ok((node, line, cli))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_deletes_nothing_here_either_where_the_line_failed_before_it_was_asked_for() -> Tested {
    let (_node, line, cli) = on_a_bad_line().await?;
    let mut is_first = true;
    line.answers(move |frame| {
        let Frame::LoginStart(start) = frame else { return None };
        std::mem::take(&mut is_first).then(|| Failure::new(start.request, ErrorCode::Busy, "for a moment").retry_after(1).into())
    });
    // Whichever it ends with, the account is there, and so is what the profile keeps of it.
    let refused = cli.delete_account("a", "not the password at all")?;
    anyhow::ensure!(matches!(refused.code, Some(3 | 4)), "{refused:?}");
    assert_eq!(cli.run("a", &["get", "goal", "g1"])?.ended(0)?.stdout, "1\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_deletion_was_not_answered_is_found_to_be_gone() -> Tested {
    let (_node, line, cli) = on_a_bad_line().await?;
    let (sent, asked) = std::sync::mpsc::channel();
    line.does(move |way, frame| {
        if matches!(frame, Frame::EraseAccount(_)) {
            // The test goes on to look at what it was sent.
            let _ = sent.send(());
        }
        let is_lost = matches!(frame, Frame::Done(_));
        vec![(way, if is_lost { Failure::new(0, ErrorCode::GoingAway, "before the answer").into() } else { frame })]
    });
    assert_eq!(cli.delete_account("a", PASSWORD)?.ended(0)?.last()?["deleted"], json!(true));
    assert_eq!(asked.try_iter().count(), 1, "asked for once, and then nobody has the account");
    assert!(!cli.profile("a").join("keys.json").exists());
    Ok(())
}
