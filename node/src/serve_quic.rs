//! One QUIC connection, from its handshake to its close: control stream, event stream, request streams.
//!
//! Never: an answer that waits for its stream and holds no credit, or one that holds up another stream's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cloudsync_actors::{Answers, Events, Lane, Outgoing, SessionHandle};
use cloudsync_protocol::limits::{HELLO_TIMEOUT, UNANSWERED_REQUESTS_MAX};
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{ErrorCode, UserId};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::close::Ending;
use crate::framing::{Patience, Sink as _, WriteError};
use crate::handshake::refuse;
use crate::metrics::Meters;
use crate::quic::{QuicSink, QuicSource};
use crate::session::{self, begin, read};
use crate::shared::{Connected, Place, Shared};
use crate::throttle::Visitor;

/// Answers that wait for one request stream: no more than all that a session may have unbegun, which are those of its
/// unanswered requests and as many refusals and pongs.
const LANE_QUEUE_FRAMES_MAX: usize = 2 * UNANSWERED_REQUESTS_MAX;

const PRIORITY_CONTROL: i32 = 2;
const PRIORITY_EVENTS: i32 = 1;

/// Request streams by number, with the queue of each.
type Lanes = Arc<Mutex<BTreeMap<u64, mpsc::Sender<Outgoing>>>>;

/// Serves it.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, place: Place) {
    let (meters, patience) = (shared.meters(Carrier::Quic).clone(), shared.patience);
    let visitor = place.visitor.clone();
    let _connected = Connected::new(Arc::new(place), &meters);
    let Ok(Ok((send, receive))) = tokio::time::timeout(HELLO_TIMEOUT, connection.open_bi()).await else {
        meters.handshake_failed("no_control_stream");
        return close(&connection, Ending::Told(ErrorCode::HelloTimeout));
    };
    // Fails only on a stream that is closed already; reading it says so.
    let _ = send.set_priority(PRIORITY_CONTROL);
    let (mut source, mut sink) = (QuicSource::new(receive, &meters, patience), QuicSink::new(send, &meters, patience));
    let ending = match begin(&shared, (Carrier::Quic, &visitor), &mut source, &mut sink).await {
        Ok((session, outbound)) => {
            let (answers, events) = outbound.split();
            let (lanes, said_all) = (Lanes::default(), CancellationToken::new());
            let streams = Streams { connection: &connection, lanes, said_all, meters: &meters, patience, visitor: &visitor };
            let written = session::write(&session, patience.close_timeout, streams.write(answers, &mut sink, &session));
            let told = session::write(&session, patience.close_timeout, streams.write_events(events, &session));
            let (end, written, _) = tokio::join!(read((&session, &visitor), &mut source), written, told);
            let ending = Ending::of_session(end, written.unwrap_or_else(|| Ok(session.ending())));
            meters.session_closed(ending.name());
            ending
        }
        Err(refusal) => refuse(refusal, &mut sink, &meters, patience.close_timeout).await,
    };
    // Closing throws away what is not acknowledged; the last words must arrive first.
    let _ = tokio::time::timeout(patience.close_timeout, sink.finish()).await;
    close(&connection, ending);
}

pub(crate) fn close(connection: &Connection, ending: Ending) {
    connection.close(VarInt::from_u32(ending.quic()), ending.name().as_bytes());
}

/// What the streams of a session share.
struct Streams<'a> {
    connection: &'a Connection,
    lanes: Lanes,
    /// Every answer of the session was handed to its stream.
    said_all: CancellationToken,
    meters: &'a Meters,
    patience: Patience,
    visitor: &'a Visitor,
}

impl Streams<'_> {
    /// Answers on the control stream and on the client's, until the session has said all; then why it ended. A control stream
    /// that takes no answer ends it at once.
    async fn write(&self, answers: Answers, control: &mut QuicSink, session: &SessionHandle) -> Result<Option<ErrorCode>, WriteError> {
        let lanes = async {
            self.serve_lanes(session).await;
            Ok(())
        };
        let (ending, ()) = tokio::try_join!(self.write_answers(answers, control, session.user()), lanes)?;
        Ok(ending)
    }

    /// Hands each answer to the stream that its request came on.
    async fn write_answers(&self, mut answers: Answers, control: &mut QuicSink, user: UserId) -> Result<Option<ErrorCode>, WriteError> {
        while let Some(mut outgoing) = answers.next().await {
            match outgoing.lane {
                Lane::Control | Lane::Events => {
                    let answer = outgoing.begin();
                    self.visitor.is_answered(user, answer.len());
                    control.send(answer).await?;
                }
                Lane::Stream(number) => self.hand_over(number, outgoing),
            }
        }
        self.said_all.cancel();
        Ok(answers.ending())
    }

    fn hand_over(&self, number: u64, outgoing: Outgoing) {
        let queue = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        // A stream that its client gave up takes no answer any more.
        let Some(queue) = queue else { return };
        match queue.try_send(outgoing) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => unreachable!("credit admits no more than a lane's queue holds"),
        }
    }

    /// Writes events to a stream of their own, which the client must allow within [`HELLO_TIMEOUT`].
    async fn write_events(&self, mut events: Events, session: &SessionHandle) {
        let opened = tokio::select! {
            () = session.ended() => return,
            opened = tokio::time::timeout(HELLO_TIMEOUT, self.connection.open_uni()) => opened,
        };
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            // The control stream's reader sees the same.
            Ok(Err(_)) => return,
            Err(_) => return session.fail(ErrorCode::HelloTimeout, "no stream for events: allow the node a unidirectional one"),
        };
        // Fails only on a stream that is closed already; writing to it says so.
        let _ = stream.set_priority(PRIORITY_EVENTS);
        let mut sink = QuicSink::new(stream, self.meters, self.patience);
        while let Some(mut outgoing) = events.next().await {
            match sink.send(outgoing.begin()).await {
                Ok(()) => {}
                Err(WriteError::TooSlow) => {
                    return session.fail(ErrorCode::TooSlow, "events were not read for too long: read them, or close");
                }
                Err(WriteError::Lost(why)) => return session.fail(ErrorCode::TooSlow, format!("the event stream was given up: {why}")),
            }
        }
    }

    /// Serves every stream that the client opens, until the session has said all and they have written what waited for them.
    async fn serve_lanes(&self, session: &SessionHandle) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                () = self.said_all.cancelled() => break,
                accepted = self.connection.accept_bi() => match accepted {
                    Ok((send, receive)) => {
                        let lane = RequestStream::new(send, receive, self);
                        tasks.spawn(lane.serve(session.clone()));
                    }
                    // The control stream's reader sees the same.
                    Err(_) => self.said_all.cancelled().await,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        // A lane whose queue is closed ends when it is empty.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        while tasks.join_next().await.is_some() {}
    }
}

/// One stream of the client's own.
struct RequestStream {
    number: u64,
    source: QuicSource,
    sink: QuicSink,
    queue: mpsc::Receiver<Outgoing>,
    lanes: Lanes,
    visitor: Visitor,
}

impl Drop for RequestStream {
    fn drop(&mut self) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl RequestStream {
    fn new(send: SendStream, receive: RecvStream, streams: &Streams<'_>) -> Self {
        let Streams { lanes, meters, patience, visitor, .. } = streams;
        let number = send.id().index();
        let (sender, queue) = mpsc::channel(LANE_QUEUE_FRAMES_MAX);
        lanes.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let (source, sink) = (QuicSource::new(receive, meters, *patience), QuicSink::new(send, meters, *patience));
        Self { number, source, sink, queue, lanes: Arc::clone(lanes), visitor: (*visitor).clone() }
    }

    /// Takes requests until the client has sent its last, or the session has said all, and answers each.
    async fn serve(mut self, session: SessionHandle) {
        let (mut open, mut unanswered, mut read_at) = (true, 0_usize, None);
        while open || unanswered > 0 {
            tokio::select! {
                next = session::next(&mut self.source, read_at), if open => match next {
                    Ok(Some(bytes)) => match session::submit((&session, &self.visitor), &bytes, Lane::Stream(self.number)) {
                        Ok(at) => (unanswered, read_at) = (unanswered + 1, at),
                        Err(_) => return,
                    },
                    Ok(None) => open = false,
                    // A stream that is reset is the client's right: it wants the answers no more.
                    Err(error) => {
                        session::end_unread(&session, error);
                        return;
                    }
                },
                outgoing = self.queue.recv() => {
                    let Some(mut outgoing) = outgoing else { break };
                    let answer = outgoing.begin();
                    self.visitor.is_answered(session.user(), answer.len());
                    match self.sink.send(answer).await {
                        Ok(()) => unanswered = unanswered.saturating_sub(1),
                        Err(WriteError::TooSlow) => {
                            return session.fail(ErrorCode::TooSlow, "answers were not read for too long: read them, or close");
                        }
                        Err(WriteError::Lost(_)) => return,
                    }
                }
            }
        }
        self.sink.finish().await;
    }
}
