//! Versions that a rewind lost, as rows.
//!
//! Never: a rule.

use cloudsync_engine::replica::{Lost, LostId, LostState, TablesError};
use cloudsync_protocol::{DeviceSeq, Envelope, ErrorCode, Hash, Seq, codec as wire};
use rusqlite::params;

use super::codec::{Columns, content, encoded, signed};
use super::rows::{PARKED, PAUSED, SIGNED, WAITING, names, read_record};
use super::transaction::SqliteTables;

pub(super) fn read(row: &Columns<'_, '_>) -> Result<Lost, TablesError> {
    let facts = (row.optional_number("device_seq")?, row.get::<Option<String>>("reason")?, row.optional_number("grows")?);
    let state = match (row.get::<i64>("state")?, facts) {
        (WAITING, (None, None, None)) => LostState::Waiting,
        (SIGNED, (Some(device_seq), None, None)) => LostState::Signed(DeviceSeq(device_seq)),
        (PARKED, (None, Some(code), None)) => LostState::Refused(ErrorCode::from_name(&code)),
        (PAUSED, (None, None, Some(grows))) => LostState::Paused { grows },
        (_, _) => return Err(row.wrong("state", "not a state of a lost version")),
    };
    Ok(Lost {
        id: LostId(row.number("id")?),
        record: read_record(row)?,
        at: row.decoded("at")?,
        origin: row.decoded("first")?,
        fork: Seq(row.number("fork")?),
        asked: row.optional_id("asked", Hash::from_slice)?,
        state,
    })
}

pub(super) fn put(tables: &SqliteTables<'_>, lost: &Lost) -> Result<(), TablesError> {
    let Lost { id, record, at, origin, fork, state, asked } = lost;
    let (collection, name) = names(&record.key);
    let (kind, value) = content(&record.content);
    let Envelope { header, body, wrap } = &record.envelope;
    let (state, device_seq, reason, grows) = match state {
        LostState::Waiting => (WAITING, None, None, None),
        LostState::Signed(device_seq) => (SIGNED, Some(signed(device_seq.0)), None, None),
        LostState::Refused(code) => (PARKED, None, Some(code.name()), None),
        LostState::Paused { grows } => (PAUSED, None, None, Some(signed(*grows))),
    };
    tables.execute(
        "lost",
        "INSERT OR REPLACE INTO lost VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
        params![
            signed(id.0),
            collection,
            name,
            signed(record.version.0),
            signed(record.seq.0),
            record.hash.0,
            record.device.0,
            signed(record.hlc.0),
            kind,
            value,
            &header[..],
            &body[..],
            &wrap[..],
            encoded(record.origin.as_ref()),
            wire::encode(at),
            wire::encode(origin),
            i64::try_from(fork.0).unwrap_or(i64::MAX),
            asked.map(|asked| asked.0),
            state,
            device_seq,
            reason,
            grows,
        ],
    )
}
