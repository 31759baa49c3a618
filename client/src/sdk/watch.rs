//! Everything that is committed from a moment on, in order, once, whoever made it and whichever process read it first;
//! and meanwhile the edits that other processes of the profile queued are sent.
//!
//! Its place is its own: the replica's cursor is moved by every process of the profile, this one only by what was told.
//!
//! Never: a change told that did not verify, or out of order.

mod telling;

use std::collections::VecDeque;
use std::time::Duration;

use cloudsync_engine::replica::{Change, Conflict, Status, Usage, is_reserved};
use cloudsync_engine::roster::Roster;
use cloudsync_protocol::frame::GoingAway;
use cloudsync_protocol::{Cursor, ErrorCode, Seq};
use tokio::time::Instant;

use super::client::Client;
use super::parked::Parked;
use super::time::Backoff;
use super::{Error, Offline, Online, Pushing, time};
use crate::connection::{self, SessionEvent};
use crate::replica::StoreError;

/// How soon it is noticed that another process queued an edit.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an edit of another process waits before this one sends it: that one usually does so itself.
const SEND_AFTER: Duration = Duration::from_secs(1);

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// Everything committed after that number will be told.
    Live(Seq),
    /// Something was committed, of any collection but the reserved one.
    Change(Change),
    /// An edit of this profile could not be committed as it was made, and is kept.
    Parked(Box<Conflict>),
    /// More edits of this profile wait for room than before.
    Paused {
        /// How many in all.
        edits: u64,
        /// How full the quota is.
        usage: Option<Usage>,
    },
    /// The log went on under another timeline: what was told before may not be in it, so that a list is to be read anew.
    Rewound,
    /// It can't go on now, and why; it is tried again after that long.
    Offline(String, Duration),
}

/// A watch, and where it is.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    online: Option<Online>,
    told: Option<Cursor>,
    ready: VecDeque<WatchEvent>,
    roster: Option<Roster>,
    backoff: Backoff,
    connect_at: Instant,
    look_at: Instant,
    /// Since when edits wait that nobody sends.
    waiting_since: Option<Instant>,
    parked: Parked,
    paused: u64,
}

impl Watch {
    /// From the moment on at which the log is read to its head.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let now = Instant::now();
        Self {
            client,
            online: None,
            told: None,
            ready: VecDeque::new(),
            roster: None,
            backoff: Backoff::new(),
            connect_at: now,
            look_at: now,
            waiting_since: None,
            parked: Parked::default(),
            paused: 0,
        }
    }

    /// Waits for the next thing to tell. May be dropped and called again: nothing is told twice or left out.
    pub async fn next(&mut self) -> Result<WatchEvent, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                // Settings of the account are no records of an app.
                if matches!(&event, WatchEvent::Change(change) if is_reserved(&change.key.collection)) {
                    continue;
                }
                return Ok(event);
            }
            let stepped = match self.online.take() {
                None => self.go_online().await,
                Some(mut online) => Box::pin(self.step(&mut online)).await.map(|()| online).map_err(expired),
            };
            match stepped {
                Ok(online) => self.online = Some(online),
                Err(error) => self.lost(error)?,
            }
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        if let Some(online) = self.online {
            online.close().await;
        }
    }

    fn lost(&mut self, error: Error) -> Result<(), Error> {
        let again = error.offline() == Offline::Yes || matches!(error, Error::Store(StoreError::Busy { .. }));
        if !again {
            return Err(error);
        }
        let now = Instant::now();
        let wait = match error.told_to_wait() {
            Some((ErrorCode::Throttled, wait)) => time::after(wait),
            Some((ErrorCode::GoingAway, wait)) => time::jittered(wait),
            Some(_) | None => self.backoff.wait(),
        };
        self.connect_at = self.connect_at.max(now + wait);
        self.ready.push_back(WatchEvent::Offline(error.to_string(), self.connect_at - now));
        Ok(())
    }

    async fn go_online(&mut self) -> Result<Online, Error> {
        tokio::time::sleep_until(self.connect_at).await;
        let mut online = self.client.connect_once().await?;
        let cursor = online.catch_up().await?;
        match self.told {
            None => self.told = Some(cursor),
            Some(told) if told.timeline != cursor.timeline => {
                self.told = Some(cursor);
                self.roster = None;
                self.ready.push_back(WatchEvent::Rewound);
            }
            Some(_) => self.tell_to(&mut online, cursor.seq).await?,
        }
        let live = self.told.map_or(cursor.seq, |told| told.seq);
        self.ready.push_back(WatchEvent::Live(live));
        self.tell_kept(&self.client.status().await?).await?;
        self.backoff.reset();
        // What was queued meanwhile is sent at once.
        self.look_at = Instant::now();
        self.waiting_since = Some(self.look_at.checked_sub(SEND_AFTER).unwrap_or(self.look_at));
        Ok(online)
    }

    async fn step(&mut self, online: &mut Online) -> Result<(), Error> {
        let event = tokio::select! {
            event = online.events.next() => event?,
            () = tokio::time::sleep_until(self.look_at) => return self.look(online).await,
        };
        match event {
            SessionEvent::Event(event) => self.event(online, event).await,
            SessionEvent::Committed(committed) => self.committed(online, committed).await,
            SessionEvent::HeadAt(head) => self.head_at(online, head).await,
            SessionEvent::Lagging(_) => {
                let cursor = online.catch_up().await?;
                self.tell_to(online, cursor.seq).await
            }
            SessionEvent::GoingAway(GoingAway { message, retry_after_ms, .. }) => {
                self.connect_at = Instant::now() + time::jittered(Duration::from_millis(retry_after_ms.into()));
                Err(connection::Error::Closed(message).into())
            }
        }
    }

    /// Renews the token, and sends what other processes queued.
    async fn look(&mut self, online: &mut Online) -> Result<(), Error> {
        let now = Instant::now();
        self.look_at = now + LOOK_EVERY;
        if online.renew_in().is_zero() {
            online.renew().await?;
        }
        let status = self.client.status().await?;
        self.tell_kept(&status).await?;
        let edits = status.edits;
        if edits.is_idle() {
            self.waiting_since = None;
            return Ok(());
        }
        let since = *self.waiting_since.get_or_insert(now);
        if now < since + SEND_AFTER {
            return Ok(());
        }
        match online.push().await? {
            Pushing::Decided => self.look_at = Instant::now(),
            Pushing::Wait(wait) | Pushing::StoreFull(wait) => self.look_at = Instant::now() + wait.max(LOOK_EVERY),
            Pushing::Idle => {}
        }
        Ok(())
    }

    async fn tell_kept(&mut self, status: &Status) -> Result<(), Error> {
        let (edits, usage) = (status.edits.paused, status.usage);
        if edits > std::mem::replace(&mut self.paused, edits) {
            self.ready.push_back(WatchEvent::Paused { edits, usage });
        }
        let parked = self.parked.new_ones(&self.client, status).await?;
        self.ready.extend(parked.into_iter().map(|conflict| WatchEvent::Parked(Box::new(conflict))));
        Ok(())
    }
}

/// A session whose token ended while this process was stopped: the next one begins under a fresh one.
#[expect(clippy::wildcard_enum_match_arm, reason = "only refusals have a code")]
fn expired(error: Error) -> Error {
    let code = match &error {
        Error::Connection(error) => error.code(),
        Error::NotAdmitted { code, .. } => Some(*code),
        _ => None,
    };
    match code {
        Some(ErrorCode::TokenExpired) => connection::Error::Closed(error.to_string()).into(),
        Some(_) | None => error,
    }
}
