//! Why something asked of a server did not come.
//!
//! Never: a message with a token, a key or content in it.

use cloudsync_protocol::error::LastPush;
use cloudsync_protocol::{ErrorCode, Failure};

use crate::carrier::{ConnectError, LinkError};
use crate::keys::SignError;

/// Why a request has no answer, or a connection is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// The server refuses, and says why.
    #[error("refused ({}): {}", .0.code, .0.message)]
    Refused(Box<Failure>),
    /// The server does not speak this protocol, or speaks it wrongly.
    #[error("the server breaks the protocol: {0}")]
    Protocol(String),
    /// The connection ended before the answer came; what was asked may have been done.
    #[error("the connection is closed: {0}")]
    Closed(String),
    /// This machine is faulty.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Error {
    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.failure().map(|failure| failure.code)
    }
    /// The refusal.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure) => Some(failure),
            Self::Unreachable(_) | Self::Protocol(_) | Self::Closed(_) | Self::Sign(_) => None,
        }
    }
    /// The last push that a refusal names.
    #[must_use]
    pub fn last(&self) -> Option<LastPush> {
        self.failure().and_then(|failure| failure.last.as_deref().copied())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Refused(Box::new(failure))
    }
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed(why) => Self::Closed(why),
            LinkError::TooLarge { .. } | LinkError::Text => Self::Protocol(error.to_string()),
        }
    }
}
