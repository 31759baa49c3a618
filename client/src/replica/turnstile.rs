//! Whose turn it is to write. SQLite's waiting is a poll: a process that writes back to back is never seen between two
//! transactions. So whoever wants to write first takes the turn, a lock on a small file, and gives it back once its
//! transaction began: a writer that has just ended stands behind whoever waits already.
//!
//! Never: the turn held for the length of a transaction, or needed for what is right; SQLite's own lock decides that.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::process::Process;
use super::writer::Note;

/// The lock file, with the id of the process that holds it.
#[derive(Debug)]
pub(super) struct Turnstile(Note);

/// Held until its owner's transaction began, given back when dropped; none where the system has no such locks.
#[derive(Debug)]
pub(super) struct Passage<'a>(Option<&'a File>);

impl Turnstile {
    /// Beside the replica. Without it there is no order among those who wait.
    pub(super) fn beside(replica: &Path) -> Self {
        Self(Note::at(&replica.with_extension("turnstile")))
    }

    /// The turn, or nothing while another process has it.
    pub(super) fn try_pass(&self) -> Option<Passage<'_>> {
        let Some(file) = self.0.file() else { return Some(Passage(None)) };
        match file.try_lock() {
            Ok(()) => {
                self.0.sign();
                Some(Passage(Some(file)))
            }
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(_)) => Some(Passage(None)),
        }
    }

    /// Who had it last.
    pub(super) fn holder(&self) -> Option<Process> {
        self.0.holder()
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        // Closing the file would give it back too; there is nothing else to be done about a failure.
        drop(self.0.map(File::unlock));
    }
}
