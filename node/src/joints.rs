//! Where accounts and actors meet: each asks the other through a trait of its own.
//!
//! Never: a decision. Here is only the way from one to the other.

use std::sync::OnceLock;

use async_trait::async_trait;
use cloudsync_accounts::{AccountChange, Accounts, Rosters};
use cloudsync_actors::{Access, Region, Tokens};
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::error::RETRY_AFTER_MS;
use cloudsync_protocol::{ErrorCode, Failure, UserId};

/// The rosters of a region that starts after the accounts that need them.
#[derive(Debug, Default)]
pub(crate) struct RegionRosters(OnceLock<Region>);

impl RegionRosters {
    pub(crate) fn set(&self, region: Region) {
        // A node starts one region.
        let _ = self.0.set(region);
    }

    fn region(&self) -> Result<&Region, Failure> {
        self.0.get().ok_or_else(|| Failure::new(0, ErrorCode::Busy, "this node is starting: try again").retry_after(RETRY_AFTER_MS))
    }
}

#[async_trait]
impl Rosters for RegionRosters {
    async fn change(&self, user: UserId, change: AccountChange) -> Result<(), Failure> {
        self.region()?.change_roster(user, change).await.map(|_| ())
    }

    fn erased(&self, user: UserId) {
        // Before there is a region there are no sessions.
        if let Some(region) = self.0.get() {
            region.erased(user);
        }
    }

    async fn roster(&self, user: UserId) -> Result<Vec<RosterRow>, Failure> {
        self.region()?.roster(user).await
    }
}

/// What access tokens are worth, by the accounts' keys.
#[derive(Debug)]
pub(crate) struct AccountTokens(pub(crate) Accounts);

impl Tokens for AccountTokens {
    fn verify(&self, token: &str, now_ms: u64) -> Result<Access, Failure> {
        self.0.verify_access(token, now_ms).map_err(|error| Failure::new(0, error.code(), error.to_string()))
    }
}
