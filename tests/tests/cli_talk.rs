//! What the command line says to a person: what is wrong, and what to type instead.
//!
//! Never: a text held to the letter; only what the person needs of it.

use cloudsync_tests::{CommandLine, NodeProcess, Wire};

const NOBODY: &str = "quic://127.0.0.1:9";

fn without_a_server() -> anyhow::Result<CommandLine> {
    CommandLine::at(NOBODY.to_owned(), format!("sha256:{}", "00".repeat(32)))
}

#[test]
fn a_value_that_the_shell_took_apart_or_swallowed_is_answered_with_how_to_quote_it() -> anyhow::Result<()> {
    let cli = without_a_server()?;
    for value in [&["task:write", "minutes:25"][..], &["{", "-a", "}"], &[], &["{task:1}"], &[""]] {
        let put = [&["put", "goal", "g1"], value].concat();
        let said = cli.run("a", &put)?.ended(2)?.stderr;
        assert!(said.contains("quote it for the shell"), "{value:?}: {said}");
        let said = cli.run("a", &[put.as_slice(), &["--json"]].concat())?.ended(2)?;
        assert_eq!(said.error_code()?, "usage");
        assert!(said.stderr.contains("quote it for the shell"), "{value:?}: {said:?}");
    }
    let said = cli.run("a", &["put", "goal", "g1", ""])?.ended(2)?.stderr;
    assert!(said.contains("the value is empty"), "{said}");
    let said = cli.run("a", &["get", "goal", "g1", "g2"])?.ended(2)?.stderr;
    assert!(!said.contains("quote"), "nothing is to be quoted there: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_only_where_a_server_is_that_is_trusted_and_never_taken_from_a_pipe_unsaid() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let (url, pin) = cloudsync_tests::command_line::address(&node, Wire::Wss)?;
    let cli = CommandLine::at(url.clone(), pin.clone())?;
    let other = format!("sha256:{}", "00".repeat(32));
    let asked = |how: &str, server: &str, pin: &str| {
        let ran = cli.run("a", &["--server", server, "--pin", pin, how, "--email", "ada@example.com", "--json"])?;
        Ok::<_, anyhow::Error>((ran.code, ran.error_code()?, ran.stderr))
    };
    for how in ["register", "login"] {
        let (code, error, _) = asked(how, NOBODY, &pin)?;
        assert_eq!((code, error.as_str()), (Some(3), "unreachable"), "{how}");
        let (code, error, _) = asked(how, &url, &other)?;
        assert_eq!((code, error.as_str()), (Some(3), "certificate_not_pinned"), "{how}");
        let (code, error, said) = asked(how, &url, &pin)?;
        assert_eq!((code, error.as_str()), (Some(2), "usage"), "{how}");
        assert!(said.contains("--password-stdin"), "{said}");
    }
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_is_said_to_be_sent_by_sync_and_no_reading_command_sends_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a"])?;
    let said = cli.run("b", &["list"])?.ended(7)?.stderr;
    assert!(said.contains("signed in here: a"), "{said}");
    let ended = node.kill().await?;
    let said = cli.run("a", &["put", "goal", "g1", "1"])?.ended(0)?.stderr;
    assert!(said.contains("`cloudsync --profile a sync` sends it"), "{said}");
    let node = NodeProcess::start_again(&ended).await?;
    cli.run("a", &["list"])?.ended(0)?;
    cli.run("a", &["get", "goal", "g1"])?.ended(0)?;
    let said = cli.run("a", &["status"])?.ended(0)?.stderr;
    assert!(said.contains("1 edit is queued: `cloudsync --profile a sync` sends it"), "{said}");
    cli.run("a", &["sync"])?.ended(0)?;
    let said = cli.run("a", &["status"])?.ended(0)?.stderr;
    assert!(!said.contains("queued"), "{said}");
    node.terminate().await?;
    Ok(())
}
