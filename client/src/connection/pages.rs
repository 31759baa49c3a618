//! Catching up: page after page, the next one fetched while the last is applied, on QUIC on a stream of its own so
//! that nothing small waits behind it.
//!
//! Never: more than one page ahead, or a page taken that does not start where the last one ended.

use cloudsync_protocol::frame::{OWN_LOG, Page, Pull, Snapshot, SnapshotPage, SnapshotToken};
use cloudsync_protocol::{Cursor, Entry, Frame, Seq, codec};
use quinn::{RecvStream, SendStream};
use tokio::task::JoinSet;

use super::answer::answer;
use super::route::{Route, route};
use super::session::Session;
use super::shared::refusal;
use super::{Error, quic};

/// Where requests of one catch-up go.
enum Lane {
    /// With everything else.
    Shared,
    /// A QUIC stream of their own.
    Own(Box<(SendStream, RecvStream)>),
}

impl Lane {
    async fn open(session: &Session) -> Result<Self, Error> {
        let Some(quic) = &session.inner.quic else { return Ok(Self::Shared) };
        let streams = quic.connection.open_bi().await.map_err(|error| Error::Closed(error.to_string()))?;
        Ok(Self::Own(Box::new(streams)))
    }

    async fn request(&mut self, session: &Session, frame: impl FnOnce(u32) -> Frame) -> Result<Frame, Error> {
        let shared = &session.inner.shared;
        let (send, receive) = match self {
            Self::Shared => return shared.request(frame).await,
            Self::Own(streams) => (&mut streams.0, &mut streams.1),
        };
        let (request, bytes, credit) = shared.prepare(frame).await?;
        quic::write(send, &bytes).await?;
        let answered = tokio::select! {
            biased;
            answered = quic::read(receive) => answered?,
            ended = shared.ended() => return Err(ended),
        };
        drop(credit);
        let answered = answered.ok_or_else(|| Error::Closed("the stream ended before the answer".to_owned()))?;
        let frame: Frame = codec::decode(&answered).map_err(|error| Error::Protocol(error.to_string()))?;
        let name = frame.name();
        let misplaced = || Error::Protocol(format!("{name} where the answer to request {request} was due"));
        match route(frame) {
            Route::Answer(answered, frame) if answered == request => refusal(frame),
            Route::Fatal(failure) => Err(failure.into()),
            Route::Answer(..) | Route::Welcome(_) | Route::Event(_) | Route::Ping(_) | Route::Pong | Route::Misplaced(_) => {
                Err(misplaced())
            }
        }
    }
}

/// One fetch under way at most; it gives its lane back.
struct Fetch<T> {
    session: Session,
    task: JoinSet<(Lane, Result<T, Error>)>,
}

impl<T: Send + 'static> Fetch<T> {
    fn new(session: Session) -> Self {
        Self { session, task: JoinSet::new() }
    }

    fn start<F>(&mut self, lane: Option<Lane>, frame: F, take: fn(Frame) -> Result<T, Error>)
    where
        F: FnOnce(u32) -> Frame + Send + 'static,
    {
        let session = self.session.clone();
        self.task.spawn(async move {
            let mut lane = match lane {
                Some(lane) => lane,
                None => match Lane::open(&session).await {
                    Ok(lane) => lane,
                    Err(error) => return (Lane::Shared, Err(error)),
                },
            };
            let answer = lane.request(&session, frame).await.and_then(take);
            (lane, answer)
        });
    }

    /// What was fetched; nothing when no fetch was started.
    async fn join(&mut self) -> Option<(Lane, Result<T, Error>)> {
        let joined = self.task.join_next().await?;
        Some(joined.unwrap_or_else(|_| (Lane::Shared, Err(Error::Closed("closed here".to_owned())))))
    }
}

/// The pages of `(from, to]`.
pub struct Pages {
    fetch: Fetch<Page>,
    from: Cursor,
    to: Seq,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pages({}..={})", self.from.seq, self.to)
    }
}

impl Pages {
    pub(super) fn new(session: Session, from: Cursor, to: Seq) -> Self {
        let mut pages = Self { fetch: Fetch::new(session), from, to };
        pages.fetch_next(None);
        pages
    }

    fn fetch_next(&mut self, lane: Option<Lane>) {
        let (from, to) = (self.from, self.to);
        if from.seq < to {
            self.fetch.start(lane, move |request| Pull { request, log: OWN_LOG, from, to }.into(), |frame| answer!(frame, Page));
        }
    }

    /// The next page; nothing after the last. After an error there is nothing more either.
    pub async fn next(&mut self) -> Option<Result<Page, Error>> {
        let (lane, page) = self.fetch.join().await?;
        let page = match page.and_then(|page| follows(self.from.seq, page)) {
            Ok(page) => page,
            Err(error) => return Some(Err(error)),
        };
        let row = page.entries.last().map(|entry| entry.last_hash().short()).unwrap_or_default();
        self.from = Cursor { timeline: page.timeline, seq: page.to, row };
        self.fetch_next(Some(lane));
        Some(Ok(page))
    }
}

/// Checks that a page is whole and starts after `from`.
fn follows(from: Seq, page: Page) -> Result<Page, Error> {
    let end = page.entries.iter().try_fold(from, |last, entry: &Entry| (entry.first() == last.next()).then(|| entry.last()));
    if page.from == from && !page.entries.is_empty() && end == Some(page.to) {
        Ok(page)
    } else {
        Err(Error::Protocol(format!("a page of ({}, {}] after {from} that is not whole", page.from, page.to)))
    }
}

/// The pages of the current state.
pub struct SnapshotPages {
    fetch: Fetch<SnapshotPage>,
}

impl std::fmt::Debug for SnapshotPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnapshotPages")
    }
}

impl SnapshotPages {
    pub(super) fn new(session: Session, resume: Option<SnapshotToken>) -> Self {
        let mut pages = Self { fetch: Fetch::new(session) };
        pages.fetch_next(None, resume);
        pages
    }

    fn fetch_next(&mut self, lane: Option<Lane>, resume: Option<SnapshotToken>) {
        self.fetch.start(lane, move |request| Snapshot { request, log: OWN_LOG, resume }.into(), |frame| answer!(frame, SnapshotPage));
    }

    /// The next page; nothing after the last, whose `resume` is empty. After an error there is nothing more either.
    pub async fn next(&mut self) -> Option<Result<SnapshotPage, Error>> {
        let (lane, page) = self.fetch.join().await?;
        if let Ok(SnapshotPage { resume: Some(resume), .. }) = &page {
            self.fetch_next(Some(lane), Some(resume.clone()));
        }
        Some(page)
    }
}
