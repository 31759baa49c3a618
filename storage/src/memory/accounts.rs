//! Accounts, keyrings and refresh families in memory.
//!
//! Never: faults; those are decided by the store around it.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudsync_engine::log::Versioned;
use cloudsync_protocol::{FamilyId, UserId};

use crate::store::{Account, Family};
use crate::write::Written;

#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    accounts: BTreeMap<UserId, Account>,
    keyrings: BTreeMap<UserId, Versioned>,
    families: BTreeMap<FamilyId, Family>,
}

impl Accounts {
    pub(crate) fn by_email(&self, email: &str) -> Option<Account> {
        self.accounts.values().find(|account| account.email == email).cloned()
    }

    pub(crate) fn account(&self, user: UserId) -> Option<Account> {
        self.accounts.get(&user).cloned()
    }

    pub(crate) fn keyring(&self, user: UserId) -> Option<Versioned> {
        self.keyrings.get(&user).cloned()
    }

    pub(crate) fn family(&self, id: FamilyId) -> Option<Family> {
        self.families.get(&id).cloned()
    }

    pub(crate) fn create(&mut self, account: Account, keyring: Bytes) -> Written {
        match self.by_email(&account.email) {
            Some(present) if present == account => return Written::Done,
            Some(_) => return Written::EmailTaken,
            None if self.accounts.contains_key(&account.user) => return Written::UserTaken,
            None => {}
        }
        self.keyrings.insert(account.user, Versioned { version: 1, bytes: keyring });
        self.accounts.insert(account.user, account);
        Written::Done
    }

    pub(crate) fn replace_keyring(&mut self, user: UserId, version: u64, keyring: Bytes) -> Written {
        match self.keyrings.get_mut(&user) {
            Some(present) if present.version == version => {
                *present = Versioned { version: version + 1, bytes: keyring };
                Written::Done
            }
            Some(_) | None => Written::Refused,
        }
    }

    pub(crate) fn create_family(&mut self, family: Family) -> Written {
        self.families.entry(family.id).or_insert(family);
        Written::Done
    }

    pub(crate) fn advance_family(&mut self, id: FamilyId, number: u64, expires_ts: u64) -> Written {
        match self.families.get_mut(&id) {
            Some(family) if family.number == number && !family.revoked => {
                family.number += 1;
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
        self.keyrings.remove(&user);
        self.families.retain(|_, family| family.user != user);
    }
}
