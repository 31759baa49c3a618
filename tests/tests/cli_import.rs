//! The real history of ten years: all of it, once, however often and wherever it is imported.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]

use std::path::{Path, PathBuf};

use anyhow::ensure;
use cloudsync_tests::command_line::send;
use cloudsync_tests::{CommandLine, NodeProcess, Wire};
use serde_json::json;

const ROWS: u64 = 17_764;

/// The real file. Where it is not, a person may go without; CI may not.
fn history() -> anyhow::Result<Option<PathBuf>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/renzo-pomodoro.csv");
    if file.is_file() {
        return Ok(Some(file));
    }
    ensure!(std::env::var_os("CI").is_none(), "{} is missing, and CI leaves nothing out", file.display());
    if let Some(log) = std::env::var_os("CLOUDSYNC_SKIP_LOG") {
        use std::io::Write as _;
        writeln!(std::fs::File::options().append(true).create(true).open(log)?, "cli_import: the real file is not there")?;
    }
    Ok(None)
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_twice_and_on_two_devices_pushes_nothing_new_and_leaves_no_conflict() -> anyhow::Result<()> {
    let Some(file) = history()? else { return Ok(()) };
    let file = file.to_str().unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b", "c"])?;
    // One device imports while it is offline, and finds out later that the other one had done the same.
    let queued = cli.run("c", &["import", "--format", "pomodoro", file, "--offline", "--json"])?.ended(0)?.last()?;
    assert_eq!((&queued["imported"], &queued["acknowledged"]), (&json!(ROWS), &json!(false)));
    assert_eq!(cli.status("c")?["pending"], json!(ROWS));

    let imported = cli.run("a", &["import", "--format", "pomodoro", file, "--json"])?.ended(0)?.last()?;
    assert_eq!(
        imported,
        json!({"rows": ROWS, "imported": ROWS, "unchanged": 0, "deleted": 0, "broken": 0, "acknowledged": true, "paused_edits": 0})
    );
    let head = cli.run("a", &["sync", "--json"])?.ended(0)?.last()?["seq"].clone();
    for profile in ["a", "b"] {
        let again = cli.run(profile, &["import", "--format", "pomodoro", file, "--json"])?.ended(0)?.last()?;
        assert_eq!((&again["imported"], &again["unchanged"]), (&json!(0), &json!(ROWS)), "{profile}");
    }
    cli.run("c", &["sync"])?.ended(0)?;
    for profile in ["a", "b", "c"] {
        let sync = cli.run(profile, &["sync", "--json"])?.ended(0)?.last()?;
        assert_eq!((&sync["seq"], &sync["pending"], &sync["conflicts"]), (&head, &json!(0), &json!(0)), "{profile}");
        let listed = cli.run(profile, &["list", "timer_session", "--json", "--offline"])?.ended(0)?;
        assert_eq!(listed.stdout.lines().count() as u64, ROWS, "{profile}: the 22 exact repeats are records of their own");
    }
    let (a, b) = (cli.run("a", &["list", "--offline", "--json"])?, cli.run("b", &["list", "--offline", "--json"])?);
    assert!(a.stdout == b.stdout, "both show the same");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_interrupted_says_how_far_it_got_and_the_same_command_goes_on_from_there() -> anyhow::Result<()> {
    const ROWS: u64 = 20_000;
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a"])?;
    let head = "\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n".to_owned();
    let rows = (0..ROWS).map(|n| format!("\"@a\",\"1\",{n},1,2020-01-01,1,1\n"));
    let file = folder.path().join("sessions.csv");
    std::fs::write(&file, head + &rows.collect::<String>())?;
    let file = file.to_str().unwrap_or_default();
    let import = cli.command("a", &["import", "--format", "pomodoro", file]).spawn()?;
    loop {
        let status = cli.status("a")?;
        if status["pending"] != json!(0) || status["seq"].as_u64() > Some(1) {
            break;
        }
    }
    send(import.id(), "INT")?;
    let ran = cloudsync_tests::Ran::try_from(import.wait_with_output()?)?.ended(130)?;
    assert!(ran.stderr.contains(" rows of about 20000 so far; ") && ran.stderr.contains("run the same command again to go on"), "{ran:?}");
    let again = cli.run("a", &["import", "--format", "pomodoro", file, "--offline", "--json"])?.ended(0)?.last()?;
    let (imported, unchanged) = (again["imported"].as_u64(), again["unchanged"].as_u64());
    assert!(unchanged > Some(0), "what was imported before the interrupt is there: {again}");
    assert_eq!(imported.zip(unchanged).map(|(imported, unchanged)| imported + unchanged), Some(ROWS));
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_record_was_deleted_stays_so_on_every_device_unless_it_is_asked_for() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let cli = CommandLine::new(&node, Wire::Quic)?;
    cli.account("ada@example.com", &["a", "b"])?;
    let file = folder.path().join("sessions.csv");
    std::fs::write(&file, "X.words,word_cnt,description,DONE,date,estimate,actual\n@a,1,1,1,2020-01-01,1,1\n@b,1,2,1,2020-01-01,1,1\n")?;
    let file = file.to_str().unwrap_or_default();
    let import = |profile: &str, more: &[&str]| {
        let imported = cli.run(profile, &[&["import", "--format", "pomodoro", file, "--json"], more].concat())?.ended(0)?.last()?;
        anyhow::Ok((imported["imported"].clone(), imported["unchanged"].clone(), imported["deleted"].clone()))
    };
    assert_eq!(import("a", &[])?, (json!(2), json!(0), json!(0)));
    let listed = cli.run("a", &["list", "timer_session", "--json"])?.ended(0)?.json()?;
    let id = listed[0]["id"].as_str().unwrap_or_default();
    cli.run("a", &["delete", "timer_session", id, "--offline"])?.ended(0)?;
    assert_eq!(import("a", &["--offline"])?, (json!(0), json!(1), json!(1)), "not even before the delete is sent");
    cli.run("a", &["sync"])?.ended(0)?;
    assert_eq!(import("b", &[])?, (json!(0), json!(1), json!(1)));
    assert_eq!(import("b", &["--deleted"])?, (json!(1), json!(1), json!(0)));
    assert_eq!(cli.run("a", &["list", "timer_session", "--json"])?.ended(0)?.json()?.len(), 2);
    node.terminate().await?;
    Ok(())
}
