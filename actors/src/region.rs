//! The public handle of a node's region: sessions are opened here, rosters changed, and everything is drained.
//!
//! Never: a channel or an actor that shows. What is behind the handle is this crate's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cloudsync_engine::session::SessionId;
use cloudsync_engine::user::AccountChange;
use cloudsync_engine::verify::HelloProof;
use cloudsync_protocol::entry::RosterRow;
use cloudsync_protocol::statement::{Carrier, Signature};
use cloudsync_protocol::{DeviceId, Failure, LogId, Nonce, Seq, UserId};
use cloudsync_storage::Store;
use ractor::{Actor, ActorRef, ActorStatus};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::directory::Directory;
use crate::metrics::Meters;
use crate::options::{Clock, Options, Tokens};
use crate::outbound::Outbound;
use crate::permits::{Budgets, Outstanding};
use crate::reads::read_failure;
use crate::region_actor::{RegionActor, RegionMessage};
use crate::session::{Identity, Session, busy, going_away};
use crate::session_actor::SessionHandle;
use crate::user_message::UserMessage;
use crate::wheel::Wheel;

/// What everything in a region shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: Arc<dyn Tokens>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Arc<Options>,
    pub(crate) budgets: Budgets,
    pub(crate) meters: Arc<Meters>,
    pub(crate) directory: Directory,
    pub(crate) wheel: Wheel,
    pub(crate) outstanding: Arc<Outstanding>,
    sessions: AtomicUsize,
    last_session: AtomicU64,
    draining: AtomicBool,
    failed: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Resolves once the region's actor has died of a bug.
    pub(crate) async fn failed(&self) {
        let mut failed = self.failed.subscribe();
        // The sender lives as long as this: the error can't come.
        let _ = failed.wait_for(|failed| *failed).await;
    }

    /// A session is over: everyone who knows it forgets it.
    pub(crate) fn leave(&self, session: &Session) {
        self.directory.tell_region(RegionMessage::Leave { log: session.of_user.log, session: session.id });
        self.sessions.fetch_sub(1, Ordering::AcqRel);
        self.meters.sessions.decrement(1.0);
    }
}

/// Why there is no region.
#[derive(Debug, thiserror::Error)]
#[error("the region's actor did not start: {0}")]
pub struct StartError(#[from] ractor::SpawnErr);

/// What *hello* said, once `node` has verified the token.
#[derive(Clone)]
pub struct OpenRequest {
    /// The token's user.
    pub user: UserId,
    /// The token's device, which is hello's as well.
    pub device: DeviceId,
    /// How the connection's bytes travel.
    pub carrier: Carrier,
    /// What this connection's challenge said.
    pub nonce: Nonce,
    /// The access token as it came: its hash is signed.
    pub token: String,
    /// Until when it holds, in milliseconds since the epoch.
    pub token_expires_ts: u64,
    /// By the device's key over [`hello_message`](cloudsync_protocol::statement::hello_message).
    pub signature: Signature,
}

impl std::fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRequest").field("user", &self.user).field("device", &self.device).finish_non_exhaustive()
    }
}

/// What a drain left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that were told to go.
    pub sessions: usize,
    /// Users whose work did not end in time; its requests were answered *busy*.
    pub users_cut_off: usize,
}

/// A node's region. Clones are the same region.
#[derive(Debug, Clone)]
pub struct Region {
    pub(crate) shared: Arc<Shared>,
    actor: ActorRef<RegionMessage>,
}

impl Region {
    /// Starts the region of this node. Needs a tokio runtime, on which everything of it runs.
    pub async fn start(
        store: Arc<dyn Store>,
        tokens: Arc<dyn Tokens>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, StartError> {
        options.check();
        let (budgets, wheel) = (Budgets::new(&options), Wheel::new(options.keep_alive_interval));
        let shared = Arc::new(Shared {
            store,
            tokens,
            clock,
            options: Arc::new(options),
            budgets,
            meters: Arc::new(Meters::new()),
            directory: Directory::default(),
            wheel,
            outstanding: Arc::default(),
            sessions: AtomicUsize::new(0),
            last_session: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            failed: watch::channel(false).0,
        });
        let (actor, ended) = Actor::spawn(None, RegionActor, Arc::clone(&shared)).await?;
        shared.directory.set_region(actor.clone());
        crate::wheel::run(Arc::downgrade(&shared), actor.clone());
        tokio::spawn(watch_over(Arc::clone(&shared), ended));
        Ok(Self { shared, actor })
    }

    /// Opens a session, if the user's roster has the device and it signed. The failure's `request` is 0.
    pub async fn open(&self, request: OpenRequest) -> Result<(SessionHandle, Outbound), Failure> {
        let shared = &self.shared;
        if shared.is_draining() {
            return Err(going_away(0, &shared.options));
        }
        let place = Place::take(shared).ok_or_else(|| busy(0, &shared.options, "this node has all the sessions that it can hold"))?;
        let credentials = shared.store.credentials(request.user).await.map_err(|error| read_failure(&error, &shared.options))?;
        let OpenRequest { user, device, carrier, nonce, token, token_expires_ts, signature } = request;
        let id = SessionId(shared.last_session.fetch_add(1, Ordering::AcqRel) + 1);
        let session = self.join(id, Identity { user, device, carrier, nonce }, token_expires_ts).await?;
        // From here on the session leaves through its session actor, whatever happens.
        let started =
            SessionHandle::start(Arc::clone(&session), Arc::clone(shared), credentials.map_or(0, |credentials| credentials.version)).await;
        let handle = started.map_err(|_| {
            shared.directory.tell_region(RegionMessage::Leave { log: session.of_user.log, session: id });
            busy(0, &shared.options, "the session did not start")
        })?;
        place.keep();
        let outbound = Outbound::new(Arc::clone(&session.queue));
        let (reply, opened) = oneshot::channel();
        let proof = Box::new(HelloProof { nonce, carrier, token, signature });
        shared.directory.send(session.of_user.log, UserMessage::Open { session: Arc::clone(&session), proof, reply });
        opened.await.unwrap_or_else(|_| Err(busy(0, &shared.options, "interrupted: say hello again")))?;
        shared.wheel.add(&session, shared.clock.now_ms());
        Ok((handle, outbound))
    }

    async fn join(&self, id: SessionId, identity: Identity, token_expires_ts: u64) -> Result<Arc<Session>, Failure> {
        let (reply, joined) = oneshot::channel();
        self.tell(RegionMessage::Join { id, identity, token_expires_ts, reply });
        joined.await.map_err(|_| going_away(0, &self.shared.options))
    }

    /// Appends signed changes to a user's roster, all or none, with the credentials that they bring, for whoever proved to be that
    /// user by password or code.
    /// Returns the number of the last, durable; changes that were there already keep their numbers.
    pub async fn change_roster(&self, user: UserId, change: AccountChange) -> Result<Seq, Failure> {
        if self.shared.is_draining() {
            return Err(going_away(0, &self.shared.options));
        }
        let (reply, changed) = oneshot::channel();
        self.shared.directory.send(user.into(), UserMessage::ChangeRoster { change: Box::new(change), reply });
        changed.await.unwrap_or_else(|_| Err(busy(0, &self.shared.options, "interrupted: try again")))
    }

    /// A user was erased in the store, for ever: its sessions are told so and end.
    pub fn erased(&self, user: UserId) {
        // Without an actor nobody is there to be told: whoever comes finds the log erased.
        drop(self.shared.directory.send_direct(user.into(), UserMessage::Erased));
    }

    /// Every roster row of a user, in order; none for a user whose log was never written to.
    pub async fn roster(&self, user: UserId) -> Result<Vec<RosterRow>, Failure> {
        let roster = self.shared.store.roster(LogId::from(user)).await;
        roster.map_err(|error| read_failure(&error, &self.shared.options))
    }

    /// Whether sessions can be opened: it is not drained, and its actor lives.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        !self.shared.is_draining() && self.actor.get_status() == ActorStatus::Running
    }

    /// Resolves if the region's actor dies of a bug. Its user actors end with it, its sessions are sent away, and nothing is
    /// served any more: what it knew is gone, so the node must be started again. What was acknowledged is in the store.
    pub async fn failed(&self) {
        self.shared.failed().await;
    }

    /// Open sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Acquire)
    }

    /// Users with an actor of their own.
    #[must_use]
    pub fn users_active(&self) -> usize {
        self.shared.directory.len()
    }

    /// Stops admitting, lets what was admitted end (for as long as `timeout`), then tells every session to go and when
    /// to come back. Afterwards each [`Outbound`] yields what it still holds and ends. Calling it again does nothing more.
    pub async fn drain(&self, timeout: Duration) -> Drained {
        self.shared.draining.store(true, Ordering::Release);
        let started = Instant::now();
        // Time-out or not: the region actor ends the rest. A reader that leaves its pages unread takes not all of the time.
        let _ = tokio::time::timeout(timeout * 3 / 4, self.shared.outstanding.none()).await;
        let (reply, drained) = oneshot::channel();
        self.tell(RegionMessage::Drain { timeout: timeout.saturating_sub(started.elapsed()), reply });
        // A region that was drained before is gone: nothing is left.
        drained.await.unwrap_or(Drained { sessions: 0, users_cut_off: 0 })
    }

    fn tell(&self, message: RegionMessage) {
        // Only a drained region has no actor; what the message holds answers by being dropped.
        let _ = self.actor.send_message(message);
    }
}

/// Says so if the region's actor ends other than by a drain.
async fn watch_over(shared: Arc<Shared>, ended: JoinHandle<()>) {
    // It ends without an error even when it panicked: ractor catches that.
    let _ = ended.await;
    if !shared.is_draining() {
        tracing::error!("the region's actor died: a bug; nothing can be served until the node is started again");
        shared.failed.send_replace(true);
    }
}

/// A session's place among the node's; given back when it is not kept.
struct Place<'a> {
    shared: Option<&'a Shared>,
}

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Option<Self> {
        let before = shared.sessions.fetch_add(1, Ordering::AcqRel);
        let place = Self { shared: Some(shared) };
        shared.meters.sessions.increment(1.0);
        (before < shared.options.sessions_max).then_some(place)
    }
    fn keep(mut self) {
        self.shared = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared {
            shared.sessions.fetch_sub(1, Ordering::AcqRel);
            shared.meters.sessions.decrement(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_request_to_open_shows_no_token() {
        let request = OpenRequest {
            user: UserId([1; 16]),
            device: DeviceId([2; 16]),
            carrier: Carrier::Quic,
            nonce: Nonce([3; 32]),
            token: "a.secret.token".to_owned(),
            token_expires_ts: 1,
            signature: Signature([7; 64]),
        };
        let text = format!("{request:?}");
        assert!(text.contains("OpenRequest") && !text.contains("secret"), "{text}");
    }
}
