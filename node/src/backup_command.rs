//! `cloudsync-node backup`: create, verify, restore.
//!
//! Never: a node's lock taken to make a copy, or a folder of a running node written to.

use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use cloudsync_accounts::SECRETS_FILE;
use cloudsync_node::SELF_MADE_FILE;
use cloudsync_node::config::Config;
use cloudsync_storage::embedded::backup::{self, Manifest, Progress, Watch};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;

/// Of the data folder, what a node can't make anew: without the secrets nobody can log in, and without the certificate clients
/// that pinned it stay away.
const BESIDE: &[&str] = &[SECRETS_FILE, SELF_MADE_FILE];

#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(subcommand)]
    action: Action,
    /// Prints one JSON object on standard output.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Copies a node's data into a folder, as it is at one moment; the node may be serving meanwhile.
    Create(Create),
    /// Reads all of a backup: whether it is whole, and up to when it goes.
    Verify {
        /// The backup.
        dir: PathBuf,
    },
    /// Brings a backup into a data folder that no node runs on. Every log gets a new timeline; devices bring what they have of
    /// later.
    Restore {
        /// The backup.
        dir: PathBuf,
        /// The data folder; made if it isn't there. A database in it is put aside.
        #[arg(long, value_name = "DATA")]
        into: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Where the backup goes: a folder that is empty, or not there yet.
    dir: PathBuf,
    #[command(flatten)]
    from: From,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct From {
    /// The node's data folder.
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    /// The node's configuration, which names its data folder.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What a command has to say, for a person and for a program.
struct Said {
    talk: Vec<String>,
    data: serde_json::Value,
}

pub(crate) fn run(command: Backup) -> anyhow::Result<()> {
    let Said { talk, data } = match command.action {
        Action::Create(create) => created(create)?,
        Action::Verify { dir } => verified(&dir)?,
        Action::Restore { dir, into } => restored(&dir, &into)?,
    };
    let lines = if command.json { vec![data.to_string()] } else { talk };
    let mut stdout = std::io::stdout().lock();
    // A reader that is gone heard enough.
    drop(lines.iter().try_for_each(|line| writeln!(stdout, "{line}")));
    Ok(())
}

fn created(Create { dir, from }: Create) -> anyhow::Result<Said> {
    let data = match (from.data, from.config) {
        (Some(data), _) => data,
        (None, Some(file)) => Config::read(&file)?.data,
        (None, None) => anyhow::bail!("no data folder: name one by --data, or a configuration by --config"),
    };
    let began = Instant::now();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock is before 1970")?.as_millis();
    let manifest =
        with_bar("copying", |progress| backup::create(&data, &dir, (BESIDE, u64::try_from(now_ms).unwrap_or(u64::MAX)), progress))?;
    let seconds = began.elapsed().as_secs_f64();
    let talk = format!("{}: {} in {seconds:.1} s, {}", dir.display(), HumanBytes(manifest.bytes()), holds(&manifest));
    Ok(Said { talk: vec![talk], data: facts(&manifest, json!({ "backup": dir, "seconds": seconds })) })
}

fn verified(dir: &std::path::Path) -> anyhow::Result<Said> {
    let began = Instant::now();
    let backup::Verified { manifest, damaged } = with_bar("reading", |progress| backup::verify(dir, progress))?;
    let seconds = began.elapsed().as_secs_f64();
    let mut talk = vec![format!("{}: whole, {}, {}", dir.display(), HumanBytes(manifest.bytes()), holds(&manifest))];
    talk.extend(of_then(&damaged));
    Ok(Said { talk, data: facts(&manifest, json!({ "backup": dir, "seconds": seconds, "damaged": damaged })) })
}

fn restored(dir: &std::path::Path, into: &std::path::Path) -> anyhow::Result<Said> {
    let began = Instant::now();
    let backup::Restored { manifest, rewinds, kept, damaged } = with_bar("reading", |progress| {
        backup::restore(dir, into, SECRETS_FILE, Watch { progress, step: &mut |_| ControlFlow::Continue(()) })
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut talk = vec![format!("{}: restored, {}", into.display(), holds(&manifest))];
    talk.extend(kept.iter().map(|kept| format!("the database that was there is now {}", kept.display())));
    talk.extend(of_then(&damaged));
    talk.push(format!("start the node with the {SECRETS_FILE} of then (it is in the folder): each log opens a new timeline by itself, and devices bring what they have of later"));
    talk.push("accounts that were erased since are back, and are to be erased again".to_owned());
    let more = json!({ "backup": dir, "data": into, "seconds": seconds, "damaged": damaged, "database_rewinds": rewinds, "kept": kept });
    Ok(Said { talk, data: facts(&manifest, more) })
}

fn of_then(damaged: &[String]) -> impl Iterator<Item = String> {
    damaged.iter().map(|damage| format!("damaged when it was copied: {damage}"))
}

fn holds(manifest: &Manifest) -> String {
    format!("everything acknowledged before {} ({} accounts, group {})", date(manifest.taken_ts), manifest.accounts, manifest.group)
}

/// What every command says of a backup, with what is its own.
fn facts(manifest: &Manifest, own: serde_json::Value) -> serde_json::Value {
    let mut facts = json!({
        "taken_ts": manifest.taken_ts,
        "group": manifest.group,
        "accounts": manifest.accounts,
        "bytes": manifest.bytes(),
    });
    if let (Some(facts), serde_json::Value::Object(own)) = (facts.as_object_mut(), own) {
        facts.extend(own);
    }
    facts
}

/// Shows a bar on a terminal.
fn with_bar<T>(
    doing: &'static str,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, backup::BackupError>,
) -> Result<T, backup::BackupError> {
    let bar = if std::io::stderr().is_terminal() {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left");
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(doing)
    } else {
        ProgressBar::hidden()
    };
    let done = work(&mut |Progress { done_bytes, bytes }| {
        bar.set_length(bytes);
        bar.set_position(done_bytes);
    });
    bar.finish_and_clear();
    done
}

/// A moment as RFC 3339 has it, in UTC. The days by H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(ts: u64) -> String {
    let (days, second) = (ts / 86_400_000, ts / 1000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_utc() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(date(1_795_535_999_999), "2026-11-24T15:59:59Z");
    }
}
