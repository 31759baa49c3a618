//! How a connection ends, whatever carries it, and the code that each carrier closes with.
//!
//! Never: a reason that isn't an error code's name; clients match on it.

use cloudsync_protocol::ErrorCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::framing::WriteError;
use crate::session::ReadEnd;

/// Nothing is wrong: the client left, and the server agrees.
const QUIC_DONE: u32 = 0;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed it.
    Left,
    /// It broke: nobody is there to be told.
    Lost,
    /// The client is told, by a failure with this code where it still takes frames, and by the close.
    Told(ErrorCode),
}

impl Ending {
    /// From how reading and writing a session ended.
    pub(crate) fn of_session(read: ReadEnd, written: Result<Option<ErrorCode>, WriteError>) -> Self {
        match (read, written) {
            (ReadEnd::Left, _) | (ReadEnd::Ended, Ok(None)) => Self::Left,
            (ReadEnd::Lost, _) | (ReadEnd::Ended, Err(WriteError::Lost(_))) => Self::Lost,
            (ReadEnd::Ended, Err(WriteError::TooSlow)) => Self::Told(ErrorCode::TooSlow),
            (ReadEnd::Ended, Ok(Some(code))) => Self::Told(code),
        }
    }

    /// The reason that the close gives, and the label that it is counted by.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Left => "closed",
            Self::Lost => "lost",
            Self::Told(code) => code.name(),
        }
    }

    /// The QUIC application error code.
    pub(crate) const fn quic(self) -> u32 {
        match self {
            Self::Left | Self::Lost => QUIC_DONE,
            Self::Told(code) => quic(code),
        }
    }

    /// The WebSocket close code; nothing where nobody is there to read it.
    pub(crate) fn websocket(self) -> Option<CloseCode> {
        match self {
            Self::Left => Some(CloseCode::Normal),
            Self::Lost => None,
            Self::Told(code) => Some(websocket(code)),
        }
    }
}

/// What kind of end a code is; each carrier has a number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Protocol,
    TooLarge,
    Policy,
    Leaving,
    Trouble,
    Later,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a code without a kind of its own is the client's to mend; new ones too")]
const fn kind(code: ErrorCode) -> Kind {
    match code {
        ErrorCode::Malformed | ErrorCode::UnexpectedFrame | ErrorCode::VersionUnsupported | ErrorCode::RequestIdInUse => Kind::Protocol,
        ErrorCode::FrameTooLarge => Kind::TooLarge,
        ErrorCode::GoingAway => Kind::Leaving,
        ErrorCode::Internal | ErrorCode::StoreDamaged => Kind::Trouble,
        ErrorCode::Busy | ErrorCode::StoreUnavailable | ErrorCode::StoreFull => Kind::Later,
        // Whatever else ends a connection is the client's to mend: time, credit, token, signature, roster.
        _ => Kind::Policy,
    }
}

/// The WebSocket close code (RFC 6455, 7.4.1).
fn websocket(code: ErrorCode) -> CloseCode {
    match kind(code) {
        Kind::Protocol => CloseCode::Protocol,
        Kind::TooLarge => CloseCode::Size,
        Kind::Policy => CloseCode::Policy,
        Kind::Leaving => CloseCode::Restart,
        Kind::Trouble => CloseCode::Error,
        Kind::Later => CloseCode::Again,
    }
}

/// The QUIC application error code.
pub(crate) const fn quic(code: ErrorCode) -> u32 {
    match kind(code) {
        Kind::Protocol => 1,
        Kind::TooLarge => 2,
        Kind::Policy => 3,
        Kind::Leaving => 4,
        Kind::Trouble => 5,
        Kind::Later => 6,
    }
}
