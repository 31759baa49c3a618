//! What the account calls need of a user's log: its roster, read and appended to.
//!
//! Never: deciding who may join. The log's owner checks every signature; here is only the way to it.

use async_trait::async_trait;
use cloudsync_engine::log::NewCredentials;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::statement::RosterChange;
use cloudsync_protocol::{Failure, UserId};

/// What an account call asks of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// In order; all or none.
    pub changes: Vec<RosterChange>,
    /// The keyring's version that the caller's ticket was given for: of another one nothing is appended.
    pub ticket_version: u64,
    /// What the account is opened by afterwards, where a keyring row is among the changes.
    pub credentials: Option<NewCredentials>,
}

/// The roster of each user's log. `node` joins it to the actors; tests bring a double.
#[async_trait]
pub trait Rosters: Send + Sync + std::fmt::Debug + 'static {
    /// Appends signed changes, in order, and returns once they are durable, with the credentials that they bring. Repeating what is
    /// already there succeeds. The failure's `request` is set by the caller.
    async fn change(&self, user: UserId, change: Change) -> Result<(), Failure>;

    /// Every row so far, in order; empty when the log has no identity yet.
    async fn roster(&self, user: UserId) -> Result<Vec<RosterRow>, Failure>;
}
