//! How what went wrong is told to a client.
//!
//! Never: the store's own words, a path or an address in a failure; those go to the operator's log.

use cloudsync_protocol::error::RETRY_AFTER_MS;
use cloudsync_protocol::{ErrorCode, Failure};
use cloudsync_storage::store::{ReadError, WriteError};
use tracing::{error, warn};

/// A read that has no answer.
pub(crate) fn of_read(read: &ReadError) -> Failure {
    read.logged().failure(0, RETRY_AFTER_MS)
}

/// A write that is not known to be durable.
pub(crate) fn of_write(write: &WriteError) -> Failure {
    match write {
        WriteError::Unknown(why) | WriteError::Unavailable(why) => {
            warn!(why, "an account write is not known to be durable");
            Failure::store_unavailable(0, RETRY_AFTER_MS)
        }
        WriteError::Full => Failure::store_full(0),
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
