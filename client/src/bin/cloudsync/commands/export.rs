//! `export`: every record that `list` shows, of one moment, to standard output or to a file.
//!
//! Never: a file half-written or open to others, or a record left out in silence.

use std::path::Path;

use cloudsync_client::export::{POMODORO_HEADER, pomodoro_row};
use cloudsync_client::import::pomodoro;
use cloudsync_client::profile::write_atomically;
use cloudsync_protocol::CollectionName;
use serde::Serialize;

use crate::args;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{counted, to_json, visible};
use crate::record::RecordJson;

#[derive(Serialize)]
struct ExportedJson<'a> {
    /// Those that are in the file.
    records: u64,
    /// Those that the format can't hold.
    unfit: u64,
    out: &'a str,
}

/// The text, and how many records are in it.
struct Exported {
    text: String,
    records: u64,
    unfit: u64,
}

pub(crate) async fn export(context: &Context, asked: args::Export) -> Result<(), Failure> {
    let mut collection = asked.collection.map(CollectionName::new).transpose().map_err(Failure::usage)?;
    if asked.format == args::ExportFormat::Pomodoro {
        if collection.as_ref().is_some_and(|collection| collection.as_str() != pomodoro::COLLECTION) {
            return Err(Failure::usage(format!("--format pomodoro is of {} only", pomodoro::COLLECTION)));
        }
        collection = Some(CollectionName::new(pomodoro::COLLECTION).map_err(Failure::usage)?);
    }
    let client = context.reached().await?;
    let records = client.all(collection).await?;
    let records = records.iter().map(RecordJson::shown);
    let records: Vec<RecordJson> = records.filter(|record| asked.deleted || record.conflict || record.pending || !record.deleted).collect();
    let exported = written(context, asked.format, &records)?;
    let output = context.output;
    let Some(out) = asked.out else { return output.text(&exported.text) };
    let shown = out.display().to_string();
    write(&out, exported.text.as_bytes()).map_err(|error| Failure::usage(format!("can't write {shown}: {error}")))?;
    if output.is_json() {
        return output.json(&ExportedJson { records: exported.records, unfit: exported.unfit, out: &shown });
    }
    output.say(&format!("{} in {shown}, which only you can read", counted(exported.records, "record")));
    Ok(())
}

fn write(out: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let name = out.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| std::io::Error::other("that is no name of a file"))?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    write_atomically(folder, name, bytes)
}

fn written(context: &Context, format: args::ExportFormat, records: &[RecordJson]) -> Result<Exported, Failure> {
    let all = |text| Ok(Exported { text, records: records.len() as u64, unfit: 0 });
    match format {
        args::ExportFormat::Jsonl => all(records.iter().map(|record| to_json(record) + "\n").collect()),
        args::ExportFormat::Json => {
            let lines: Vec<String> = records.iter().map(to_json).collect();
            all(if lines.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", lines.join(",\n")) })
        }
        args::ExportFormat::Csv => all(csv(records).map_err(Failure::usage)?),
        args::ExportFormat::Pomodoro => Ok(sessions(context, records)),
    }
}

/// Columns as a terminal shows them.
fn csv(records: &[RecordJson]) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let rows = records.iter().map(RecordJson::row);
    let header = RecordJson::NAMES.map(str::to_owned).to_vec();
    for row in std::iter::once(header).chain(rows) {
        writer.write_record(&row).map_err(|error| error.to_string())?;
    }
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// The rows of a timer's history; a record that is none is named and counted.
fn sessions(context: &Context, records: &[RecordJson]) -> Exported {
    let mut exported = Exported { text: format!("{POMODORO_HEADER}\n"), records: 0, unfit: 0 };
    // A deleted session is no row, and was not asked for as one.
    for record in records.iter().filter(|record| !record.deleted) {
        match pomodoro_row(record.value.get()) {
            Ok(row) => {
                exported.records += 1;
                exported.text.extend([row.as_str(), "\n"]);
            }
            Err(why) => {
                exported.unfit += 1;
                context.output.say(&format!("{}/{}: not exported: {}", record.collection, visible(&record.id), visible(&why)));
            }
        }
    }
    exported
}
