//! `sync`.
//!
//! Never: done when the server was not reached.

use std::collections::BTreeSet;
use std::time::Duration;

use cloudsync_engine::replica::EditId;
use serde::Serialize;

use super::status::{held, say_paused};
use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::counted;
use crate::parked::why_and_how;
use crate::room;

/// Sending goes on as long as it gets on; this only bounds it.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Serialize)]
struct SyncJson {
    seq: u64,
    pending: u64,
    paused: Option<&'static str>,
    paused_edits: u64,
    conflicts: u64,
    /// Conflicts that this sync found.
    conflicts_new: u64,
}

pub(crate) async fn sync(context: &Context, asked: args::Sync) -> Result<(), Failure> {
    if context.offline {
        return Err(Failure::usage("sync needs the server: leave --offline out"));
    }
    let client = context.client()?;
    let before: BTreeSet<EditId> = client.conflicts().await?.iter().map(|conflict| conflict.mine.id).collect();
    let mut online = client.connect().await?;
    if asked.from_snapshot {
        online.from_snapshot().await?;
    }
    online.catch_up().await?;
    online.push_all(PATIENCE).await?;
    online.catch_up().await?;
    online.close().await;
    let status = client.status().await?;
    let (pending, paused_edits, conflicts) = (status.edits.pending(), status.edits.paused, status.edits.parked);
    let mut found = client.conflicts().await?;
    found.retain(|conflict| !before.contains(&conflict.mine.id));
    let conflicts_new = found.len() as u64;
    let output = context.output;
    if output.is_json() {
        let paused = (paused_edits > 0).then_some("quota");
        output.json(&SyncJson { seq: status.cursor.seq.0, pending, paused, paused_edits, conflicts, conflicts_new })?;
    } else {
        let left = [(pending, "pending edit"), (conflicts, "conflict")].into_iter().filter(|(count, _)| *count > 0);
        let left: String = left.map(|(count, what)| format!(", {}", counted(count, what))).collect();
        output.say(&format!("read to {}{left}", status.cursor.seq));
        say_paused(context, &status);
    }
    if let Some(code) = held(&client, &status).await? {
        return Err(Failure::new(
            Exit::Refused,
            code.name(),
            "the server's disk is full: edits are kept here, queued",
            room::STORE_FULL_HELP,
        ));
    }
    if let Some((why, how)) = why_and_how(&found) {
        let kept = if conflicts_new == 1 { "it is kept" } else { "they are kept" };
        return Err(Failure::new(Exit::Conflict, "conflict", format!("{why}; {kept}, everything else is in sync"), how));
    }
    context.mention_conflicts().await;
    Ok(())
}
