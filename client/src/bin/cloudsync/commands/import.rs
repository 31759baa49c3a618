//! `import`: a file's rows as records, sent while it is read.
//!
//! Never: a row twice, or an edit of a record that is there; what was edited since stays as it is.

use std::time::Duration;

use cloudsync_client::import::pomodoro::Sessions;
use cloudsync_client::sdk::{Client, Offline, Online, Pushing};
use cloudsync_engine::replica::{Content, Usage};
use cloudsync_protocol::RecordKey;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::args;
use crate::context::{Context, Reached};
use crate::failure::{Exit, Failure};
use crate::output::counted;
use crate::room;

/// Rows of one transaction.
const ROWS: usize = 1000;
/// Sending goes on as long as it gets on; this only bounds it.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Default, Serialize)]
struct Imported {
    rows: u64,
    imported: u64,
    unchanged: u64,
    broken: u64,
    acknowledged: bool,
    /// Edits of this device that wait for room under the quota.
    paused_edits: u64,
}

/// The session, as long as there is one.
struct Sender<'a> {
    context: &'a Context,
    online: Option<Online>,
}

impl Sender<'_> {
    /// Sends a batch, if there is one; offline, the rest waits in the queue.
    async fn send(&mut self) -> Result<(), Failure> {
        let Some(online) = &mut self.online else { return Ok(()) };
        let sent = match online.push().await {
            Ok(Pushing::Decided | Pushing::Idle | Pushing::Wait(_)) => Ok(()),
            Err(error) => online.reconnect(error).await,
        };
        match sent {
            Ok(()) => Ok(()),
            Err(error) if error.offline() == Offline::Yes => self.lost(&error.to_string()),
            Err(error) => Err(error.into()),
        }
    }

    fn lost(&mut self, why: &str) -> Result<(), Failure> {
        self.context.output.aside(&format!("offline: {why}; the rest is queued"));
        self.online = None;
        Ok(())
    }

    /// Sends all that is left.
    async fn finish(mut self) -> Result<(), Failure> {
        let Some(mut online) = self.online.take() else { return Ok(()) };
        let sent = online.push_all(PATIENCE).await;
        online.close().await;
        match sent {
            Err(error) if error.offline() == Offline::Yes => self.lost(&error.to_string()),
            sent => Ok(sent?),
        }
    }
}

pub(crate) async fn import(context: &Context, asked: args::Import) -> Result<(), Failure> {
    let args::Format::Pomodoro = asked.format;
    let unfit = |message: String| {
        Failure::new(Exit::Usage, "usage", message, "name a CSV file with the columns that `cloudsync import --help` lists")
    };
    let bytes = std::fs::read(&asked.file).map_err(|error| unfit(format!("can't read {}: {error}", asked.file.display())))?;
    let Reached { client, online } = context.reach().await?;
    let sender = Sender { context, online };
    let ids = client.keys().secrets.record_ids.clone();
    let mut sessions = Sessions::new(&bytes, &ids).map_err(|error| unfit(format!("{}: {error}", asked.file.display())))?;
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    let bar = progress(context, lines.saturating_sub(1));
    let mut done = Imported::default();
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| Failure::new(Exit::Unexpected, "signals", error, "report it"))?;
    let ended = tokio::select! {
        ended = import_all(sender, &client, (&mut sessions, &mut done, &bar)) => ended,
        _ = interrupted.recv() => {
            let so_far = counted(done.imported + done.unchanged, "row");
            Err(Failure::new(Exit::Interrupted, "interrupted", format!("{so_far} so far; run the same command again to go on"), ""))
        }
    };
    bar.finish_and_clear();
    ended?;
    let status = client.status().await?;
    done.acknowledged = status.edits.pending() == 0;
    done.paused_edits = status.edits.paused;
    report(context, &done, status.usage)
}

async fn import_all(
    mut sender: Sender<'_>,
    client: &Client,
    (sessions, done, bar): (&mut Sessions<'_>, &mut Imported, &ProgressBar),
) -> Result<(), Failure> {
    loop {
        let rows = next_rows(sender.context, sessions, done, bar);
        if rows.is_empty() {
            break;
        }
        let count = rows.len() as u64;
        let made = client.edit_missing(rows).await? as u64;
        done.imported += made;
        done.unchanged += count - made;
        sender.send().await?;
        bar.set_position(done.rows);
    }
    bar.set_message("sending");
    sender.finish().await
}

/// The next rows that are sound; broken ones are counted and named.
fn next_rows(context: &Context, sessions: &mut Sessions<'_>, done: &mut Imported, bar: &ProgressBar) -> Vec<(RecordKey, Content)> {
    let mut rows = Vec::with_capacity(ROWS);
    while rows.len() < ROWS {
        match sessions.next() {
            None => break,
            Some(row) => {
                done.rows += 1;
                match row {
                    Ok(session) => rows.push((session.key, Content::Value(session.value))),
                    Err(broken) => {
                        done.broken += 1;
                        bar.suspend(|| context.output.say(&format!("line {}: not imported: {}", broken.line, broken.why)));
                    }
                }
            }
        }
    }
    rows
}

fn progress(context: &Context, rows: u64) -> ProgressBar {
    if !context.output.talk_is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len} rows, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(rows).with_style(style).with_message("importing")
}

fn report(context: &Context, done: &Imported, usage: Option<Usage>) -> Result<(), Failure> {
    let output = context.output;
    if output.is_json() {
        return output.json(done);
    }
    let Imported { rows, imported, unchanged, broken, acknowledged, paused_edits } = done;
    let sent = match (imported, acknowledged) {
        (0, _) => "",
        (_, true) => " (acknowledged)",
        (_, false) if *paused_edits > 0 => " (as far as there is room)",
        (_, false) => " (queued)",
    };
    output.say(&format!("{}: {imported} imported{sent}, {unchanged} already there, {broken} broken", counted(*rows, "row")));
    if let Some(note) = room::note(*paused_edits, usage) {
        output.say(&note);
    }
    Ok(())
}
