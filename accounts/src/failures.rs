//! How what went wrong is told to a client.
//!
//! Never: the store's own words, a path or an address in a failure; those go to the operator's log.

use cloudsync_protocol::{ErrorCode, Failure};
use cloudsync_storage::store::{ReadError, WriteError};
use tracing::{error, warn};

/// When to try again after the store did not answer.
const RETRY_AFTER_MS: u32 = 1_000;

fn unavailable() -> Failure {
    Failure::new(0, ErrorCode::StoreUnavailable, "the store does not answer; try again").retry_after(RETRY_AFTER_MS)
}

/// A read that has no answer.
pub(crate) fn of_read(read: &ReadError) -> Failure {
    match read {
        ReadError::Damaged { place, why } => {
            error!(place, why, "account data is damaged");
            Failure::new(0, ErrorCode::StoreDamaged, "what the server stored of this account is damaged; its operator's log says where")
        }
        ReadError::Unavailable(why) => {
            warn!(why, "the store is unavailable");
            unavailable()
        }
    }
}

/// A write that is not known to be durable.
pub(crate) fn of_write(write: &WriteError) -> Failure {
    match write {
        WriteError::Unknown(why) | WriteError::Unavailable(why) => {
            warn!(why, "an account write is not known to be durable");
            unavailable()
        }
        WriteError::Full => Failure::new(0, ErrorCode::StoreFull, "the server's disk is full"),
        WriteError::Read(read) => of_read(read),
    }
}

/// A bug of ours, said without its details.
pub(crate) fn internal(what: &'static str) -> Failure {
    error!(what, "internal error");
    Failure::new(0, ErrorCode::Internal, "the server has a bug here; its log says which")
}

/// A refusal with a message.
pub(crate) fn refuse(code: ErrorCode, message: impl Into<String>) -> Failure {
    Failure::new(0, code, message)
}
