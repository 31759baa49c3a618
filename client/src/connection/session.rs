//! An open session: typed requests, answers, and events.
//!
//! Never: a rule of the replica. What an answer means is decided above.

use std::sync::Arc;

use cloudsync_protocol::frame::Page;
use cloudsync_protocol::frame::{
    Attach, Attached, Authenticate, Authenticated, ChangeRoster, Claim, Claimed, GetKeyring, History, Keyring, OWN_LOG, Pull, Push, Pushed,
    RosterAfter, RosterChanged, RosterPage, SnapshotToken, Versions, Welcome,
};
use cloudsync_protocol::statement::{RosterChange, Signed};
use cloudsync_protocol::{Cursor, Frame, Nonce, Operation, RecordKey, Seq, Version};

use super::answer::answer;
use super::pages::{Pages, SnapshotPages};
use super::route::SessionEvent;
use super::shared::Shared;
use super::{Error, Inner};
use crate::keys::DeviceKeys;
use crate::statement::hello_proof;

/// An open session. Cheap to clone; the connection closes with the last handle.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) inner: Arc<Inner>,
    nonce: Nonce,
    welcome: Arc<Welcome>,
}

/// What happens without being asked for.
#[derive(Debug)]
pub struct Events {
    inner: Arc<Inner>,
}

/// What is heard on a session's connection, or not.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    shared: Arc<Shared>,
}

/// How a line came out of a silence, or out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Something came.
    Something,
    /// The connection ended.
    Ended,
}

/// Requests of so much are no reason for silence on a slow line.
const SMALL_BYTES: usize = 16 * 1024;

impl Line {
    /// Waits until the server has owed an answer and said nothing for a second, or the connection is lost. An error where it
    /// ended for a reason that was told.
    pub(crate) async fn silent(&self) -> Result<(), Error> {
        let mut silence = self.shared.silence();
        tokio::select! {
            biased;
            ended = self.shared.ended() => if matches!(ended, Error::Closed(_)) { Ok(()) } else { Err(ended) },
            _ = silence.wait_for(|is_silent| *is_silent) => Ok(()),
        }
    }

    /// Waits until the silence is over.
    pub(crate) async fn heard(&self) -> Heard {
        let mut silence = self.shared.silence();
        tokio::select! {
            biased;
            _ = self.shared.ended() => Heard::Ended,
            _ = silence.wait_for(|is_silent| !*is_silent) => Heard::Something,
        }
    }

    /// Whether the server owed an answer and said nothing to the last.
    pub(crate) fn is_silent(&self) -> bool {
        *self.shared.silence().borrow()
    }

    /// Whether what was asked can't be on its way still, on however slow a line.
    pub(crate) fn owes_little(&self) -> bool {
        self.shared.unanswered_bytes() <= SMALL_BYTES
    }

    /// Ends it: another connection is there in its place.
    pub(crate) fn replace(&self) {
        self.shared.end(&Error::Closed("silent, and another connection is there".to_owned()));
    }
}

/// Versions of one record to ask for, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRequest {
    /// The record.
    pub key: RecordKey,
    /// Only versions below this one; nothing for the newest.
    pub before: Option<Version>,
    /// The server gives no more than `HISTORY_ROWS_MAX`.
    pub count: u32,
}

impl Session {
    pub(super) fn new(inner: Inner, nonce: Nonce, welcome: Welcome) -> (Self, Events) {
        let inner = Arc::new(inner);
        (Self { inner: Arc::clone(&inner), nonce, welcome: Arc::new(welcome) }, Events { inner })
    }

    /// What the server said when it opened the session.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Attaches to the user's own log: events above the head that is answered follow.
    pub async fn attach(&self, cursor: Cursor) -> Result<Attached, Error> {
        answer!(self.request(|request| Attach { request, log: OWN_LOG, cursor }.into()).await?, Attached)
    }

    /// One page after `from`, up to the entry that contains `to`. For many, [`pages`](Self::pages).
    pub async fn pull(&self, from: Cursor, to: Seq) -> Result<Page, Error> {
        answer!(self.request(|request| Pull { request, log: OWN_LOG, from, to }.into()).await?, Page)
    }

    /// Every page of `(from, to]`: on QUIC on a stream of their own, the next one fetched while the last is applied.
    #[must_use]
    pub fn pages(&self, from: Cursor, to: Seq) -> Pages {
        Pages::new(self.clone(), from, to)
    }

    /// Every page of the current state from `resume` on, fetched as [`pages`](Self::pages) are.
    #[must_use]
    pub fn snapshot_pages(&self, resume: Option<SnapshotToken>) -> SnapshotPages {
        SnapshotPages::new(self.clone(), resume)
    }

    /// Takes the right to push from this device's earlier sessions.
    pub async fn claim(&self) -> Result<Claimed, Error> {
        answer!(self.request(|request| Claim { request, log: OWN_LOG }.into()).await?, Claimed)
    }

    /// Sends one signed batch.
    pub async fn push(&self, signed: Signed, operations: Vec<Operation>) -> Result<Pushed, Error> {
        answer!(self.request(|request| Push { request, log: OWN_LOG, signed, operations }.into()).await?, Pushed)
    }

    /// Appends a signed change of the roster.
    pub async fn change_roster(&self, change: RosterChange) -> Result<RosterChanged, Error> {
        answer!(self.request(|request| ChangeRoster { request, log: OWN_LOG, change }.into()).await?, RosterChanged)
    }

    /// The account's keyring.
    pub async fn keyring(&self) -> Result<Keyring, Error> {
        answer!(self.request(|request| GetKeyring { request }.into()).await?, Keyring)
    }

    /// Roster rows after one, in order; there may be more.
    pub async fn roster_after(&self, after: Seq) -> Result<RosterPage, Error> {
        answer!(self.request(|request| RosterAfter { request, log: OWN_LOG, after }.into()).await?, RosterPage)
    }

    /// Versions of one record.
    pub async fn history(&self, asked: HistoryRequest) -> Result<Versions, Error> {
        let HistoryRequest { key, before, count } = asked;
        let frame = |request| History { request, log: OWN_LOG, collection: key.collection, record: key.record, before, count }.into();
        answer!(self.request(frame).await?, Versions)
    }

    /// Goes on under a fresh access token of the same device.
    pub async fn authenticate(&self, device: &DeviceKeys, access_token: &str) -> Result<Authenticated, Error> {
        let signature = hello_proof(device, &self.nonce, self.inner.carrier, access_token)?;
        let token = access_token.to_owned();
        answer!(self.request(|request| Authenticate { request, token, signature }.into()).await?, Authenticated)
    }

    /// Why the connection ended, once it has.
    pub async fn closed(&self) -> Error {
        self.inner.shared.ended().await
    }

    /// What tells whether the server is silent, without keeping the connection.
    pub(crate) fn line(&self) -> Line {
        Line { shared: Arc::clone(&self.inner.shared) }
    }

    /// Says goodbye, and waits until that is on its way when this is the last handle.
    pub async fn close(self, events: Events) {
        drop(events);
        match Arc::try_unwrap(self.inner) {
            Ok(inner) => inner.close().await,
            Err(shared) => shared.shared.end(&Error::Closed("closed here".to_owned())),
        }
    }

    async fn request(&self, frame: impl FnOnce(u32) -> Frame) -> Result<Frame, Error> {
        self.inner.shared.request(frame).await
    }
}

impl Events {
    /// The next event; the reason once the connection has ended and nothing waits any more.
    pub async fn next(&mut self) -> Result<SessionEvent, Error> {
        let shared = &self.inner.shared;
        tokio::select! {
            biased;
            event = shared.events.next() => Ok(event),
            error = shared.ended() => Err(error),
        }
    }
}
