//! What the account calls need of a user's log: its roster, read and appended to.
//!
//! Never: deciding who may join. The log's owner checks every signature; here is only the way to it.

use async_trait::async_trait;
use cloudsync_engine::user::AccountChange;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::{Failure, UserId};

/// The roster of each user's log. `node` joins it to the actors; tests bring a double.
#[async_trait]
pub trait Rosters: Send + Sync + std::fmt::Debug + 'static {
    /// Appends signed changes, in order, and returns once they are durable, with the credentials that they bring. Repeating what is
    /// already there succeeds. The failure's `request` is set by the caller.
    async fn change(&self, user: UserId, change: AccountChange) -> Result<(), Failure>;

    /// The user's log and account were erased in the store: its sessions are over.
    fn erased(&self, user: UserId);

    /// Every row so far, in order; empty when the log has no identity yet.
    async fn roster(&self, user: UserId) -> Result<Vec<RosterRow>, Failure>;
}
