//! What a device pushes: frames made and encoded before the clock starts, in the chain that the node checks.
//!
//! Never: a body that opens, or a signature that verifies. The node can do neither, and would be none the slower or faster.

use bytes::Bytes;
use cloudsync_protocol::entry::Put;
use cloudsync_protocol::envelope::{FORMAT, Hlc, SUITE_AES_256_GCM};
use cloudsync_protocol::frame::{Event, OWN_LOG, Push, Pushed};
use cloudsync_protocol::limits::WRAP_BYTES;
use cloudsync_protocol::statement::{self, BatchStatement, Signature, Signed};
use cloudsync_protocol::{
    Batch, CollectionName, DeviceId, DeviceSeq, Entry, Envelope, Frame, Hash, Header, LogId, Operation, RecordId, RecordKey, Seq,
    TimelineId, Version, codec,
};

use super::line::{Framing, framed};

/// A body as it is sealed of 150 B of content: padded to 192 B, with nonce and tag (`docs/crypto.md`).
pub const BODY_BYTES: usize = 220;

/// Under the first account key; the rest is anything.
const WRAP: [u8; WRAP_BYTES] = {
    let mut wrap = [0x5a; WRAP_BYTES];
    let (epoch, _) = wrap.split_at_mut(8);
    epoch.copy_from_slice(&1_u64.to_be_bytes());
    wrap
};

/// A record's version, as the next one names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The record.
    pub key: RecordKey,
    /// Its version.
    pub version: Version,
    /// The envelope's hash.
    pub hash: Hash,
}

/// A device's pushes, one after the other.
#[derive(Debug, Clone)]
pub struct Pusher {
    log: LogId,
    device: DeviceId,
    device_seq: DeviceSeq,
    prev_hash: Hash,
    collection: CollectionName,
    body_bytes: usize,
    records: u64,
}

/// A push, and what it made.
#[derive(Debug)]
pub struct Made {
    /// What the frame holds.
    pub push: Push,
    /// The record's version now.
    pub known: Known,
    /// Header, body and wrap.
    pub envelope_bytes: u64,
}

impl Made {
    /// The frame, encoded.
    #[must_use]
    pub fn frame(self) -> Bytes {
        codec::encode(&Frame::from(self.push)).into()
    }
}

/// What one push is on a WebSocket and in a log, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// The push.
    pub push: usize,
    /// Its answer.
    pub answer: usize,
    /// What the user's other device is sent.
    pub event: usize,
    /// What is stored: the entry.
    pub entry: usize,
    /// Header, body and wrap.
    pub envelope: usize,
}

impl Lengths {
    /// Of a push of one new record.
    pub fn of(body_bytes: usize) -> anyhow::Result<Self> {
        let now_ms = 1_800_000_000_000;
        let mut pusher = Pusher::new(LogId([1; 16]), DeviceId([2; 16]), body_bytes)?;
        let Made { push, envelope_bytes, .. } = pusher.create(1000, now_ms)?;
        let line = |frame: &Frame| framed(Framing::WebSocket, &codec::encode(frame)).map(|line| line.len());
        // A server does not mask.
        let unmasked = |frame: &Frame| line(frame).map(|bytes| bytes - 4);
        let (timeline, from, to) = (TimelineId([3; 16]), Seq(1000), Seq(1001));
        let hash = push.signed.hash();
        let pushed = Pushed { request: 1000, log: OWN_LOG, device_seq: DeviceSeq(1000), hash, timeline, from, to };
        let (signed, operations) = (push.signed.clone(), push.operations.clone());
        let entry = Entry::Batch(Batch { first: to, server_ts: now_ms, signed, operations });
        let bytes = codec::encode(&entry).len();
        let event = Event { log: OWN_LOG, timeline, from, to, entries: vec![entry] };
        Ok(Self {
            push: line(&push.into())?,
            answer: unmasked(&pushed.into())?,
            event: unmasked(&event.into())?,
            entry: bytes,
            envelope: usize::try_from(envelope_bytes)?,
        })
    }
}

impl Pusher {
    /// Of a device that has not pushed yet.
    pub fn new(log: LogId, device: DeviceId, body_bytes: usize) -> anyhow::Result<Self> {
        let collection = CollectionName::new("timer_session")?;
        Ok(Self { log, device, device_seq: DeviceSeq(0), prev_hash: Hash::default(), collection, body_bytes, records: 0 })
    }

    /// Creates a record of its own.
    pub fn create(&mut self, request: u32, now_ms: u64) -> anyhow::Result<Made> {
        self.records += 1;
        // As long as the ids that apps make: a UUID without its dashes.
        let record = RecordId::new(format!("{}{:016x}", &self.device.to_string().get(..16).unwrap_or_default(), self.records))?;
        let key = RecordKey { collection: self.collection.clone(), record };
        Ok(self.next(request, Known { key, version: Version::NONE, hash: Hash::default() }, now_ms))
    }

    /// The next version of a record.
    pub fn next(&mut self, request: u32, base: Known, now_ms: u64) -> Made {
        self.device_seq = self.device_seq.next();
        let header = Header {
            format: FORMAT,
            suite: SUITE_AES_256_GCM,
            log: self.log,
            collection: base.key.collection.clone(),
            record: base.key.record.clone(),
            version: base.version.next(),
            parent: base.hash,
            device: self.device,
            device_seq: self.device_seq,
            hlc: Hlc::from_ms(now_ms),
            flags: 0,
            commitment: Hash([9; 32]),
        };
        let (body, wrap) = (Bytes::from(vec![0x5a; self.body_bytes]), Bytes::from_static(&WRAP));
        let envelope = Envelope { header: codec::encode(&header).into(), body, wrap };
        let (hash, envelope_bytes) = (envelope.hash(), envelope.bytes());
        let statement = BatchStatement {
            format: statement::FORMAT,
            log: self.log,
            device: self.device,
            device_seq: self.device_seq,
            prev_hash: self.prev_hash,
            envelopes: vec![hash],
            seen: Vec::new(),
        };
        let signed = Signed { statement: codec::encode(&statement).into(), signature: Signature([7; 64]) };
        self.prev_hash = signed.hash();
        let operations = vec![Operation::Put(Put { base: base.version, envelope })];
        let known = Known { version: header.version, hash, key: base.key };
        Made { push: Push { request, log: OWN_LOG, signed, operations }, known, envelope_bytes }
    }
}
