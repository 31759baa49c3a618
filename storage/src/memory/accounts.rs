//! Accounts, credentials and refresh families in memory.
//!
//! Never: faults; those are decided by the store around it.

use std::collections::BTreeMap;

use cloudsync_engine::log::NewCredentials;
use cloudsync_protocol::{FamilyId, UserId};

use crate::store::{Account, Credentials, Family};
use crate::write::Written;

#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    accounts: BTreeMap<UserId, Account>,
    credentials: BTreeMap<UserId, Credentials>,
    families: BTreeMap<FamilyId, Family>,
}

impl Accounts {
    pub(crate) fn by_email(&self, email: &str) -> Option<Account> {
        self.accounts.values().find(|account| account.email == email).cloned()
    }

    pub(crate) fn account(&self, user: UserId) -> Option<Account> {
        self.accounts.get(&user).cloned()
    }

    pub(crate) fn credentials(&self, user: UserId) -> Option<Credentials> {
        self.credentials.get(&user).cloned()
    }

    /// What a commit brings, with its head.
    pub(crate) fn replace(&mut self, user: UserId, new: &NewCredentials) {
        if let Some(credentials) = self.credentials.get_mut(&user) {
            *credentials = credentials.clone().replaced_by(new);
        }
    }

    pub(crate) fn family(&self, id: FamilyId) -> Option<Family> {
        self.families.get(&id).cloned()
    }

    pub(crate) fn create(&mut self, account: Account, credentials: Credentials) -> Written {
        match self.by_email(&account.email) {
            Some(present) if present == account && self.credentials(account.user).is_some_and(|there| there.opens_as(&credentials)) => {
                return Written::Done;
            }
            Some(_) => return Written::EmailTaken,
            None if self.accounts.contains_key(&account.user) => return Written::UserTaken,
            None => {}
        }
        self.credentials.insert(account.user, credentials);
        self.accounts.insert(account.user, account);
        Written::Done
    }

    pub(crate) fn create_family(&mut self, family: Family) -> Written {
        self.families.entry(family.id).or_insert(family);
        Written::Done
    }

    pub(crate) fn advance_family(&mut self, id: FamilyId, number: u64, expires_ts: u64) -> Written {
        match self.families.get_mut(&id) {
            Some(family) if family.number <= number && !family.revoked => {
                family.number = number + 1;
                family.expires_ts = expires_ts;
                Written::Done
            }
            Some(_) | None => Written::Refused,
        }
    }

    /// Revokes every family that `chosen` names.
    pub(crate) fn revoke(&mut self, chosen: impl Fn(&Family) -> bool) -> Written {
        self.families.values_mut().filter(|family| chosen(family)).for_each(|family| family.revoked = true);
        Written::Done
    }

    pub(crate) fn erase(&mut self, user: UserId) {
        self.accounts.remove(&user);
        self.credentials.remove(&user);
        self.families.retain(|_, family| family.user != user);
    }
}
