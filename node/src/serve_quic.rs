//! One QUIC connection, from its handshake to its close: control stream, event stream, request streams.
//!
//! Never: answers waiting for a stream that isn't read, beyond a small queue of that stream's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cloudsync_actors::{Answers, Events, Lane, Outgoing, SessionHandle};
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::limits::HELLO_TIMEOUT;
use cloudsync_protocol::statement::Carrier;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::close::Ending;
use crate::framing::{Patience, Sink as _, Source as _, WriteError};
use crate::handshake::refuse;
use crate::metrics::Meters;
use crate::quic::{QuicSink, QuicSource};
use crate::session::{self, begin, read};
use crate::shared::{Connected, Place, Shared};

/// Answers that wait for one request stream; a client that reads them in turn has never more than two pages there.
const LANE_QUEUE_FRAMES_MAX: usize = 32;

const PRIORITY_CONTROL: i32 = 2;
const PRIORITY_EVENTS: i32 = 1;

/// Request streams by number, with the queue of each.
type Lanes = Arc<Mutex<BTreeMap<u64, mpsc::Sender<Outgoing>>>>;

/// Serves it.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, place: Place) {
    let (meters, patience) = (shared.meters(Carrier::Quic).clone(), shared.patience);
    let _connected = Connected::new(Arc::new(place), &meters);
    let Ok(Ok((send, receive))) = tokio::time::timeout(HELLO_TIMEOUT, connection.open_bi()).await else {
        meters.handshake_failed("no_control_stream");
        return close(&connection, Ending::Told(ErrorCode::HelloTimeout));
    };
    // Fails only on a stream that is closed already; reading it says so.
    let _ = send.set_priority(PRIORITY_CONTROL);
    let (mut source, mut sink) = (QuicSource::new(receive, &meters, patience), QuicSink::new(send, &meters, patience));
    let ending = match begin(&shared, Carrier::Quic, &mut source, &mut sink).await {
        Ok((session, outbound)) => {
            let (answers, events) = outbound.split();
            let streams = Streams { connection: &connection, lanes: Lanes::default(), meters: &meters, patience };
            let served = async {
                let written = session::write(&session, patience.close_timeout, streams.write_answers(answers, &mut sink));
                let told = session::write(&session, patience.close_timeout, streams.write_events(events, &session));
                tokio::join!(read(&session, &mut source), written, told)
            };
            let (end, written, _) = tokio::select! {
                done = served => done,
                never = streams.take_lanes(&session) => match never {},
            };
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

fn close(connection: &Connection, ending: Ending) {
    connection.close(VarInt::from_u32(ending.quic()), ending.name().as_bytes());
}

/// What the streams of a session share.
struct Streams<'a> {
    connection: &'a Connection,
    lanes: Lanes,
    meters: &'a Meters,
    patience: Patience,
}

impl Streams<'_> {
    /// Hands each answer to the stream that its request came on, until the session has said all; then why it ended.
    async fn write_answers(&self, mut answers: Answers, control: &mut QuicSink) -> Result<Option<ErrorCode>, WriteError> {
        while let Some(outgoing) = answers.next().await {
            match outgoing.lane {
                Lane::Control | Lane::Events => control.send(outgoing.frame.clone()).await?,
                Lane::Stream(number) => {
                    let queue = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
                    if let Some(queue) = queue {
                        // A stream that its client gave up takes no answer any more.
                        let _ = queue.send(outgoing).await;
                    }
                }
            }
        }
        Ok(answers.ending())
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
        while let Some(outgoing) = events.next().await {
            match sink.send(outgoing.frame.clone()).await {
                Ok(()) => {}
                Err(WriteError::TooSlow) => {
                    return session.fail(ErrorCode::TooSlow, "events were not read for too long: read them, or close");
                }
                Err(WriteError::Lost(why)) => return session.fail(ErrorCode::TooSlow, format!("the event stream was given up: {why}")),
            }
        }
    }

    /// Serves every stream that the client opens. Never ends by itself.
    async fn take_lanes(&self, session: &SessionHandle) -> std::convert::Infallible {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.connection.accept_bi() => match accepted {
                    Ok((send, receive)) => {
                        let lane = RequestStream::new(send, receive, self);
                        tasks.spawn(lane.serve(session.clone()));
                    }
                    // The control stream's reader sees the same.
                    Err(_) => std::future::pending().await,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

/// One stream of the client's own.
struct RequestStream {
    number: u64,
    source: QuicSource,
    sink: QuicSink,
    queue: mpsc::Receiver<Outgoing>,
    lanes: Lanes,
}

impl Drop for RequestStream {
    fn drop(&mut self) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl RequestStream {
    fn new(send: SendStream, receive: RecvStream, streams: &Streams<'_>) -> Self {
        let Streams { lanes, meters, patience, .. } = streams;
        let number = send.id().index();
        let (sender, queue) = mpsc::channel(LANE_QUEUE_FRAMES_MAX);
        lanes.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let (source, sink) = (QuicSource::new(receive, meters, *patience), QuicSink::new(send, meters, *patience));
        Self { number, source, sink, queue, lanes: Arc::clone(lanes) }
    }

    /// Takes requests until the client has sent its last, and answers each.
    async fn serve(mut self, session: SessionHandle) {
        let (mut open, mut unanswered) = (true, 0_usize);
        while open || unanswered > 0 {
            tokio::select! {
                next = self.source.next(), if open => match next {
                    Ok(Some(bytes)) => match session::submit(&session, &bytes, Lane::Stream(self.number)) {
                        Ok(()) => unanswered += 1,
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
                    let Some(outgoing) = outgoing else { return };
                    match self.sink.send(outgoing.frame.clone()).await {
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
