//! The user actor: it owns a log's rules, feeds them what happens, and has their effects carried out.
//!
//! Never: deciding (the rules are `engine::user`), waiting for the store inside a message, or ending in silence: what it
//! did not begin it leaves to the next actor, what it did not end answers *busy*.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cloudsync_engine::session::{Peer, SessionId};
use cloudsync_engine::user::{AcquireOutcome, CallId, CommitOutcome, Event, Options as RulesOptions, User};
use cloudsync_protocol::{Failure, Seq};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::region::Shared;
use crate::request::Ask;
use crate::session::{Session, Ticket};
use crate::user_message::{Asked, UserMessage};
use crate::user_shared::UserShared;

/// What a user actor begins with.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) shared: Arc<Shared>,
    pub(crate) of_user: Arc<UserShared>,
    /// The log's admitted sessions, attached or not.
    pub(crate) sessions: Vec<Arc<Session>>,
}

/// Whether the sessions of a user whose actor ended were sent every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feeds {
    Intact,
    Interrupted,
}

/// What an actor leaves behind.
#[derive(Debug)]
pub(crate) struct Left {
    /// What it was told too late, in order.
    pub(crate) messages: Vec<UserMessage>,
    pub(crate) feeds: Feeds,
}

/// Whether an actor goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Serving,
    /// Stops as soon as the rules are idle.
    Finishing,
    Stopping(Feeds),
}

#[derive(Debug)]
pub(crate) struct UserActor;

/// A user actor's state. What stands in `pending` is dropped with it, and answers *busy* by that.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) of_user: Arc<UserShared>,
    pub(crate) sessions: HashMap<SessionId, Arc<Session>>,
    pub(crate) pending: Pending,
    /// The durable head as this shell saw it, beside the rules: invariant V2 is checked against it.
    pub(crate) durable: Seq,
    rules: User,
    left: Vec<UserMessage>,
    course: Course,
    wake_at_ms: Option<u64>,
}

/// Who waits for an outcome.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) tickets: HashMap<(SessionId, u32), (Ticket, Asked)>,
    pub(crate) opens: HashMap<SessionId, oneshot::Sender<Result<(), Failure>>>,
    pub(crate) calls: BTreeMap<CallId, oneshot::Sender<Result<Seq, Failure>>>,
    last_call: u64,
}

impl Actor for UserActor {
    type Msg = UserMessage;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<UserMessage>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let mut state = State::new(arguments);
        state.happened(&myself, Event::Start);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<UserMessage>, message: UserMessage, state: &mut State) -> Result<(), ActorProcessingErr> {
        match state.course {
            Course::Serving | Course::Finishing => state.take(&myself, message),
            Course::Stopping(_) => state.left.push(message),
        }
        if state.course == Course::Finishing && state.rules.is_idle() {
            state.stop(&myself, Feeds::Intact);
        }
        Ok(())
    }
}

impl State {
    fn new(arguments: Arguments) -> Self {
        let Arguments { shared, of_user, sessions } = arguments;
        let attached: Vec<Peer> = sessions.iter().filter(|session| session.is_attached()).map(|session| session.peer()).collect();
        let options = RulesOptions {
            log: of_user.log,
            view: shared.options.view,
            seed: rand::random(),
            retry_after_ms: shared.options.retry_after_ms(),
            quota_bytes: shared.options.quota_bytes,
        };
        Self {
            shared,
            of_user,
            sessions: sessions.into_iter().map(|session| (session.id, session)).collect(),
            pending: Pending::default(),
            durable: Seq::ZERO,
            rules: User::new(options, attached),
            left: Vec::new(),
            course: Course::Serving,
            wake_at_ms: None,
        }
    }

    /// What the next actor and the sessions need to know.
    pub(crate) fn into_left(self) -> Left {
        let feeds = match self.course {
            Course::Stopping(feeds) => feeds,
            // Ended by somebody else than itself.
            Course::Serving | Course::Finishing => Feeds::Interrupted,
        };
        Left { messages: self.left.into_iter().filter(UserMessage::is_for_the_next).collect(), feeds }
    }

    fn take(&mut self, myself: &ActorRef<UserMessage>, message: UserMessage) {
        match message {
            UserMessage::Open { session, proof, reply } => match session.queue.ending() {
                // By an actor before this one, for example, which found the user erased. Whoever said hello may be gone, too.
                Some(code) => drop(reply.send(Err(Failure::new(0, code, "the session ended before it was open")))),
                None => {
                    let peer = session.peer();
                    self.pending.opens.insert(session.id, reply);
                    self.sessions.insert(session.id, session);
                    self.happened(myself, Event::Open { peer, proof: *proof });
                }
            },
            UserMessage::Leave { session } => {
                self.sessions.remove(&session);
                self.pending.opens.remove(&session);
                // What the rules still decide keeps its ticket, and with it the user's budget.
                self.pending.tickets.retain(|(owner, _), (_, asked)| *owner != session || *asked != Asked::Attach);
                self.happened(myself, Event::Closed { session });
            }
            UserMessage::Ask { ticket, ask } => self.ask(myself, ticket, *ask),
            UserMessage::ChangeRoster { change, reply } => {
                self.pending.last_call += 1;
                let call = CallId(self.pending.last_call);
                self.pending.calls.insert(call, reply);
                self.happened(myself, Event::ByAccount { call, change: *change });
            }
            UserMessage::Stored(event) => {
                // A head that was acquired is durable, whoever committed it.
                if let Event::Acquired { outcome: AcquireOutcome::Won(head), .. } = &*event {
                    self.durable = head.seq;
                }
                self.happened(myself, *event);
            }
            UserMessage::Persisted { event, head } => {
                if let Event::Persisted { outcome: CommitOutcome::Durable, .. } = &*event {
                    self.durable = head;
                }
                self.happened(myself, *event);
            }
            UserMessage::Erased => self.happened(myself, Event::Erased),
            UserMessage::Wake { at_ms } if self.wake_at_ms == Some(at_ms) => {
                self.wake_at_ms = None;
                self.happened(myself, Event::Wake);
            }
            // The rules have named another time since.
            UserMessage::Wake { .. } => {}
            UserMessage::Passivate if self.rules.is_idle() => self.stop(myself, Feeds::Intact),
            // It has work: the region will ask again.
            UserMessage::Passivate => {}
            UserMessage::Finish => self.course = Course::Finishing,
            UserMessage::CutOff => {
                self.pending = Pending::default();
                self.stop(myself, Feeds::Interrupted);
            }
            #[cfg(test)]
            UserMessage::Panic => panic!("a user actor dies for a test"),
        }
    }

    fn ask(&mut self, myself: &ActorRef<UserMessage>, ticket: Ticket, ask: Ask) {
        let session = &ticket.session;
        if session.queue.ending().is_some() {
            // Its answer would go nowhere.
            return;
        }
        let peer = session.peer();
        self.sessions.entry(session.id).or_insert_with(|| Arc::clone(session));
        self.pending.tickets.insert((session.id, ticket.request), (ticket, Asked::from(&ask)));
        let event = match ask {
            Ask::Attach(attach) => Event::Attach { peer, attach },
            Ask::Claim(claim) => Event::Claim { peer, claim },
            Ask::Push { push, frame_bytes } => Event::Push { peer, push, frame_bytes },
            Ask::ChangeRoster(change) => Event::ChangeRoster { peer, change },
        };
        self.happened(myself, event);
    }

    /// Tells the rules, and carries out what they ask.
    fn happened(&mut self, myself: &ActorRef<UserMessage>, event: Event) {
        self.of_user.touch();
        let now_ms = self.shared.clock.now_ms();
        let stable = self.rules.head().map(|head| head.seq);
        let effects = self.rules.handle(now_ms, event);
        self.carry_out(myself, effects, stable);
        if let Some(head_at) = self.rules.head_at() {
            self.of_user.set_head_at(head_at);
        }
        self.schedule_wake(myself, now_ms);
    }

    /// Only an owner that can't reach the store waits, so this is no timer per actor.
    fn schedule_wake(&mut self, myself: &ActorRef<UserMessage>, now_ms: u64) {
        let Some(at_ms) = self.rules.wake_at_ms().filter(|at_ms| self.wake_at_ms != Some(*at_ms)) else { return };
        self.wake_at_ms = Some(at_ms);
        let user = myself.clone();
        let wait = std::time::Duration::from_millis(at_ms.saturating_sub(now_ms));
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // An actor that stopped meanwhile needs no waking.
            let _ = user.send_message(UserMessage::Wake { at_ms });
        });
    }

    /// No message is begun any more; those that still come are left to the next actor.
    pub(crate) fn stop(&mut self, myself: &ActorRef<UserMessage>, feeds: Feeds) {
        self.course = Course::Stopping(feeds);
        // *Drain*, not *stop*: a stop would overtake, and lose, what is queued.
        let _ = myself.drain();
    }
}
