//! Keys of a test account: real Ed25519, and envelopes whose "ciphertext" is the content and a hash over header and content.
//!
//! Never: secrecy. What matters here is that a wrong envelope does not open.

use bytes::Bytes;
use cloudsync_engine::replica::{Content, Draft, Me, OpenError, Opener, SealError, Sealer, Wrapped};
use cloudsync_engine::roster::Roster;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::envelope::{FLAG_TOMBSTONE, FORMAT, SUITE_AES_256_GCM};
use cloudsync_protocol::limits::{BODY_BYTES_MIN, WRAP_BYTES};
use cloudsync_protocol::statement::{
    self, CONTEXT_ENDORSE, CONTEXT_ENROL, CONTEXT_IDENTITY, CONTEXT_REKEY, CONTEXT_REVOKE, CONTEXT_ROTATE, EnrolChange, EnrolStatement,
    IdentityChange, IdentityStatement, Leaver, Member, PublicKey, RekeyChange, RekeyStatement, RevokeChange, RevokeStatement, RosterChange,
    RotateChange, RotateStatement, Signed,
};
use cloudsync_protocol::{
    CollectionName, DeviceId, DeviceSeq, Envelope, ErrorCode, Hash, Header, LogId, RecordId, RecordKey, Seq, Signature, codec,
};
use ed25519_dalek::{Signer, SigningKey};

/// The log of every test account.
pub const LOG: LogId = LogId([7; 16]);

/// A value that no sealer takes.
pub const UNFIT: &[u8] = b"unfit";

fn signing_key(seed: u8, kind: u8) -> SigningKey {
    SigningKey::from_bytes(&Hash::of(&[&[seed, kind]]).0)
}

/// A public half.
pub fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

/// Signs a statement in its context.
pub fn signed<T: serde::Serialize>(key: &SigningKey, context: &[u8], statement: &T) -> Signed {
    signed_bytes(key, context, codec::encode(statement).into())
}

/// The same of bytes that may be anything.
pub fn signed_bytes(key: &SigningKey, context: &[u8], statement: Bytes) -> Signed {
    let signature = Signature(key.sign(&[context, &statement].concat()).to_bytes());
    Signed { statement, signature }
}

/// The account's identity.
pub fn identity() -> SigningKey {
    signing_key(0, 1)
}

/// One device's keys.
#[derive(Debug, Clone)]
pub struct Keys {
    pub device: DeviceId,
    pub signing: SigningKey,
    /// The newest account key's epoch; those before are there too.
    pub key_epoch: u64,
}

impl Keys {
    pub fn new(device: u8) -> Self {
        Self { device: DeviceId([device; 16]), signing: signing_key(device, 2), key_epoch: 1 }
    }

    pub fn me(&self) -> Me {
        Me { log: LOG, device: self.device, signing: public(&self.signing), identity: public(&identity()), identity_epoch: 1 }
    }

    /// What enrols this device, unsigned.
    pub fn enrolment(&self) -> EnrolStatement {
        EnrolStatement {
            format: statement::FORMAT,
            log: LOG,
            identity_epoch: 1,
            device: self.device,
            signing: public(&self.signing),
            agreement: PublicKey([9; 32]),
            name: Bytes::from_static(b"sealed name"),
            client_ts: 0,
        }
    }

    /// The change that enrols this device.
    pub fn enrol(&self) -> RosterChange {
        enrol_of(&self.enrolment())
    }

    /// The same by an identity of another number.
    pub fn enrol_by(&self, identity_epoch: u64) -> RosterChange {
        enrol_of(&EnrolStatement { identity_epoch, ..self.enrolment() })
    }

    /// The change by which `by` revokes this device.
    pub fn revoke(&self, last: DeviceSeq, by: DeviceId) -> RosterChange {
        self.revoke_by(1, last, by)
    }

    /// The same by an identity of another number.
    pub fn revoke_by(&self, identity_epoch: u64, last: DeviceSeq, by: DeviceId) -> RosterChange {
        let statement =
            RevokeStatement { format: statement::FORMAT, log: LOG, identity_epoch, device: self.device, last, by, client_ts: 0 };
        RevokeChange { signed: signed(&identity_of(identity_epoch), CONTEXT_REVOKE, &statement) }.into()
    }
}

/// The change that gives the log its identity.
pub fn identify() -> RosterChange {
    identify_as(&identity(), 1)
}

/// The same for any key and number.
pub fn identify_as(key: &SigningKey, identity_epoch: u64) -> RosterChange {
    let statement = IdentityStatement {
        format: statement::FORMAT,
        log: LOG,
        identity_epoch,
        signing: public(key),
        sharing: PublicKey([8; 32]),
        client_ts: 0,
    };
    IdentityChange { signed: signed(key, CONTEXT_IDENTITY, &statement) }.into()
}

/// The identity of that number.
pub fn identity_of(identity_epoch: u64) -> SigningKey {
    signing_key(0, u8::try_from(identity_epoch).unwrap())
}

/// The keyring blob of that version, which nobody opens here.
pub fn blob(version: u64) -> Bytes {
    format!("keyring {version}").into()
}

/// The next rotation of a roster by a device, after which `leaving` (with their last pushes) are gone and all others stay; unsigned.
pub fn rotation(roster: &Roster, by: DeviceId, leaving: &[(DeviceId, DeviceSeq)]) -> RotateStatement {
    let keyring = roster.keyring();
    let (version, identity_epoch) = (keyring.version + 1, roster.identity().map_or(1, |identity| identity.identity_epoch) + 1);
    let stays = |id: &DeviceId| !leaving.iter().any(|(device, _)| device == id);
    let enrolled = roster.devices().filter(|(id, device)| device.revoked.is_none() && stays(id));
    RotateStatement {
        format: statement::FORMAT,
        log: LOG,
        identity_epoch,
        signing: public(&identity_of(identity_epoch)),
        sharing: PublicKey([8; 32]),
        by,
        version,
        epoch: keyring.epoch + 1,
        keyring: Hash::of(&[&blob(version)]),
        recovery: PublicKey([u8::try_from(version).unwrap(); 32]),
        members: enrolled.map(|(device, enrolled)| Member { device, enrol: enrolled.enrol }).collect(),
        revoked: leaving.iter().map(|(device, last)| Leaver { device: *device, last: *last }).collect(),
        client_ts: 0,
    }
}

/// A rotation, signed by its identity and by device `by`.
pub fn rotate_of(statement: &RotateStatement, by: &SigningKey) -> RosterChange {
    let signed = signed(&identity_of(statement.identity_epoch), CONTEXT_ROTATE, statement);
    let endorsement = signed_bytes(by, CONTEXT_ENDORSE, signed.statement.clone()).signature;
    RotateChange { signed, endorsement }.into()
}

/// The next keyring of a roster under the same account key.
pub fn rekey(roster: &Roster) -> RosterChange {
    let (version, identity_epoch) = (roster.keyring().version + 1, roster.identity().map_or(1, |identity| identity.identity_epoch));
    let keyring = Hash::of(&[&blob(version)]);
    rekey_of(&RekeyStatement { format: statement::FORMAT, log: LOG, identity_epoch, version, keyring, client_ts: 0 })
}

/// The same, whatever it says.
pub fn rekey_of(statement: &RekeyStatement) -> RosterChange {
    RekeyChange { signed: signed(&identity_of(statement.identity_epoch), CONTEXT_REKEY, statement) }.into()
}

/// An enrolment, signed by the identity.
pub fn enrol_of(statement: &EnrolStatement) -> RosterChange {
    EnrolChange { signed: signed(&identity_of(statement.identity_epoch), CONTEXT_ENROL, statement) }.into()
}

/// A roster row.
pub fn row(seq: u64, change: RosterChange) -> RosterRow {
    RosterRow { seq: Seq(seq), server_ts: 0, change }
}

/// A record's key.
pub fn key(record: &str) -> RecordKey {
    RecordKey { collection: CollectionName::new("timer_session").unwrap(), record: RecordId::new(record).unwrap() }
}

/// A value.
pub fn value(text: &str) -> Content {
    Content::Value(Bytes::copy_from_slice(text.as_bytes()))
}

impl Sealer for Keys {
    fn seal(&self, draft: &Draft<'_>) -> Result<Envelope, SealError> {
        let (flags, content) = match draft.content {
            Content::Value(bytes) if bytes == UNFIT => {
                return Err(SealError::Unfit { code: ErrorCode::BodyTooLarge, message: "unfit".into() });
            }
            Content::Value(bytes) => (0, bytes.clone()),
            Content::Deleted => (FLAG_TOMBSTONE, Bytes::new()),
            Content::Damaged => {
                return Err(SealError::Unfit { code: ErrorCode::Refused, message: "nothing to seal".into() });
            }
        };
        let header = Header {
            format: FORMAT,
            suite: SUITE_AES_256_GCM,
            log: draft.log,
            collection: draft.key.collection.clone(),
            record: draft.key.record.clone(),
            version: draft.version,
            parent: draft.parent,
            device: draft.device,
            device_seq: draft.device_seq,
            hlc: draft.hlc,
            flags,
            commitment: Hash::of(&[&content]),
        };
        let header = Bytes::from(codec::encode(&header));
        let seal = Hash::of(&[&header, &content]);
        let length = (content.len() as u32).to_be_bytes();
        let mut body = [&seal.0[..], &length, &content].concat();
        body.resize(body.len().max(BODY_BYTES_MIN), 0);
        Ok(Envelope { header, body: body.into(), wrap: wrap(self.key_epoch) })
    }

    fn sealing_epoch(&self) -> u64 {
        self.key_epoch
    }
    fn rewrap(&self, wrapped: &Wrapped) -> Option<Bytes> {
        (wrapped.wrap == wrap(cloudsync_protocol::envelope::key_epoch(&wrapped.wrap))).then(|| wrap(self.key_epoch))
    }
    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.signing.sign(message).to_bytes())
    }
}

/// A wrap under that account key that opens.
pub fn wrap(key_epoch: u64) -> Bytes {
    [&key_epoch.to_be_bytes()[..], &[1; WRAP_BYTES - 8]].concat().into()
}

impl Opener for Keys {
    fn key_epoch(&self) -> u64 {
        self.key_epoch
    }
    fn open(&self, header: &Header, envelope: &Envelope) -> Result<Content, OpenError> {
        let forged = || OpenError::Forged("the seal is broken".into());
        if envelope.key_epoch() > self.key_epoch {
            return Err(OpenError::KeyMissing { epoch: envelope.key_epoch() });
        }
        if envelope.wrap != wrap(envelope.key_epoch()) {
            return Err(forged());
        }
        let (seal, rest) = envelope.body.split_first_chunk::<{ Hash::LENGTH }>().ok_or_else(forged)?;
        let (length, padded) = rest.split_first_chunk::<4>().ok_or_else(forged)?;
        let content = padded.get(..u32::from_be_bytes(*length) as usize).ok_or_else(forged)?;
        if Hash::of(&[&envelope.header, content]).0 != *seal {
            return Err(forged());
        }
        Ok(if header.is_tombstone() { Content::Deleted } else { Content::Value(Bytes::copy_from_slice(content)) })
    }
}
