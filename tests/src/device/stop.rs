//! Why a device of a test stops.
//!
//! Never: a lost connection told as a mistake, or a mistake as a lost connection.

use cloudsync_client::connection::Error;

/// Why a device stops.
#[derive(Debug)]
pub enum Stop {
    /// The connection ended: what was unanswered may be done or not.
    Lost(String),
    /// There was no connection.
    Unreachable(String),
    /// Something that must not happen.
    Wrong(anyhow::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Closed(why) => Self::Lost(why),
            Error::Unreachable(error) => Self::Unreachable(error.to_string()),
            Error::Refused(_) | Error::Protocol(_) | Error::Sign(_) => Self::Wrong(error.into()),
        }
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Wrong(error)
    }
}

pub(super) fn wrong(error: impl std::error::Error + Send + Sync + 'static) -> Stop {
    Stop::Wrong(error.into())
}
