//! One QUIC connection, from its handshake to its close: control stream, event stream, request streams.
//!
//! Never: answers waiting for a stream that isn't read, beyond a small queue of that stream's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloudsync_actors::{Answers, Events, Lane, Outgoing, SessionHandle};
use cloudsync_protocol::limits::HELLO_TIMEOUT;
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{ErrorCode, Frame, codec};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use crate::close::{self, QUIC_DONE};
use crate::framing::{Sink as _, Source as _, WriteError};
use crate::handshake::{Refusal, greet};
use crate::quic::{QuicSink, QuicSource};
use crate::session::{self, ReadEnd, read};
use crate::shared::{Connected, Place, Shared};
use crate::telemetry::{Meters, label};

/// How long the client may take to acknowledge our last words.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Answers that wait for one request stream; a client that reads them in turn has never more than two pages there.
const LANE_QUEUE_FRAMES_MAX: usize = 32;

const PRIORITY_CONTROL: i32 = 2;
const PRIORITY_EVENTS: i32 = 1;

/// Request streams by number, with the queue of each.
type Lanes = Arc<Mutex<BTreeMap<u64, mpsc::Sender<Outgoing>>>>;

/// Serves it.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, place: Place) {
    let meters = shared.meters(Carrier::Quic).clone();
    let _connected = Connected::new(Arc::new(place), &meters);
    let Ok(Ok((send, receive))) = tokio::time::timeout(HELLO_TIMEOUT, connection.open_bi()).await else {
        meters.handshake_failed("no_control_stream");
        close(&connection, close::quic(ErrorCode::HelloTimeout), "the client allows the server no stream");
        return;
    };
    // Fails only on a stream that is closed already; reading it says so.
    let _ = send.set_priority(PRIORITY_CONTROL);
    let (mut source, mut sink) = (QuicSource::new(receive, &meters), QuicSink::new(send, &meters));
    let opened = match greet(&shared, Carrier::Quic, &mut source, &mut sink).await {
        Ok(greeting) => session::open(&shared, Carrier::Quic, greeting, &mut sink).await,
        Err(refusal) => Err(refusal),
    };
    let (code, why) = match opened {
        Ok((device, outbound)) => {
            let (answers, events) = outbound.split();
            let lanes = Lanes::default();
            let session = async {
                tokio::join!(
                    read(&device, &mut source),
                    write_answers(answers, &mut sink, &lanes),
                    write_events(events, &connection, &device, &meters)
                )
            };
            let (end, written, ()) = tokio::select! {
                done = session => done,
                never = take_lanes(&connection, &device, &lanes, &meters) => match never {},
            };
            let (code, why) = match (end, written) {
                (ReadEnd::Left, _) => (QUIC_DONE, "closed"),
                (ReadEnd::Lost, _) | (ReadEnd::Ended, Err(WriteError::Lost(_))) => (QUIC_DONE, "lost"),
                (ReadEnd::Ended, Err(WriteError::TooSlow)) => (close::quic(ErrorCode::TooSlow), ErrorCode::TooSlow.name()),
                (ReadEnd::Ended, Ok(ending)) => (ending.map_or(QUIC_DONE, close::quic), label(ending)),
            };
            meters.session_closed(why);
            (code, why)
        }
        Err(refusal) => {
            let (code, why) = refuse(refusal, &mut sink).await;
            meters.handshake_failed(why);
            (code, why)
        }
    };
    // Closing throws away what is not acknowledged; the last words must arrive first.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.finish()).await;
    close(&connection, code, why);
}

fn close(connection: &Connection, code: u32, why: &'static str) {
    connection.close(VarInt::from_u32(code), why.as_bytes());
}

/// Says why there is no session.
async fn refuse(refusal: Refusal, sink: &mut QuicSink) -> (u32, &'static str) {
    match refusal {
        Refusal::Left => (QUIC_DONE, "closed"),
        Refusal::Lost(why) => {
            debug!(why, "connection lost before hello");
            (QUIC_DONE, "lost")
        }
        Refusal::Tell(failure) => {
            let code = failure.code;
            cloudsync_actors::metrics::refused(code);
            debug!(%code, message = failure.message, "connection refused");
            // Whether it arrives or not, the connection is closed with the same code.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(codec::encode(&Frame::from(failure)).into())).await;
            (close::quic(code), code.name())
        }
    }
}

/// Hands each answer to the stream that its request came on, until the session has said all; then why it ended.
async fn write_answers(mut answers: Answers, control: &mut QuicSink, lanes: &Lanes) -> Result<Option<ErrorCode>, WriteError> {
    while let Some(outgoing) = answers.next().await {
        match outgoing.lane {
            Lane::Control | Lane::Events => control.send(outgoing.frame.clone()).await?,
            Lane::Stream(number) => {
                let queue = lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
                if let Some(queue) = queue {
                    // A stream that its client gave up takes no answer any more.
                    let _ = queue.send(outgoing).await;
                }
            }
        }
    }
    Ok(answers.ending())
}

/// Writes events to a stream of their own.
async fn write_events(mut events: Events, connection: &Connection, device: &SessionHandle, meters: &Meters) {
    let Ok(stream) = connection.open_uni().await else { return };
    // Fails only on a stream that is closed already; writing to it says so.
    let _ = stream.set_priority(PRIORITY_EVENTS);
    let mut sink = QuicSink::new(stream, meters);
    while let Some(outgoing) = events.next().await {
        match sink.send(outgoing.frame.clone()).await {
            Ok(()) => {}
            Err(WriteError::TooSlow) => return device.fail(ErrorCode::TooSlow, "events were not read for too long: read them, or close"),
            Err(WriteError::Lost(why)) => return device.fail(ErrorCode::TooSlow, format!("the event stream was given up: {why}")),
        }
    }
}

/// Serves every stream that the client opens. Never ends by itself.
async fn take_lanes(connection: &Connection, device: &SessionHandle, lanes: &Lanes, meters: &Meters) -> std::convert::Infallible {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((send, receive)) => {
                    let lane = RequestStream::new(send, receive, lanes, meters);
                    tasks.spawn(lane.serve(device.clone()));
                }
                // The control stream's reader sees the same.
                Err(_) => std::future::pending().await,
            },
            Some(_) = tasks.join_next() => {}
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
    fn new(send: SendStream, receive: RecvStream, lanes: &Lanes, meters: &Meters) -> Self {
        let number = send.id().index();
        let (sender, queue) = mpsc::channel(LANE_QUEUE_FRAMES_MAX);
        lanes.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let (source, sink) = (QuicSource::new(receive, meters), QuicSink::new(send, meters));
        Self { number, source, sink, queue, lanes: Arc::clone(lanes) }
    }

    /// Takes requests until the client has sent its last, and answers each.
    async fn serve(mut self, device: SessionHandle) {
        let (mut open, mut unanswered) = (true, 0_usize);
        while open || unanswered > 0 {
            tokio::select! {
                next = self.source.next(), if open => match next {
                    Ok(Some(bytes)) => match session::submit(&device, &bytes, Lane::Stream(self.number)) {
                        Ok(()) => unanswered += 1,
                        Err(_) => return,
                    },
                    Ok(None) => open = false,
                    // A stream that is reset is the client's right: it wants the answers no more.
                    Err(error) => {
                        session::refuse(&device, error);
                        return;
                    }
                },
                outgoing = self.queue.recv() => {
                    let Some(outgoing) = outgoing else { return };
                    match self.sink.send(outgoing.frame.clone()).await {
                        Ok(()) => unanswered = unanswered.saturating_sub(1),
                        Err(WriteError::TooSlow) => {
                            return device.fail(ErrorCode::TooSlow, "answers were not read for too long: read them, or close");
                        }
                        Err(WriteError::Lost(_)) => return,
                    }
                }
            }
        }
        self.sink.finish().await;
    }
}
