//! File descriptors: each connection takes one, and the usual soft limit of 1,024 is soon reached.
//!
//! Never: more than the hard limit that the operator set.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, info, warn};

/// Raises the soft limit of open files to the hard one, as far as it goes.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) if current == maximum => debug!(limit = ?current, "limit of open files"),
        Ok(()) => info!(from = ?current, to = ?maximum, "limit of open files"),
        Err(error) => warn!(%error, limit = ?current, "the limit of open files stays as it is"),
    }
}
