//! How a connection ends: the code that each carrier closes with.
//!
//! Never: a reason that isn't an error code's name; clients match on it.

use cloudsync_protocol::ErrorCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Nothing is wrong: the client left, and the server agrees.
pub(crate) const QUIC_DONE: u32 = 0;

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
pub(crate) fn websocket(code: ErrorCode) -> CloseCode {
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
