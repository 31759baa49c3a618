//! What `export` writes: everything that `list` shows, in each format, and a timer's history as it came in.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::{Value, json};

const HEADER: &str = "\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"";

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_what_list_shows_with_edits_that_wait_in_each_format_and_in_a_file_of_ones_own() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a"])?;
    cli.run("a", &["put", "goal", "g1", r#"{"n":1.50,"text":"a,\"b\""}"#])?.ended(0)?;
    cli.run("a", &["put", "goal", "g2", "2"])?.ended(0)?;
    cli.run("a", &["delete", "goal", "g2"])?.ended(0)?;
    cli.run("a", &["put", "note", "n1", "\"waits\"", "--offline"])?.ended(0)?;
    let listed = cli.run("a", &["list", "--offline", "--json"])?.ended(0)?.stdout;
    assert_eq!(listed.lines().count(), 2);

    let export = |more: &[&str]| cli.run("a", &[&["export", "--offline", "--format"], more].concat())?.ended(0);
    assert_eq!(export(&["jsonl"])?.stdout, listed);
    let array: Vec<Value> = serde_json::from_str(&export(&["json"])?.stdout)?;
    assert_eq!(array, listed.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?);
    let csv = export(&["csv", "goal"])?.stdout;
    assert_eq!(csv, "collection,id,version,state,value\ngoal,g1,1,,\"{\"\"n\"\":1.50,\"\"text\"\":\"\"a,\\\"\"b\\\"\"\"\"}\"\n");

    let out = folder.path().join("out.json");
    std::fs::write(&out, "older, and longer than what comes ".repeat(99))?;
    std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o644))?;
    let text = out.to_str().context("a path of text")?;
    let said = export(&["jsonl", "--out", text, "--json"])?.last()?;
    assert_eq!(said, json!({"records": 2, "unfit": 0, "out": text}));
    assert_eq!(std::fs::read_to_string(&out)?, listed);
    assert_eq!(out.metadata()?.permissions().mode() & 0o777, 0o600, "what is in it is in the clear");

    let nowhere = folder.path().join("none/out.json");
    let failed = cli.run("a", &["export", "--offline", "--format", "json", "--out", nowhere.to_str().context("text")?, "--json"])?;
    assert_eq!(failed.ended(2)?.error_code()?, "usage");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timers_history_goes_out_as_it_came_in_and_a_record_that_is_no_row_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    let mut rows: Vec<String> = (0..300).map(|n| format!("\"@a,@\"\"b\"\"\",\"1,{n}\",{n},{},2020-01-01,NA,1.50", n % 2)).collect();
    // Equal rows are records of their own.
    rows.extend(["\"\",\"\",NA,0,2020-02-29,1,NA".to_owned(), "\"\",\"\",NA,0,2020-02-29,1,NA".to_owned()]);
    let (file, out) = (folder.path().join("in.csv"), folder.path().join("out.csv"));
    std::fs::write(&file, format!("{HEADER}\n{}\n", rows.join("\n")))?;
    let (file, out) = (file.to_str().context("text")?, out.to_str().context("text")?);
    cli.run("a", &["import", "--format", "pomodoro", file])?.ended(0)?;
    cli.run("a", &["put", "timer_session", "other", r#"{"task":"rest"}"#])?.ended(0)?;

    let ran = cli.run("b", &["export", "--format", "pomodoro", "--out", out, "--json"])?.ended(0)?;
    assert_eq!(ran.last()?, json!({"records": rows.len(), "unfit": 1, "out": out}));
    assert!(ran.stderr.contains("timer_session/other: not exported: "), "{ran:?}");
    let text = std::fs::read_to_string(out)?;
    let mut exported: Vec<&str> = text.lines().collect();
    assert_eq!(exported.remove(0), HEADER);
    exported.sort_unstable();
    rows.sort();
    assert_eq!(exported, rows);
    let again = cli.run("a", &["import", "--format", "pomodoro", out, "--json"])?.ended(0)?.last()?;
    assert_eq!((&again["imported"], &again["unchanged"]), (&json!(0), &json!(rows.len())));
    node.terminate().await?;
    Ok(())
}

#[test]
fn a_shell_gets_its_completions_without_a_profile_or_a_home() -> anyhow::Result<()> {
    let cli = CommandLine::at(String::new(), String::new())?;
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef cloudsync"), ("fish", "complete -c cloudsync")] {
        let ran = cli.command("a", &["completions", shell]).env_remove("CLOUDSYNC_HOME").output()?;
        let script = String::from_utf8(ran.stdout)?;
        assert!(ran.status.success() && script.contains(word) && script.contains("export"), "{shell}");
    }
    Ok(())
}
