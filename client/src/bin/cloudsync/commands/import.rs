//! `import`: a file's rows as records, sent while it is read.
//!
//! Never: a row twice, or an edit of a record that is there; what was edited since stays as it is.

use std::time::Duration;

use cloudsync_client::import::pomodoro::{Session, Sessions};
use cloudsync_client::sdk::{self, Client, Deleted, Offline, Online, Pushing};
use cloudsync_engine::replica::{EditId, Status};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::status::{held, say_held};
use crate::args;
use crate::context::{Context, Reached};
use crate::failure::{Exit, Failure};
use crate::output::counted;
use crate::progress::Progress;
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
    /// Rows whose records were deleted since, and stay so.
    deleted: u64,
    broken: u64,
    acknowledged: bool,
    /// Edits of this device that wait for room under the quota.
    paused_edits: u64,
    #[serde(skip)]
    first: Option<EditId>,
}

/// The session, as long as there is one.
struct Sender<'a> {
    context: &'a Context,
    online: Option<Online>,
    deleted: Deleted,
    /// Why the server can't be worked with; the rest is queued all the same.
    refused: Option<Failure>,
}

impl Sender<'_> {
    /// Sends a batch, if there is one; offline, the rest waits in the queue.
    async fn send(&mut self) -> Result<(), Failure> {
        let Some(online) = &mut self.online else { return Ok(()) };
        let sent = match online.push().await {
            Ok(Pushing::Decided | Pushing::Idle | Pushing::Wait(_) | Pushing::StoreFull(_)) => Ok(()),
            Err(error) => online.reconnect(error).await,
        };
        match sent {
            Ok(()) => Ok(()),
            Err(error) => self.ended(error),
        }
    }

    /// Nothing is sent any more. Where this machine is the trouble, nothing is queued either.
    fn ended(&mut self, error: sdk::Error) -> Result<(), Failure> {
        self.online = None;
        if error.offline() == Offline::Yes {
            self.context.output.end_updates();
            self.context.output.aside(&format!("offline: {error}; the rest is queued"));
            return Ok(());
        }
        let failure = Failure::from(error);
        if matches!(failure.exit, Exit::Damage | Exit::Unexpected) {
            return Err(failure);
        }
        self.refused = Some(failure);
        Ok(())
    }

    /// Sends all that is left; says why the server takes nothing, if so.
    async fn finish(mut self) -> Result<Option<Failure>, Failure> {
        if let Some(mut online) = self.online.take() {
            let sent = online.push_all(PATIENCE).await;
            online.close().await;
            sent.or_else(|error| self.ended(error))?;
        }
        Ok(self.refused)
    }
}

pub(crate) async fn import(context: &Context, asked: args::Import) -> Result<(), Failure> {
    let args::Format::Pomodoro = asked.format;
    let unfit = |message: String| {
        Failure::new(Exit::Usage, "usage", message, "name a CSV file with the columns that `cloudsync import --help` lists")
    };
    let bytes = std::fs::read(&asked.file).map_err(|error| unfit(format!("can't read {}: {error}", asked.file.display())))?;
    let (client, online, refused) = match context.reach().await {
        Ok(Reached { client, online }) => (client, online, None),
        // Where the profile itself is the trouble, nothing can be kept in it.
        Err(failure) => (context.client().map_err(|_| failure.clone())?, None, Some(failure)),
    };
    let deleted = if asked.deleted { Deleted::Return } else { Deleted::Stay };
    let sender = Sender { context, online, deleted, refused };
    let ids = client.keys().secrets.account.current().record_id_key();
    let mut sessions = Sessions::new(&bytes, &ids).map_err(|error| unfit(format!("{}: {error}", asked.file.display())))?;
    let lines = (bytes.iter().filter(|byte| **byte == b'\n').count() as u64).saturating_sub(1);
    let bar = Progress::new(context.output, lines);
    let mut done = Imported::default();
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| Failure::new(Exit::Unexpected, "signals", error, "report it"))?;
    let ended = tokio::select! {
        ended = import_all(sender, &client, (&mut sessions, &mut done, &bar)) => ended,
        _ = interrupted.recv() => Err(stopped(&done, lines)),
    };
    bar.clear();
    let refused = ended?;
    let status = client.status().await?;
    done.acknowledged = status.edits.pending() == 0;
    done.paused_edits = status.edits.paused;
    let waiting = match done.first {
        Some(first) if status.edits.paused > 0 => client.paused_from(first).await?,
        Some(_) | None => 0,
    };
    report(context, &done, (waiting, &status))?;
    say_held(context, held(&client, &status).await?);
    match refused {
        Some(failure) => Err(Failure { message: format!("{}; what was read is kept, queued", failure.message), ..failure }),
        None => Ok(()),
    }
}

/// Ctrl-C: what was read is here, and sent as far as it went.
fn stopped(done: &Imported, lines: u64) -> Failure {
    let read = counted(done.imported + done.unchanged + done.deleted, "row");
    let message = format!("{read} of about {lines} so far; what was read is kept, and sent as far as it went");
    Failure::new(Exit::Interrupted, "interrupted", message, "run the same command again to go on: no row is imported twice")
}

async fn import_all(
    mut sender: Sender<'_>,
    client: &Client,
    (sessions, done, bar): (&mut Sessions<'_>, &mut Imported, &Progress),
) -> Result<Option<Failure>, Failure> {
    bar.at(0);
    loop {
        let rows = next_rows(sender.context, sessions, done, bar);
        if rows.is_empty() {
            break;
        }
        let missing = client.edit_missing(rows, sender.deleted).await?;
        done.imported += missing.made;
        done.unchanged += missing.there;
        done.deleted += missing.deleted;
        done.first = done.first.or(missing.first);
        sender.send().await?;
        bar.at(done.rows);
    }
    bar.update("sending what is left");
    sender.finish().await
}

/// The next rows that are sound; broken ones are counted and named.
fn next_rows(context: &Context, sessions: &mut Sessions<'_>, done: &mut Imported, bar: &Progress) -> Vec<Session> {
    let mut rows = Vec::with_capacity(ROWS);
    while rows.len() < ROWS {
        match sessions.next() {
            None => break,
            Some(row) => {
                done.rows += 1;
                match row {
                    Ok(session) => rows.push(session),
                    Err(broken) => {
                        done.broken += 1;
                        bar.clear();
                        context.output.say(&format!("line {}: not imported: {}", broken.line, broken.why));
                    }
                }
            }
        }
    }
    rows
}

fn report(context: &Context, done: &Imported, (waiting, status): (u64, &Status)) -> Result<(), Failure> {
    let output = context.output;
    if output.is_json() {
        return output.json(done);
    }
    output.say(&summary(done, waiting, status.edits.pending() > status.edits.paused));
    if let Some(note) = room::note(done.paused_edits, status.usage) {
        output.say(&note);
    }
    Ok(())
}

/// How many rows are in, how many wait and for what, and what was left out.
fn summary(done: &Imported, waiting: u64, is_queued: bool) -> String {
    let Imported { rows, imported, unchanged, deleted, broken, .. } = done;
    let in_there = imported.saturating_sub(waiting);
    let sent = match in_there {
        0 => "",
        _ if is_queued => " (queued)",
        _ => " (acknowledged)",
    };
    let waiting = if waiting > 0 { format!(", {waiting} wait for room under the quota") } else { String::new() };
    let deleted = if *deleted > 0 { format!(", {deleted} deleted since and left so") } else { String::new() };
    format!("{}: {in_there} imported{sent}{waiting}, {unchanged} already there{deleted}, {broken} broken", counted(*rows, "row"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_and_what_waits_for_room_are_counted_apart() {
        let done = Imported { rows: 9, imported: 6, unchanged: 1, deleted: 1, broken: 1, ..Imported::default() };
        let said =
            "9 rows: 2 imported (acknowledged), 4 wait for room under the quota, 1 already there, 1 deleted since and left so, 1 broken";
        assert_eq!(summary(&done, 4, false), said);
        let done = Imported { rows: 3, imported: 3, ..Imported::default() };
        assert_eq!(summary(&done, 0, true), "3 rows: 3 imported (queued), 0 already there, 0 broken");
        assert_eq!(summary(&done, 3, true), "3 rows: 0 imported, 3 wait for room under the quota, 0 already there, 0 broken");
    }
}
