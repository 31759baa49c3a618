//! OPAQUE's client half (RFC 9807): Ristretto255, 3DH with SHA-512, and Argon2id as the key stretching.
//!
//! Never: the password on the wire, or stretched on a thread that serves others.

use argon2::{Algorithm, Argon2, Params, Version};
use bytes::Bytes;
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters, CredentialResponse,
    Identifiers, RegistrationResponse, Ristretto255, TripleDh,
};
use rand08::rngs::OsRng;
use rand08::{CryptoRng, RngCore};
use sha2_10::Sha512;
use zeroize::Zeroize as _;

use super::Password;
use crate::keys::{ExportKey, Secret};

/// Argon2id (RFC 9106): the design's figures, the same in every client, since they make the key.
pub const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
/// Passes over the memory.
pub const ARGON2_PASSES: u32 = 3;
/// Lanes.
pub const ARGON2_LANES: u32 = 1;

pub(crate) struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Argon2<'static>;
}

/// Why OPAQUE did not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpaqueError {
    /// Wrong password, or an address that the server does not know: the two can't be told apart.
    #[error("wrong e-mail address or password")]
    Credentials,
    /// What the server sent is no OPAQUE message.
    #[error("the server's OPAQUE message is not one")]
    Message,
    /// The 64 MiB are not to be had.
    #[error("the password could not be stretched: is there memory for it?")]
    Stretching,
}

/// What is sent first, and what is kept until the answer.
pub(crate) struct Started<T> {
    pub(crate) message: Vec<u8>,
    pub(crate) state: T,
}

pub(crate) type StartedRegistration = Started<ClientRegistration<Suite>>;
pub(crate) type StartedLogin = Started<ClientLogin<Suite>>;

/// What is sent last, and what only who knows the password gets.
pub(crate) struct Finished {
    pub(crate) message: Vec<u8>,
    pub(crate) export_key: ExportKey,
}

pub(crate) fn argon2() -> Result<Argon2<'static>, OpaqueError> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, None).map_err(|_| OpaqueError::Stretching)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl StartedRegistration {
    pub(super) fn start(password: &Password) -> Result<Self, OpaqueError> {
        Self::start_with(&mut OsRng, password)
    }

    pub(super) async fn finish(self, password: &Password, response: &Bytes) -> Result<Finished, OpaqueError> {
        let (password, response) = (password.clone(), response.clone());
        aside(move || self.finish_with(&mut OsRng, &password, &response)).await
    }

    pub(crate) fn start_with(dice: &mut (impl RngCore + CryptoRng), password: &Password) -> Result<Self, OpaqueError> {
        let started = ClientRegistration::<Suite>::start(dice, password.bytes()).map_err(|_| OpaqueError::Message)?;
        Ok(Self { message: started.message.serialize().to_vec(), state: started.state })
    }

    pub(crate) fn finish_with(
        self,
        dice: &mut (impl RngCore + CryptoRng),
        password: &Password,
        response: &[u8],
    ) -> Result<Finished, OpaqueError> {
        let response = RegistrationResponse::<Suite>::deserialize(response).map_err(|_| OpaqueError::Message)?;
        let argon2 = argon2()?;
        let parameters = ClientRegistrationFinishParameters::new(Identifiers::default(), Some(&argon2));
        let finished = self.state.finish(dice, password.bytes(), response, parameters).map_err(|error| failed(&error))?;
        export(finished.message.serialize().to_vec(), finished.export_key)
    }
}

impl StartedLogin {
    pub(super) fn start(password: &Password) -> Result<Self, OpaqueError> {
        Self::start_with(&mut OsRng, password)
    }

    pub(super) async fn finish(self, password: &Password, response: &Bytes) -> Result<Finished, OpaqueError> {
        let (password, response) = (password.clone(), response.clone());
        aside(move || self.finish_with(&mut OsRng, &password, &response)).await
    }

    pub(crate) fn start_with(dice: &mut (impl RngCore + CryptoRng), password: &Password) -> Result<Self, OpaqueError> {
        let started = ClientLogin::<Suite>::start(dice, password.bytes()).map_err(|_| OpaqueError::Message)?;
        Ok(Self { message: started.message.serialize().to_vec(), state: started.state })
    }

    pub(crate) fn finish_with(
        self,
        dice: &mut (impl RngCore + CryptoRng),
        password: &Password,
        response: &[u8],
    ) -> Result<Finished, OpaqueError> {
        let response = CredentialResponse::<Suite>::deserialize(response).map_err(|_| OpaqueError::Message)?;
        let argon2 = argon2()?;
        let parameters = ClientLoginFinishParameters::new(None, Identifiers::default(), Some(&argon2));
        let finished = self.state.finish(dice, password.bytes(), response, parameters).map_err(|error| failed(&error))?;
        export(finished.message.serialize().to_vec(), finished.export_key)
    }
}

fn export(message: Vec<u8>, mut export_key: impl AsMut<[u8]>) -> Result<Finished, OpaqueError> {
    let bytes = export_key.as_mut();
    let secret = Secret::from_slice(bytes).ok_or(OpaqueError::Message)?;
    bytes.zeroize();
    Ok(Finished { message, export_key: ExportKey(secret) })
}

fn failed(error: &opaque_ke::errors::ProtocolError) -> OpaqueError {
    use opaque_ke::errors::{InternalError, ProtocolError};
    match error {
        ProtocolError::InvalidLoginError => OpaqueError::Credentials,
        ProtocolError::LibraryError(InternalError::KsfError) => OpaqueError::Stretching,
        ProtocolError::LibraryError(_)
        | ProtocolError::SerializationError
        | ProtocolError::SizeError { .. }
        | ProtocolError::ReflectedValueError
        | ProtocolError::Custom(_) => OpaqueError::Message,
    }
}

/// Runs what takes a fifth of a second and 64 MiB on a thread of its own.
async fn aside(work: impl FnOnce() -> Result<Finished, OpaqueError> + Send + 'static) -> Result<Finished, OpaqueError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(OpaqueError::Stretching))
}
