//! What must be true once a run has come to rest: nothing acknowledged is lost, all are the same, every edit is somewhere.
//!
//! Never: an assertion left out because a fault was injected.

use std::collections::BTreeMap;

use cloudsync_engine::invariants::{self, Violation};
use cloudsync_engine::replica::{Content, Fate, Opener, Reason, Record, Tables};
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{Entry, Hash, Operation, RecordKey, Seq, Version};

use super::{Policies, World};
use crate::support::sim::device::Client;

impl World {
    pub(super) fn check(&mut self) -> Result<(), Violation> {
        let store: BTreeMap<RecordKey, (Version, Seq, Hash)> = self
            .server
            .store
            .current()
            .iter()
            .map(|(key, row)| (key.clone(), (row.envelope.check().unwrap().version, row.seq, row.envelope.hash())))
            .collect();
        let history = self.history();
        if self.plan.policies == Policies::LastWriteWins {
            self.check_last_writes(&history);
        }
        let history =
            history.into_iter().map(|(key, versions)| (key, versions.into_iter().map(|(_, content)| content).collect())).collect();
        for client in &mut self.clients {
            let records = client.device.tables.records(None, None, usize::MAX).unwrap();
            for Record { key, content, envelope, .. } in &records {
                assert_eq!(client.device.keys.open(&envelope.check().unwrap(), envelope).as_ref(), Ok(content), "{key}");
            }
            let replica: BTreeMap<_, _> =
                records.into_iter().map(|record| (record.key, (record.version, record.seq, record.hash))).collect();
            invariants::replica_equals_store(&replica, &store)?;
            assert_eq!(client.device.tables.roster().unwrap(), self.server.store.roster());
            for pushed in &client.acknowledged {
                let entry = self.server.store.entries().iter().find(|entry| entry.first() == pushed.from.next());
                let Some(Entry::Batch(batch)) = entry else { panic!("acknowledged and lost: {pushed:?}") };
                assert_eq!((batch.signed.hash(), entry.map(Entry::last)), (pushed.hash, Some(pushed.to)), "acknowledged and lost");
            }
            let figures = self.server.store.head.as_ref().map(|head| head.figures).unwrap_or_default();
            let limit = self.server.quota_bytes;
            if let Some(usage) = client.device.replica().status().unwrap().usage {
                assert_eq!((usage.used, usage.limit), (figures.live_bytes, limit), "what the device knows of its quota");
            }
            check_edits(client, &history, limit.saturating_sub(figures.live_bytes));
        }
        self.server.store.check()?;
        Ok(())
    }

    /// How often a client was given each refusal.
    pub fn reached(&self) -> &BTreeMap<String, usize> {
        &self.reached
    }

    /// How many operations each committed push has.
    pub fn operations(&self) -> Vec<usize> {
        let entries = self.server.store.entries().iter();
        entries.filter_map(|entry| if let Entry::Batch(batch) = entry { Some(batch.operations.len()) } else { None }).collect()
    }

    /// How many pushes were refused for the quota, and how many edits are paused.
    pub fn without_room(&mut self) -> (u64, u64) {
        let of = |client: &mut Client| (client.refused_for_room, client.device.replica().status().unwrap().edits.paused);
        self.clients.iter_mut().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Where the last write wins, what is current is the latest of all that was ever committed of a record, whatever the order, and
    /// nobody is asked.
    fn check_last_writes(&mut self, history: &BTreeMap<RecordKey, Vec<(Hlc, Content)>>) {
        let order = |(hlc, content): &(Hlc, Content)| match content {
            Content::Value(value) => (*hlc, Hash::of(&[&[0], value])),
            Content::Deleted => (*hlc, Hash::of(&[&[1]])),
            Content::Damaged => panic!("nothing is damaged here"),
        };
        for (key, versions) in history {
            assert_eq!(versions.last().map(order), versions.iter().map(order).max(), "{key}: {versions:?}");
        }
        for client in &mut self.clients {
            let conflicts = client.device.replica().conflicts().unwrap();
            assert!(conflicts.iter().all(|conflict| conflict.reason != Reason::Stale), "{conflicts:?}");
        }
    }

    /// Everything that was ever committed of each record, in order.
    fn history(&self) -> BTreeMap<RecordKey, Vec<(Hlc, Content)>> {
        let mut history: BTreeMap<RecordKey, Vec<(Hlc, Content)>> = BTreeMap::new();
        for entry in self.server.store.entries() {
            let Entry::Batch(batch) = entry else { continue };
            for put in batch.operations.iter().filter_map(Operation::as_put) {
                let header = put.envelope.check().unwrap();
                let content = self.clients[0].device.keys.open(&header, &put.envelope).unwrap();
                history.entry(header.key()).or_default().push((header.hlc, content));
            }
        }
        history
    }
}

/// Each record's last edit of a device, unless its user gave it up, is committed, settled by equal content, parked, or
/// paused and larger than the room that there is; and an earlier one is too, or a later one went over it.
fn check_edits(client: &mut Client, history: &BTreeMap<RecordKey, Vec<Content>>, room: u64) {
    let edits = std::mem::take(&mut client.edits);
    for (index, made) in edits.iter().enumerate() {
        let is_last = !edits[index + 1..].iter().any(|later| later.key == made.key);
        match client.device.replica().fate(&made.key, made.id).unwrap() {
            Fate::Waiting | Fate::Signed => panic!("{made:?} did not come to rest"),
            Fate::Paused { grows } => assert!(grows > room, "{made:?} grows by {grows} and waits, with room for {room}"),
            Fate::Parked(_) => {
                let conflicts = client.device.replica().conflicts().unwrap();
                let mine = conflicts.into_iter().find(|conflict| conflict.mine.key == made.key).map(|conflict| conflict.mine);
                assert!(!is_last || mine.is_some_and(|mine| mine.content == made.content), "{made:?} is parked as something else");
            }
            Fate::Gone => {
                let known = history.get(&made.key).is_some_and(|contents| contents.contains(&made.content));
                assert!(known || !is_last, "{made:?} is lost");
            }
        }
    }
}
