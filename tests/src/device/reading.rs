//! How a device of a test reads: by pages, events, the whole log, a snapshot.
//!
//! Never: a gap passed over, or a change that the ledger is not told of.

use std::time::Instant;

use anyhow::{anyhow, bail};
use cloudsync_client::connection::{Session, SessionEvent};
use cloudsync_client::sdk::DeviceSeal;
use cloudsync_engine::replica::{MemoryTables, Outcome, SnapshotOutcome, Start, Stretch};
use cloudsync_protocol::{Cursor, Entry, Seq};

use super::stop::wrong;
use super::{OpenSession, Stop, SyncDevice};

impl SyncDevice {
    /// Attaches and reads to the head of that moment.
    pub async fn catch_up(&mut self, online: &OpenSession) -> Result<Seq, Stop> {
        self.attach(&online.session).await
    }

    async fn attach(&mut self, session: &Session) -> Result<Seq, Stop> {
        let cursor = self.tables_cursor()?;
        let attached = session.attach(cursor).await?;
        let start = self.replica()?.attached(&attached).map_err(wrong)?;
        self.read_on(session, start, attached.head).await?;
        Ok(attached.head)
    }

    pub(super) fn tables_cursor(&mut self) -> Result<Cursor, Stop> {
        self.replica()?.cursor().map_err(wrong)
    }

    async fn read_on(&mut self, session: &Session, start: Start, head: Seq) -> Result<(), Stop> {
        let cursor = self.tables_cursor()?;
        match start {
            Start::UpToDate => Ok(()),
            Start::Pull { from, to } => self.pull(session, from, to).await,
            // A client would take the state; the ledger is to be told every change.
            Start::Snapshot { resume: None } if cursor.seq == Seq::ZERO => self.pull(session, cursor, head).await,
            Start::Snapshot { .. } => Err(anyhow!("a snapshot where the log was never cut").into()),
        }
    }

    pub(super) async fn pull(&mut self, session: &Session, from: Cursor, to: Seq) -> Result<(), Stop> {
        let mut pages = session.pages(from, to);
        while let Some(page) = pages.next().await {
            let page = page?;
            self.apply(Stretch::from(&page))?;
        }
        let read = self.tables_cursor()?.seq;
        if read < to { Err(anyhow!("pulled to {to}, read was to {read}").into()) } else { Ok(()) }
    }

    /// Applies what begins at the cursor; where the gap is otherwise.
    fn apply(&mut self, stretch: Stretch<'_>) -> Result<Option<Cursor>, Stop> {
        let keys = self.person.keys.clone();
        let outcome = self.replica()?.apply(stretch, &DeviceSeal(&keys)).map_err(wrong)?;
        self.applied(outcome)
    }

    pub(super) fn applied(&mut self, outcome: Outcome) -> Result<Option<Cursor>, Stop> {
        match outcome {
            Outcome::Applied(applied) => {
                if let Some(untrusted) = applied.stopped {
                    return Err(wrong(untrusted));
                }
                self.ledger.told(applied.changes);
                Ok(None)
            }
            Outcome::Old => Ok(None),
            Outcome::Gap { cursor } => Ok(Some(cursor)),
        }
    }

    pub(super) async fn take(&mut self, session: &Session, event: SessionEvent) -> Result<(), Stop> {
        let (gap, to) = match event {
            SessionEvent::Event(event) => (self.apply(Stretch::from(&event))?, event.to),
            SessionEvent::Committed(committed) => {
                let outcome = self.replica()?.committed(&committed).map_err(wrong)?;
                (self.applied(outcome)?, committed.to)
            }
            SessionEvent::HeadAt(head) => {
                let start = self.replica()?.head_at(&head).map_err(wrong)?;
                return self.read_on(session, start, head.head).await;
            }
            SessionEvent::Lagging(_) => {
                self.ledger.lagged += 1;
                return self.attach(session).await.map(|_| ());
            }
            SessionEvent::GoingAway(going) => return Err(Stop::Lost(going.message)),
        };
        match gap {
            Some(from) => self.pull(session, from, to).await,
            None => Ok(()),
        }
    }

    /// Reads events until the replica is at `head`.
    pub async fn follow(&mut self, online: &mut OpenSession, head: Seq) -> Result<(), Stop> {
        while self.tables_cursor()?.seq < head {
            let event = online.events.next().await?;
            self.take(&online.session, event).await?;
        }
        Ok(())
    }

    /// Takes in the next event: when it came, and how far the replica is then.
    pub async fn receive(&mut self, online: &mut OpenSession) -> Result<(Instant, Seq), Stop> {
        let event = online.events.next().await?;
        let received = Instant::now();
        self.take(&online.session, event).await?;
        Ok((received, self.tables_cursor()?.seq))
    }

    /// A replica of its own from nothing, by the log: the entries too.
    pub async fn read_log(&mut self, online: &OpenSession) -> anyhow::Result<Vec<Entry>> {
        self.tables = MemoryTables::new();
        let attached = online.session.attach(Cursor::default()).await?;
        let mut entries = Vec::new();
        let mut pages = online.session.pages(Cursor::default(), attached.head);
        while let Some(page) = pages.next().await {
            let page = page?;
            if let Err(stop) = self.apply(Stretch::from(&page)) {
                bail!("{stop:?}");
            }
            entries.extend(page.entries);
        }
        Ok(entries)
    }

    /// A replica of its own from nothing, by a snapshot.
    pub async fn read_snapshot(&mut self, online: &OpenSession) -> anyhow::Result<()> {
        self.tables = MemoryTables::new();
        let keys = self.person.keys.clone();
        let (mut asked, mut pages) = (None, online.session.snapshot_pages(None));
        while let Some(page) = pages.next().await {
            match self.replica()?.snapshot_page(asked.as_ref(), &page?, &DeviceSeal(&keys))? {
                SnapshotOutcome::Next { resume } => asked = Some(resume),
                SnapshotOutcome::Complete { .. } => return Ok(()),
                SnapshotOutcome::Old { .. } => bail!("a page of another snapshot"),
            }
        }
        bail!("the snapshot did not end")
    }
}
