//! Lends the keys to the replica's rules: what they ask for by small traits is done here.
//!
//! Never: a key or a value in what the rules get back.

use bytes::Bytes;
use cloudsync_engine::replica::{self, Content};
use cloudsync_protocol::{Envelope, ErrorCode, Header, Signature};

use super::{Draft, Expected, OpenError, Payload, Plaintext, open, seal};
use crate::keys::KeyFile;

impl replica::Sealer for KeyFile {
    fn seal(&self, draft: &replica::Draft<'_>) -> Result<Envelope, replica::SealError> {
        let replica::Draft { log, key, version, parent, device, device_seq, hlc, content } = *draft;
        let payload = match content {
            Content::Value(value) => Payload::Value(value),
            Content::Deleted => Payload::Tombstone,
        };
        let draft = Draft { log, key, version, parent, device, device_seq, hlc, payload };
        let too_large = |error: super::SealError| replica::SealError::Unfit { code: ErrorCode::BodyTooLarge, message: error.to_string() };
        seal(&self.secrets.account, &draft).map_err(too_large)
    }

    /// Not checked here: the replica checks each batch by the device's public key before it is kept or sent.
    fn sign(&self, message: &[u8]) -> Signature {
        self.device.signing.sign_unchecked(message)
    }
}

impl replica::Opener for KeyFile {
    fn open(&self, header: &Header, envelope: &Envelope) -> Result<Content, replica::OpenError> {
        let key = header.key();
        let expected = Expected::of_log(self.log()).record(&key).version(header.version).pushed(header.device, header.device_seq);
        match open(&self.secrets.account, envelope, &expected) {
            Ok(opened) => Ok(match opened.plaintext {
                Plaintext::Value(value) => Content::Value(Bytes::copy_from_slice(&value)),
                Plaintext::Tombstone => Content::Deleted,
            }),
            Err(OpenError::KeyMissing { epoch }) => Err(replica::OpenError::KeyMissing { epoch }),
            Err(error) => Err(replica::OpenError::Forged(error.to_string())),
        }
    }
}
