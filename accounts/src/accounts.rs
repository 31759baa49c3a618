//! The handle that a node holds: accounts of one store under one set of secrets.
//!
//! Never: state of a connection; that is [`Conversation`]'s. What takes the CPU for long leaves the runtime.

use std::sync::Arc;
use std::time::Duration;

use cloudsync_engine::verify::Access;
use cloudsync_protocol::frame::Tokens;
use cloudsync_protocol::{Failure, Nonce};
use cloudsync_storage::Store;
use cloudsync_storage::store::Family;

use crate::conversation::Conversation;
use crate::failures;
use crate::refresh::Families;
use crate::roster_access::Rosters;
use crate::secrets::Secrets;
use crate::tickets::Tickets;
use crate::tokens::{ACCESS_TOKEN_LIFETIME, AccessTokens, TokenError};

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Anyone.
    Open,
    /// Nobody.
    Closed,
}

/// What an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `iss` of access tokens: this cluster's public URL.
    pub issuer: String,
    /// `aud` of access tokens.
    pub audience: String,
    /// Who may register.
    pub registration: Registration,
    /// How long an access token holds, in whole seconds; [`ACCESS_TOKEN_LIFETIME`] unless a test wants it shorter.
    pub access_token_lifetime: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let registration = Registration::Closed;
        let access_token_lifetime = ACCESS_TOKEN_LIFETIME;
        Self { issuer: "cloudsync".to_owned(), audience: "cloudsync".to_owned(), registration, access_token_lifetime }
    }
}

/// Accounts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Accounts {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) registration: Registration,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) rosters: Arc<dyn Rosters>,
    pub(crate) tickets: Tickets,
    pub(crate) families: Families,
    access: Arc<AccessTokens>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("registration", &self.registration).field("access", &self.access).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Accounts of a store.
    #[must_use]
    pub fn new(secrets: Arc<Secrets>, options: &Options, store: Arc<dyn Store>, rosters: Arc<dyn Rosters>) -> Self {
        let access = AccessTokens::new(options, secrets.signing.clone());
        let inner = Inner {
            registration: options.registration,
            tickets: Tickets::new(secrets.ticket.clone()),
            families: Families::new(Arc::clone(&store), secrets.refresh.clone()),
            access: Arc::new(access),
            secrets,
            store,
            rosters,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The account calls of one connection, whose challenge had this nonce.
    #[must_use]
    pub fn converse(&self, nonce: Nonce) -> Conversation {
        Conversation::new(self.clone(), nonce)
    }

    /// Whose access token it is, at `now_ms`. Takes about 0.1 ms. Says nothing about the roster: whether the device is
    /// still enrolled, and whether the other end holds its key, is for the session to check.
    ///
    /// # Errors
    /// [`TokenError`], whose `code` is what the client is told.
    pub fn verify_access(&self, token: &str, now_ms: u64) -> Result<Access, TokenError> {
        self.inner.access.verify(token, now_ms)
    }

    /// The public halves of the token keys, as a JSON document (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> &str {
        self.inner.access.jwks()
    }

    /// The tokens of a family as it stands.
    pub(crate) async fn tokens(&self, family: &Family, now_ms: u64) -> Result<Tokens, Failure> {
        let (access, user, device) = (Arc::clone(&self.inner.access), family.user, family.device);
        let signed = tokio::task::spawn_blocking(move || access.issue(user, device, now_ms)).await;
        let (access_token, access_expires_ts) = signed
            .map_err(|_| failures::internal("signing a token panicked"))?
            .map_err(|_| failures::internal("signing a token failed"))?;
        let refresh_token = self.inner.families.token(family);
        Ok(Tokens { request: 0, access_token, access_expires_ts, refresh_token, refresh_expires_ts: family.expires_ts })
    }
}
