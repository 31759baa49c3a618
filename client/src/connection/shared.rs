//! What the tasks of one connection share: who waits for which answer, credit, events, and how it ended.
//!
//! Never: more unanswered than the server allows, or an answer to nobody taken for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cloudsync_protocol::frame::{GoingAway, Pong, Welcome};
use cloudsync_protocol::limits::{FRAME_BYTES_MAX, UNANSWERED_BYTES_MAX, UNANSWERED_REQUESTS_MAX};
use cloudsync_protocol::{Failure, Frame, codec};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::Error;
use super::events::EventQueue;
use super::route::{Route, SessionEvent, route};
use super::vigil::Unanswered;

/// Frames that wait to be written; requests wait for credit before, so this only smooths.
pub(crate) const OUTGOING_FRAMES_MAX: usize = UNANSWERED_REQUESTS_MAX + 4;

/// Leave to have one request unanswered.
#[derive(Debug)]
pub(crate) struct Credit(#[expect(dead_code, reason = "held, and given back when dropped")] [OwnedSemaphorePermit; 2]);

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) events: EventQueue,
    requests: Arc<Semaphore>,
    request_bytes: Arc<Semaphore>,
    /// Something was asked.
    asked: Notify,
    /// The server is to be asked whether it is there.
    ask: Notify,
    /// Whether the server owes an answer and has said nothing for long.
    silent: watch::Sender<bool>,
    outgoing: mpsc::Sender<Bytes>,
    ended: watch::Sender<Option<Error>>,
}

#[derive(Debug, Default)]
struct State {
    last_request: u32,
    answers: HashMap<u32, (oneshot::Sender<Result<Frame, Error>>, Credit)>,
    welcome: Option<oneshot::Sender<Result<Welcome, Error>>>,
    /// What the server said before it closes.
    leaving: Option<GoingAway>,
}

impl Shared {
    pub(crate) fn new(outgoing: mpsc::Sender<Bytes>) -> Self {
        Self {
            state: Mutex::default(),
            events: EventQueue::default(),
            requests: Arc::new(Semaphore::new(UNANSWERED_REQUESTS_MAX)),
            request_bytes: Arc::new(Semaphore::new(UNANSWERED_BYTES_MAX)),
            asked: Notify::new(),
            ask: Notify::new(),
            silent: watch::Sender::new(false),
            outgoing,
            ended: watch::Sender::new(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers and encodes a request, and waits until it may be unanswered.
    pub(crate) async fn prepare(&self, frame: impl FnOnce(u32) -> Frame) -> Result<(u32, Bytes, Credit), Error> {
        let request = {
            let mut state = self.state();
            // 0 is the connection's; a connection does not live for 2^32 requests, but a wrap must not hit it.
            state.last_request = state.last_request.checked_add(1).unwrap_or(1);
            state.last_request
        };
        let bytes = Bytes::from(codec::encode(&frame(request)));
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(Error::Protocol(format!("a request of {} B, allowed are {FRAME_BYTES_MAX} B", bytes.len())));
        }
        let permits = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let closed = |_| self.broken();
        let one = Arc::clone(&self.requests).acquire_owned().await.map_err(closed)?;
        let sized = Arc::clone(&self.request_bytes).acquire_many_owned(permits).await.map_err(closed)?;
        self.asked.notify_one();
        Ok((request, bytes, Credit([one, sized])))
    }

    /// Asks on the control stream. When the caller stops waiting, the answer is still awaited here and dropped.
    pub(crate) async fn request(&self, frame: impl FnOnce(u32) -> Frame) -> Result<Frame, Error> {
        let (request, bytes, credit) = self.prepare(frame).await?;
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if let Some(error) = self.ended.borrow().clone() {
                return Err(error);
            }
            state.answers.insert(request, (sender, credit));
        }
        self.send(bytes).await?;
        answer.await.unwrap_or_else(|_| Err(self.broken()))
    }

    /// Sends hello and waits to be welcomed.
    pub(crate) async fn hello(&self, frame: &Frame) -> Result<Welcome, Error> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if let Some(error) = self.ended.borrow().clone() {
                return Err(error);
            }
            state.welcome = Some(sender);
        }
        self.asked.notify_one();
        self.send(codec::encode(frame).into()).await?;
        answer.await.unwrap_or_else(|_| Err(self.broken()))
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Error> {
        self.outgoing.send(bytes).await.map_err(|_| self.broken())
    }

    /// What the server has still to answer, on whichever stream it was asked.
    pub(crate) fn unanswered(&self) -> Unanswered {
        let is_greeting = self.state().welcome.is_some();
        if is_greeting || self.unanswered_bytes() > 0 { Unanswered::Something } else { Unanswered::Nothing }
    }

    /// How much the unanswered requests are.
    pub(crate) fn unanswered_bytes(&self) -> usize {
        UNANSWERED_BYTES_MAX.saturating_sub(self.request_bytes.available_permits())
    }

    /// Waits until something is asked.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Asks whether the other side is there, as soon as what is being written is.
    pub(crate) fn ask(&self) {
        self.ask.notify_one();
    }

    /// Waits until that is to be asked.
    pub(crate) async fn to_ask(&self) {
        self.ask.notified().await;
    }

    /// Notes whether the server owes an answer and says nothing.
    pub(crate) fn note_silence(&self, is_silent: bool) {
        self.silent.send_if_modified(|silent| std::mem::replace(silent, is_silent) != is_silent);
    }

    /// Whether it does, as it changes.
    pub(crate) fn silence(&self) -> watch::Receiver<bool> {
        self.silent.subscribe()
    }

    /// Takes one frame of the server in. An error ends the connection.
    pub(crate) async fn receive(&self, bytes: &Bytes) -> Result<(), Error> {
        let frame: Frame = codec::decode(bytes).map_err(|error| Error::Protocol(error.to_string()))?;
        match route(frame) {
            Route::Answer(request, frame) => {
                let waiting = self.state().answers.remove(&request);
                let (sender, credit) =
                    waiting.ok_or_else(|| Error::Protocol(format!("an answer to request {request}, which waits for none")))?;
                drop(credit);
                // Whoever asked may have stopped waiting.
                drop(sender.send(refusal(frame)));
                Ok(())
            }
            Route::Welcome(welcome) => {
                let waiting = self.state().welcome.take();
                let waiting = waiting.ok_or_else(|| Error::Protocol("a welcome without a hello".to_owned()))?;
                drop(waiting.send(Ok(welcome)));
                Ok(())
            }
            Route::Event(event) => {
                if let SessionEvent::GoingAway(going) = &event {
                    self.state().leaving = Some(going.clone());
                }
                self.events.put(event, bytes.len());
                Ok(())
            }
            Route::Ping(number) => self.send(codec::encode(&Frame::from(Pong { number })).into()).await,
            Route::Pong => Ok(()),
            Route::Fatal(failure) => Err(failure.into()),
            Route::Misplaced(name) => Err(Error::Protocol(format!("{name} from a server, or now"))),
        }
    }

    /// Ends the connection for everyone who waits; the first reason stays. A server that said that it leaves had one.
    pub(crate) fn end(&self, error: &Error) {
        let (answers, welcome) = {
            let mut state = self.state();
            let left = state.leaving.take().filter(|_| matches!(error, Error::Closed(_)));
            let error = left.map_or_else(|| error.clone(), |going| left_by_the_server(going).into());
            self.ended.send_if_modified(|ended| {
                let first = ended.is_none();
                if first {
                    *ended = Some(error.clone());
                }
                first
            });
            (std::mem::take(&mut state.answers), state.welcome.take())
        };
        let error = self.ended.borrow().clone().unwrap_or_else(|| error.clone());
        for (sender, _) in answers.into_values() {
            drop(sender.send(Err(error.clone())));
        }
        if let Some(sender) = welcome {
            drop(sender.send(Err(error)));
        }
        self.requests.close();
        self.request_bytes.close();
    }

    /// Why it ended, once it has.
    pub(crate) async fn ended(&self) -> Error {
        let mut ended = self.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| self.broken())
    }

    fn broken(&self) -> Error {
        self.ended.borrow().clone().unwrap_or_else(|| Error::Closed("it broke".to_owned()))
    }
}

fn left_by_the_server(going: GoingAway) -> Failure {
    Failure::new(0, going.code, going.message).retry_after(going.retry_after_ms)
}

/// An answer, or the refusal that it is.
pub(crate) fn refusal(frame: Frame) -> Result<Frame, Error> {
    if let Frame::Failure(failure) = frame { Err(failure.into()) } else { Ok(frame) }
}
