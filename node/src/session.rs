//! A session on a carrier: opening it after *hello*, and feeding it what comes in.
//!
//! Never: rules. What a frame means is the actors' business; here it is decoded, once, and handed on.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloudsync_actors::{Lane, OpenRequest, Outbound, SessionHandle};
use cloudsync_protocol::error::RETRY_AFTER_MS;
use cloudsync_protocol::frame::Welcome;
use cloudsync_protocol::limits::PROTOCOL_VERSION;
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{ErrorCode, Failure, Frame, codec};
use tokio::time::Instant;
use tracing::debug;

use crate::framing::{ReadError, Sink, Source, attending};
use crate::handshake::{Greeting, Refusal, decode, greet};
use crate::shared::Shared;
use crate::throttle::{Verdict, Visitor};

/// How long a log's owner may take to read a roster before *hello* is answered `busy`.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How a session ended, seen from its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// The client closed its side.
    Left,
    /// The connection is gone.
    Lost,
    /// The session was ended, with a word to the client.
    Ended,
}

/// From the first byte to *welcome*.
pub(crate) async fn begin<R: Source, W: Sink>(
    shared: &Arc<Shared>,
    (carrier, visitor): (Carrier, &Visitor),
    source: &mut R,
    sink: &mut W,
) -> Result<(SessionHandle, Outbound), Refusal> {
    let greeting = greet(shared, (carrier, visitor), source, sink).await?;
    attending(source, open(shared, (carrier, visitor), greeting, sink)).await
}

/// Opens the session that a hello asks for and says welcome.
async fn open<W: Sink>(
    shared: &Arc<Shared>,
    (carrier, visitor): (Carrier, &Visitor),
    greeting: Greeting,
    sink: &mut W,
) -> Result<(SessionHandle, Outbound), Refusal> {
    let Greeting { nonce, hello } = greeting;
    if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
        let message = format!("this node speaks version {PROTOCOL_VERSION}, the client {} to {}", hello.version_min, hello.version_max);
        return Err(Failure::new(0, ErrorCode::VersionUnsupported, message).into());
    }
    let access = shared
        .accounts
        .verify_access(&hello.token, shared.clock.now_ms())
        .map_err(|error| Failure::new(0, error.code(), error.to_string()))?;
    if access.device != hello.device {
        return Err(Failure::new(0, ErrorCode::TokenMismatch, "the token is of another device than the one that says hello").into());
    }
    visitor.says_hello(access.user).map_err(|throttled| throttled.failure(0))?;
    let request = OpenRequest {
        user: access.user,
        device: access.device,
        carrier,
        nonce,
        token: hello.token,
        token_expires_ts: access.expires_ts,
        signature: hello.signature,
    };
    let opened = tokio::time::timeout(OPEN_TIMEOUT, shared.region.open(request)).await;
    let (session, outbound) = opened.map_err(|_| {
        Failure::new(0, ErrorCode::Busy, "the log's owner did not answer in time: say hello again").retry_after(RETRY_AFTER_MS)
    })??;
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        session: session.session(),
        user: session.user(),
        server_ts: shared.clock.now_ms(),
        token_expires_ts: session.token_expires_ts(),
        keyring_version: session.keyring_version(),
        nodes: shared.nodes.clone(),
        timeline: session.timeline(),
    };
    debug!(session = welcome.session, device = %session.device(), carrier = carrier.name(), client = %hello.client.escape_debug(), "session open");
    sink.send(codec::encode(&Frame::from(welcome)).into()).await?;
    Ok((session, outbound))
}

/// Hands one frame to the session, or refuses it where there was too much; a frame that is none ends it. Gives from when on the
/// next one is to be read.
pub(crate) fn submit((session, visitor): (&SessionHandle, &Visitor), bytes: &[u8], lane: Lane) -> Result<Option<Instant>, ReadEnd> {
    match decode(bytes) {
        Ok(frame) => {
            let Verdict { refused, read_at } = visitor.sends(session.user(), &frame, bytes.len());
            match refused {
                Some(throttled) => session.turn_away(frame, lane, throttled.failure(0)),
                None => session.submit(frame, bytes.len(), lane),
            }
            Ok(read_at)
        }
        Err(failure) => {
            session.fail(failure.code, failure.message);
            Err(ReadEnd::Ended)
        }
    }
}

/// Ends the session whose connection can't be read any more, as the reason asks for.
pub(crate) fn end_unread(session: &SessionHandle, error: ReadError) -> ReadEnd {
    match error {
        ReadError::Refused { code, message } => {
            session.fail(code, message);
            ReadEnd::Ended
        }
        ReadError::Lost(why) => {
            debug!(session = session.session(), why, "connection lost");
            ReadEnd::Lost
        }
    }
}

/// Writes for a session. Once it has ended, what is still unwritten gets `close_timeout`, so that a client that reads nothing
/// does not keep its place: `None` when that was not enough.
pub(crate) async fn write<T>(session: &SessionHandle, close_timeout: Duration, writing: impl Future<Output = T>) -> Option<T> {
    let overdue = async {
        session.ended().await;
        tokio::time::sleep(close_timeout).await;
    };
    tokio::select! {
        written = writing => Some(written),
        () = overdue => None,
    }
}

/// The next frame, read from then on.
pub(crate) async fn next<R: Source>(source: &mut R, read_at: Option<Instant>) -> Result<Option<Bytes>, ReadError> {
    if let Some(at) = read_at {
        attending(source, tokio::time::sleep_until(at)).await;
    }
    source.next().await
}

/// Feeds the session from its connection until either ends. Afterwards the session is over.
pub(crate) async fn read<R: Source>((session, visitor): (&SessionHandle, &Visitor), source: &mut R) -> ReadEnd {
    let mut ended = pin!(session.ended());
    let mut read_at = None;
    let end = loop {
        let next = tokio::select! {
            () = &mut ended => break ReadEnd::Ended,
            next = next(source, read_at) => next,
        };
        let submitted = match next {
            Ok(Some(bytes)) => submit((session, visitor), &bytes, Lane::Control),
            Ok(None) => Err(ReadEnd::Left),
            Err(error) => Err(end_unread(session, error)),
        };
        match submitted {
            Ok(at) => read_at = at,
            Err(end) => break end,
        }
    };
    match end {
        ReadEnd::Left | ReadEnd::Lost => session.close(),
        ReadEnd::Ended => {}
    }
    end
}
