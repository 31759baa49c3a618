//! OPAQUE's server half (RFC 9807): Ristretto255, 3DH with SHA-512. The client stretches the password; the server never
//! sees it, nor anything to guess it by without this server's seed.
//!
//! Never: a difference between an unknown address and a wrong password, in answers or in work done.

use cloudsync_protocol::ErrorCode;
use opaque_ke::ksf::Identity;
use opaque_ke::{
    CipherSuite, CredentialFinalization, CredentialRequest, RegistrationRequest, RegistrationUpload, Ristretto255, ServerLogin,
    ServerLoginParameters, ServerRegistration, ServerSetup, TripleDh,
};
use rand08::rngs::OsRng;
use sha2_10::Sha512;

/// The suite. `Ksf` plays no part on the server: stretching is the client's.
pub(crate) struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Identity;
}

/// Why a step of OPAQUE failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("not an OPAQUE message")]
    Message,
    #[error("wrong e-mail address or password")]
    Credentials,
    #[error("the stored registration record is not one")]
    Record,
}

impl PasswordError {
    pub(crate) const fn code(self) -> ErrorCode {
        match self {
            Self::Message => ErrorCode::OpaqueInvalid,
            Self::Credentials => ErrorCode::CredentialsInvalid,
            Self::Record => ErrorCode::StoreDamaged,
        }
    }
}

/// This server's OPAQUE seed and key pair.
pub(crate) struct Passwords(ServerSetup<Suite>);

/// What is kept between KE2 and KE3. It zeroizes itself.
pub(crate) struct LoginState(ServerLogin<Suite>);

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords(…)")
    }
}

impl std::fmt::Debug for LoginState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginState(…)")
    }
}

impl Passwords {
    pub(crate) fn generate() -> Self {
        Self(ServerSetup::new(&mut OsRng))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        ServerSetup::deserialize(bytes).ok().map(Self)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// Registration response. The address, lower case, is the credential identifier: it is what both steps know.
    pub(crate) fn register(&self, email: &str, request: &[u8]) -> Result<Vec<u8>, PasswordError> {
        let request = RegistrationRequest::<Suite>::deserialize(request).map_err(|_| PasswordError::Message)?;
        let started = ServerRegistration::start(&self.0, request, email.as_bytes()).map_err(|_| PasswordError::Message)?;
        Ok(started.message.serialize().to_vec())
    }

    /// Checks a registration record and gives it as it is to be stored.
    pub(crate) fn record(upload: &[u8]) -> Result<Vec<u8>, PasswordError> {
        let upload = RegistrationUpload::<Suite>::deserialize(upload).map_err(|_| PasswordError::Message)?;
        Ok(ServerRegistration::finish(upload).serialize().to_vec())
    }

    /// KE2 for KE1; without a record, one that can't be told from a real one.
    pub(crate) fn log_in(&self, email: &str, record: Option<&[u8]>, ke1: &[u8]) -> Result<(Vec<u8>, LoginState), PasswordError> {
        let ke1 = CredentialRequest::<Suite>::deserialize(ke1).map_err(|_| PasswordError::Message)?;
        let record = record.map(ServerRegistration::<Suite>::deserialize).transpose().map_err(|_| PasswordError::Record)?;
        let started = ServerLogin::start(&mut OsRng, &self.0, record, ke1, email.as_bytes(), ServerLoginParameters::default())
            .map_err(|_| PasswordError::Message)?;
        Ok((started.message.serialize().to_vec(), LoginState(started.state)))
    }
}

impl LoginState {
    /// Whether KE3 proves the password.
    pub(crate) fn finish(self, ke3: &[u8]) -> Result<(), PasswordError> {
        let ke3 = CredentialFinalization::<Suite>::deserialize(ke3).map_err(|_| PasswordError::Message)?;
        self.0.finish(ke3, ServerLoginParameters::default()).map(drop).map_err(|_| PasswordError::Credentials)
    }
}
