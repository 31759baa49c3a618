//! `conflicts` and `conflicts drop`.
//!
//! Never: a conflict settled that was not named.

use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Style, to_json};
use crate::record::{ConflictJson, DroppedJson, key};

const HOW: &str = "keep yours by `cloudsync put COLLECTION ID JSON --onto current` (or `cloudsync delete … --onto current`), the current one by `cloudsync conflicts drop COLLECTION ID`";

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
