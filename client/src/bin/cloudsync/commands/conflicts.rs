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
    let conflicts = context.client()?.conflicts().await?;
    let conflicts: Vec<ConflictJson> = conflicts.iter().map(ConflictJson::new).collect();
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

pub(crate) async fn drop_one(context: &Context, record: args::Record) -> Result<(), Failure> {
    let key = key(&record)?;
    let client = context.client()?;
    let Some(dropped) = client.drop_conflict(key.clone()).await? else {
        return Err(Failure::new(Exit::Refused, "not_found", format!("{key} has no conflict"), "see `cloudsync conflicts`"));
    };
    let output = context.output;
    if output.is_json() {
        output.json(&DroppedJson::new(&dropped))
    } else {
        output.say(&format!("{key}: your edit is dropped, the current version stays"));
        Ok(())
    }
}
