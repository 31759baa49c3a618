//! What becomes of a collection's stale edits. Each policy is a record of the log, so that all devices come to the same.
//!
//! Never: a look into another value than a policy's, or one that is not written byte for byte taken for one.

use bytes::Bytes;
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{CollectionName, Hash, RecordId, RecordKey};

use super::edit::Stamped;
use super::{Content, EditError, EditId, NewEdit, Onto, Replica, Tables, TablesError};

/// The collection that nobody's records are in.
pub const RESERVED_COLLECTION: &str = "cloudsync";
/// What the records of policies begin with; the collection's name follows.
const PREFIX: &str = "policy/";
/// Policies read at a time.
const AT_A_TIME: usize = 100;

/// What becomes of an edit whose record has a newer version than the one that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// It is parked: a conflict, for its user to settle.
    #[default]
    Reject,
    /// The later one of both is current, by their stamps, and history has both.
    LastWriteWins,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Reject, Self::LastWriteWins];

    /// As people and records say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::LastWriteWins => "last_write_wins",
        }
    }

    /// The value of its record.
    #[must_use]
    pub const fn value(self) -> &'static str {
        match self {
            Self::Reject => r#"{"policy":"reject"}"#,
            Self::LastWriteWins => r#"{"policy":"last_write_wins"}"#,
        }
    }

    /// What a record says; nothing when that is no policy that is known here.
    fn of(content: &Content) -> Option<Self> {
        let Content::Value(value) = content else { return None };
        Self::ALL.into_iter().find(|policy| policy.value().as_bytes() == value)
    }
}

/// Whether a collection is not for apps.
#[must_use]
pub fn is_reserved(collection: &CollectionName) -> bool {
    collection.as_str() == RESERVED_COLLECTION
}

fn reserved() -> CollectionName {
    CollectionName::new(RESERVED_COLLECTION).expect("nine letters are a name")
}

/// The record that has a collection's policy.
#[must_use]
pub fn policy_key(collection: &CollectionName) -> RecordKey {
    let record = RecordId::new(format!("{PREFIX}{collection}")).expect("a collection's name leaves room in a record's id");
    RecordKey { collection: reserved(), record }
}

/// The order of edits: the later one wins. Not by device, for a winner that is written again has another one.
pub(super) fn stamp(hlc: Hlc, content: &Content) -> (Hlc, Hash) {
    let hash = match content {
        Content::Value(value) => Hash::of(&[&[0], value]),
        Content::Deleted => Hash::of(&[&[1]]),
        Content::Damaged => Hash::of(&[&[2]]),
    };
    (hlc, hash)
}

impl<T: Tables> Replica<'_, T> {
    /// The policy in force: what is shown of its record, own edits applied. Unknown or none: reject.
    pub fn policy(&self, collection: &CollectionName) -> Result<Policy, TablesError> {
        if is_reserved(collection) {
            return Ok(Policy::LastWriteWins);
        }
        let shown = self.get(&policy_key(collection))?;
        Ok(shown.and_then(|shown| Policy::of(&shown.content)).unwrap_or_default())
    }

    /// Every collection that a policy was set for, in order of name.
    pub fn policies(&self) -> Result<Vec<(CollectionName, Policy)>, TablesError> {
        let (mut policies, mut after) = (Vec::new(), None);
        loop {
            let page = self.list(Some(&reserved()), after.as_ref(), AT_A_TIME)?;
            for shown in page.records {
                let collection = shown.key.record.as_str().strip_prefix(PREFIX).and_then(|name| CollectionName::new(name).ok());
                policies.extend(collection.zip(Policy::of(&shown.content)));
            }
            after = page.more;
            if after.is_none() {
                return Ok(policies);
            }
        }
    }

    /// Sets a collection's policy: an edit like any other, in force here at once. Nothing when it is in force already.
    pub fn set_policy(&mut self, collection: &CollectionName, policy: Policy, now_ms: u64) -> Result<Option<EditId>, EditError> {
        if is_reserved(collection) {
            return Err(EditError::Reserved);
        }
        let key = policy_key(collection);
        let is_parked = self.get(&key)?.is_some_and(|shown| shown.conflict.is_some());
        if self.policy(collection)? == policy && !is_parked {
            return Ok(None);
        }
        let content = Content::Value(Bytes::from_static(policy.value().as_bytes()));
        self.queue(NewEdit { key, content, onto: Onto::Current, now_ms }, Stamped::Now).map(Some)
    }
}
