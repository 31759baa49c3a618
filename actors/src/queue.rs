//! What waits for one session's socket: answers first and never dropped, then events, then the reason why it ends.
//!
//! Never: waiting for a reader. Answers are bounded by credit, events by their queue; overflow has a name, *lagging*.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cloudsync_engine::session::{self, Attachment, CreditError, EventQueue, Offered, Peer, TokenState};
use cloudsync_protocol::frame::{Lagging, OWN_LOG};
use cloudsync_protocol::limits::UNANSWERED_REQUESTS_MAX;
use cloudsync_protocol::{ErrorCode, Frame, Seq, codec};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::metrics::Meters;
use crate::outbound::{Held, Lane, Outgoing};
use crate::permits::{NodeRoom, PageSlot};

/// Encodes a frame: once, whoever gets it.
pub(crate) fn encode(frame: &Frame) -> Bytes {
    codec::encode(frame).into()
}

/// The request id of answers that nothing with credit asked for.
const UNASKED: u32 = 0;

/// An answer on its way, with what it holds.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) lane: Lane,
    pub(crate) frame: Bytes,
    /// The request, whose credit is given back when the writer begins to write the answer.
    pub(crate) request: u32,
    /// Its part of the node's budget, given back at the same time.
    pub(crate) room: Option<NodeRoom>,
    /// A page's place.
    pub(crate) page: Option<PageSlot>,
}

#[derive(Debug)]
struct State {
    rules: session::Session<Bytes>,
    answers: VecDeque<Answer>,
    /// Pongs and refusals among the answers, those that are taken and not begun with them: they hold no credit, so they have a
    /// bound of their own.
    unasked: usize,
    last_event: Instant,
    ending: Option<ErrorCode>,
    last_frame: Option<Bytes>,
}

/// The one queue of a session, shared by its actors and its writer.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    pub(crate) answers_ready: Notify,
    pub(crate) events_ready: Notify,
    ending: watch::Sender<bool>,
    meters: Arc<Meters>,
}

/// More pongs and refusals wait than a client that listens lets wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unheard;

impl Queue {
    pub(crate) fn new(peer: Peer, token_expires_ts: u64, meters: Arc<Meters>) -> Self {
        let state = State {
            rules: session::Session::new(peer, token_expires_ts),
            answers: VecDeque::new(),
            unasked: 0,
            last_event: Instant::now(),
            ending: None,
            last_frame: None,
        };
        let (ending, _) = watch::channel(false);
        Self { state: Mutex::new(state), answers_ready: Notify::new(), events_ready: Notify::new(), ending, meters }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request's credit, until its answer begins to be written.
    pub(crate) fn admit(&self, request: u32, bytes: usize) -> Result<(), CreditError> {
        self.lock().rules.credit.take(request, bytes)
    }

    /// Gives the credit of a request back that is refused without an answer of its own.
    pub(crate) fn withdraw(&self, request: u32) {
        self.lock().rules.credit.answered(request);
    }

    /// Queues an answer.
    pub(crate) fn answer(&self, answer: Answer) {
        self.push_answer(&mut self.lock(), answer);
        self.answers_ready.notify_one();
    }

    /// Queues a pong or a refusal.
    pub(crate) fn answer_unasked(&self, lane: Lane, frame: Bytes) -> Result<(), Unheard> {
        {
            let mut state = self.lock();
            if state.unasked >= UNANSWERED_REQUESTS_MAX {
                return Err(Unheard);
            }
            state.unasked += 1;
            self.push_answer(&mut state, Answer { lane, frame, request: UNASKED, room: None, page: None });
        }
        self.answers_ready.notify_one();
        Ok(())
    }

    /// Queues the answer to *attach* and opens the feed anew: what waited before is of an earlier attachment.
    pub(crate) fn answer_attached(&self, answer: Answer) {
        {
            let mut state = self.lock();
            self.meters.queue_frames.decrement(state.rules.events.len() as f64);
            state.rules.events.attach();
            state.last_event = Instant::now();
            self.push_answer(&mut state, answer);
        }
        self.answers_ready.notify_one();
    }

    /// Offers an event that brings the session to `head`; without room, all that waits goes and the session is lagging.
    pub(crate) fn offer(&self, event: &Bytes, head: Seq) {
        self.with_events(|state| {
            if state.rules.events.offer(event.clone(), event.len(), head) == Offered::Overflowed {
                self.meters.lagging.increment(1);
            }
        });
    }

    /// Queues a keep-alive if the session is attached, nothing waits and nothing was sent since `idle_since`. Returns from
    /// when on to count the next interval.
    pub(crate) fn keep_alive(&self, idle_since: Instant, head: Seq, frame: impl FnOnce() -> Bytes) -> Instant {
        let mut from = Instant::now();
        self.with_events(|state| {
            if state.last_event > idle_since {
                from = state.last_event;
            } else if state.rules.events.is_empty() {
                let frame = frame();
                let bytes = frame.len();
                // Nobody has to know that a session which wants no events got no keep-alive.
                let _ = state.rules.events.offer(frame, bytes, head);
            }
        });
        from
    }

    fn with_events(&self, change: impl FnOnce(&mut State)) {
        {
            let mut state = self.lock();
            if state.ending.is_some() {
                return;
            }
            let before = state.rules.events.len();
            change(&mut state);
            let after = state.rules.events.len();
            if after > before {
                state.last_event = Instant::now();
            }
            self.meters.queue_frames.increment(after as f64 - before as f64);
        }
        self.events_ready.notify_one();
    }

    /// Ends the session: nothing is queued from now on; the answers that wait go out, then `last_frame`, then it is over.
    /// Only the first call counts.
    pub(crate) fn end(&self, code: ErrorCode, last_frame: Option<Bytes>) {
        {
            let mut state = self.lock();
            if state.ending.is_some() {
                return;
            }
            state.ending = Some(code);
            if last_frame.is_some() {
                self.meters.refused(code);
            }
            state.last_frame = last_frame;
            self.meters.queue_frames.decrement(state.rules.events.len() as f64);
            state.rules.events = EventQueue::default();
        }
        self.ending.send_replace(true);
        self.answers_ready.notify_one();
        self.events_ready.notify_one();
    }

    /// Ends the session and drops what waits: nobody will write it.
    pub(crate) fn abandon(&self) {
        self.end(ErrorCode::GoingAway, None);
        let mut state = self.lock();
        self.meters.queue_frames.decrement(state.answers.len() as f64);
        state.answers.clear();
        state.last_frame = None;
    }

    /// Whether events are queued for it.
    pub(crate) fn attachment(&self) -> Attachment {
        self.lock().rules.events.attachment()
    }
    /// Until when the session's token holds, in milliseconds since the epoch.
    pub(crate) fn token_expires_ts(&self) -> u64 {
        self.lock().rules.token_expires_ts()
    }
    /// Whether its token holds.
    pub(crate) fn token(&self, now_ms: u64) -> TokenState {
        self.lock().rules.token(now_ms)
    }
    /// It showed a fresh token; returns until when the session's holds now.
    pub(crate) fn authenticated(&self, token_expires_ts: u64) -> u64 {
        let mut state = self.lock();
        state.rules.authenticated(token_expires_ts);
        state.rules.token_expires_ts()
    }

    pub(crate) fn ending(&self) -> Option<ErrorCode> {
        self.lock().ending
    }

    /// Resolves once the session ends.
    pub(crate) async fn ended(&self) {
        let mut ending = self.ending.subscribe();
        // The sender lives as long as this queue: the error can't come.
        let _ = ending.wait_for(|ending| *ending).await;
    }

    fn push_answer(&self, state: &mut State, answer: Answer) {
        if state.ending.is_none() {
            state.answers.push_back(answer);
            self.meters.queue_frames.increment(1.0);
        }
    }

    /// An answer that was taken begins to be written, or never will be.
    pub(crate) fn release(&self, request: u32) {
        self.meters.queue_frames.decrement(1.0);
        let mut state = self.lock();
        if request == UNASKED {
            state.unasked -= 1;
        } else {
            state.rules.credit.answered(request);
        }
    }

    fn take_answer(self: &Arc<Self>, state: &mut State) -> Taken {
        if let Some(Answer { lane, frame, request, room, page }) = state.answers.pop_front() {
            let held = Held { queue: Arc::clone(self), request, room };
            return Taken::Frame(Outgoing { lane, frame, held: Some(held), page });
        }
        if state.ending.is_none() {
            return Taken::Nothing;
        }
        state.last_frame.take().map_or(Taken::Ended, |frame| Taken::Frame(Outgoing { lane: Lane::Control, frame, held: None, page: None }))
    }

    fn take_event(&self, state: &mut State) -> Taken {
        if state.ending.is_some() {
            return Taken::Ended;
        }
        let frame = match state.rules.events.pop() {
            Some(session::Outgoing::Event(frame)) => frame,
            Some(session::Outgoing::Lagging { head }) => encode(&Lagging { log: OWN_LOG, head }.into()),
            None => return Taken::Nothing,
        };
        self.meters.queue_frames.decrement(1.0);
        Taken::Frame(Outgoing { lane: Lane::Events, frame, held: None, page: None })
    }

    pub(crate) fn next_answer(self: &Arc<Self>) -> Taken {
        self.take_answer(&mut self.lock())
    }

    pub(crate) fn next_event(&self) -> Taken {
        self.take_event(&mut self.lock())
    }

    /// Under one lock, so that an event never overtakes the answer that it follows.
    pub(crate) fn next_any(self: &Arc<Self>) -> Taken {
        let mut state = self.lock();
        match self.take_answer(&mut state) {
            Taken::Nothing => self.take_event(&mut state),
            taken @ (Taken::Frame(_) | Taken::Ended) => taken,
        }
    }
}

/// What the writer finds.
#[derive(Debug)]
pub(crate) enum Taken {
    Frame(Outgoing),
    Nothing,
    Ended,
}
