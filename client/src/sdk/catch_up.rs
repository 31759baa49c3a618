//! Reading the log to its head: attach, then pages, or a snapshot first.
//!
//! Never: a cursor moved here; the replica's rules move it with the rows.

use cloudsync_engine::replica::{Outcome, Replica, SnapshotOutcome, Start, Stretch};
use cloudsync_protocol::frame::SnapshotToken;
use cloudsync_protocol::{Cursor, ErrorCode, Seq};

use super::keys::DeviceSeal;
use super::rewound::WentBack;
use super::{Error, Online};
use crate::connection;
use crate::replica::{Access, SqliteTables};

/// How often in a row an attempt may end where it began. Other processes of the profile may read on at the same time;
/// an attempt that found the replica further than the one before does not count.
const ATTEMPTS_MAX: usize = 16;

/// Where a replica is: its cursor, and how far a snapshot is.
type Place = (Cursor, Option<SnapshotToken>);

/// Counts attempts that nobody got further in.
#[derive(Debug, Default)]
struct Attempts {
    last: Option<Place>,
    in_vain: usize,
}

impl Attempts {
    fn check(&mut self, place: &Place) -> Result<(), Error> {
        if self.last.as_ref() != Some(place) {
            *self = Self { last: Some(place.clone()), in_vain: 0 };
        }
        self.in_vain += 1;
        if self.in_vain <= ATTEMPTS_MAX { Ok(()) } else { Err(Error::Unfit(format!("the log is never read past {}", place.0.seq))) }
    }
}

/// Whether everything asked for was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// It was.
    Whole,
    /// Another process got in between: ask again from where the replica is.
    Again,
    /// History was cut there: take a snapshot.
    BelowFloor,
}

/// A refusal to give pages, told apart from others.
fn unreadable(error: connection::Error) -> Result<Read, Error> {
    match error.code() {
        Some(ErrorCode::BelowFloor) => Ok(Read::BelowFloor),
        Some(ErrorCode::StoreRewound) => Err(Error::Rewound(error.to_string())),
        // It went on under another timeline since this session attached: another one hears of it.
        Some(ErrorCode::TimelineUnknown) => Err(connection::Error::Closed(error.to_string()).into()),
        Some(_) | None => Err(error.into()),
    }
}

impl Online {
    /// Reads to the head and stays attached: what is committed from now on comes as events. Says where that was.
    pub async fn catch_up(&mut self) -> Result<Cursor, Error> {
        loop {
            let read = match self.attach_and_read().await {
                Ok(cursor) => self.after_reading().await.map(|()| cursor),
                Err(error) => Err(error),
            };
            match read {
                Ok(cursor) => {
                    tracing::debug!(seq = cursor.seq.0, "read to the head");
                    return Ok(cursor);
                }
                Err(error) => Box::pin(self.reconnect(error)).await?,
            }
        }
    }

    /// What follows from what was read: newer keys, by which whatever else is to be said is signed.
    async fn after_reading(&mut self) -> Result<(), Error> {
        self.follow_keys().await?;
        self.make_good().await
    }

    async fn attach_and_read(&mut self) -> Result<Cursor, Error> {
        let mut attempts = Attempts::default();
        loop {
            let place = self.place().await?;
            attempts.check(&place)?;
            let cursor = place.0;
            let start = match self.session.attach(cursor).await {
                Ok(attached) => {
                    self.attached = true;
                    // A server that takes a cursor has a row there.
                    if attached.head < cursor.seq {
                        return Err(Error::Rewound(format!(
                            "the log is said to end at {}, behind {} that was read",
                            attached.head, cursor.seq
                        )));
                    }
                    if self.goes_over(attached.lineage.clone(), Some(cursor), WentBack::Stops).await? {
                        continue;
                    }
                    self.client.replica(Access::Write, move |replica, _| replica.attached(&attached)).await?
                }
                Err(connection::Error::Refused(failure)) if failure.code == ErrorCode::TimelineUnknown && !failure.lineage.is_empty() => {
                    if self.goes_over(failure.lineage.clone().into_vec(), None, WentBack::Stops).await? {
                        continue;
                    }
                    return Err(Error::Rewound(failure.message));
                }
                Err(error) => match unreadable(error)? {
                    Read::BelowFloor | Read::Whole | Read::Again => Start::Snapshot { resume: None },
                },
            };
            match start {
                Start::UpToDate => return self.client.replica(Access::Read, |replica, _| replica.cursor()).await,
                Start::Pull { from, to } => match self.read_pages(from, to).await? {
                    Read::Whole => return self.client.replica(Access::Read, |replica, _| replica.cursor()).await,
                    Read::Again => {}
                    Read::BelowFloor => drop(self.snapshot(None, cursor).await?),
                },
                Start::Snapshot { resume } => drop(self.snapshot(resume, cursor).await?),
            }
        }
    }

    async fn place(&self) -> Result<Place, Error> {
        self.client.replica(Access::Read, |replica, _| Ok::<_, Error>((replica.cursor()?, replica.snapshot_resume()?))).await
    }

    /// Reads to `to` at least, from wherever the replica is.
    pub(super) async fn read_to(&mut self, to: Seq) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let (cursor, resume) = self.place().await?;
            attempts.check(&(cursor, resume.clone()))?;
            if cursor.seq >= to {
                return Ok(());
            }
            // A replica that has read nothing begins by a snapshot.
            if cursor.seq == Seq::ZERO || self.read_pages(cursor, to).await? == Read::BelowFloor {
                self.snapshot(resume, cursor).await?;
            }
        }
    }

    async fn read_pages(&self, from: Cursor, to: Seq) -> Result<Read, Error> {
        let mut pages = self.session.pages(from, to);
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => return unreadable(error),
            };
            let outcome = self.client.replica(Access::Write, move |replica, seal| replica.apply(Stretch::from(&page), &seal)).await?;
            match outcome {
                Outcome::Applied(applied) => {
                    if let Some(epoch) = applied.needs_keys {
                        self.ensure_keys(epoch).await?;
                        return Ok(Read::Again);
                    }
                    if let Some(untrusted) = applied.stopped {
                        return Err(Box::new(untrusted).into());
                    }
                }
                Outcome::Old => {}
                Outcome::Gap { .. } => return Ok(Read::Again),
            }
        }
        Ok(Read::Whole)
    }

    /// Takes the current state anew, whatever the replica holds; edits are kept. A log that is where it was before a rewind that
    /// was seen is taken as it is, and what that loses is brought back.
    pub async fn from_snapshot(&mut self) -> Result<Cursor, Error> {
        self.take_timeline().await?;
        let mut attempts = Attempts::default();
        loop {
            let (cursor, resume) = self.place().await?;
            attempts.check(&(cursor, resume.clone()))?;
            if self.snapshot(resume, cursor).await? == Read::Whole {
                return self.catch_up().await;
            }
        }
    }

    /// Goes over to the timeline that the log has, be it one of before.
    async fn take_timeline(&mut self) -> Result<(), Error> {
        let (cursor, _) = self.place().await?;
        let (lineage, accepted) = match self.session.attach(cursor).await {
            Ok(attached) => (attached.lineage, Some(cursor)),
            Err(connection::Error::Refused(failure)) if !failure.lineage.is_empty() => (failure.lineage.into_vec(), None),
            // What is wrong with where the replica is does not matter here.
            Err(connection::Error::Refused(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.goes_over(lineage, accepted, WentBack::IsTaken).await.map(drop)
    }

    /// Takes a snapshot, or goes on with one. `cursor` is where the replica was when that was decided: once another
    /// process of the profile has read on from there, the snapshot would lead back.
    async fn snapshot(&self, resume: Option<SnapshotToken>, cursor: Cursor) -> Result<Read, Error> {
        let mut asked = resume.clone();
        let mut pages = self.session.snapshot_pages(resume);
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) if error.code() == Some(ErrorCode::SnapshotInvalid) && asked.is_some() => return self.abandon(asked).await,
                Err(error) => return Err(error.into()),
            };
            let before = asked;
            asked = page.resume.clone();
            let take = move |replica: &mut Replica<'_, SqliteTables<'_>>, seal: DeviceSeal<'_>| {
                if before.is_none() && replica.cursor()? != cursor {
                    return Ok(SnapshotOutcome::Old { resume: None });
                }
                replica.snapshot_page(before.as_ref(), &page, &seal).map_err(Error::from)
            };
            let taken = match self.client.replica(Access::Write, take.clone()).await {
                Err(Error::KeysMissing { epoch }) => {
                    self.ensure_keys(epoch).await?;
                    self.client.replica(Access::Write, take).await
                }
                taken => taken,
            };
            match taken? {
                SnapshotOutcome::Next { .. } => {}
                SnapshotOutcome::Complete { .. } => return Ok(Read::Whole),
                // Another process is further: attaching says what is left.
                SnapshotOutcome::Old { .. } => return Ok(Read::Again),
            }
        }
        Ok(Read::Again)
    }

    /// The server goes on with that snapshot no longer: attaching says what to do instead.
    async fn abandon(&self, asked: Option<SnapshotToken>) -> Result<Read, Error> {
        let give_up = move |replica: &mut Replica<'_, SqliteTables<'_>>| {
            // Another process of the profile may have begun one anew.
            if replica.snapshot_resume()? == asked { replica.snapshot_abandoned() } else { Ok(()) }
        };
        self.client.replica(Access::Write, move |replica, _| give_up(replica)).await?;
        Ok(Read::Again)
    }
}
