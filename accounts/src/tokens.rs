//! Access tokens: JWTs by RS256 with RSA-3072, `typ: at+jwt` (RFC 9068), and the key set that others verify them by.
//!
//! Never: a token that is taken by its header's word: the algorithm is ours, the key is looked up by `kid` among ours,
//! and the time is the caller's.

use std::time::Duration;

use cloudsync_engine::verify::Access;
use cloudsync_protocol::id::hex;
use cloudsync_protocol::limits::TOKEN_BYTES_MAX;
use cloudsync_protocol::{DeviceId, ErrorCode, UserId};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::accounts::Options;

/// How long an access token holds, unless told otherwise.
pub const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);

const TYPE: &str = "at+jwt";

/// Why an access token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this server.
    #[error("not an access token of this server: {0}")]
    Invalid(&'static str),
    /// It was one.
    #[error("the access token expired at {expired_ts} ms")]
    Expired {
        /// In milliseconds since the epoch.
        expired_ts: u64,
    },
}

impl TokenError {
    /// What the client is told.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::TokenInvalid,
            Self::Expired { .. } => ErrorCode::TokenExpired,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The user, in hexadecimal.
    sub: String,
    /// In hexadecimal.
    device: String,
    iat: u64,
    exp: u64,
    jti: String,
}

/// One RSA key, public half included.
#[derive(Clone)]
pub(crate) struct TokenKey {
    kid: String,
    /// Signs from then on; published before, so that others know it in time.
    use_from_ts: u64,
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwk: Jwk,
}

impl TokenKey {
    /// From PKCS#8 as PEM. Its `kid` is the key's thumbprint (RFC 7638).
    pub(crate) fn from_pem(pem: &str, use_from_ts: u64) -> Result<Self, jsonwebtoken::errors::Error> {
        let encoding = EncodingKey::from_rsa_pem(pem.as_bytes())?;
        let mut jwk = Jwk::from_encoding_key(&encoding, Algorithm::RS256)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { kid, use_from_ts, encoding, decoding: DecodingKey::from_jwk(&jwk)?, jwk })
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }
}

/// Makes and checks access tokens.
pub(crate) struct AccessTokens {
    issuer: String,
    audience: String,
    lifetime: Duration,
    keys: Vec<TokenKey>,
    validation: Validation,
    jwks: String,
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessTokens").field("issuer", &self.issuer).field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl AccessTokens {
    pub(crate) fn new(options: &Options, keys: Vec<TokenKey>) -> Self {
        let Options { issuer, audience, access_token_lifetime: lifetime, .. } = options.clone();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        validation.validate_exp = false; // by the caller's clock, in `verify`
        let set = JwkSet { keys: keys.iter().map(|key| key.jwk.clone()).collect() };
        let jwks = serde_json::to_string(&set).expect("a key set is plain text");
        Self { issuer, audience, lifetime, keys, validation, jwks }
    }

    /// The public keys as a JSON document (RFC 7517).
    pub(crate) fn jwks(&self) -> &str {
        &self.jwks
    }

    /// A token and when it ends, in milliseconds since the epoch. Takes milliseconds of CPU: not for an async task.
    pub(crate) fn issue(&self, user: UserId, device: DeviceId, now_ms: u64) -> Result<(String, u64), TokenError> {
        let usable = self.keys.iter().filter(|key| key.use_from_ts <= now_ms).max_by_key(|key| key.use_from_ts);
        let key = usable.or_else(|| self.keys.iter().min_by_key(|key| key.use_from_ts)).ok_or(TokenError::Invalid("no signing key"))?;
        let mut jti = [0; 16];
        aws_lc_rs::rand::fill(&mut jti).map_err(|_| TokenError::Invalid("no randomness"))?;
        let iat = now_ms / 1000;
        let exp = iat + self.lifetime.as_secs();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.to_string(),
            device: device.to_string(),
            iat,
            exp,
            jti: hex(&jti),
        };
        let header = Header { typ: Some(TYPE.to_owned()), kid: Some(key.kid.clone()), ..Header::new(Algorithm::RS256) };
        let token = jsonwebtoken::encode(&header, &claims, &key.encoding).map_err(|_| TokenError::Invalid("signing failed"))?;
        Ok((token, exp * 1000))
    }

    /// Whose token it is, at `now_ms`.
    pub(crate) fn verify(&self, token: &str, now_ms: u64) -> Result<Access, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid("too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid("not a JWT"))?;
        if !header.typ.is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE)) || header.crit.is_some() {
            return Err(TokenError::Invalid("another kind of JWT"));
        }
        let kid = header.kid.ok_or(TokenError::Invalid("names no key"))?;
        let key = self.keys.iter().find(|key| key.kid == kid).ok_or(TokenError::Invalid("signed by a key that is not ours"))?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation)
            .map_err(|_| TokenError::Invalid("wrong signature, algorithm, issuer or audience"))?
            .claims;
        let user = UserId::from_hex(&claims.sub).ok_or(TokenError::Invalid("names no user"))?;
        let device = DeviceId::from_hex(&claims.device).ok_or(TokenError::Invalid("names no device"))?;
        let expires_ts = claims.exp.saturating_mul(1000);
        if now_ms >= expires_ts { Err(TokenError::Expired { expired_ts: expires_ts }) } else { Ok(Access { user, device, expires_ts }) }
    }
}
