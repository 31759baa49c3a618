//! Buckets for as many addresses or accounts as come, in memory that does not grow: a key's hash says which bucket is its.
//!
//! Never: an entry per address, which whoever has many could fill the memory with. Two keys may share a bucket; the hash is
//! keyed anew at each start, so that nobody can choose with whom.

use std::hash::{BuildHasher as _, Hash, RandomState};

use super::bucket::Bucket;

/// Buckets of one table: 512 KiB.
const BUCKETS: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Table {
    hasher: RandomState,
    buckets: Box<[Bucket]>,
}

impl Default for Table {
    fn default() -> Self {
        Self { hasher: RandomState::new(), buckets: (0..BUCKETS).map(|_| Bucket::default()).collect() }
    }
}

impl Table {
    pub(super) fn bucket(&self, key: &impl Hash) -> &Bucket {
        let hash = usize::try_from(self.hasher.hash_one(key) & (BUCKETS as u64 - 1)).unwrap_or_default();
        self.buckets.get(hash).expect("the hash is masked to the table's size")
    }
}
