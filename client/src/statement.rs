//! Signs what this device and the account's identity have to say. Every signature is checked before it is given out.
//!
//! Never: a signature over anything but context ‖ bytes, and never a statement encoded twice: the bytes signed are
//! the bytes sent.

use bytes::Bytes;
use cloudsync_protocol::statement::{
    BatchStatement, CONTEXT_BATCH, CONTEXT_ENDORSE, CONTEXT_ENROL, CONTEXT_IDENTITY, CONTEXT_REKEY, CONTEXT_REVOKE, CONTEXT_ROTATE,
    Carrier, EnrolChange, EnrolStatement, FORMAT, IdentityChange, IdentityStatement, Leaver, Member, PublicKey, RekeyChange,
    RekeyStatement, RevokeChange, RevokeStatement, RosterChange, RotateChange, RotateStatement, Signature, Signed, hello_message,
    recover_message, refresh_message,
};
use cloudsync_protocol::{DeviceId, DeviceSeq, Hash, LogId, Nonce, codec};

use crate::keys::{DeviceKeys, Identity, KeyEpoch, KeyringPin, RecoveryCode, SignError, SigningPair};

/// What a batch statement says beside who signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFacts {
    /// The log pushed to.
    pub log: LogId,
    /// The number of the push.
    pub device_seq: DeviceSeq,
    /// The hash of the device's last committed batch; zero for none.
    pub prev_hash: Hash,
    /// The hash of each envelope, in order.
    pub envelopes: Vec<Hash>,
}

/// A push's statement, signed by its device.
pub fn batch(device: &DeviceKeys, facts: BatchFacts) -> Result<Signed, SignError> {
    let BatchFacts { log, device_seq, prev_hash, envelopes } = facts;
    let statement = BatchStatement { format: FORMAT, log, device: device.id, device_seq, prev_hash, envelopes, seen: Vec::new() };
    sign(&device.signing, CONTEXT_BATCH, &statement)
}

/// The account's identity, signed by itself.
pub fn identity(identity: &Identity, log: LogId, client_ts: u64) -> Result<RosterChange, SignError> {
    let statement = IdentityStatement {
        format: FORMAT,
        log,
        identity_epoch: identity.epoch,
        signing: identity.signing.public(),
        sharing: identity.sharing.public(),
        client_ts,
    };
    Ok(IdentityChange { signed: sign(&identity.signing, CONTEXT_IDENTITY, &statement)? }.into())
}

/// A device joins, signed by the identity. `name` is sealed already.
pub fn enrol(identity: &Identity, log: LogId, device: &DeviceKeys, (name, client_ts): (Bytes, u64)) -> Result<RosterChange, SignError> {
    let statement = EnrolStatement {
        format: FORMAT,
        log,
        identity_epoch: identity.epoch,
        device: device.id,
        signing: device.signing.public(),
        agreement: device.agreement.public(),
        name,
        client_ts,
    };
    Ok(EnrolChange { signed: sign(&identity.signing, CONTEXT_ENROL, &statement)? }.into())
}

/// Who leaves, after which push, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokeFacts {
    /// The device that leaves.
    pub device: DeviceId,
    /// Its last committed push; 0 when it never pushed. The server answers with the right one when it is another.
    pub last: DeviceSeq,
    /// The device that asks.
    pub by: DeviceId,
    /// When, by this device's clock, in milliseconds since the epoch.
    pub client_ts: u64,
}

/// A device leaves, signed by the identity.
pub fn revoke(identity: &Identity, log: LogId, facts: RevokeFacts) -> Result<RosterChange, SignError> {
    let RevokeFacts { device, last, by, client_ts } = facts;
    let statement = RevokeStatement { format: FORMAT, log, identity_epoch: identity.epoch, device, last, by, client_ts };
    Ok(RevokeChange { signed: sign(&identity.signing, CONTEXT_REVOKE, &statement)? }.into())
}

/// Another keyring over the same account key, signed by the identity.
pub fn rekey(identity: &Identity, log: LogId, keyring: KeyringPin, client_ts: u64) -> Result<RosterChange, SignError> {
    let KeyringPin { version, hash } = keyring;
    let statement = RekeyStatement { format: FORMAT, log, identity_epoch: identity.epoch, version, keyring: hash, client_ts };
    Ok(RekeyChange { signed: sign(&identity.signing, CONTEXT_REKEY, &statement)? }.into())
}

/// What a rotation says beside its identity and who makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateFacts {
    /// The keyring in force from here on.
    pub keyring: KeyringPin,
    /// The account key's epoch from here on.
    pub epoch: KeyEpoch,
    /// The recovery code's public half from here on.
    pub recovery: PublicKey,
    /// Who stays, ascending.
    pub members: Vec<Member>,
    /// Who leaves, ascending.
    pub revoked: Vec<Leaver>,
    /// When, by this device's clock, in milliseconds since the epoch.
    pub client_ts: u64,
}

/// Other keys, signed by the new identity and by the device that rotates.
pub fn rotate(identity: &Identity, log: LogId, device: &DeviceKeys, facts: RotateFacts) -> Result<RosterChange, SignError> {
    let RotateFacts { keyring, epoch, recovery, members, revoked, client_ts } = facts;
    let statement = RotateStatement {
        format: FORMAT,
        log,
        identity_epoch: identity.epoch,
        signing: identity.signing.public(),
        sharing: identity.sharing.public(),
        by: device.id,
        version: keyring.version,
        epoch: epoch.0,
        keyring: keyring.hash,
        recovery,
        members,
        revoked,
        client_ts,
    };
    let signed = sign(&identity.signing, CONTEXT_ROTATE, &statement)?;
    let endorsement = device.signing.sign(CONTEXT_ENDORSE, &signed.statement)?;
    Ok(RotateChange { signed, endorsement }.into())
}

/// What *recover* carries. `email` is in lower case.
pub fn recover_proof(code: &RecoveryCode, nonce: &Nonce, email: &str) -> Result<Signature, SignError> {
    code.signing().sign(&[], &recover_message(nonce, email))
}

/// What *hello* and *authenticate* carry: this device holds the token on this very connection.
pub fn hello_proof(device: &DeviceKeys, nonce: &Nonce, carrier: Carrier, token: &str) -> Result<Signature, SignError> {
    device.signing.sign(&[], &hello_message(nonce, carrier, token))
}

/// What *refresh*, *logout* and *enrol* carry.
pub fn refresh_proof(device: &DeviceKeys, nonce: &Nonce, refresh_token: &str) -> Result<Signature, SignError> {
    device.signing.sign(&[], &refresh_message(nonce, refresh_token))
}

fn sign<T: serde::Serialize>(pair: &SigningPair, context: &[u8], statement: &T) -> Result<Signed, SignError> {
    let statement = Bytes::from(codec::encode(statement));
    let signature = pair.sign(context, &statement)?;
    Ok(Signed { statement, signature })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync_engine::verify;

    const LOG: LogId = LogId([1; 16]);

    #[test]
    fn a_batch_statement_is_signed_as_the_bytes_that_are_sent() {
        let device = DeviceKeys::random();
        let facts = BatchFacts { log: LOG, device_seq: DeviceSeq(3), prev_hash: Hash([2; 32]), envelopes: vec![Hash([4; 32])] };
        let signed = batch(&device, facts.clone()).unwrap();
        assert!(verify::statement(&device.signing.public(), CONTEXT_BATCH, &signed).is_ok());
        let statement: BatchStatement = codec::decode(&signed.statement).unwrap();
        assert_eq!((statement.device, statement.envelopes, statement.seen), (device.id, facts.envelopes, vec![]));
    }

    #[test]
    fn roster_changes_are_signed_by_the_identity_each_in_its_own_context() {
        let (identity_keys, device) = (Identity::first(), DeviceKeys::random());
        let revoked = RevokeFacts { device: device.id, last: DeviceSeq(0), by: device.id, client_ts: 3 };
        let changes = [
            identity(&identity_keys, LOG, 1).unwrap(),
            enrol(&identity_keys, LOG, &device, (Bytes::from_static(b"name"), 2)).unwrap(),
            revoke(&identity_keys, LOG, revoked).unwrap(),
            rekey(&identity_keys, LOG, KeyringPin { version: 2, hash: Hash([5; 32]) }, 4).unwrap(),
        ];
        for change in &changes {
            assert!(verify::statement(&identity_keys.signing.public(), change.context(), change.signed()).is_ok());
        }
    }

    #[test]
    fn a_hello_proof_holds_for_one_connection_one_carrier_and_one_token() {
        let device = DeviceKeys::random();
        let nonce = Nonce([9; 32]);
        let proof = hello_proof(&device, &nonce, Carrier::Quic, "token").unwrap();
        let holds = |message: Vec<u8>| verify::message(&device.signing.public(), &message, &proof).is_ok();
        assert!(holds(hello_message(&nonce, Carrier::Quic, "token")));
        assert!(!holds(hello_message(&nonce, Carrier::WebSocket, "token")));
        assert!(!holds(hello_message(&Nonce([8; 32]), Carrier::Quic, "token")));
        assert!(!holds(hello_message(&nonce, Carrier::Quic, "other")));
        assert!(!holds(refresh_message(&nonce, "token")));
    }
}
