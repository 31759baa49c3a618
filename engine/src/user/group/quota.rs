//! Whether a push fits the user's quota: live bytes, counted by record.
//!
//! Never: a push refused that makes the whole no larger, whatever the figures are; or one record's operations parted.

use std::collections::BTreeSet;

use cloudsync_protocol::error::Usage;
use cloudsync_protocol::{Header, RecordKey, Seq};

use super::Tentative;
use super::pushes::Change;
use crate::log::Current;

/// What a push makes of one record's live bytes. A tombstone has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weighed {
    pub(super) key: RecordKey,
    pub(super) before: u64,
    pub(super) after: u64,
}

impl Weighed {
    const fn grows(&self) -> u64 {
        self.after.saturating_sub(self.before)
    }
    const fn shrinks(&self) -> u64 {
        self.before.saturating_sub(self.after)
    }
}

/// There is no room for all of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) usage: Usage,
    /// Records that don't fit, with how much each grows. Without these the push fits.
    pub(super) named: Vec<(RecordKey, u64)>,
}

/// `records` in the order of their first operations; `used` as of `at`.
pub(super) fn judge(records: Vec<Weighed>, (used, limit): (u64, u64), at: Seq) -> Result<(), Box<Exceeded>> {
    let (grown, shrunk) = records.iter().fold((0, 0), |(grown, shrunk), record| (grown + record.grows(), shrunk + record.shrinks()));
    if grown <= shrunk || used + grown <= limit.saturating_add(shrunk) {
        return Ok(());
    }
    let mut room = shrunk + limit.saturating_sub(used);
    let mut named = Vec::new();
    for record in records {
        let grows = record.grows();
        match room.checked_sub(grows) {
            Some(left) => room = left,
            None => named.push((record.key, grows)),
        }
    }
    Err(Box::new(Exceeded { usage: Usage { used, limit, need: grown - shrunk, at }, named }))
}

impl Tentative<'_> {
    /// Whether what a push makes of its records fits, on the figures that the group has come to.
    pub(super) fn fits_quota(&self, headers: &[Header], change: &Change) -> Result<(), Box<Exceeded>> {
        let mut seen = BTreeSet::new();
        let mut records = Vec::new();
        for key in headers.iter().map(Header::key) {
            if let Some(after) = change.records.get(&key)
                && seen.insert(key.clone())
            {
                let before = self.current(&key).map_or(0, Current::live_bytes);
                records.push(Weighed { key, before, after: after.live_bytes() });
            }
        }
        judge(records, (self.head.figures.live_bytes, self.facts.quota_bytes), self.head.seq)
    }
}
