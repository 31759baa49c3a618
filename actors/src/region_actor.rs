//! The region actor: which sessions every log has, which users are active, and what happens when a user actor ends.
//!
//! Never: a log's rules, a store, or waiting; and nobody else writes the directory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cloudsync_engine::session::SessionId;
use cloudsync_protocol::{LogId, UserId};
use ractor::actor::messages::BoxedState;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::directory::Entry;
use crate::drain::Drain;
use crate::recovery::Recovery;
use crate::region::{Drained, Shared};
use crate::session::{Identity, Parts, Session};
use crate::user::{self, Feeds, UserActor};
use crate::user_message::UserMessage;
use crate::user_shared::UserShared;

/// What the region actor is told.
#[derive(Debug)]
pub(crate) enum RegionMessage {
    /// A session begins; it is served once its user actor admits it.
    Join { id: SessionId, identity: Identity, token_expires_ts: u64, reply: oneshot::Sender<Arc<Session>> },
    /// A session is over.
    Leave { log: LogId, session: SessionId },
    /// A message for a user that has no actor, or one that is stopping.
    Route { log: LogId, message: Box<UserMessage> },
    /// A user whose actor ended in trouble gets its next one, for the sessions that wait for events.
    Recover { log: LogId },
    /// Time to look for idle users.
    Sweep,
    /// Ends every user's work, then every session, then this actor.
    Drain { timeout: Duration, reply: oneshot::Sender<Drained> },
    /// The drain's time is over.
    DrainTimeout,
    /// Dies of a panic.
    #[cfg(test)]
    Panic,
}

/// What the region keeps of a log as long as it has sessions or an actor.
#[derive(Debug)]
struct Log {
    of_user: Arc<UserShared>,
    sessions: Vec<Arc<Session>>,
    /// Whether its actor lives, serving or stopping.
    stage: Stage,
    /// What came for an actor that is stopping; bounded by the permits inside.
    parked: Vec<UserMessage>,
    recovery: Recovery,
}

impl Log {
    /// Whether a session relies on being sent events.
    fn has_attached(&self) -> bool {
        self.sessions.iter().any(|session| session.is_attached())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Passive,
    Active,
}

#[derive(Debug)]
pub(crate) struct RegionActor;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) drain: Option<Drain>,
    logs: HashMap<LogId, Log>,
    actors: HashMap<ActorId, LogId>,
}

impl Actor for RegionActor {
    type Msg = RegionMessage;
    type State = State;
    type Arguments = Arc<Shared>;

    async fn pre_start(&self, _myself: ActorRef<RegionMessage>, shared: Arc<Shared>) -> Result<State, ActorProcessingErr> {
        Ok(State { shared, logs: HashMap::new(), actors: HashMap::new(), drain: None })
    }

    async fn handle(&self, myself: ActorRef<RegionMessage>, message: RegionMessage, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            RegionMessage::Join { id, identity, token_expires_ts, reply } => {
                // A caller that went away leaves a session without a session actor: forget it again.
                if let Err(session) = reply.send(state.join(id, identity, token_expires_ts)) {
                    state.leave(session.of_user.log, session.id);
                }
            }
            RegionMessage::Leave { log, session } => state.leave(log, session),
            RegionMessage::Route { log, message } => state.route(&myself, log, *message).await,
            RegionMessage::Recover { log } => state.came_due(&myself, log).await,
            RegionMessage::Sweep => state.sweep(),
            RegionMessage::Drain { timeout, reply } => state.start_drain(&myself, timeout, reply),
            RegionMessage::DrainTimeout => state.cut_off(),
            #[cfg(test)]
            RegionMessage::Panic => panic!("a region actor dies for a test"),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RegionMessage>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, ended, _) => state.user_ended(&myself, actor.get_id(), ended).await,
            SupervisionEvent::ActorFailed(actor, error) => {
                tracing::error!(%error, "user actor failed: a bug; the user is activated afresh");
                state.shared.meters.user_panics.increment(1);
                state.user_ended(&myself, actor.get_id(), None).await;
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl State {
    fn log(&mut self, log: LogId) -> &mut Log {
        let options = &self.shared.options;
        self.logs.entry(log).or_insert_with(|| Log {
            // A user's own log has the user's id.
            of_user: Arc::new(UserShared::new(UserId(log.0), options)),
            sessions: Vec::new(),
            stage: Stage::Passive,
            parked: Vec::new(),
            recovery: Recovery::default(),
        })
    }

    /// Every session of the region.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.logs.values().flat_map(|log| &log.sessions)
    }

    fn join(&mut self, id: SessionId, identity: Identity, token_expires_ts: u64) -> Arc<Session> {
        let shared = Arc::clone(&self.shared);
        let log = self.log(identity.user.into());
        let session = Arc::new(Session::new(identity, Parts { id, of_user: Arc::clone(&log.of_user), shared: &shared, token_expires_ts }));
        log.sessions.push(Arc::clone(&session));
        session
    }

    fn leave(&mut self, log: LogId, session: SessionId) {
        if let Some(entry) = self.logs.get_mut(&log) {
            entry.sessions.retain(|other| other.id != session);
            // A passive user has nothing to forget.
            let _ = self.shared.directory.send_direct(log, UserMessage::Leave { session });
            self.forget(log);
        }
    }

    /// Drops what is known of a log that has neither sessions nor an actor.
    fn forget(&mut self, log: LogId) {
        if self.logs.get(&log).is_some_and(|entry| entry.sessions.is_empty() && entry.stage == Stage::Passive) {
            self.logs.remove(&log);
        }
    }

    async fn route(&mut self, myself: &ActorRef<RegionMessage>, log: LogId, message: UserMessage) {
        let Err(message) = self.shared.directory.send_direct(log, message) else { return };
        let entry = self.log(log);
        entry.parked.push(message);
        if entry.stage == Stage::Passive {
            self.activate(myself, log).await;
        }
    }

    /// Starts a user's actor and gives it what is parked. If it does not start, what is parked answers by being dropped.
    async fn activate(&mut self, myself: &ActorRef<RegionMessage>, log: LogId) {
        let shared = Arc::clone(&self.shared);
        let entry = self.log(log);
        let parked = std::mem::take(&mut entry.parked);
        entry.recovery.activated(Instant::now());
        let of_user = Arc::clone(&entry.of_user);
        of_user.touch();
        let sessions = entry.sessions.iter().filter(|session| session.is_admitted()).cloned().collect();
        let arguments = user::Arguments { shared: Arc::clone(&shared), of_user: Arc::clone(&of_user), sessions };
        match Actor::spawn_linked(None, UserActor, arguments, myself.get_cell()).await {
            Ok((actor, _)) => {
                entry.stage = Stage::Active;
                self.actors.insert(actor.get_id(), log);
                shared.directory.insert(log, Entry { actor, of_user });
                shared.meters.users_active.set(shared.directory.len() as f64);
                shared.meters.activations.increment(1);
                // It may have stopped already, of an erased user for example: what it did not take is for the next one.
                self.log(log).parked.extend(parked.into_iter().filter_map(|message| shared.directory.send_direct(log, message).err()));
                if let Some(drain) = &self.drain {
                    let _ = shared.directory.send_direct(log, drain.word());
                }
            }
            Err(error) => {
                tracing::error!(%error, "user actor did not start");
                entry.recovery.troubled(Instant::now());
                self.recover(myself, log);
            }
        }
    }

    /// A user actor's task has ended; `None` when it died without leaving its state.
    async fn user_ended(&mut self, myself: &ActorRef<RegionMessage>, actor: ActorId, ended: Option<BoxedState>) {
        let Some(log) = self.actors.remove(&actor) else { return };
        self.shared.directory.remove(log);
        self.shared.meters.users_active.set(self.shared.directory.len() as f64);
        let left = ended.and_then(|mut state| state.take::<user::State>().ok()).map(user::State::into_left);
        let entry = self.log(log);
        entry.stage = Stage::Passive;
        // One that died could not say.
        let feeds = left.as_ref().map_or(Feeds::Interrupted, |left| left.feeds);
        if feeds == Feeds::Interrupted {
            entry.recovery.troubled(Instant::now());
        }
        // What the actor did not begin came before what was parked meanwhile.
        let mut messages = left.map(|left| left.messages).unwrap_or_default();
        messages.append(&mut entry.parked);
        entry.parked = messages;
        match feeds {
            _ if !entry.parked.is_empty() => self.activate(myself, log).await,
            Feeds::Intact => self.forget(log),
            Feeds::Interrupted => self.recover(myself, log),
        }
        if self.drain.is_some() && self.shared.directory.len() == 0 {
            self.end_drain(myself);
        }
    }

    /// Plans the next activation of a user whose actor ended in trouble, if sessions rely on one: its first word to them is
    /// where the head is, which may be past what the last actor told.
    fn recover(&mut self, myself: &ActorRef<RegionMessage>, log: LogId) {
        let is_draining = self.drain.is_some();
        match self.logs.get_mut(&log).filter(|entry| entry.has_attached() && !is_draining) {
            Some(entry) => {
                if let Some(wait) = entry.recovery.plan(Instant::now()) {
                    myself.send_after(wait, move || RegionMessage::Recover { log });
                }
            }
            None => self.forget(log),
        }
    }

    async fn came_due(&mut self, myself: &ActorRef<RegionMessage>, log: LogId) {
        let Some(entry) = self.logs.get_mut(&log) else { return };
        entry.recovery.came_due();
        // A request may have activated it, or a drain begun, meanwhile.
        if entry.stage == Stage::Passive && entry.has_attached() && self.drain.is_none() {
            self.activate(myself, log).await;
        }
    }

    fn sweep(&self) {
        let Some(before) = Instant::now().checked_sub(self.shared.options.idle_timeout) else { return };
        for entry in self.shared.directory.idle(before) {
            // One that is stopping already needs no telling.
            let _ = entry.actor.send_message(UserMessage::Passivate);
        }
    }
}
