//! What somebody who has keys makes for a dishonest server: batches, versions, changes of the roster.
//!
//! Never: a check. What is made here may be as wrong as a test wants it.

use bytes::Bytes;
use cloudsync_client::envelope::{Draft, Payload, seal};
use cloudsync_client::keys::{DeviceKeys, Identity, KeyFile, seal_name};
use cloudsync_client::statement::{self, BatchFacts};
use cloudsync_protocol::entry::{Batch, Put, RosterRow};
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{DeviceSeq, Entry, Envelope, Hash, Header, Operation, RecordKey, Seq, Version, codec};

/// When it is said to have been committed.
const SERVER_TS: u64 = 1_700_000_000_000;

/// A version of a record, and what it is made from.
#[derive(Debug, Clone, Copy)]
pub struct Forged<'a> {
    /// The record.
    pub key: &'a RecordKey,
    /// The version that it is.
    pub version: Version,
    /// The hash of the one before; zero for none.
    pub parent: Hash,
    /// What it says.
    pub value: &'a str,
}

/// Seals a version by those keys, as if pushed by their device in that push.
pub fn version(keys: &KeyFile, device_seq: DeviceSeq, forged: Forged<'_>) -> anyhow::Result<Envelope> {
    let Forged { key, version, parent, value } = forged;
    let (log, device, hlc) = (keys.log(), keys.device.id, Hlc::from_ms(SERVER_TS));
    let draft = Draft { log, key, version, parent, device, device_seq, hlc, payload: Payload::Value(value.as_bytes()) };
    Ok(seal(&keys.secrets.account, &draft)?)
}

/// A committed batch that begins at `first`, signed by those keys' device to follow `prev`.
pub fn batch(keys: &KeyFile, first: Seq, (device_seq, prev): (DeviceSeq, Hash), envelopes: Vec<Envelope>) -> anyhow::Result<Entry> {
    let hashes = envelopes.iter().map(Envelope::hash).collect();
    let facts = BatchFacts { log: keys.log(), device_seq, prev_hash: prev, envelopes: hashes };
    let signed = statement::batch(&keys.device, facts)?;
    let put = |envelope: Envelope| {
        let base = envelope.check().map_or(Version::NONE, |header| Version(header.version.0.saturating_sub(1)));
        Operation::Put(Put { base, envelope })
    };
    Ok(Entry::Batch(Batch { first, server_ts: SERVER_TS, signed, operations: envelopes.into_iter().map(put).collect() }))
}

/// A device joins the log of those keys, by that identity's signature.
pub fn enrolment(keys: &KeyFile, identity: &Identity, device: &DeviceKeys) -> anyhow::Result<RosterChange> {
    let name: Bytes = seal_name(&keys.secrets.account, keys.log(), device.id, "ghost")?;
    Ok(statement::enrol(identity, keys.log(), device, (name, SERVER_TS))?)
}

/// A change of the roster, committed there.
#[must_use]
pub const fn roster_row(seq: Seq, change: RosterChange) -> RosterRow {
    RosterRow { seq, server_ts: SERVER_TS, change }
}

/// Says something else in an envelope's header, by whoever has no key.
pub fn with_header(envelope: &mut Envelope, change: impl FnOnce(&mut Header)) -> anyhow::Result<()> {
    let mut header: Header = codec::decode(&envelope.header)?;
    change(&mut header);
    envelope.header = codec::encode(&header).into();
    Ok(())
}
