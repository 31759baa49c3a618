//! What a watch tells of the log: what came in, handed to the replica first, and told once, whoever read it before.
//!
//! Never: a change told that did not verify, or one that the replica was not given.

use cloudsync_engine::batch::{self, VerifyError};
use cloudsync_engine::replica::{self, Applied, Outcome, Stretch, Untrusted, Why};
use cloudsync_protocol::frame::{Committed, Event, HeadAt};
use cloudsync_protocol::{Cursor, Entry, Seq, TimelineId};

use super::{Watch, WatchEvent};
use crate::replica::Access;
use crate::sdk::keys::DeviceSeal;
use crate::sdk::{Error, Online};

impl Watch {
    pub(super) async fn event(&mut self, online: &mut Online, event: Event) -> Result<(), Error> {
        let told = self.told_seq();
        if event.to <= told {
            return Ok(());
        }
        if event.from > told {
            return self.tell_to(online, event.to).await;
        }
        self.take_in(online, (event.timeline, event.from, event.to), event.entries).await
    }

    pub(super) async fn committed(&mut self, online: &mut Online, committed: Committed) -> Result<(), Error> {
        let (from, to) = (committed.from, committed.to);
        let cursor = Cursor { timeline: committed.timeline, seq: to, row: committed.row };
        let outcome = self.client.replica(Access::Write, move |replica, _| replica.committed(&committed)).await?;
        match outcome {
            Outcome::Applied(applied) if from == self.told_seq() => {
                self.ready.extend(applied.changes.into_iter().map(WatchEvent::Change));
                self.told = Some(cursor);
                Ok(())
            }
            Outcome::Applied(_) | Outcome::Old | Outcome::Gap { .. } => self.tell_to(online, to).await,
        }
    }

    pub(super) async fn head_at(&mut self, online: &mut Online, head: HeadAt) -> Result<(), Error> {
        let to = head.head;
        // Only says whether it is still the same log.
        self.client.replica(Access::Read, move |replica, _| replica.head_at(&head)).await?;
        self.tell_to(online, to).await
    }

    fn told_seq(&self) -> Seq {
        self.told.map_or(Seq::ZERO, |told| told.seq)
    }

    /// Reads what was not told yet up to there, and tells it.
    pub(super) async fn tell_to(&mut self, online: &mut Online, to: Seq) -> Result<(), Error> {
        let Some(told) = self.told.filter(|told| told.seq < to) else { return Ok(()) };
        let mut pages = online.session.pages(told, to);
        while let Some(page) = pages.next().await {
            let page = page?;
            self.take_in(online, (page.timeline, page.from, page.to), page.entries).await?;
        }
        Ok(())
    }

    /// Hands entries to the replica, whether or not another process did, and tells those that were not told.
    async fn take_in(
        &mut self,
        online: &mut Online,
        (timeline, from, to): (TimelineId, Seq, Seq),
        entries: Vec<Entry>,
    ) -> Result<(), Error> {
        let (outcome, entries) = self
            .client
            .replica(Access::Write, move |replica, seal| {
                let outcome = replica.apply(Stretch { timeline, from, to, entries: &entries }, &seal)?;
                Ok::<_, Error>((outcome, entries))
            })
            .await?;
        match outcome {
            Outcome::Applied(Applied { stopped: Some(untrusted), .. }) => return Err(Box::new(untrusted).into()),
            Outcome::Applied(applied) => {
                if entries.iter().any(|entry| matches!(entry, Entry::Roster(_))) {
                    self.roster = None;
                    online.follow_keys().await?;
                }
                let told = self.told_seq();
                let untold = applied.changes.into_iter().filter(|change| change.seq > told);
                self.ready.extend(untold.map(WatchEvent::Change));
                if let Some(epoch) = applied.needs_keys {
                    online.ensure_keys(epoch).await?;
                    if applied.cursor.seq > told {
                        self.told = Some(applied.cursor);
                    }
                    return Box::pin(self.tell_to(online, to)).await;
                }
            }
            Outcome::Old => self.tell_what_others_read(&entries).await?,
            Outcome::Gap { .. } => {
                online.read_to(to).await?;
                self.tell_what_others_read(&entries).await?;
            }
        }
        let row = entries.last().map(|entry| entry.last_hash().short()).unwrap_or_default();
        self.told = Some(Cursor { timeline, seq: to, row });
        Ok(())
    }

    async fn tell_what_others_read(&mut self, entries: &[Entry]) -> Result<(), Error> {
        let told = self.told_seq();
        for entry in entries.iter().filter(|entry| entry.last() > told) {
            self.verify(entry).await?;
            let keys = self.client.keys();
            let changes = replica::changes(std::slice::from_ref(entry), &DeviceSeal(&keys));
            self.ready.extend(changes.into_iter().map(WatchEvent::Change));
        }
        Ok(())
    }

    /// The replica verified what another process read, but perhaps not these bytes.
    async fn verify(&mut self, entry: &Entry) -> Result<(), Error> {
        let Entry::Batch(batch) = entry else {
            self.roster = None;
            return Ok(());
        };
        if self.roster.is_none() {
            self.roster = Some(self.client.roster().await?);
        }
        let Some(roster) = &self.roster else { return Ok(()) };
        let verified = batch::verify(self.client.keys().log(), roster, batch);
        verified.map(drop).map_err(|error| untrusted(entry, error))
    }
}

fn untrusted(entry: &Entry, error: VerifyError) -> Error {
    let hash = entry.last_hash();
    Box::new(Untrusted { seq: entry.first(), device: None, device_seq: None, hash, why: Why::Batch(error) }).into()
}
