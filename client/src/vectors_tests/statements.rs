//! Vectors of what is signed: bytes, hashes, signatures, and the messages of hello and refresh.
//!
//! Never: a signature that depends on chance; Ed25519 has none.

use bytes::Bytes;
use cloudsync_protocol::statement::{Carrier, RosterChange, Signed, hello_message, recover_message, refresh_message};
use cloudsync_protocol::{DeviceId, DeviceSeq, Hash, LogId, Nonce};
use serde_json::{Value, json};

use super::{hex, pattern};
use crate::keys::{AgreementPair, DeviceKeys, Identity, KeyringPin, RecoveryCode, Secret, SigningPair};
use crate::statement::{BatchFacts, RevokeFacts, batch, enrol, hello_proof, identity, recover_proof, refresh_proof, rekey, revoke};

fn signed_json(context: &[u8], signed: &Signed) -> Value {
    json!({
        "context": String::from_utf8(context.to_vec()).unwrap(),
        "statement": hex(&signed.statement),
        "hash": hex(signed.hash().as_bytes()),
        "signature": hex(signed.signature.0),
    })
}

fn change_json(change: &RosterChange) -> Value {
    signed_json(change.context(), change.signed())
}

fn rekeyed(own: &Identity, log: LogId, client_ts: u64) -> Value {
    let pin = KeyringPin { version: 2, hash: Hash(pattern(0xc0)) };
    json!({
        "version": pin.version,
        "keyring": hex(pin.hash.as_bytes()),
        "signed": change_json(&rekey(own, log, pin, client_ts).unwrap()),
    })
}

fn recovered(nonce: &Nonce) -> Value {
    let (code, email) = (pattern(0x11), "ada@example.com");
    json!({
        "recovery_code": hex(code),
        "email": email,
        "message": hex(recover_message(nonce, email)),
        "signature": hex(recover_proof(&RecoveryCode::from_bytes(code), nonce, email).unwrap().0),
    })
}

pub(super) fn signed() -> Value {
    let seeds: [[u8; 32]; 4] = [pattern(0x10), pattern(0x30), pattern(0x50), pattern(0x70)];
    let [device_seed, agreement, identity_seed, sharing] = seeds.map(Secret::new);
    let device = DeviceKeys {
        id: DeviceId(pattern(2)),
        signing: SigningPair::from_seed(&device_seed),
        agreement: AgreementPair::from_secret(&agreement),
    };
    let own = Identity { epoch: 1, signing: SigningPair::from_seed(&identity_seed), sharing: AgreementPair::from_secret(&sharing) };
    let (log, client_ts) = (LogId(pattern(1)), 1_700_000_000_000);
    let facts = BatchFacts {
        log,
        device_seq: DeviceSeq(300),
        prev_hash: Hash(pattern(0x90)),
        envelopes: vec![Hash(pattern(0xa0)), Hash(pattern(0xb0))],
    };
    let leaving = RevokeFacts { device: DeviceId(pattern(9)), last: DeviceSeq(7), by: device.id, client_ts };
    let (nonce, token) = (Nonce(pattern(0x60)), "token");
    let hello = |carrier: Carrier| {
        json!({
            "carrier": carrier.byte(),
            "message": hex(hello_message(&nonce, carrier, token)),
            "signature": hex(hello_proof(&device, &nonce, carrier, token).unwrap().0),
        })
    };
    json!({
        "device": {
            "id": hex(device.id.as_bytes()),
            "signing_seed": hex(device_seed.expose()),
            "signing_public": hex(device.signing.public().as_bytes()),
            "agreement_secret": hex(agreement.expose()),
            "agreement_public": hex(device.agreement.public().as_bytes()),
        },
        "identity": {
            "epoch": 1,
            "signing_seed": hex(identity_seed.expose()),
            "signing_public": hex(own.signing.public().as_bytes()),
            "sharing_secret": hex(sharing.expose()),
            "sharing_public": hex(own.sharing.public().as_bytes()),
        },
        "log": hex(log.as_bytes()),
        "client_ts": client_ts,
        "batch": {
            "device_seq": 300,
            "prev_hash": hex(facts.prev_hash.as_bytes()),
            "envelopes": facts.envelopes.iter().map(|hash| hex(hash.as_bytes())).collect::<Vec<_>>(),
            "signed": signed_json(cloudsync_protocol::statement::CONTEXT_BATCH, &batch(&device, facts).unwrap()),
        },
        "identity_change": change_json(&identity(&own, log, client_ts).unwrap()),
        "enrol_change": {
            "name": hex("sealed name"),
            "signed": change_json(&enrol(&own, log, &device, (Bytes::from_static(b"sealed name"), client_ts)).unwrap()),
        },
        "revoke_change": {
            "device": hex(leaving.device.as_bytes()),
            "last": 7,
            "by": hex(leaving.by.as_bytes()),
            "signed": change_json(&revoke(&own, log, leaving).unwrap()),
        },
        "rekey_change": rekeyed(&own, log, client_ts),
        "nonce": hex(nonce.as_bytes()),
        "token": token,
        "hello": [hello(Carrier::Quic), hello(Carrier::WebSocket)],
        "refresh": {
            "message": hex(refresh_message(&nonce, token)),
            "signature": hex(refresh_proof(&device, &nonce, token).unwrap().0),
        },
        "recover": recovered(&nonce),
    })
}
