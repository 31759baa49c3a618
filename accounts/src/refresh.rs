//! Refresh tokens: a family per log-in of a device, one token after the other, each used once with the device's proof.
//!
//! Token `n` = family id ‖ n ‖ HMAC-SHA-256 of n under the family's key, so that an answer can be given again without
//! being stored. Never: a token honoured without proof; who has the token but not the key ends the family.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloudsync_engine::verify;
use cloudsync_protocol::statement::{PublicKey, Signature};
use cloudsync_protocol::{DeviceId, ErrorCode, Failure, FamilyId, Nonce, UserId};
use cloudsync_storage::Store;
use cloudsync_storage::store::{Family, ReadError, WriteError};
use tracing::warn;
use zeroize::Zeroizing;

use crate::failures;

/// How long a refresh token holds, from when it was first given.
pub const REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

const CONTEXT: &[u8] = b"cs1/refresh-token";
const MAC_BYTES: usize = 32;
const TOKEN_BYTES: usize = FamilyId::LENGTH + 8 + MAC_BYTES;
/// How often a lost race is looked at again. A family only ever moves on, so that the second look decides.
const ATTEMPTS_MAX: usize = 3;

/// Why a refresh token gives no new one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    #[error("not a refresh token of this server, or its family was ended")]
    Invalid,
    #[error("the device's proof is wrong: the family is ended")]
    ProofWrong,
    #[error("expired")]
    Expired,
    #[error("newer tokens were given")]
    Superseded,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl RefreshError {
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Invalid => failures::refuse(ErrorCode::RefreshInvalid, "the refresh token is not valid; log in again"),
            Self::ProofWrong => failures::refuse(
                ErrorCode::RefreshInvalid,
                "the proof is not of this token's device, so its log-in was ended; log in again",
            ),
            Self::Expired => failures::refuse(ErrorCode::RefreshExpired, "the refresh token has expired; log in again"),
            Self::Superseded => {
                failures::refuse(ErrorCode::RefreshSuperseded, "the refresh token was followed by others; use the profile's newest one")
            }
            Self::Read(read) => failures::of_read(read),
            Self::Write(write) => failures::of_write(write),
        }
    }
}

/// A refresh token as it came, with its proof.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub(crate) token: &'a str,
    pub(crate) proof: &'a Signature,
    pub(crate) nonce: &'a Nonce,
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented").field("nonce", self.nonce).finish_non_exhaustive()
    }
}

/// A token that came with its device's proof.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) family: Family,
    number: u64,
}

/// What a family is opened for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) signing: PublicKey,
}

/// Opens families, moves them on and ends them.
pub(crate) struct Families {
    store: Arc<dyn Store>,
    secret: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Families {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Families").finish_non_exhaustive()
    }
}

fn expires_ts(now_ms: u64) -> u64 {
    now_ms.saturating_add(u64::try_from(REFRESH_TOKEN_LIFETIME.as_millis()).unwrap_or(u64::MAX))
}

impl Families {
    pub(crate) const fn new(store: Arc<dyn Store>, secret: Zeroizing<[u8; 32]>) -> Self {
        Self { store, secret }
    }

    fn key(&self, family: FamilyId) -> hmac::Key {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_slice());
        let derived = hmac::sign(&secret, &[CONTEXT, family.as_bytes()].concat());
        hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
    }

    /// The newest token of a family, as text.
    pub(crate) fn token(&self, family: &Family) -> String {
        self.token_of(family.id, family.number)
    }

    fn token_of(&self, family: FamilyId, number: u64) -> String {
        let mac = hmac::sign(&self.key(family), &number.to_be_bytes());
        URL_SAFE_NO_PAD.encode([family.as_bytes(), number.to_be_bytes().as_slice(), mac.as_ref()].concat())
    }

    /// Family and number of a token that is one of ours.
    fn parse(&self, token: &str) -> Option<(FamilyId, u64)> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == TOKEN_BYTES)?;
        let (id, rest) = bytes.split_at_checked(FamilyId::LENGTH)?;
        let (number, mac) = rest.split_at_checked(8)?;
        let id = FamilyId::from_slice(id)?;
        hmac::verify(&self.key(id), number, mac).ok()?;
        Some((id, u64::from_be_bytes(number.try_into().ok()?)))
    }

    /// Opens a family, at token 1.
    pub(crate) async fn open(&self, bound: Bound, now_ms: u64) -> Result<Family, WriteError> {
        let mut id = [0; FamilyId::LENGTH];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| WriteError::Unavailable("no randomness".to_owned()))?;
        let Bound { user, device, signing } = bound;
        let family = Family { id: FamilyId(id), user, device, signing, number: 1, expires_ts: expires_ts(now_ms), revoked: false };
        match self.store.create_family(family.clone()).await {
            Ok(()) => Ok(family),
            Err(unknown @ WriteError::Unknown(_)) => match self.store.family(family.id).await? {
                Some(_) => Ok(family),
                None => Err(unknown),
            },
            Err(other @ (WriteError::Full | WriteError::Unavailable(_) | WriteError::Read(_))) => Err(other),
        }
    }

    /// The family of a token that comes with its device's proof, and the token's number. Without the proof somebody
    /// has the token who should not: the family ends.
    pub(crate) async fn prove(&self, presented: Presented<'_>) -> Result<Proven, RefreshError> {
        let (id, number) = self.parse(presented.token).ok_or(RefreshError::Invalid)?;
        let family = self.store.family(id).await?.ok_or(RefreshError::Invalid)?;
        if verify::refresh(&family.signing, presented.nonce, presented.token, presented.proof).is_err() {
            if !family.revoked {
                warn!(user = %family.user, device = %family.device, "a refresh token came without its device's proof: family ended");
                self.store.revoke_family(id).await?;
            }
            return Err(RefreshError::ProofWrong);
        }
        Ok(Proven { family, number })
    }

    /// Moves the family on, or gives its last answer again: the family as it then is. A token that is ahead of the family was given by
    /// this cluster before its store went back: the family goes on from there.
    pub(crate) async fn refresh(&self, proven: Proven, now_ms: u64) -> Result<Family, RefreshError> {
        let Proven { mut family, number } = proven;
        for _ in 0..ATTEMPTS_MAX {
            if family.revoked {
                return Err(RefreshError::Invalid);
            }
            if now_ms >= family.expires_ts {
                return Err(RefreshError::Expired);
            }
            if number.checked_add(1) == Some(family.number) {
                return Ok(family);
            }
            if number < family.number {
                return Err(RefreshError::Superseded);
            }
            let next_expires_ts = expires_ts(now_ms);
            let unknown = match self.store.advance_family(family.id, number, next_expires_ts).await {
                Ok(true) => return Ok(Family { number: number + 1, expires_ts: next_expires_ts, ..family }),
                Ok(false) => None,
                Err(unknown @ WriteError::Unknown(_)) => Some(unknown),
                Err(other) => return Err(other.into()),
            };
            let again = self.store.family(family.id).await?.ok_or(RefreshError::Invalid)?;
            if let (Some(unknown), true) = (unknown, again.number <= number) {
                return Err(unknown.into());
            }
            family = again;
        }
        Err(WriteError::Unavailable("a refresh family changed under every attempt".to_owned()).into())
    }

    /// Ends a family. Repeatable.
    pub(crate) async fn end(&self, family: &Family) -> Result<(), RefreshError> {
        Ok(self.store.revoke_family(family.id).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_refresh_token() {
        let presented = Presented { token: "a-secret-token", proof: &Signature([7; 64]), nonce: &Nonce([1; 32]) };
        let text = format!("{presented:?}");
        assert!(text.contains("Presented") && !text.contains("secret"), "{text}");
    }
}
