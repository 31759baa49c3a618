//! Writes that are not commits, as data: a backend queues, parks or applies them.
//!
//! Never: an outcome; those are [`Written`] when it is known and an error of the intent when it is not.

use cloudsync_protocol::{DeviceId, FamilyId, LogId, UserId};

use crate::store::{Account, CreateAccountError, Credentials, Family, WriteError};

/// A write of accounts, or an erase.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    Erase(LogId),
    CreateAccount(Account, Credentials),
    CreateFamily(Family),
    AdvanceFamily(FamilyId, u64, u64),
    RevokeFamily(FamilyId),
    RevokeFamilies(UserId, DeviceId),
}

impl Write {
    /// Whether it may go on when the store is full: what only shrinks or ends things.
    pub(crate) const fn spares_room(&self) -> bool {
        match self {
            Self::Erase(_) | Self::AdvanceFamily(..) | Self::RevokeFamily(_) | Self::RevokeFamilies(..) => true,
            Self::CreateAccount(..) | Self::CreateFamily(_) => false,
        }
    }
}

/// What a write that was decided did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It stands.
    Done,
    /// Its condition did not hold.
    Refused,
    /// The address has an account.
    EmailTaken,
    /// The user has an account, or was erased.
    UserTaken,
}

impl Written {
    /// For a compare-and-set: whether it did it.
    pub(crate) fn did(self) -> bool {
        self == Self::Done
    }

    /// For the creation of an account.
    pub(crate) fn created(self) -> Result<(), CreateAccountError> {
        match self {
            Self::Done => Ok(()),
            Self::EmailTaken => Err(CreateAccountError::EmailTaken),
            Self::UserTaken => Err(CreateAccountError::UserTaken),
            Self::Refused => Err(CreateAccountError::Write(WriteError::Unavailable("an account is created or taken".into()))),
        }
    }
}
