//! Records as an app sees and edits them.
//!
//! Never: an edit that waits for the network; it is stored first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloudsync_engine::replica::{Conflict, Content, EditId, Fate, Listing, LostConflict, NewEdit, Onto, Policy, Replica, Shown, Status};
use cloudsync_protocol::{CollectionName, DeviceId, ErrorCode, RecordKey};

use super::client::{Client, me};
use super::{Error, Online, Pushing, time};
use crate::import::pomodoro::Session;
use crate::replica::{Access, SqliteTables};

/// How long to wait for an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Duration);

/// What becomes of a record that was deleted, where it would be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing: somebody wanted it gone.
    Stay,
    /// It is there again.
    Return,
}

/// What came of edits that were to be queued where their records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing {
    /// Queued.
    pub made: u64,
    /// Not, since the record is there.
    pub there: u64,
    /// Not, since the record was deleted.
    pub deleted: u64,
    /// The first that was queued.
    pub first: Option<EditId>,
}

/// Whether a row has a record, by any of its names.
enum There {
    Live,
    Deleted(RecordKey),
    Nowhere,
}

fn there(replica: &Replica<'_, SqliteTables<'_>>, parked: &BTreeSet<RecordKey>, named: &[RecordKey]) -> Result<There, Error> {
    let mut found = There::Nowhere;
    for key in named {
        let shown = replica.get(key)?;
        let is_deleted = shown.as_ref().is_some_and(|shown| shown.content == Content::Deleted && shown.conflict.is_none());
        if parked.contains(key) || (shown.is_some() && !is_deleted) {
            return Ok(There::Live);
        }
        if is_deleted {
            found = There::Deleted(key.clone());
        }
    }
    Ok(found)
}

/// Records of one question to the tables.
const PAGE: usize = 500;
/// How soon to look again what another process made of an edit.
const FATE_POLL: Duration = Duration::from_millis(25);

impl Client {
    /// Queues an edit, durably.
    pub async fn edit(&self, key: RecordKey, content: Content, onto: Onto) -> Result<EditId, Error> {
        let ids = self.edit_all(vec![(key, content)], onto).await?;
        ids.first().copied().ok_or(Error::Task)
    }

    /// Queues edits in one transaction.
    pub async fn edit_all(&self, edits: Vec<(RecordKey, Content)>, onto: Onto) -> Result<Vec<EditId>, Error> {
        let shared = Arc::clone(&self.shared);
        self.tables(Access::Write, move |tables| {
            let now_ms = time::server_ms(tables.clock_offset_ms()?);
            let me = me(&*shared.keys.fresh(tables)?);
            let mut replica = Replica::open(tables, &me)?;
            let edit = |(key, content)| replica.edit(NewEdit { key, content, onto, now_ms });
            edits.into_iter().map(edit).collect::<Result<Vec<_>, _>>().map_err(Error::from)
        })
        .await
    }

    /// What becomes of a collection's stale edits.
    pub async fn policy(&self, collection: CollectionName) -> Result<Policy, Error> {
        self.replica(Access::Read, move |replica, _| replica.policy(&collection)).await
    }

    /// Every collection that a policy was set for, in order of name.
    pub async fn policies(&self) -> Result<Vec<(CollectionName, Policy)>, Error> {
        self.replica(Access::Read, |replica, _| replica.policies()).await
    }

    /// Sets a collection's policy for all devices: queues an edit of [`policy_key`], durably. Nothing when it is in force already.
    ///
    /// [`policy_key`]: cloudsync_engine::replica::policy_key
    pub async fn set_policy(&self, collection: CollectionName, policy: Policy) -> Result<Option<EditId>, Error> {
        let shared = Arc::clone(&self.shared);
        self.tables(Access::Write, move |tables| {
            let now_ms = time::server_ms(tables.clock_offset_ms()?);
            let me = me(&*shared.keys.fresh(tables)?);
            Replica::open(tables, &me)?.set_policy(&collection, policy, now_ms).map_err(Error::from)
        })
        .await
    }

    /// Queues those rows whose record is not there yet, under whatever account key it was made, in one transaction. They go over no
    /// edit of another device, whoever comes first.
    pub async fn edit_missing(&self, rows: Vec<Session>, deleted: Deleted) -> Result<Missing, Error> {
        let shared = Arc::clone(&self.shared);
        self.tables(Access::Write, move |tables| {
            let keys = shared.keys.fresh(tables)?;
            let (me, ids) = (me(&keys), keys.secrets.account.record_id_keys().collect::<Vec<_>>());
            let mut replica = Replica::open(tables, &me)?;
            let parked: BTreeSet<RecordKey> = replica.conflicts()?.into_iter().map(|conflict| conflict.mine.key).collect();
            let mut done = Missing::default();
            for row in rows {
                let named: Vec<RecordKey> = ids.iter().map(|ids| row.key_under(ids)).collect();
                let key = match there(&replica, &parked, &named)? {
                    There::Live => {
                        done.there += 1;
                        continue;
                    }
                    There::Deleted(_) if deleted == Deleted::Stay => {
                        done.deleted += 1;
                        continue;
                    }
                    There::Deleted(key) => Some(key),
                    There::Nowhere => named.into_iter().next(),
                };
                let Some(key) = key else { continue };
                let id = replica.import(key, Content::Value(row.value))?;
                done.made += 1;
                done.first.get_or_insert(id);
            }
            Ok::<_, Error>(done)
        })
        .await
    }

    /// What has become of an edit.
    pub async fn fate(&self, key: RecordKey, id: EditId) -> Result<Fate, Error> {
        self.replica(Access::Read, move |replica, _| replica.fate(&key, id)).await
    }

    /// One record.
    pub async fn get(&self, key: RecordKey) -> Result<Option<Shown>, Error> {
        self.replica(Access::Read, move |replica, _| replica.get(&key)).await
    }

    /// At most `count` records with a key after `after`, of one collection or all but the reserved one.
    pub async fn list(&self, collection: Option<CollectionName>, after: Option<RecordKey>, count: usize) -> Result<Listing, Error> {
        self.replica(Access::Read, move |replica, _| replica.list(collection.as_ref(), after.as_ref(), count)).await
    }

    /// Every record of one moment, of one collection or all but the reserved one.
    pub async fn all(&self, collection: Option<CollectionName>) -> Result<Vec<Shown>, Error> {
        self.replica(Access::Read, move |replica, _| {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let page = replica.list(collection.as_ref(), after.as_ref(), PAGE)?;
                all.extend(page.records);
                after = page.more;
                if after.is_none() {
                    return Ok::<_, Error>(all);
                }
            }
        })
        .await
    }

    /// Every parked conflict.
    pub async fn conflicts(&self) -> Result<Vec<Conflict>, Error> {
        self.replica(Access::Read, |replica, _| replica.conflicts()).await
    }

    /// Settles a conflict for the current version. Says which it was; nothing when there was none.
    pub async fn drop_conflict(&self, key: RecordKey) -> Result<Option<Conflict>, Error> {
        let dropped = move |replica: &mut Replica<'_, SqliteTables<'_>>| {
            let conflict = replica.conflicts()?.into_iter().find(|conflict| conflict.mine.key == key);
            replica.drop_conflict(&key).map(|_| conflict)
        };
        self.replica(Access::Write, move |replica, _| dropped(replica)).await
    }

    /// Versions that a rewind lost and that can't be brought back.
    pub async fn lost_conflicts(&self) -> Result<Vec<LostConflict>, Error> {
        self.replica(Access::Read, |replica, _| replica.lost_conflicts()).await
    }

    /// Gives one up, named by its hash in hexadecimal digits. Says which it was; nothing when there was none.
    pub async fn drop_lost(&self, key: RecordKey, hash: String) -> Result<Option<LostConflict>, Error> {
        let dropped = move |replica: &mut Replica<'_, SqliteTables<'_>>| {
            let named = |conflict: &LostConflict| conflict.lost.record.key == key && conflict.lost.record.hash.to_string() == hash;
            let Some(conflict) = replica.lost_conflicts()?.into_iter().find(named) else { return Ok(None) };
            replica.drop_lost(&key, conflict.lost.record.hash).map(|_| Some(conflict))
        };
        self.replica(Access::Write, move |replica, _| dropped(replica)).await
    }

    /// How things stand here.
    pub async fn status(&self) -> Result<Status, Error> {
        self.replica(Access::Read, |replica, _| replica.status()).await
    }

    /// Devices that were revoked in what a rewind of the server lost and that it refuses to let go again, with why.
    pub async fn revokes_given_up(&self) -> Result<Vec<(DeviceId, ErrorCode)>, Error> {
        self.replica(Access::Read, |replica, _| replica.revokes_given_up()).await
    }

    /// Whether the server's disk was full when edits of this profile were sent last.
    pub async fn is_store_full(&self) -> Result<bool, Error> {
        self.tables(Access::Read, |tables| tables.is_store_full()).await
    }

    /// How many edits wait for room, of those that were made from that one on.
    pub async fn paused_from(&self, first: EditId) -> Result<u64, Error> {
        self.tables(Access::Read, move |tables| tables.paused_from(first)).await
    }

    /// How many committed records it holds that are not deleted.
    pub async fn records_count(&self) -> Result<u64, Error> {
        self.tables(Access::Read, |tables| tables.records_count()).await
    }
}

impl Online {
    /// Sends until that edit is decided, the deadline passes or the server's disk is full: then it stays queued. One that is paused has to wait for
    /// whatever else is sent, which may make room for it.
    pub async fn settle(&mut self, key: RecordKey, id: EditId, deadline: Deadline) -> Result<Fate, Error> {
        let client = self.client.clone();
        let ends = tokio::time::Instant::now() + deadline.0;
        loop {
            let fate = client.fate(key.clone(), id).await?;
            if matches!(fate, Fate::Gone | Fate::Parked(_)) || tokio::time::Instant::now() >= ends {
                return Ok(fate);
            }
            let pushed = tokio::time::timeout_at(ends, self.push()).await;
            match pushed {
                Ok(Ok(Pushing::Decided)) | Err(_) => {}
                Ok(Ok(Pushing::Idle)) if matches!(fate, Fate::Paused { .. }) => return Ok(fate),
                Ok(Ok(Pushing::StoreFull(_))) => return client.fate(key, id).await,
                Ok(Ok(Pushing::Idle)) => tokio::time::sleep(FATE_POLL).await,
                Ok(Ok(Pushing::Wait(wait))) => tokio::time::sleep(wait.min(ends - tokio::time::Instant::now())).await,
                // Out of time it stays queued, as ever.
                Ok(Err(error)) => {
                    if let Ok(followed) = tokio::time::timeout_at(ends, Box::pin(self.reconnect(error))).await {
                        followed?;
                    }
                }
            }
        }
    }
}
