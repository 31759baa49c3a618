//! `get` and `list`: what the device would show its user.
//!
//! Never: a parked edit shown as the record's value.

use cloudsync_protocol::CollectionName;

use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Style, fields, to_json};
use crate::record::{RecordJson, key};

/// Records of one transaction.
const PAGE: usize = 500;

pub(crate) async fn get(context: &Context, asked: args::Record) -> Result<(), Failure> {
    let key = key(&asked)?;
    let client = context.reached().await?;
    let output = context.output;
    let Some(shown) = client.get(key.clone()).await? else {
        return Err(Failure::new(Exit::Refused, "record_unknown", format!("there is no record {key}"), "see `cloudsync list`"));
    };
    let record = RecordJson::shown(&shown);
    match output.style {
        Style::Json => output.json(&record)?,
        Style::Terminal | Style::Plain if record.deleted => {
            let whose = if record.pending { " (your own edit, not committed yet)" } else { "" };
            let message = format!("{key} is deleted{whose}");
            return Err(Failure::new(Exit::Refused, "record_deleted", message, "see `cloudsync list --deleted`"));
        }
        Style::Terminal | Style::Plain => output.line(record.value.get())?,
    }
    if !output.is_json() && record.pending {
        output.aside("this is your own edit, not committed yet");
    }
    Ok(())
}

pub(crate) async fn list(context: &Context, asked: args::List) -> Result<(), Failure> {
    let collection = asked.collection.map(CollectionName::new).transpose().map_err(Failure::usage)?;
    let client = context.reached().await?;
    let output = context.output;
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = client.list(collection.clone(), after, PAGE).await?;
        let records = page.records.iter().map(RecordJson::shown);
        let records = records.filter(|record| asked.deleted || record.conflict || record.pending || !record.deleted);
        match output.style {
            Style::Json => output.lines(&records.map(|record| to_json(&record)).collect::<Vec<_>>())?,
            Style::Plain => output.lines(&records.map(|record| fields(&record.row())).collect::<Vec<_>>())?,
            Style::Terminal => rows.extend(records.map(|record| record.row())),
        }
        after = page.more;
        if after.is_none() {
            break;
        }
    }
    match output.style {
        Style::Terminal if rows.is_empty() => output.aside("no records"),
        Style::Terminal => output.table(&RecordJson::NAMES, &rows)?,
        Style::Json | Style::Plain => {}
    }
    Ok(())
}
