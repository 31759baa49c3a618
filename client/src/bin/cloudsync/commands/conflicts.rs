//! `conflicts`, `conflicts drop` and `conflicts keep`.
//!
//! Never: a conflict settled that was not named.

use cloudsync_client::sdk::Client;
use cloudsync_engine::replica::Content;
use cloudsync_protocol::RecordKey;

use super::edit::edit;
use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Style, to_json};
use crate::record::{ConflictJson, DroppedJson, key};

const HOW: &str = "keep yours by `cloudsync conflicts keep COLLECTION ID`, the current one by `cloudsync conflicts drop COLLECTION ID`, or write another by `cloudsync put COLLECTION ID JSON --onto current`";

pub(crate) async fn list(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let (parked, lost) = (client.conflicts().await?, client.lost_conflicts().await?);
    let conflicts: Vec<ConflictJson> = parked.iter().map(ConflictJson::new).chain(lost.iter().map(ConflictJson::lost)).collect();
    let output = context.output;
    match output.style {
        Style::Json => output.lines(&conflicts.iter().map(to_json).collect::<Vec<_>>()),
        Style::Terminal | Style::Plain => {
            output.table(&ConflictJson::NAMES, &conflicts.iter().map(ConflictJson::row).collect::<Vec<_>>())?;
            output.aside(&if conflicts.is_empty() { "no conflicts".to_owned() } else { context.hint(HOW) });
            Ok(())
        }
    }
}

/// Writes what this device's edit says, or a lost version, onto the current one.
pub(crate) async fn keep_one(context: &Context, asked: args::KeepConflict) -> Result<(), Failure> {
    let key = key(&asked.record)?;
    let content = kept(&context.client()?, &key, asked.lost).await?;
    edit(context, key, content, Some(args::Onto::Current)).await
}

/// What is to be kept of a record: its edit, else the lost version that is named, or that is the only one.
async fn kept(client: &Client, key: &RecordKey, lost: Option<String>) -> Result<Content, Failure> {
    let none = |what: &str| Failure::new(Exit::Refused, "not_found", format!("{key} has {what}"), "see `cloudsync conflicts`");
    if lost.is_none()
        && let Some(parked) = client.conflicts().await?.into_iter().find(|conflict| conflict.mine.key == *key)
    {
        return Ok(parked.mine.content);
    }
    let mut of_record = client.lost_conflicts().await?;
    of_record.retain(|conflict| conflict.lost.record.key == *key);
    if let Some(hash) = lost {
        of_record.retain(|conflict| conflict.lost.record.hash.to_string() == hash);
    }
    match of_record.as_slice() {
        [] => Err(none("no such conflict")),
        [only] if only.lost.record.content == Content::Damaged => Err(none("a lost version that does not open")),
        [only] => Ok(only.lost.record.content.clone()),
        _ => Err(none("several lost versions: name one with --lost")),
    }
}

pub(crate) async fn drop_one(context: &Context, asked: args::DropConflict) -> Result<(), Failure> {
    let key = key(&asked.record)?;
    let client = context.client()?;
    let dropped = match asked.lost {
        None => client.drop_conflict(key.clone()).await?.as_ref().map(DroppedJson::new),
        Some(hash) => client.drop_lost(key.clone(), hash).await?.as_ref().map(DroppedJson::lost),
    };
    let Some(dropped) = dropped else {
        return Err(Failure::new(Exit::Refused, "not_found", format!("{key} has no conflict"), "see `cloudsync conflicts`"));
    };
    let output = context.output;
    if output.is_json() {
        output.json(&dropped)
    } else {
        output.say(&format!("{key}: your edit is dropped, the current version stays"));
        Ok(())
    }
}
