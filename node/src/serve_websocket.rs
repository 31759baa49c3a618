//! One WebSocket connection, from its upgrade to its last byte.
//!
//! Never: dropping the socket with our last words unread: a reset would take them along.

use std::sync::Arc;
use std::time::Duration;

use cloudsync_actors::Outbound;
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{ErrorCode, Failure, codec};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;

use crate::framing::{Sink as _, WriteError};
use crate::handshake::{Refusal, greet};
use crate::session::{self, ReadEnd};
use crate::shared::{Connected, Place, Shared};
use crate::telemetry::label;
use crate::websocket::{self, WebSocketSink, WebSocketSource};
use crate::{close, session::read};

/// How long the client may take to read our last words and to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(shared: Arc<Shared>, io: S, place: Arc<Place>) {
    let meters = shared.meters(Carrier::WebSocket).clone();
    let _connected = Connected::new(place, &meters);
    let (mut source, mut sink) = websocket::split(io, &meters).await;
    let opened = match greet(&shared, Carrier::WebSocket, &mut source, &mut sink).await {
        Ok(greeting) => session::open(&shared, Carrier::WebSocket, greeting, &mut sink).await,
        Err(refusal) => Err(refusal),
    };
    let code = match opened {
        Ok((device, outbound)) => {
            let (end, written) = tokio::join!(read(&device, &mut source), write(outbound, &mut sink));
            let (why, code) = match (end, written) {
                (ReadEnd::Left, _) => ("closed", Some(CloseCode::Normal)),
                (ReadEnd::Lost, _) | (ReadEnd::Ended, Err(WriteError::Lost(_))) => ("lost", None),
                (ReadEnd::Ended, Err(WriteError::TooSlow)) => (ErrorCode::TooSlow.name(), None),
                (ReadEnd::Ended, Ok(ending)) => (label(ending), Some(ending.map_or(CloseCode::Normal, close::websocket))),
            };
            meters.session_closed(why);
            code.map(|code| (code, why))
        }
        Err(refusal) => {
            let (why, code) = refuse(refusal, &mut sink).await;
            meters.handshake_failed(why);
            code.map(|code| (code, why))
        }
    };
    if let Some((code, why)) = code {
        // A client that reads nothing any more is left to the kernel, which forgets it soon (TCP user timeout).
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, end(source, sink, code, why)).await;
    }
}

/// Writes what the session has to say, until it has said all; then why it ended.
async fn write<S: AsyncRead + AsyncWrite + Unpin + Send>(
    mut outbound: Outbound,
    sink: &mut WebSocketSink<S>,
) -> Result<Option<ErrorCode>, WriteError> {
    while let Some(outgoing) = outbound.next().await {
        sink.send(outgoing.frame.clone()).await?;
    }
    Ok(outbound.ending())
}

/// Says why there is no session.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin + Send>(
    refusal: Refusal,
    sink: &mut WebSocketSink<S>,
) -> (&'static str, Option<CloseCode>) {
    match refusal {
        Refusal::Left => ("closed", Some(CloseCode::Normal)),
        Refusal::Lost(why) => {
            debug!(why, "connection lost before hello");
            ("lost", None)
        }
        Refusal::Tell(failure) => {
            let Failure { code, message, .. } = &failure;
            debug!(%code, message, "connection refused");
            let code = *code;
            cloudsync_actors::metrics::refused(code);
            let told =
                tokio::time::timeout(CLOSE_TIMEOUT, sink.send(codec::encode(&cloudsync_protocol::Frame::from(failure)).into())).await;
            (code.name(), matches!(told, Ok(Ok(()))).then(|| close::websocket(code)))
        }
    }
}

/// Closes, then reads until the client has closed too.
async fn end<S: AsyncRead + AsyncWrite + Unpin + Send>(
    source: WebSocketSource<S>,
    mut sink: WebSocketSink<S>,
    code: CloseCode,
    why: &'static str,
) -> Result<(), WriteError> {
    sink.close(code, why).await?;
    let Some(mut io) = websocket::reunite(source, sink) else { return Ok(()) };
    let mut rest = [0; 4096];
    let lost = |error: std::io::Error| WriteError::Lost(error.to_string());
    io.shutdown().await.map_err(lost)?;
    while io.read(&mut rest).await.map_err(lost)? > 0 {}
    Ok(())
}
