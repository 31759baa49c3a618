//! From the first byte to *welcome*, the same on every carrier: challenge, account calls, hello.
//!
//! Never: waiting without a deadline, or going on after a frame that has no place here.

use std::sync::Arc;
use std::time::Duration;

use cloudsync_protocol::error::RETRY_AFTER_MS;
use cloudsync_protocol::frame::{Challenge, Hello};
use cloudsync_protocol::limits::{ACCOUNT_CALL_TIMEOUT, ACCOUNT_CALLS_MAX, HELLO_TIMEOUT, PROTOCOL_VERSION};
use cloudsync_protocol::statement::Carrier;
use cloudsync_protocol::{ErrorCode, Failure, Frame, Nonce, codec};
use tokio::time::Instant;
use tracing::debug;

use crate::close::Ending;
use crate::framing::{ReadError, Sink, Source, WriteError, attending};
use crate::metrics::Meters;
use crate::shared::Shared;
use crate::throttle::Visitor;

/// Why a connection ends before *welcome*.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The client is told, then the connection closes.
    Tell(Failure),
    /// The client closed it without a hello.
    Left,
    /// The client closed it after an account call that was answered: that was all that it wanted.
    Done,
    /// It broke, or takes nothing.
    Lost(String),
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused { code, message } => Self::Tell(Failure::new(0, code, message)),
            ReadError::Lost(why) => Self::Lost(why),
        }
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooSlow => Self::Lost("it takes nothing".to_owned()),
            WriteError::Lost(why) => Self::Lost(why),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Tell(failure)
    }
}

/// What a client proved itself with, and the nonce that it signed.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) nonce: Nonce,
    pub(crate) hello: Hello,
}

/// Decodes a frame, or says why not.
pub(crate) fn decode(bytes: &[u8]) -> Result<Frame, Failure> {
    codec::decode(bytes).map_err(|error| Failure::new(0, ErrorCode::Malformed, format!("not a frame: {error}")))
}

/// Sends the challenge and answers account calls until a hello comes: within [`HELLO_TIMEOUT`] of the challenge, however long
/// TLS and HTTP took before; after each account call that was answered without a failure within [`ACCOUNT_CALL_TIMEOUT`], and
/// after the first within `Patience::account_calls_max`, whatever was answered since.
pub(crate) async fn greet<R: Source, W: Sink>(
    shared: &Arc<Shared>,
    (carrier, visitor): (Carrier, &Visitor),
    source: &mut R,
    sink: &mut W,
) -> Result<Greeting, Refusal> {
    let nonce = Nonce(rand::random());
    let challenge = Challenge { nonce, server_ts: shared.clock.now_ms(), version_min: PROTOCOL_VERSION, version_max: PROTOCOL_VERSION };
    let mut deadline = Instant::now() + HELLO_TIMEOUT;
    send(sink, deadline, challenge.into()).await?;
    let mut conversation = shared.accounts.converse(nonce);
    let mut left = Refusal::Left;
    let mut calls = 0;
    let mut all_done = None;
    loop {
        let bytes = tokio::select! {
            () = shared.leaving.cancelled() => return Err(leaving().into()),
            next = tokio::time::timeout_at(deadline, source.next()) => {
                match (next.map_err(|_| hello_timeout())?, &left) {
                    (Ok(Some(bytes)), _) => bytes,
                    // Who had its answer may go without a word.
                    (Ok(None), _) | (Err(ReadError::Lost(_)), Refusal::Done) => return Err(left),
                    (Err(error), _) => return Err(error.into()),
                }
            }
        };
        let frame = decode(&bytes)?;
        if let Frame::Hello(hello) = frame {
            return Ok(Greeting { nonce, hello });
        }
        if calls == ACCOUNT_CALLS_MAX {
            let message = format!("more than {ACCOUNT_CALLS_MAX} account calls on one connection: connect again");
            return Err(Failure::new(0, ErrorCode::TooManyRequests, message).into());
        }
        calls += 1;
        let all_done = *all_done.get_or_insert_with(|| Instant::now() + shared.patience.account_calls_max);
        let name = frame.name();
        let answered = match visitor.calls(&frame) {
            Ok(()) => attending(source, conversation.handle(frame, shared.clock.now_ms())).await,
            Err(throttled) => Err(throttled),
        };
        let answer = match answered {
            Ok(answer) => {
                deadline = all_done.min(Instant::now() + ACCOUNT_CALL_TIMEOUT);
                left = Refusal::Done;
                answer
            }
            Err(failure) if failure.request == 0 => return Err(failure.into()),
            Err(failure) => {
                cloudsync_actors::metrics::refused(failure.code);
                failure.into()
            }
        };
        debug!(carrier = carrier.name(), call = name, answer = answer.name(), "account call");
        send(sink, deadline, answer).await?;
    }
}

/// Sends a frame while the client may still be waited for.
async fn send<W: Sink>(sink: &mut W, deadline: Instant, frame: Frame) -> Result<(), Refusal> {
    let sent = tokio::time::timeout_at(deadline, sink.send(codec::encode(&frame).into())).await;
    Ok(sent.map_err(|_| Refusal::Lost("it takes nothing".to_owned()))??)
}

/// Says why there is no session, as far as the client takes it within `close_timeout`, and counts it.
pub(crate) async fn refuse<W: Sink>(refusal: Refusal, sink: &mut W, meters: &Meters, close_timeout: Duration) -> Ending {
    let ending = match refusal {
        Refusal::Done => return Ending::Left,
        Refusal::Left => Ending::Left,
        Refusal::Lost(why) => {
            debug!(why, "connection lost before hello");
            Ending::Lost
        }
        Refusal::Tell(failure) => {
            let code = failure.code;
            cloudsync_actors::metrics::refused(code);
            debug!(%code, message = failure.message, "connection refused");
            // Whether it arrives or not, the connection is closed with the same code.
            let _ = tokio::time::timeout(close_timeout, sink.send(codec::encode(&Frame::from(failure)).into())).await;
            Ending::Told(code)
        }
    };
    meters.handshake_failed(ending.name());
    ending
}

fn hello_timeout() -> Refusal {
    let message = "no hello in time: say hello, or make the next account call, at once";
    Refusal::Tell(Failure::new(0, ErrorCode::HelloTimeout, message))
}

fn leaving() -> Failure {
    Failure::new(0, ErrorCode::GoingAway, "this node is leaving: connect again").retry_after(RETRY_AFTER_MS)
}
