//! Vectors of the password step: how it is stretched, and OPAQUE's messages from there to the export key.
//!
//! Never: randomness of the system's; what an implementation would draw stands in the vector.

use cloudsync_protocol::LogId;
use cloudsync_protocol::statement::PublicKey;
use opaque_ke::generic_array::GenericArray;
use opaque_ke::ksf::Ksf as _;
use opaque_ke::{
    CredentialFinalization, CredentialRequest, RegistrationRequest, RegistrationUpload, ServerLogin, ServerLoginParameters,
    ServerRegistration, ServerSetup,
};
use rand08::{CryptoRng, RngCore};
use serde_json::{Value, json};

use super::keys::account_key;
use super::{hex, pattern};
use crate::account::opaque::{StartedLogin, StartedRegistration, Suite, argon2};
use crate::account::{ARGON2_LANES, ARGON2_MEMORY_KIB, ARGON2_PASSES, Password};
use crate::keys::{ExportKey, Opener};

/// Dice that fall one up each time.
struct Counting(u8);

impl RngCore for Counting {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand08::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Counting {}

fn stretched() -> Value {
    let input = pattern::<64>(0xc0);
    let output = argon2().unwrap().hash(GenericArray::from(input)).unwrap();
    json!({
        "algorithm": "Argon2id",
        "version": 0x13,
        "memory_kib": ARGON2_MEMORY_KIB,
        "passes": ARGON2_PASSES,
        "lanes": ARGON2_LANES,
        "salt": hex([0; 16]),
        "input": hex(input),
        "output": hex(output),
    })
}

/// What the export key opens and vouches for.
fn schedule(export_key: &ExportKey) -> Value {
    let opener = Opener::Password(export_key);
    let (log, identity, account) = (LogId(pattern(1)), PublicKey(pattern(0x20)), account_key(1));
    json!({
        "secret": hex(opener.pair().secret().expose()),
        "public": hex(opener.pair().public().as_bytes()),
        "log": hex(log.as_bytes()),
        "identity_epoch": 1,
        "identity": hex(identity.as_bytes()),
        "epoch": 1,
        "account_key": hex(account.key.expose()),
        "anchor": hex(opener.anchor(log, (1, &identity), &account).as_bytes()),
    })
}

/// Registers and logs in once; the server's half runs here too.
pub(super) fn opaque() -> Value {
    const EMAIL: &str = "ada@example.com";
    const TYPED: &str = "correct hörse battery staple";
    let password = Password::new(TYPED).unwrap();
    let setup = ServerSetup::<Suite>::new(&mut Counting(0x10));
    let server = setup.serialize();

    let started = StartedRegistration::start_with(&mut Counting(0x30), &password).unwrap();
    let (request, blind) = (started.message.clone(), started.state.serialize());
    let asked = RegistrationRequest::deserialize(&request).unwrap();
    let response = ServerRegistration::start(&setup, asked, EMAIL.as_bytes()).unwrap().message.serialize();
    let registered = started.finish_with(&mut Counting(0x50), &password, &response).unwrap();
    let record = ServerRegistration::<Suite>::finish(RegistrationUpload::deserialize(&registered.message).unwrap());

    let started = StartedLogin::start_with(&mut Counting(0x70), &password).unwrap();
    let (ke1, drawn) = (started.message.clone(), started.state.serialize());
    let (asked, with) = (CredentialRequest::deserialize(&ke1).unwrap(), ServerLoginParameters::default());
    let answered = ServerLogin::start(&mut Counting(0x90), &setup, Some(record), asked, EMAIL.as_bytes(), with).unwrap();
    let ke2 = answered.message.serialize();
    let logged_in = started.finish_with(&mut Counting(0xb0), &password, &ke2).unwrap();
    let ke3 = CredentialFinalization::deserialize(&logged_in.message).unwrap();
    answered.state.finish(ke3, ServerLoginParameters::default()).unwrap();
    assert_eq!(registered.export_key.0, logged_in.export_key.0);

    let part = |bytes: &[u8], from: usize, length: usize| hex(&bytes[from..from + length]);
    json!({
        "stretch": stretched(),
        "suite": { "oprf": "ristretto255-SHA512", "key_exchange": "3DH ristretto255 SHA-512", "context": "", "client_identity": "", "server_identity": "" },
        "password": TYPED,
        "credential_identifier": EMAIL,
        "server": { "oprf_seed": part(&server, 0, 64), "private_key": part(&server, 64, 32) },
        "registration": {
            "blind": part(&blind, 0, 32),
            "request": hex(&request),
            "response": hex(response),
            "envelope_nonce": part(&registered.message, 96, 32),
            "record": hex(&registered.message),
        },
        "login": {
            "blind": part(&drawn, 0, 32),
            "client_private_keyshare": part(&drawn, 128, 32),
            "client_nonce": part(&drawn, 160, 32),
            "ke1": hex(&ke1),
            "ke2": hex(ke2),
            "ke3": hex(&logged_in.message),
        },
        "export_key": hex(registered.export_key.0.expose()),
        "keyring_half": schedule(&registered.export_key),
    })
}
