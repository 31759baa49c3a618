//! What waits for one session's socket: answers first and never dropped, then events, then the reason why it ends.
//!
//! Never: waiting for a reader. Answers are bounded by credit, events by their queue; overflow has a name, *lagging*.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::limits::{DEVICE_QUEUE_BYTES_MAX, DEVICE_QUEUE_FRAMES_MAX};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Meters;
use crate::permits::{Credit, PageSlot};

/// Which stream of a connection. A WebSocket has only one; there it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The control stream.
    Control,
    /// The server's event stream; nothing comes in on it.
    Events,
    /// A stream that the client opened for requests, by the carrier's number.
    Stream(u64),
}

/// One frame for the socket. Hold it until the frame is written: a page's place in memory is given back when it is dropped.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to write it.
    pub lane: Lane,
    /// The frame, encoded.
    pub frame: Bytes,
    page: Option<PageSlot>,
}

impl Outgoing {
    /// Whether this is a page, which holds one of the session's few places until it is dropped.
    #[must_use]
    pub const fn is_page(&self) -> bool {
        self.page.is_some()
    }
}

/// Whether a session is on its log's fan-out list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    /// It did not ask for events.
    Detached,
    /// Events are queued for it.
    Attached,
    /// Its queue overflowed: events are dropped until it attaches again.
    Lagging,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It waits for the socket.
    Queued,
    /// The queue is full: it and all that waited are dropped, the session is lagging from now on.
    Overflowed,
    /// The session wants no events at present.
    Skipped,
}

/// An answer on its way, with what it holds.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) lane: Lane,
    pub(crate) frame: Bytes,
    /// The request's; nothing for what no request asked for.
    pub(crate) credit: Option<Credit>,
    /// A page's.
    pub(crate) page: Option<PageSlot>,
}

#[derive(Debug)]
struct State {
    answers: VecDeque<Answer>,
    events: VecDeque<Bytes>,
    events_bytes: usize,
    feed: Feed,
    last_event: Instant,
    ending: Option<ErrorCode>,
    last_frame: Option<Bytes>,
}

/// The one queue of a session, shared by its actors and its writer.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    answers_ready: Notify,
    events_ready: Notify,
    ending: tokio::sync::watch::Sender<bool>,
    meters: Arc<Meters>,
}

impl Queue {
    pub(crate) fn new(meters: Arc<Meters>) -> Self {
        let state = State {
            answers: VecDeque::new(),
            events: VecDeque::new(),
            events_bytes: 0,
            feed: Feed::Detached,
            last_event: Instant::now(),
            ending: None,
            last_frame: None,
        };
        let (ending, _) = tokio::sync::watch::channel(false);
        Self { state: Mutex::new(state), answers_ready: Notify::new(), events_ready: Notify::new(), ending, meters }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an answer; its credit is given back when the writer takes it.
    pub(crate) fn answer(&self, answer: Answer) {
        self.push_answer(&mut self.lock(), answer);
        self.answers_ready.notify_one();
    }

    /// Queues the answer to *attach* and opens the feed anew: what waited before is of an earlier attachment.
    pub(crate) fn answer_attached(&self, answer: Answer) {
        {
            let mut state = self.lock();
            self.clear_events(&mut state);
            state.feed = Feed::Attached;
            state.last_event = Instant::now();
            self.push_answer(&mut state, answer);
        }
        self.answers_ready.notify_one();
    }

    /// Offers an event. `lagging` is the frame to send instead of all that waits when there is no room.
    pub(crate) fn offer(&self, event: &Bytes, lagging: impl FnOnce() -> Bytes) -> Offered {
        let offered = {
            let mut state = self.lock();
            if state.feed != Feed::Attached || state.ending.is_some() {
                return Offered::Skipped;
            }
            if state.events.len() < DEVICE_QUEUE_FRAMES_MAX && state.events_bytes + event.len() <= DEVICE_QUEUE_BYTES_MAX {
                self.push_event(&mut state, event.clone());
                Offered::Queued
            } else {
                self.lag(&mut state, lagging());
                Offered::Overflowed
            }
        };
        self.events_ready.notify_one();
        offered
    }

    /// Marks an attached session as lagging, as if its queue had overflowed. Says whether it was attached.
    pub(crate) fn mark_lagging(&self, lagging: impl FnOnce() -> Bytes) -> bool {
        {
            let mut state = self.lock();
            if state.feed != Feed::Attached || state.ending.is_some() {
                return false;
            }
            self.lag(&mut state, lagging());
        }
        self.events_ready.notify_one();
        true
    }

    /// Queues a keep-alive if the feed is open, nothing waits and nothing was sent since `idle_since`. Returns from when on to count the next
    /// interval.
    pub(crate) fn keep_alive(&self, idle_since: Instant, frame: impl FnOnce() -> Bytes) -> Instant {
        let last_event = {
            let mut state = self.lock();
            if state.last_event > idle_since {
                return state.last_event;
            }
            if state.feed != Feed::Attached || !state.events.is_empty() || state.ending.is_some() {
                return Instant::now();
            }
            self.push_event(&mut state, frame());
            state.last_event
        };
        self.events_ready.notify_one();
        last_event
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
            state.last_frame = last_frame;
            self.clear_events(&mut state);
        }
        self.ending.send_replace(true);
        self.answers_ready.notify_one();
        self.events_ready.notify_one();
    }

    /// Ends the session without a word: its connection is gone.
    pub(crate) fn abandon(&self) {
        self.end(ErrorCode::GoingAway, None);
        let mut state = self.lock();
        self.meters.queue_frames.decrement(state.answers.len() as f64);
        state.answers.clear();
        state.last_frame = None;
    }

    pub(crate) fn feed(&self) -> Feed {
        self.lock().feed
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

    fn push_event(&self, state: &mut State, event: Bytes) {
        state.events_bytes += event.len();
        state.events.push_back(event);
        state.last_event = Instant::now();
        self.meters.queue_frames.increment(1.0);
    }

    fn clear_events(&self, state: &mut State) {
        self.meters.queue_frames.decrement(state.events.len() as f64);
        state.events.clear();
        state.events_bytes = 0;
    }

    fn lag(&self, state: &mut State, frame: Bytes) {
        self.clear_events(state);
        self.push_event(state, frame);
        state.feed = Feed::Lagging;
        self.meters.lagging.increment(1);
    }

    fn take_answer(&self, state: &mut State) -> Taken {
        if let Some(Answer { lane, frame, credit, page }) = state.answers.pop_front() {
            self.meters.queue_frames.decrement(1.0);
            // Given back before the bytes are on the wire: a client that keeps every request in use must never find one taken.
            drop(credit);
            return Taken::Frame(Outgoing { lane, frame, page });
        }
        if state.ending.is_none() {
            return Taken::Nothing;
        }
        state.last_frame.take().map_or(Taken::Ended, |frame| Taken::Frame(Outgoing { lane: Lane::Control, frame, page: None }))
    }

    fn take_event(&self, state: &mut State) -> Taken {
        if state.ending.is_some() {
            return Taken::Ended;
        }
        state.events.pop_front().map_or(Taken::Nothing, |frame| {
            state.events_bytes -= frame.len();
            self.meters.queue_frames.decrement(1.0);
            Taken::Frame(Outgoing { lane: Lane::Events, frame, page: None })
        })
    }

    /// Under one lock, so that an event never overtakes the answer that it follows.
    fn take_any(&self, state: &mut State) -> Taken {
        match self.take_answer(state) {
            Taken::Nothing => self.take_event(state),
            taken @ (Taken::Frame(_) | Taken::Ended) => taken,
        }
    }
}

#[derive(Debug)]
enum Taken {
    Frame(Outgoing),
    Nothing,
    Ended,
}

/// The frames for one session's socket. Dropping it ends the session.
#[derive(Debug)]
pub struct Outbound {
    answers: Answers,
    events: Events,
}

impl Outbound {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { answers: Answers { queue: Arc::clone(&queue) }, events: Events { queue } }
    }

    /// The next frame: answers first, then events, then the frame that says why the session ends. `None`: close the
    /// connection now. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Outgoing> {
        let queue = &self.answers.queue;
        loop {
            let (answers, events) = (queue.answers_ready.notified(), queue.events_ready.notified());
            match queue.take_any(&mut queue.lock()) {
                Taken::Frame(outgoing) => return Some(outgoing),
                Taken::Ended => return None,
                Taken::Nothing => {}
            }
            tokio::select! { () = answers => {} () = events => {} }
        }
    }

    /// Why the session ended, once `next` has returned `None`.
    #[must_use]
    pub fn ending(&self) -> Option<ErrorCode> {
        self.answers.ending()
    }

    /// For a carrier with streams: two halves, so that an event stream that is not read holds up no answer.
    #[must_use]
    pub fn split(self) -> (Answers, Events) {
        (self.answers, self.events)
    }
}

/// The answers, and at last why the session ends.
#[derive(Debug)]
pub struct Answers {
    queue: Arc<Queue>,
}

impl Answers {
    /// The next answer; `None`: close the connection now. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Outgoing> {
        loop {
            let ready = self.queue.answers_ready.notified();
            match self.queue.take_answer(&mut self.queue.lock()) {
                Taken::Frame(outgoing) => return Some(outgoing),
                Taken::Ended => return None,
                Taken::Nothing => ready.await,
            }
        }
    }

    /// Why the session ended, once `next` has returned `None`.
    #[must_use]
    pub fn ending(&self) -> Option<ErrorCode> {
        self.queue.ending()
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// The events.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Events {
    /// The next event; `None` once the session ends. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Outgoing> {
        loop {
            let ready = self.queue.events_ready.notified();
            match self.queue.take_event(&mut self.queue.lock()) {
                Taken::Frame(outgoing) => return Some(outgoing),
                Taken::Ended => return None,
                Taken::Nothing => ready.await,
            }
        }
    }
}
