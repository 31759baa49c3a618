//! One WebSocket connection, from its upgrade to its last byte.
//!
//! Never: dropping the socket with our last words unread: a reset would take them along.

use std::sync::Arc;

use cloudsync_actors::{Lane, Outbound};
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{ErrorCode, UserId};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::close::Ending;
use crate::framing::WriteError;
use crate::handshake::refuse;
use crate::session::{self, begin, read};
use crate::shared::{Connected, Place, Shared};
use crate::throttle::Visitor;
use crate::websocket::{self, TOGETHER_BYTES, WebSocketSink};

/// Serves it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(shared: Arc<Shared>, io: S, place: Arc<Place>) {
    let (meters, patience) = (shared.meters(Carrier::WebSocket).clone(), shared.patience);
    let visitor = place.visitor.clone();
    let _connected = Connected::new(place, &meters);
    let (mut source, mut sink) = websocket::split(io, &meters, patience).await;
    let ending = match begin(&shared, (Carrier::WebSocket, &visitor), &mut source, &mut sink).await {
        Ok((session, outbound)) => {
            let writing = session::write(&session, patience.close_timeout, write(outbound, &mut sink, (&visitor, session.user())));
            let (end, written) = tokio::join!(read((&session, &visitor), &mut source), writing);
            let ending = Ending::of_session(end, written.unwrap_or_else(|| Ok(session.ending())));
            meters.session_closed(ending.name());
            ending
        }
        Err(refusal) => refuse(refusal, &mut sink, &meters, patience.close_timeout).await,
    };
    if let Some(code) = ending.websocket() {
        // A client that reads nothing any more is left to the kernel, which forgets it soon (TCP user timeout).
        let _ = tokio::time::timeout(patience.close_timeout, websocket::close(source, sink, code, ending.name())).await;
    }
}

/// Writes what the session has to say, until it has said all; then why it ended. What is ready together goes out together: a push's
/// answer and what follows of it, or the events of one commit, are one system call.
async fn write<S: AsyncRead + AsyncWrite + Unpin + Send>(
    mut outbound: Outbound,
    sink: &mut WebSocketSink<S>,
    (visitor, user): (&Visitor, UserId),
) -> Result<Option<ErrorCode>, WriteError> {
    while let Some(mut outgoing) = outbound.next().await {
        let mut bytes = 0;
        loop {
            let (is_answer, frame) = (outgoing.lane != Lane::Events, outgoing.begin());
            if is_answer {
                visitor.is_answered(user, frame.len());
            }
            bytes += frame.len();
            sink.feed(frame).await?;
            if bytes >= TOGETHER_BYTES {
                break;
            }
            match outbound.next_ready() {
                Some(next) => outgoing = next,
                None => break,
            }
        }
        // A page's place is held until here.
        sink.flush().await?;
    }
    Ok(outbound.ending())
}
