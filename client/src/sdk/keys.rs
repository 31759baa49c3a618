//! The device's keys as the replica's rules ask for them: sealing, signing, opening.
//!
//! Never: an envelope opened that is not the one that its header was checked for.

use bytes::Bytes;
use cloudsync_engine::replica::{Content, Draft, OpenError, Opener, SealError, Sealer, Wrapped};
use cloudsync_protocol::{Envelope, ErrorCode, Header, LogId, Signature, codec};

use crate::envelope::{self, Expected, Payload, Plaintext};
use crate::keys::KeyFile;

/// Seals, signs and opens with a device's keys.
#[derive(Debug, Clone, Copy)]
pub struct DeviceSeal<'a>(pub &'a KeyFile);

impl DeviceSeal<'_> {
    fn log(&self) -> LogId {
        self.0.log()
    }
}

impl Sealer for DeviceSeal<'_> {
    fn seal(&self, draft: &Draft<'_>) -> Result<Envelope, SealError> {
        let Draft { log, key, version, parent, device, device_seq, hlc, content } = *draft;
        let payload = match content {
            Content::Value(value) => Payload::Value(value),
            Content::Deleted => Payload::Tombstone,
            Content::Damaged => {
                return Err(SealError::Unfit { code: ErrorCode::Refused, message: "what does not open can't be sealed".to_owned() });
            }
        };
        let draft = envelope::Draft { log, key, version, parent, device, device_seq, hlc, payload };
        envelope::seal(&self.0.secrets.account, &draft)
            .map_err(|error| SealError::Unfit { code: ErrorCode::BodyTooLarge, message: error.to_string() })
    }

    fn sealing_epoch(&self) -> u64 {
        self.0.secrets.account.current().epoch.0
    }

    fn rewrap(&self, wrapped: &Wrapped) -> Option<Bytes> {
        let header: Header = codec::decode(&wrapped.header).ok()?;
        envelope::rewrap(&self.0.secrets.account, &header, (wrapped.hash, &wrapped.wrap)).map(Bytes::from)
    }

    fn sign(&self, message: &[u8]) -> Signature {
        // A signature that does not verify is refused by the rules, which check it: a machine that computes wrongly.
        self.0.device.signing.sign(&[], message).unwrap_or(Signature([0; 64]))
    }
}

impl Opener for DeviceSeal<'_> {
    fn key_epoch(&self) -> u64 {
        self.0.secrets.account.current().epoch.0
    }

    fn open(&self, header: &Header, envelope: &Envelope) -> Result<Content, OpenError> {
        let key = header.key();
        let expected = Expected::of_log(self.log()).record(&key).version(header.version).pushed(header.device, header.device_seq);
        match envelope::open(&self.0.secrets.account, envelope, &expected) {
            Ok(opened) => Ok(match opened.plaintext {
                Plaintext::Value(value) => Content::Value(Bytes::copy_from_slice(&value)),
                Plaintext::Tombstone => Content::Deleted,
            }),
            Err(envelope::OpenError::KeyMissing { epoch }) => Err(OpenError::KeyMissing { epoch }),
            Err(
                error @ (envelope::OpenError::Envelope(_)
                | envelope::OpenError::Mismatch { .. }
                | envelope::OpenError::Wrap
                | envelope::OpenError::Commitment
                | envelope::OpenError::Body
                | envelope::OpenError::Packing
                | envelope::OpenError::TooLong),
            ) => Err(OpenError::Forged(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use cloudsync_engine::replica::{Me, MemoryTables, NewEdit, Onto, Replica};
    use cloudsync_protocol::{CollectionName, RecordId, RecordKey, UserId};

    use super::*;
    use crate::keys::{AccountSecrets, DeviceKeys, KeyringPin};

    #[test]
    fn what_the_rules_ask_to_be_sealed_opens_again_and_is_signed_well() {
        let keys =
            KeyFile { secrets: AccountSecrets::first(UserId([3; 16])), device: DeviceKeys::random(), keyring: KeyringPin::default() };
        let me = Me {
            log: keys.log(),
            device: keys.device.id,
            signing: keys.device.signing.public(),
            identity: keys.secrets.identity.signing.public(),
            identity_epoch: keys.secrets.identity.epoch,
        };
        let mut tables = MemoryTables::new();
        let mut replica = Replica::open(&mut tables, &me).unwrap();
        let key = RecordKey { collection: CollectionName::new("goal").unwrap(), record: RecordId::new("g1").unwrap() };
        let content = Content::Value(Bytes::from_static(b"{\"minutes\":25}"));
        replica.edit(NewEdit { key, content: content.clone(), onto: Onto::Replica, now_ms: 1 }).unwrap();
        let batch = replica.outgoing(&DeviceSeal(&keys)).unwrap().unwrap();
        let cloudsync_protocol::Operation::Put(put) = &batch.made[0].operation else { panic!("a put") };
        let header = put.envelope.check().unwrap();
        assert_eq!(DeviceSeal(&keys).open(&header, &put.envelope), Ok(content));
    }
}
