//! What a person has at hand when something is wrong: `doctor`, `status --check`, a log file.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reaches_each_carrier_that_the_node_offers_and_says_what_it_finds_wrong() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a"])?;
    let found = cli.run("a", &["doctor", "--json"])?.ended(0)?.last()?;
    assert_eq!((&found["problems"], &found["session"], &found["profile"]["state"]), (&json!([]), &json!("ok"), &json!("signed_in")));
    let carriers = found["carriers"].as_array().context("carriers")?;
    let schemes: Vec<&str> = carriers.iter().filter_map(|carrier| carrier["address"].as_str()?.split("://").next()).collect();
    assert_eq!(schemes, ["quic", "wss", "ws"]);
    for carrier in carriers {
        assert_eq!((&carrier["reachable"], &carrier["problem"]), (&json!(true), &json!(null)), "{carrier}");
        assert!(carrier["clock_offset_ms"].as_i64().is_some_and(|offset| offset.abs() < 60_000), "{carrier}");
    }
    let files = found["profile"]["files"].as_array().context("files")?;
    assert!(files.iter().any(|file| *file == json!({"file": "keys.json", "mode": "0600"})), "{files:?}");

    std::fs::set_permissions(cli.profile("a"), std::fs::Permissions::from_mode(0o755))?;
    let wrong = format!("sha256:{}", "0".repeat(64));
    let ran = cli.run("a", &["doctor", "--json", "--pin", &wrong])?;
    assert_eq!(ran.last()?["problems"], json!(["profile_open", "certificate_not_pinned"]));
    assert_eq!(ran.ended(6)?.error_code()?, "profile_open");
    std::fs::set_permissions(cli.profile("a"), std::fs::Permissions::from_mode(0o700))?;
    node.terminate().await?;
    let ran = cli.run("a", &["doctor", "--json"])?;
    let found = ran.last()?;
    assert_eq!((&found["problems"], &found["session"]), (&json!(["unreachable"]), &json!("unreachable")));
    ran.ended(3)?;
    let ran = cli.run("nobody", &["doctor", "--json", "--offline"])?;
    assert_eq!(ran.last()?["profile"]["state"], "none");
    ran.ended(7)?;
    Ok(())
}

/// Does to a replica what a disk might.
fn harm(cli: &CommandLine, profile: &str, sql: &str) -> anyhow::Result<()> {
    rusqlite::Connection::open(cli.profile(profile).join("replica.db"))?.execute(sql, [])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_each_record_that_is_not_as_the_server_holds_it_and_ends_with_six() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    for id in ["g1", "g2", "g3", "g4"] {
        cli.run("a", &["put", "goal", id, "1"])?.ended(0)?;
    }
    cli.run("a", &["delete", "goal", "g4"])?.ended(0)?;
    cli.run("b", &["sync"])?.ended(0)?;
    cli.run("a", &["put", "goal", "g1", "2"])?.ended(0)?;
    cli.run("b", &["put", "goal", "g5", "3", "--offline"])?.ended(0)?;
    // What is read only now, and an edit that waits, are no differences.
    let checked = cli.run("b", &["status", "--check", "--json"])?.ended(0)?.last()?["check"].clone();
    assert_eq!((&checked["records"], &checked["server_records"], &checked["differences"]), (&json!(4), &json!(4), &json!([])));

    harm(&cli, "b", "DELETE FROM records WHERE record = 'g1'")?;
    harm(&cli, "b", "UPDATE records SET value = CAST('9' AS BLOB) WHERE record = 'g2'")?;
    harm(&cli, "b", "UPDATE records SET record = 'g9' WHERE record = 'g3'")?;
    let ran = cli.run("b", &["status", "--check", "--json"])?;
    let found: Vec<(String, String)> = ran.last()?["check"]["differences"]
        .as_array()
        .context("differences")?
        .iter()
        .map(|found| (found["id"].as_str().unwrap_or_default().to_owned(), found["difference"].as_str().unwrap_or_default().to_owned()))
        .collect();
    let named = |id: &str, difference: &str| (id.to_owned(), difference.to_owned());
    assert_eq!(found, [named("g1", "missing"), named("g2", "damaged"), named("g3", "missing"), named("g9", "damaged")]);
    assert_eq!(ran.ended(6)?.error_code()?, "replica_differs");
    assert_eq!(cli.run("a", &["status", "--check", "--json"])?.ended(0)?.last()?["check"]["differences"], json!([]));
    assert_eq!(cli.run("a", &["status", "--check", "--offline", "--json"])?.ended(2)?.error_code()?, "usage");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_is_ones_own_says_what_was_done_and_holds_no_secret() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    let file = folder.path().join("client.log");
    std::fs::write(&file, "")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let path = file.to_str().context("text")?;
    let code =
        cli.sign_in("a", ("register", "ada@example.com", PASSWORD), &["--log-file", path])?.ended(0)?.last()?["recovery_code"].clone();
    let put = cli.command("a", &["put", "goal", "g1", "\"secret value\""]).env("CLOUDSYNC_LOG_FILE", path).output()?;
    assert!(put.status.success());
    cli.run("a", &["put", "goal", "g1", "2", "--log-file", path, "--server", "quic://127.0.0.1:9"])?.ended(0)?;
    assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
    let log = std::fs::read_to_string(&file)?;
    for said in ["command=\"register\"", "connected", "session open", "pushed", "command=\"put\"", "not connected"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    let keys = std::fs::read_to_string(cli.profile("a").join("keys.json"))?;
    let keys: Vec<&str> = keys.split('"').filter(|word| word.len() > 30).collect();
    let code = code.as_str().context("a code")?;
    for secret in keys.into_iter().chain([PASSWORD, "secret value", code]) {
        assert!(!log.contains(secret), "{secret}");
    }
    let unfit = cli.run("a", &["status", "--offline", "--json", "--log-file", "/none/client.log"])?.ended(2)?;
    assert_eq!(unfit.error_code()?, "usage");
    node.terminate().await?;
    Ok(())
}
