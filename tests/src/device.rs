//! [`SyncDevice`]: a device for load and proof. The replica's real rules, keys and connections, driven so that a test
//! decides when it reads, pushes and loses its connection, and everything it was told is kept for comparing.
//!
//! Never: an answer taken for granted. What the rules refuse, or what a correct node can't have said, is [`Stop::Wrong`].

use std::time::Instant;

use anyhow::{anyhow, bail};
use bytes::Bytes;
use cloudsync_client::account;
use cloudsync_client::connection::{Connection, Error, Events, Server, Session, SessionEvent};
use cloudsync_client::sdk::DeviceSeal;
use cloudsync_engine::replica::{
    ClaimOutcome, Content, EditError, Me, MemoryTables, NewEdit, Next, Onto, OutboxBatch, Outcome, Replica, SnapshotOutcome, Start, Stretch,
};
use cloudsync_protocol::frame::Pushed;
use cloudsync_protocol::{CollectionName, Cursor, Entry, ErrorCode, Failure, RecordId, RecordKey, Seq};

use crate::ledger::Ledger;
use crate::person::Person;

/// Why a device stops.
#[derive(Debug)]
pub enum Stop {
    /// The connection ended: what was unanswered may be done or not.
    Lost(String),
    /// There was no connection.
    Unreachable(String),
    /// Something that must not happen.
    Wrong(anyhow::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Closed(why) => Self::Lost(why),
            Error::Unreachable(error) => Self::Unreachable(error.to_string()),
            Error::Refused(_) | Error::Protocol(_) | Error::Sign(_) => Self::Wrong(error.into()),
        }
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Wrong(error)
    }
}

fn wrong(error: impl std::error::Error + Send + Sync + 'static) -> Stop {
    Stop::Wrong(error.into())
}

/// An open session with its events.
#[derive(Debug)]
pub struct Online {
    session: Session,
    events: Events,
}

/// Whether a session begins with fresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the access token that is there.
    Hello,
    /// With a new one for the refresh token.
    Refresh,
}

/// A device.
#[derive(Debug)]
pub struct SyncDevice {
    /// Keys and tokens.
    pub person: Person,
    /// What it was told and what it did.
    pub ledger: Ledger,
    me: Me,
    tables: MemoryTables,
    /// Sent, and neither acknowledged nor refused.
    unanswered: Option<OutboxBatch>,
}

impl SyncDevice {
    /// With an empty replica.
    #[must_use]
    pub fn new(person: Person) -> Self {
        let keys = &person.keys;
        let me = Me {
            log: keys.log(),
            device: keys.device.id,
            signing: keys.device.signing.public(),
            identity: keys.secrets.identity.signing.public(),
        };
        Self { me, person, ledger: Ledger::default(), tables: MemoryTables::new(), unanswered: None }
    }

    /// Its replica, as one operation of the rules.
    pub fn replica(&mut self) -> anyhow::Result<Replica<'_, MemoryTables>> {
        Ok(Replica::open(&mut self.tables, &self.me)?)
    }

    /// Its replica's tables.
    #[must_use]
    pub const fn tables(&self) -> &MemoryTables {
        &self.tables
    }

    /// Queues an edit; where a conflict is parked, over it.
    pub fn edit(&mut self, key: &RecordKey, content: &Content, now_ms: u64) -> anyhow::Result<()> {
        let new = |onto| NewEdit { key: key.clone(), content: content.clone(), onto, now_ms };
        let mut replica = self.replica()?;
        match replica.edit(new(Onto::Replica)) {
            Ok(_) => {}
            Err(EditError::Conflicted { .. }) => drop(replica.edit(new(Onto::Current))?),
            Err(EditError::Tables(error)) => return Err(error.into()),
        }
        Ok(())
    }

    /// Connects and says hello.
    pub async fn connect(&mut self, server: &Server, begin: Begin) -> Result<Online, Stop> {
        let connection = Connection::open(server).await?;
        if begin == Begin::Refresh {
            let refreshed = account::refresh(&connection, &self.person.keys.device, &self.person.tokens.refresh_token).await;
            self.person.tokens = refreshed.map_err(|error| match error {
                account::Error::Connection(error) => error.into(),
                other => wrong(other),
            })?;
        }
        let (session, events) = connection.hello(&self.person.keys.device, &self.person.tokens.access_token).await?;
        Ok(Online { session, events })
    }

    /// Attaches and reads to the head of that moment.
    pub async fn catch_up(&mut self, online: &Online) -> Result<Seq, Stop> {
        self.attach(&online.session).await
    }

    async fn attach(&mut self, session: &Session) -> Result<Seq, Stop> {
        let cursor = self.tables_cursor()?;
        let attached = session.attach(cursor).await?;
        let start = self.replica()?.attached(&attached).map_err(wrong)?;
        self.read_on(session, start, attached.head).await?;
        Ok(attached.head)
    }

    fn tables_cursor(&mut self) -> Result<Cursor, Stop> {
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

    async fn pull(&mut self, session: &Session, from: Cursor, to: Seq) -> Result<(), Stop> {
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

    fn applied(&mut self, outcome: Outcome) -> Result<Option<Cursor>, Stop> {
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

    async fn take(&mut self, session: &Session, event: SessionEvent) -> Result<(), Stop> {
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
    pub async fn follow(&mut self, online: &mut Online, head: Seq) -> Result<(), Stop> {
        while self.tables_cursor()?.seq < head {
            let event = online.events.next().await?;
            self.take(&online.session, event).await?;
        }
        Ok(())
    }

    /// Claims. A batch whose answer was lost and that is committed all the same is sent once more: the node must answer
    /// as the first time.
    pub async fn claim(&mut self, online: &Online) -> Result<(), Stop> {
        let claimed = online.session.claim().await?;
        match self.replica()?.claimed(claimed.last).map_err(wrong)? {
            ClaimOutcome::Push => {}
            ClaimOutcome::RolledBack { last } => return Err(anyhow!("the log has a push that was never signed: {last:?}").into()),
        }
        let Some(batch) = self.unanswered.clone() else { return Ok(()) };
        if claimed.last.device_seq < batch.device_seq {
            return Ok(());
        }
        let pushed = online.session.push(batch.signed.clone(), batch.operations()).await?;
        if (pushed.hash, pushed.to) != (claimed.last.hash, claimed.last.seq) {
            return Err(anyhow!("{pushed:?} after {claimed:?}").into());
        }
        self.ledger.lost_answers += 1;
        self.acknowledged(&batch, &pushed)
    }

    fn acknowledged(&mut self, batch: &OutboxBatch, pushed: &Pushed) -> Result<(), Stop> {
        self.ledger.acknowledge(batch, pushed)?;
        self.unanswered = None;
        match self.replica()?.pushed(pushed).map_err(wrong)? {
            Next::Push => Ok(()),
            next => Err(anyhow!("{next:?} after an acknowledgement").into()),
        }
    }

    /// Pushes until nothing is left in the queue, reading events meanwhile. `acknowledged` is called for each push.
    pub async fn push_all(&mut self, online: &mut Online, acknowledged: &(impl Fn() + Sync)) -> Result<(), Stop> {
        while let Some(batch) = self.next_batch()? {
            self.unanswered = Some(batch.clone());
            match self.answer(online, &batch).await {
                Ok(pushed) => {
                    self.acknowledged(&batch, &pushed)?;
                    acknowledged();
                }
                Err(Error::Refused(failure)) => self.refused(online, &batch, &failure).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Seals and signs what waits, unless there is a batch already.
    pub fn next_batch(&mut self) -> anyhow::Result<Option<OutboxBatch>> {
        let keys = self.person.keys.clone();
        let batch = self.replica()?.outgoing(&DeviceSeal(&keys))?;
        if let Some(batch) = &batch {
            self.ledger.sign(batch)?;
        }
        Ok(batch)
    }

    /// Pushes that batch, which nothing may stand in the way of: when the answer came, and where it ends.
    pub async fn push(&mut self, online: &Online, batch: &OutboxBatch) -> Result<(Instant, Seq), Stop> {
        let pushed = online.session.push(batch.signed.clone(), batch.operations()).await?;
        let answered = Instant::now();
        self.acknowledged(batch, &pushed)?;
        Ok((answered, pushed.to))
    }

    /// Takes in the next event: when it came, and how far the replica is then.
    pub async fn receive(&mut self, online: &mut Online) -> Result<(Instant, Seq), Stop> {
        let event = online.events.next().await?;
        let received = Instant::now();
        self.take(&online.session, event).await?;
        Ok((received, self.tables_cursor()?.seq))
    }

    async fn answer(&mut self, online: &mut Online, batch: &OutboxBatch) -> Result<Pushed, Error> {
        let session = online.session.clone();
        let push = session.push(batch.signed.clone(), batch.operations());
        let mut push = std::pin::pin!(push);
        loop {
            let event = tokio::select! {
                biased;
                answer = &mut push => return answer,
                event = online.events.next() => event?,
            };
            match self.take(&session, event).await {
                Ok(()) => {}
                Err(Stop::Lost(why) | Stop::Unreachable(why)) => return Err(Error::Closed(why)),
                Err(Stop::Wrong(why)) => return Err(Error::Protocol(format!("{why:#}"))),
            }
        }
    }

    async fn refused(&mut self, online: &Online, batch: &OutboxBatch, failure: &Failure) -> Result<(), Stop> {
        let mut next = self.replica()?.push_failed(batch.device_seq, batch.hash, failure).map_err(wrong)?;
        if let Next::CatchUp { to } = next {
            let from = self.tables_cursor()?;
            self.pull(&online.session, from, to).await?;
            next = self.replica()?.push_failed(batch.device_seq, batch.hash, failure).map_err(wrong)?;
        }
        match next {
            Next::Push if failure.code == ErrorCode::Stale => {
                self.ledger.stale += 1;
                self.unanswered = None;
                Ok(())
            }
            Next::Claim => self.claim(online).await,
            Next::Retry { after_ms } => {
                // The node said how long.
                tokio::time::sleep(std::time::Duration::from_millis(after_ms.into())).await;
                Ok(())
            }
            next => Err(anyhow!("{next:?} after {failure:?}").into()),
        }
    }

    /// Whether a push is sent and not answered.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.unanswered.is_some()
    }

    /// A replica of its own from nothing, by the log: the entries too.
    pub async fn read_log(&mut self, online: &Online) -> anyhow::Result<Vec<Entry>> {
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
    pub async fn read_snapshot(&mut self, online: &Online) -> anyhow::Result<()> {
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

/// A value that fills `bytes`.
#[must_use]
pub fn value(text: &str, bytes: usize) -> Content {
    Content::Value(Bytes::from(format!("{{\"text\":\"{text:x<bytes$}\"}}")))
}

/// A record's key.
pub fn key(collection: &str, record: &str) -> anyhow::Result<RecordKey> {
    Ok(RecordKey { collection: CollectionName::new(collection)?, record: RecordId::new(record)? })
}
