//! Makes pushes that say whatever a test asks for, right or wrong, by the keys of `support::keys`.
//!
//! Never: randomness, or a replica's care for what it signs.

use bytes::Bytes;
use cloudsync_engine::session::{Peer, SessionId};
use cloudsync_engine::verify::HelloProof;
use cloudsync_protocol::codec::encode;
use cloudsync_protocol::entry::{Adopt, Origin, Put};
use cloudsync_protocol::envelope::{FLAG_TOMBSTONE, FORMAT, Hlc, SUITE_AES_256_GCM};
use cloudsync_protocol::frame::{OWN_LOG, Push};
use cloudsync_protocol::limits::WRAP_BYTES;
use cloudsync_protocol::statement::{BatchStatement, CONTEXT_BATCH, Carrier, RosterChange, Signature, hello_message};
use cloudsync_protocol::{CollectionName, DeviceId, DeviceSeq, Envelope, Hash, Header, Nonce, Operation, RecordId, Version};
use ed25519_dalek::{Signer, SigningKey};

use crate::support::keys::{Keys, signed};
pub(crate) use crate::support::keys::{LOG, identify as identity};

pub(crate) const NOW_MS: u64 = 1_700_000_000_000;

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId([number; 16])
}

pub(crate) fn peer(session: u64, number: u8) -> Peer {
    Peer { session: SessionId(session), device: device(number) }
}

pub(crate) fn device_key(number: u8) -> SigningKey {
    Keys::new(number).signing
}

pub(crate) fn enrol(number: u8) -> RosterChange {
    Keys::new(number).enrol()
}

pub(crate) fn revoke(number: u8, last: u64, by: u8) -> RosterChange {
    Keys::new(number).revoke(DeviceSeq(last), device(by))
}

pub(crate) fn hello(number: u8) -> HelloProof {
    let (nonce, carrier, token) = (Nonce([3; 32]), Carrier::Quic, "token".to_owned());
    let signature = Signature(device_key(number).sign(&hello_message(&nonce, carrier, &token)).to_bytes());
    HelloProof { nonce, carrier, token, signature }
}

/// A wrap under that account key.
pub(crate) fn wrap(key_epoch: u64) -> Bytes {
    [&key_epoch.to_be_bytes()[..], &[0; WRAP_BYTES - 8]].concat().into()
}

/// One write as a test asks for it.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) collection: String,
    pub(crate) record: String,
    pub(crate) base: u64,
    pub(crate) parent: Hash,
    pub(crate) flags: u8,
    pub(crate) body_bytes: usize,
    pub(crate) fill: u8,
    pub(crate) hlc_ms: u64,
    pub(crate) key_epoch: u64,
}

pub(crate) fn write(record: &str, base: u64, parent: Hash) -> Write {
    let collection = "timer".to_owned();
    Write { collection, record: record.to_owned(), base, parent, flags: 0, body_bytes: 128, fill: 1, hlc_ms: NOW_MS, key_epoch: 1 }
}

pub(crate) fn create(record: &str) -> Write {
    write(record, 0, Hash::default())
}

impl Write {
    pub(crate) fn dead(self) -> Self {
        Self { flags: FLAG_TOMBSTONE, ..self }
    }
    /// Wrapped under that account key.
    pub(crate) fn under(self, key_epoch: u64) -> Self {
        Self { key_epoch, ..self }
    }
    /// The version that device `number` once pushed so, brought back over `over`.
    pub(crate) fn adopted(&self, number: u8, over: Hash, origin: Origin) -> Operation {
        let envelope = self.operation(number, 1).envelope().unwrap().clone();
        Operation::Adopt(Adopt { over, origin, envelope })
    }
    pub(crate) fn operation(&self, number: u8, device_seq: u64) -> Operation {
        let header = Header {
            format: FORMAT,
            suite: SUITE_AES_256_GCM,
            log: LOG,
            collection: CollectionName::new(self.collection.clone()).unwrap(),
            record: RecordId::new(self.record.clone()).unwrap(),
            version: Version(self.base + 1),
            parent: self.parent,
            device: device(number),
            device_seq: DeviceSeq(device_seq),
            hlc: Hlc::from_ms(self.hlc_ms),
            flags: self.flags,
            commitment: Hash([9; 32]),
        };
        let wrap = wrap(self.key_epoch);
        let envelope = Envelope { header: encode(&header).into(), body: vec![self.fill; self.body_bytes].into(), wrap };
        Operation::Put(Put { base: Version(self.base), envelope })
    }
}

/// A push of device `number`, signed by it.
pub(crate) fn push(number: u8, device_seq: u64, prev_hash: Hash, writes: &[Write]) -> Push {
    push_of(number, device_seq, prev_hash, writes.iter().map(|write| write.operation(number, device_seq)).collect())
}

pub(crate) fn push_of(number: u8, device_seq: u64, prev_hash: Hash, operations: Vec<Operation>) -> Push {
    let envelopes = operations.iter().map(Operation::stated_hash).collect();
    let (device, device_seq) = (device(number), DeviceSeq(device_seq));
    let statement = BatchStatement { format: 1, log: LOG, device, device_seq, prev_hash, envelopes, seen: Vec::new() };
    let signed = signed(&device_key(number), CONTEXT_BATCH, &statement);
    Push { request: u32::try_from(device_seq.0).unwrap(), log: OWN_LOG, signed, operations }
}
